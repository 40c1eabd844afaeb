/** @module NumberOptions: numbers within bounds, refused by one rule that names both. */

import { z } from "zod";

/** A whole number. @param rule what it must be, for the error */
export function wholeWithin(
  least: number,
  most: number,
  rule: string = `a whole number from ${least} to ${most}`,
): z.ZodInt {
  return z.int(rule).min(least, rule).max(most, rule);
}

/** A number with or without a fraction. @param rule what it must be, for the error */
export function numberWithin(
  least: number,
  most: number,
  rule: string = `a number from ${least} to ${most}`,
): z.ZodNumber {
  return z.number(rule).min(least, rule).max(most, rule);
}
