/** @module Samples: every measurement of one thing, and what is read off them all. */

/** Milliseconds, every one kept. */
export class Samples {
  readonly all: number[] = [];

  /** The value that this share of the samples does not exceed. @param share 0–1 */
  quantile(share: number): number {
    const sorted = this.all.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  }

  /** Median, tail and extremes, for JSON. */
  toJSON(): Readonly<Record<string, number>> {
    return {
      p50: this.quantile(0.5),
      p90: this.quantile(0.9),
      p99: this.quantile(0.99),
      p999: this.quantile(0.999),
      max: this.quantile(1),
      samples: this.all.length,
    };
  }

  /** `0.612  0.634  0.701  1.204` */
  toString(): string {
    return [0.5, 0.9, 0.99, 1].map((share) => this.quantile(share).toFixed(3).padStart(9)).join("");
  }
}
