/** @module Samples: every measurement of one thing, and what is read off them all. */

/**
 * The value that a share of the samples does not exceed: the nearest rank, so always one that was measured.
 *
 * @param sorted ascending
 * @param share  0–1
 * @returns NaN of no samples
 */
export function quantileOf(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.max(0, Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

/** What tables and charts show of a measurement. */
export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  readonly mean: number;
}

/** Read a summary off samples, all of them. */
export function summarise(samples: ArrayLike<number>): Summary {
  const sorted = Float64Array.from(samples).sort();
  let sum = 0;
  for (const value of sorted) sum += value;
  return {
    count: sorted.length,
    min: quantileOf(sorted, 0),
    p50: quantileOf(sorted, 0.5),
    p90: quantileOf(sorted, 0.9),
    p99: quantileOf(sorted, 0.99),
    max: quantileOf(sorted, 1),
    mean: sum / sorted.length,
  };
}

/** A figure of a summary, by name. */
export type Figure = readonly [name: string, value: number];

/**
 * The figures that show how bad it gets: the slowest percentiles of a time, the lowest of a rate.
 *
 * @returns p50 first and the extreme last
 */
export function tailFigures(samples: ArrayLike<number>, better: "lower" | "higher"): readonly Figure[] {
  const sorted = Float64Array.from(samples).sort();
  const at = (share: number): number => quantileOf(sorted, share);
  return better === "lower"
    ? [
        ["p50", at(0.5)],
        ["p90", at(0.9)],
        ["p99", at(0.99)],
        ["max", at(1)],
      ]
    : [
        ["p50", at(0.5)],
        ["p10", at(0.1)],
        ["p1", at(0.01)],
        ["min", at(0)],
      ];
}

/** The middle value. */
export function medianOf(samples: ArrayLike<number>): number {
  return quantileOf(Float64Array.from(samples).sort(), 0.5);
}

/** Consecutive parts whose medians show how much a measurement drifts by itself. */
const PARTS = 10;

/**
 * How far the median of a measurement moves within a run: the standard deviation of the medians of ten consecutive
 * parts. 0 of fewer than two samples.
 */
export function driftOf(samples: readonly number[]): number {
  const parts = Math.min(PARTS, samples.length);
  if (parts < 2) return 0;
  const medians = Array.from({ length: parts }, (_, part) =>
    medianOf(
      samples.slice(Math.floor((part * samples.length) / parts), Math.floor(((part + 1) * samples.length) / parts)),
    ),
  );
  const mean = medians.reduce((sum, value) => sum + value, 0) / parts;
  return Math.sqrt(medians.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (parts - 1));
}

/** Milliseconds, every one kept. */
export class Samples {
  readonly all: number[] = [];

  /** The value that this share of the samples does not exceed. @param share 0–1 */
  quantile(share: number): number {
    return quantileOf(Float64Array.from(this.all).sort(), share);
  }

  /** Median, 90th and 99th percentile and the slowest, each in nine columns. */
  row(): string {
    return tailFigures(this.all, "lower")
      .map(([, value]) => value.toFixed(3).padStart(9))
      .join("");
  }
}
