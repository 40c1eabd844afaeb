/** @module ValueOptions: numbers within bounds, refused by one rule that names both; and values out of the text of a flag: what cannot be read comes back as it is. */

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

/** `0.25`; `NaN` for what is no number. */
export function numberFrom(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

/** `0`, or `0,1`: a number, or several. */
export function numbersFrom(text: string): number | number[] {
  const numbers = text.split(",").map(numberFrom);
  return numbers.length === 1 ? numbers[0]! : numbers;
}

/** `yolov5`, a name, or `10,13,16,30`: numbers. */
export function anchorsFrom(text: string): string | number[] {
  return /^[\d\s.,]+$/.test(text) ? text.split(",").map(numberFrom) : text;
}

/** `1`, `0.00392`, `1/255`. */
export function fractionFrom(text: string): number {
  const [number = "", divisor, ...others] = text.split("/");
  if (others.length > 0) return Number.NaN;
  return divisor === undefined ? numberFrom(number) : numberFrom(number) / numberFrom(divisor);
}

/** `640`, or `640x480`: a side, or [width, height]. */
export function sizeFrom(text: string): number | [number, number] | string {
  if (!/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/i.test(text)) return text;
  const [width = 0, height] = text.toLowerCase().split("x").map(Number);
  return height === undefined ? width : [width, height];
}

/** `a, b`. */
export function listFrom(text: string): string[] {
  return text.split(",").map((part) => part.trim());
}

/** `on` and `true`, `off` and `false`; others, such as `auto`, are themselves. */
export function switchFrom(text: string): string | boolean {
  if (text === "on" || text === "true") return true;
  return text === "off" || text === "false" ? false : text;
}

const BYTES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
};

/** `64MiB`, `1.5GiB`, `500MB`, `4096`: a number of bytes; `NaN` for anything else. */
export function bytesFrom(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?i?b?)$/i.exec(text.trim());
  const unit = BYTES[match?.[2]?.toLowerCase() ?? "none"];
  return match === null || unit === undefined ? Number.NaN : Math.floor(Number(match[1]) * unit);
}

/** A former flag in seconds, as an alias of an option in milliseconds. */
export function secondsFlag(name: string): readonly [name: string, text: (text: string) => string] {
  return [name, (text) => (Number.isNaN(numberFrom(text)) ? text : String(numberFrom(text) * 1000))];
}
