/** @module Point maps: where the points of a person lie in what a top-down model says of each: two rows of bins, or a heat map. */

/** A point in pixels of the model's input, as an index: 0 is the middle of the first pixel. */
export interface FoundPoint {
  x: number;
  y: number;
  score: number;
}

/** The first of the largest of some values. */
function largest(values: ArrayLike<number>, from: number, length: number): number {
  let best = from;
  for (let at = from + 1; at < from + length; at++) if (values[at]! > values[best]!) best = at;
  return best - from;
}

/** What a score is of the largest value of each row: mmpose takes the smaller, rtmlib the mean. */
export type SimccScore = "min" | "mean";

/**
 * A point by SimCC: the place of the largest value in a row of bins for each axis.
 *
 * @param x    f32, the bins of one point from `at.x` on, `bins.x` of them
 * @param y    likewise
 * @param size of the model's input in pixels
 * @param to   what is found is written into
 */
export function readSimcc(
  x: ArrayLike<number>,
  y: ArrayLike<number>,
  at: { readonly x: number; readonly y: number },
  bins: { readonly x: number; readonly y: number },
  size: readonly [width: number, height: number],
  rule: SimccScore,
  to: FoundPoint,
): void {
  const column = largest(x, at.x, bins.x);
  const row = largest(y, at.y, bins.y);
  const across = x[at.x + column]!;
  const down = y[at.y + row]!;
  to.x = (column * size[0]) / bins.x;
  to.y = (row * size[1]) / bins.y;
  to.score = rule === "min" ? Math.min(across, down) : (across + down) / 2;
}

/** How a point is found between the pixels of its heat map: a quarter towards the larger neighbour, or by DARK. */
export type Refinement = "quarter" | "dark";

/** The map of one point: [height, width] from `at` on. */
interface Heatmap {
  readonly values: ArrayLike<number>;
  at: number;
  readonly width: number;
  readonly height: number;
}

/** Of the Gaussian that DARK smooths a map with, as transformers has it: a deviation of 0.8, 11 pixels wide. */
const SIGMA = 0.8;
const RADIUS = 5;
const KERNEL: Float64Array = (() => {
  const weights = Float64Array.from({ length: 2 * RADIUS + 1 }, (_, at) =>
    Math.exp(-((at - RADIUS) ** 2) / 2 / SIGMA ** 2),
  );
  const sum = weights.reduce((total, weight) => total + weight);
  return weights.map((weight) => weight / sum);
})();

/** Beyond an edge a map is its own mirror image, the edge's pixel twice. */
function mirrored(at: number, length: number): number {
  const period = 2 * length;
  const phase = ((at % period) + period) % period;
  return phase < length ? phase : period - 1 - phase;
}

/** The logarithm of the smoothed map at a pixel; beyond the edge that of the nearest one. */
function smoothed({ values, at, width, height }: Heatmap, column: number, row: number): number {
  const x = Math.min(Math.max(column, 0), width - 1);
  const y = Math.min(Math.max(row, 0), height - 1);
  let sum = 0;
  for (let down = -RADIUS; down <= RADIUS; down++) {
    const line = at + mirrored(y + down, height) * width;
    let part = 0;
    for (let across = -RADIUS; across <= RADIUS; across++) {
      part += KERNEL[across + RADIUS]! * values[line + mirrored(x + across, width)]!;
    }
    sum += KERNEL[down + RADIUS]! * part;
  }
  return Math.log(Math.min(Math.max(sum, 0.001), 50));
}

/** How far the top of the parabola through the neighbours lies from a pixel, along each axis. */
function darkOffset(map: Heatmap, column: number, row: number): readonly [x: number, y: number] {
  const value = (across: number, down: number): number => smoothed(map, column + across, row + down);
  const middle = value(0, 0);
  const [left, right, above, below] = [value(-1, 0), value(1, 0), value(0, -1), value(0, 1)];
  const dx = (right - left) / 2;
  const dy = (below - above) / 2;
  // The determinant is kept from 0 where the map is flat.
  const epsilon = 2 ** -23;
  const dxx = right - 2 * middle + left + epsilon;
  const dyy = below - 2 * middle + above + epsilon;
  const dxy = (value(1, 1) - right - below + 2 * middle - left - above + value(-1, -1)) / 2;
  const determinant = dxx * dyy - dxy * dxy;
  if (determinant === 0) return [0, 0];
  return [(dxy * dy - dyy * dx) / determinant, (dxy * dx - dxx * dy) / determinant];
}

/**
 * A point by its heat map: the place of the largest value, moved by what lies around it.
 *
 * @param size       of the model's input in pixels
 * @param isUnbiased true: the middles of the first and last pixels of map and input are the same; false: their edges are
 * @param to         what is found is written into
 */
export function readHeatmap(
  map: Heatmap,
  size: readonly [width: number, height: number],
  { refinement, isUnbiased }: { readonly refinement: Refinement; readonly isUnbiased: boolean },
  to: FoundPoint,
): void {
  const { values, at, width, height } = map;
  const best = largest(values, at, width * height);
  const column = best % width;
  const row = (best - column) / width;
  let x = column;
  let y = row;
  if (refinement === "dark") {
    const [across, down] = darkOffset(map, column, row);
    x += across;
    y += down;
  } else if (column > 0 && column < width - 1 && row > 0 && row < height - 1) {
    x += Math.sign(values[at + best + 1]! - values[at + best - 1]!) / 4;
    y += Math.sign(values[at + best + width]! - values[at + best - width]!) / 4;
  }
  to.x = isUnbiased ? (x * (size[0] - 1)) / (width - 1) : (x * size[0]) / width;
  to.y = isUnbiased ? (y * (size[1] - 1)) / (height - 1) : (y * size[1]) / height;
  to.score = values[at + best]!;
}
