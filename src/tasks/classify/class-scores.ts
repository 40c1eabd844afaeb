/** @module ClassScores: what a classifier's values are, and the best classes of a row of them. */

/** What is done to a row of values: nothing, or what makes logits probabilities, of one class of many or of each by itself. */
export type Activation = "none" | "softmax" | "sigmoid";

/** Every activation, for option schemas. */
export const ACTIVATIONS: readonly [Activation, ...Activation[]] = ["softmax", "sigmoid", "none"];

/** How far probabilities of half precision may be from 1 in all. */
const SUM_TOLERANCE = 1e-3;

/** Values of a row: `probabilities` come to 1, each of `fractions` lies in 0–1, and anything else is `logits`. */
export type ScoreKind = "probabilities" | "fractions" | "logits";

/** What rows of values are, all of them. @param classes values of a row */
export function scoreKind(values: ArrayLike<number>, classes: number): ScoreKind {
  let isFraction = true;
  let comesToOne = true;
  for (let start = 0; start < values.length; start += classes) {
    let sum = 0;
    for (let at = start; at < start + classes; at++) {
      const value = values[at]!;
      isFraction &&= value >= 0 && value <= 1 + SUM_TOLERANCE;
      sum += value;
    }
    comesToOne &&= Math.abs(sum - 1) <= SUM_TOLERANCE;
  }
  if (!isFraction) return "logits";
  return comesToOne ? "probabilities" : "fractions";
}

/** The best classes of an image, best first, and of equal ones the first; over memory that is used again. */
export interface BestClasses {
  count: number;
  readonly classIds: Int32Array<ArrayBuffer>;
  readonly scores: Float32Array<ArrayBuffer>;
}

/** Room for so many classes. */
export function createBestClasses(most: number): BestClasses {
  return { count: 0, classIds: new Int32Array(most), scores: new Float32Array(most) };
}

/**
 * Take a value into the best. Values that are no numbers are left out.
 *
 * @param most of them, at most what there is room for
 */
function insert(best: BestClasses, classId: number, score: number, most: number): void {
  const { classIds, scores } = best;
  if (Number.isNaN(score) || (best.count === most && !(score > scores[most - 1]!))) return;
  let low = 0;
  let high = best.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle]! >= score) low = middle + 1;
    else high = middle;
  }
  best.count = Math.min(best.count + 1, most);
  scores.copyWithin(low + 1, low, best.count - 1);
  classIds.copyWithin(low + 1, low, best.count - 1);
  scores[low] = score;
  classIds[low] = classId;
}

/**
 * The best classes of a row.
 *
 * @param values of all rows
 * @param start  of the row
 * @param best   written
 */
export function selectBest(
  values: ArrayLike<number>,
  start: number,
  classes: number,
  activation: Activation,
  most: number,
  best: BestClasses,
): void {
  best.count = 0;
  const top = Math.min(most, classes);
  let largest = Number.NEGATIVE_INFINITY;
  let sum = 0;
  if (activation === "softmax") {
    for (let id = 0; id < classes; id++) largest = Math.max(largest, values[start + id]!);
    for (let id = 0; id < classes; id++) sum += Math.exp(values[start + id]! - largest);
    // A value that is no number, or has no end, leaves none of the probabilities.
    if (!(sum > 0)) return;
  }
  for (let id = 0; id < classes; id++) {
    const value = values[start + id]!;
    insert(best, id, value, top);
  }
  // All three rise with the value: the order is that of the values, which f32 tells apart better than probabilities near 1.
  for (let at = 0; at < best.count; at++) {
    const value = best.scores[at]!;
    if (activation === "softmax") best.scores[at] = Math.exp(value - largest) / sum;
    else if (activation === "sigmoid") best.scores[at] = 1 / (1 + Math.exp(-value));
  }
}
