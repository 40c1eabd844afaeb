/** @module CubicPhases: the taps of a bicubic enlargement by a whole factor, in integers, so that CPU and GPU agree to the bit. */

/** Bits of a weight: 2048 is the whole. */
export const CUBIC_WEIGHT_BITS = 11;

/** Numbers a phase: where the first of its four taps lies, from the pixel's own place on, and their weights. */
export const PHASE_LENGTH = 5;

/** Catmull-Rom, the bicubic of Pillow. */
const SHARPNESS = -0.5;

function cubicWeight(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (SHARPNESS + 2) * x ** 3 - (SHARPNESS + 3) * x ** 2 + 1;
  if (x < 2) return SHARPNESS * x ** 3 - 5 * SHARPNESS * x ** 2 + 8 * SHARPNESS * x - 4 * SHARPNESS;
  return 0;
}

/**
 * The phases of an enlargement. Pixel `d` has its centre at (d + 0.5) / scale − 0.5 in the source; which taps it has and
 * how they weigh depends on d mod scale alone.
 *
 * @param scale whole, at least 1
 * @returns i32 [scale, 5]: offset of the first tap from ⌊d / scale⌋, then four weights that add up to 2048
 */
export function cubicPhases(scale: number): Int32Array<ArrayBuffer> {
  const phases = new Int32Array(new ArrayBuffer(scale * PHASE_LENGTH * 4));
  const whole = 1 << CUBIC_WEIGHT_BITS;
  for (let phase = 0; phase < scale; phase++) {
    const position = (phase + 0.5) / scale - 0.5;
    const first = Math.floor(position) - 1;
    const weights = [0, 1, 2, 3].map((tap) => Math.round(cubicWeight(position - first - tap) * whole));
    // What rounding left over goes to the heaviest tap, so that a flat picture stays as it is.
    const heaviest = weights.indexOf(Math.max(...weights));
    weights[heaviest]! += whole - weights.reduce((sum, weight) => sum + weight, 0);
    phases.set([first, ...weights], phase * PHASE_LENGTH);
  }
  return phases;
}
