/** @module Resize taps: which two source pixels each resized pixel lies between, and how near to each, along one axis. */

/** Bits of a weight: 2048 is the whole. OpenCV's 8-bit INTER_LINEAR has as many. */
export const WEIGHT_BITS = 11;

/**
 * The taps of one axis of a bilinear resize with half-pixel centres, in integers so that every machine gets the same.
 *
 * Pixel `d` of `target` lies at ((2d + 1) × source − target) / (2 × target) in the source. `near` is that rounded down,
 * `far` the next pixel, and `weight` the remaining fraction × 2048, rounded, halves up. Left of the first and from the
 * last source pixel on both taps are that pixel and the weight is 0.
 *
 * @param source length of the axis in source pixels, at least 1
 * @param target length of the axis in resized pixels, at least 1
 * @param step   what the indices are multiplied by: bytes of a pixel for columns, 1 for rows
 * @returns i32 [target, 3]: near × step, far × step, weight of far (0–2048; near has the rest)
 * @see https://docs.opencv.org/5.x/da/d54/group__imgproc__transform.html (INTER_LINEAR)
 */
export function bilinearTaps(source: number, target: number, step: number): Int32Array<ArrayBuffer> {
  const taps = new Int32Array(new ArrayBuffer(target * 12));
  const last = source - 1;
  for (let d = 0; d < target; d++) {
    const position = (2 * d + 1) * source - target;
    const below = Math.floor(position / (2 * target));
    const fraction = position - below * 2 * target;
    const inside = below >= 0 && below < last;
    const near = Math.min(Math.max(below, 0), last);
    taps[d * 3] = near * step;
    taps[d * 3 + 1] = (inside ? near + 1 : near) * step;
    taps[d * 3 + 2] = inside ? Math.floor((fraction * (1 << WEIGHT_BITS) + target) / (2 * target)) : 0;
  }
  return taps;
}

/**
 * True if every resized pixel lies on a source pixel, so that there is nothing to interpolate: equal lengths and odd
 * whole ratios, such as 1920 to 640.
 *
 * @param taps what {@linkcode bilinearTaps} returned
 */
export function isPointSampling(taps: Int32Array): boolean {
  for (let at = 2; at < taps.length; at += 3) {
    if (taps[at] !== 0) return false;
  }
  return true;
}
