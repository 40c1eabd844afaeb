/** @module Rational: frame rates as ffmpeg writes them, exact. Pure. */

/** A number as a fraction, both parts positive. */
export interface Rational {
  readonly numerator: number;
  readonly denominator: number;
}

/** Read `30000/1001` or `25`; `undefined` for what is no positive number, such as ffprobe's `0/0`. */
export function parseRational(text: string | undefined): Rational | undefined {
  const match = /^(\d+)(?:[/:](\d+))?$/.exec(text ?? "");
  const numerator = Number(match?.[1] ?? 0);
  const denominator = Number(match?.[2] ?? 1);
  return numerator > 0 && denominator > 0 ? { numerator, denominator } : undefined;
}

/** As a number. */
export function rationalValue({ numerator, denominator }: Rational): number {
  return numerator / denominator;
}

/** `30000/1001` */
export function formatRational({ numerator, denominator }: Rational): string {
  return `${numerator}/${denominator}`;
}
