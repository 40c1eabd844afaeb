/** @module Scale: from values to places on an axis, and where the axis has its marks. */

import { digits } from "../support/units.ts";

/** An axis: `at` maps a value to a place, `ticks` are the values worth a mark. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
  readonly format: (tick: number) => string;
}

/** Where an axis begins and ends. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** A step of 1, 2 or 5 times a power of ten that divides a range into at most so many parts. */
export function stepOf(range: number, parts: number): number {
  const rough = range / Math.max(1, parts);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= rough * 0.999) ?? 10;
  return factor * power;
}

function plain(step: number): (tick: number) => string {
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return (tick) => (Math.abs(tick) >= 10_000 ? digits(tick) : tick.toFixed(decimals));
}

/** Even steps. @param domain values, `from` < `to` */
export function linearScale(domain: Span, range: Span, parts = 6): Scale {
  const width = domain.to - domain.from || 1;
  const step = stepOf(width, parts);
  const ticks: number[] = [];
  for (let at = Math.ceil(domain.from / step - 1e-9); at * step <= domain.to + step * 1e-9; at++) ticks.push(at * step);
  const factor = (range.to - range.from) / width;
  return { at: (value) => range.from + (value - domain.from) * factor, ticks, format: plain(step) };
}

/** Even factors; marks at 1, 2 and 5 of each power of ten, at fewer where there are many. @param domain values above 0 */
export function logScale(domain: Span, range: Span): Scale {
  const low = Math.log(domain.from);
  const factor = (range.to - range.from) / (Math.log(domain.to) - low || 1);
  const decades = Math.log10(domain.to / domain.from);
  // Close marks would run into each other.
  const marks = decades > 3 ? [1] : decades > 2 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(domain.from)); power <= Math.ceil(Math.log10(domain.to)); power++) {
    for (const digit of marks) {
      const tick = digit * 10 ** power;
      if (tick >= domain.from * 0.999 && tick <= domain.to * 1.001) ticks.push(tick);
    }
  }
  const format = (tick: number): string => (tick >= 1000 ? digits(tick) : String(Number(tick.toPrecision(3))));
  return { at: (value) => range.from + (Math.log(value) - low) * factor, ticks, format };
}

/** An axis of one value, which stands in the middle. */
export function pointScale(value: number, range: Span): Scale {
  const middle = (range.from + range.to) / 2;
  return { at: () => middle, ticks: [value], format: String };
}

/** Each of these values is a mark, a doubling as wide as the next. @param values above 0, at least one */
export function log2Scale(values: readonly number[], range: Span): Scale {
  const ticks = [...new Set(values)].sort((a, b) => a - b);
  const low = Math.log2(ticks[0]!);
  const high = Math.log2(ticks.at(-1)!);
  if (high === low) return pointScale(ticks[0]!, range);
  const factor = (range.to - range.from) / (high - low);
  return { at: (value) => range.from + (Math.log2(value) - low) * factor, ticks, format: String };
}
