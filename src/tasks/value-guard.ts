/**
 * @module ValueGuard: maps, class scores and images that hold what is no number, or no level, are reported, the first ones of a model.
 */

import { logger } from "../core/log.ts";
import type { Tensor } from "../core/tensor.ts";
import type { OpenedModel } from "../runtime/task.ts";

/** What a guard's numbers are. */
type GuardedNoun = "map" | "class scores" | "image";

/** Share of an image's values that may lie further outside its range than half of that: none of a sharpened edge does. */
const MOST_OUTSIDE = 0.02;

function shortened(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/**
 * Looks at maps, class scores and images that a model makes: a NaN is the lowest logit, no depth, and black. Keep one for a model: it
 * reports once. Nothing is allocated for an image.
 */
export class ValueGuard {
  readonly #source: string;
  readonly #noun: GuardedNoun;
  #hasReported = false;

  private constructor(source: string, noun: GuardedNoun) {
    this.#source = source;
    this.#noun = noun;
  }

  /**
   * The guard of a model: that of the engine whose place another takes, or a new one, and then what was assumed is reported.
   *
   * @param noun what the numbers are
   */
  static begin(
    { source, former }: Pick<OpenedModel, "source" | "former">,
    noun: GuardedNoun,
    assumptions: readonly string[] = [],
  ): ValueGuard {
    if (former?.guard instanceof ValueGuard) return former.guard;
    for (const assumption of assumptions) logger.warn(`Assuming for ${source} ${assumption}`);
    return new ValueGuard(source, noun);
  }

  /** @param values of which `length` from `start` on are those of an image */
  check(values: Float32Array | Float16Array, start: number, length: number): void {
    if (this.#hasReported) return;
    const end = start + length;
    let sum = 0;
    for (let at = start; at < end; at++) sum += values[at]!;
    if (Number.isFinite(sum)) return;
    let finite = 0;
    let infinite = 0;
    for (let at = start; at < end; at++) {
      if (Number.isFinite(values[at]!)) finite += 1;
      else if (!Number.isNaN(values[at]!)) infinite += 1;
    }
    // What is infinitely far away, or never chosen, may be meant.
    if (finite > 0 && finite + infinite === length) return;
    this.#hasReported = true;
    const unknown = length - finite;
    const found = `${unknown} of ${length} numbers are NaN or infinite`;
    logger.warn(
      `Implausible ${this.#noun} of ${this.#source}: ${found}; FP16 may overflow, or the pre-processing may be another`,
    );
  }

  /**
   * The same of an image, whose values may also be of another range than is assumed: what lies far outside is cut off.
   *
   * @param tensor  [N, …]; whole numbers are as they are meant
   * @param row     of it, that is looked at
   * @param lowest  the value that becomes black
   * @param highest the value that becomes white
   */
  checkRange({ data: values, shape }: Tensor, row: number, lowest: number, highest: number): void {
    if (!(values instanceof Float32Array || values instanceof Float16Array)) return;
    const length = values.length / shape[0]!;
    const start = row * length;
    this.check(values, start, length);
    if (this.#hasReported) return;
    const beyond = (highest - lowest) / 2;
    const [low, high] = [lowest - beyond, highest + beyond];
    let outside = 0;
    for (let at = start; at < start + length; at++) if (values[at]! < low || values[at]! > high) outside += 1;
    if (outside < length * MOST_OUTSIDE) return;
    this.#hasReported = true;
    const share = `${Math.round((100 * outside) / length)} % of its values lie far outside ${shortened(lowest)} to ${shortened(highest)}`;
    const hint = "say what black and white are by `outputRange` (`--output-range`)";
    logger.warn(`Implausible ${this.#noun} of ${this.#source}: ${share}; ${hint}`);
  }
}
