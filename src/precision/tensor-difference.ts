/** @module Tensor difference: how far tensors are apart, summed up over images. */

import type { Tensor } from "../core/tensor.ts";
import type { TensorDifference, UnmatchedTensor } from "./compare-config.ts";

/** Differences of two tensors of one name. */
class DifferenceSum {
  #count = 0;
  #max = 0;
  #sum = 0;
  #largest = 0;
  #product = 0;
  #first = 0;
  #second = 0;
  #noise = 0;
  #nonFinite = 0;

  add(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): void {
    this.#count += a.length;
    for (let at = 0; at < a.length; at++) {
      const x = Number(a[at]);
      const y = Number(b[at]);
      const difference = Math.abs(x - y);
      // Infinity less itself is no number, and no difference.
      if (!Number.isFinite(difference)) {
        if (!Object.is(x, y)) this.#nonFinite += 1;
        continue;
      }
      if (difference > this.#max) this.#max = difference;
      const magnitude = Math.abs(x);
      if (magnitude > this.#largest) this.#largest = magnitude;
      this.#sum += difference;
      this.#noise += difference * difference;
      this.#product += x * y;
      this.#first += x * x;
      this.#second += y * y;
    }
  }

  report(name: string, shape: readonly number[]): TensorDifference {
    const lengths = Math.sqrt(this.#first) * Math.sqrt(this.#second);
    const isEqual = this.#max === 0 && this.#nonFinite === 0;
    return {
      name,
      shape,
      max: this.#max,
      mean: this.#count === 0 ? 0 : this.#sum / this.#count,
      relative: this.#max === 0 ? 0 : this.#max / this.#largest,
      cosine: isEqual ? 1 : lengths === 0 ? 0 : Math.min(this.#product / lengths, 1),
      sqnr: isEqual ? Number.POSITIVE_INFINITY : 10 * Math.log10(this.#first / this.#noise),
      nonFinite: this.#nonFinite,
    };
  }
}

/** Compares the tensors of two models, image by image. */
export class TensorDifferences {
  readonly #sums = new Map<string, { readonly sum: DifferenceSum; shape: readonly number[] }>();
  readonly #unmatched = new Map<string, string>();

  /** Add an image. */
  add(first: ReadonlyMap<string, Tensor>, second: ReadonlyMap<string, Tensor>): void {
    for (const [name, a] of first) {
      const b = second.get(name);
      if (b === undefined) {
        this.#unmatched.set(name, "only the first model has it");
        continue;
      }
      // A batch of which one image is compared has further rows.
      const isAlike = a.shape.join() === b.shape.join();
      if (!isAlike) {
        this.#unmatched.set(
          name,
          `its shape is ${a.shape.join("x")} in the first model, ${b.shape.join("x")} in the second`,
        );
        continue;
      }
      let known = this.#sums.get(name);
      if (known === undefined) {
        known = { sum: new DifferenceSum(), shape: a.shape };
        this.#sums.set(name, known);
      }
      known.shape = a.shape;
      known.sum.add(a.data, b.data);
    }
    for (const name of second.keys()) if (!first.has(name)) this.#unmatched.set(name, "only the second model has it");
  }

  /** In the order in which they came. */
  report(): TensorDifference[] {
    return [...this.#sums].map(([name, { sum, shape }]) => sum.report(name, shape));
  }

  /** Those that could not be compared on one image or more. */
  get unmatched(): UnmatchedTensor[] {
    return [...this.#unmatched].map(([name, reason]) => ({ name, reason }));
  }
}
