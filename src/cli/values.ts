/** @module Values: zod schemas from the text of a flag to what it stands for. */

import { z } from "zod";
import { classesIn } from "../api/detector-config.ts";

function numberFrom(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

/** `0.25`: a number from 0 to 1. */
export const fraction: z.ZodType<number, string> = z
  .string()
  .transform(numberFrom)
  .pipe(z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1"));

/** A number above 0, at most `most`. */
export function positiveNumber(most: number): z.ZodType<number, string> {
  const rule = `a number above 0, at most ${most}`;
  return z.string().transform(numberFrom).pipe(z.number(rule).positive(rule).max(most, rule));
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): z.ZodType<number, string> {
  const rule = `a whole number from ${least} to ${most}`;
  return z.string().transform(numberFrom).pipe(z.int(rule).min(least, rule).max(most, rule));
}

/** A whole number from 1 to `most`. */
export function count(most: number): z.ZodType<number, string> {
  return wholeNumber(1, most);
}

/** `0`, or `0,1`: a GPU's number, or several. */
export const deviceNumbers: z.ZodType<number | readonly number[], string> = z.string().transform((text, context) => {
  const numbers = text.split(",").map(numberFrom);
  const isValid = numbers.every((number) => Number.isInteger(number) && number >= 0 && number <= 1023);
  if (isValid && new Set(numbers).size === numbers.length) return numbers.length === 1 ? numbers[0]! : numbers;
  context.addIssue({ code: "custom", message: "a whole number from 0 to 1023, or different ones separated by commas" });
  return z.NEVER;
});

/** `1`, `0.00392`, `1/255`: what levels are multiplied by. */
export const scaleFactor: z.ZodType<number, string> = z
  .string()
  .transform((text) => {
    const [number = "", divisor, ...others] = text.split("/");
    if (others.length > 0) return Number.NaN;
    return divisor === undefined ? numberFrom(number) : numberFrom(number) / numberFrom(divisor);
  })
  .pipe(z.number("a number such as 1 or 1/255").positive("a number above 0, such as 1 or 1/255"));

/** `114`, or `0.485,0.456,0.406`: one value for all channels, or one for each, in the order of the input's channels. */
export const perChannel: z.ZodType<number | [number, number, number], string> = z
  .string()
  .transform((text, context) => {
    const numbers = text.split(",").map(numberFrom);
    const [first = Number.NaN, second = first, third = first] = numbers;
    const isValid = numbers.every(Number.isFinite) && (numbers.length === 1 || numbers.length === 3);
    if (isValid) return numbers.length === 1 ? first : [first, second, third];
    context.addIssue({ code: "custom", message: "a number, or three separated by commas, one for each channel" });
    return z.NEVER;
  });

/** `5`, `2.5`: milliseconds, up to a minute. */
export const milliseconds: z.ZodType<number, string> = z
  .string()
  .transform(numberFrom)
  .pipe(z.number("0 to 60000 milliseconds").min(0, "0 to 60000 milliseconds").max(60_000, "0 to 60000 milliseconds"));

/** `auto`, `on` or `off`. */
export const autoOrToggle: z.ZodType<"auto" | boolean, string> = z
  .enum(["auto", "on", "off"], "auto, on or off")
  .transform((text) => (text === "auto" ? text : text === "on")) as z.ZodType<"auto" | boolean, string>;

/** `640`, or `640x480`: a square side, or [width, height] in pixels. */
export const pixelSize: z.ZodType<number | readonly [width: number, height: number], string> = z
  .string()
  .regex(/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/i, "a side such as 640, or width x height such as 640x480, in pixels")
  .transform((text) => {
    const [width = 0, height] = text.toLowerCase().split("x").map(Number);
    return height === undefined ? width : ([width, height] as const);
  });

/** Smallest, typical and largest value of something that may vary. */
export interface Range<T> {
  readonly min: T;
  readonly opt: T;
  readonly max: T;
}

/** One value, or `least,typical,largest` of them. */
function oneOrThree<T>(one: z.ZodType<T, string>, rule: string): z.ZodType<T | Range<T>, string> {
  return z.string().transform((text, context) => {
    const parts = text.split(",").map((part) => one.safeParse(part.trim()));
    const values = parts.flatMap(({ data }) => (data === undefined ? [] : [data]));
    if (values.length === parts.length && parts.length === 1) return values[0]!;
    if (values.length === parts.length && parts.length === 3) {
      return { min: values[0]!, opt: values[1]!, max: values[2]! };
    }
    context.addIssue({ code: "custom", message: rule });
    return z.NEVER;
  });
}

/** `4`, or `1,4,8`: as many, or least, typical and largest number. */
export function countRange(most: number): z.ZodType<number | Range<number>, string> {
  const rule = `a whole number from 1 to ${most}, or least,typical,largest such as 1,4,8`;
  return oneOrThree(count(most), rule).refine(
    (value) => typeof value === "number" || (value.min <= value.opt && value.opt <= value.max),
    rule,
  );
}

/** Width and height in pixels. */
type Pixels = readonly [width: number, height: number];

const SIZE_RULE =
  "a side such as 640, or width x height such as 640x480, in pixels; or least,typical,largest such as 320,640,1280";

const square: z.ZodType<Pixels, string> = pixelSize.transform((size): Pixels => {
  return typeof size === "number" ? [size, size] : size;
});

function isOrdered({ min, opt, max }: Range<Pixels>): boolean {
  return [0, 1].every((side) => min[side]! <= opt[side]! && opt[side]! <= max[side]!);
}

/** `640`, `640x480`, or three of them: a size, or least, typical and largest. */
export const sizeRange: z.ZodType<Pixels | Range<Pixels>, string> = oneOrThree(square, SIZE_RULE).refine(
  (value) => !("min" in value) || isOrdered(value),
  SIZE_RULE,
);

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

/** `64MiB`, `1.5GiB`, `500MB`, `4096`: a number of bytes. */
export const byteCount: z.ZodType<number, string> = z.string().transform((text, context) => {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?i?b?)$/i.exec(text.trim());
  const unit = BYTES[match?.[2]?.toLowerCase() ?? "none"];
  if (match !== null && unit !== undefined) return Math.floor(Number(match[1]) * unit);
  context.addIssue({ code: "custom", message: "a number of bytes, such as 64MiB, 2GiB or 1048576" });
  return z.NEVER;
});

/** `8.6,8.9`: compute capabilities. */
export const capabilityList: z.ZodType<readonly string[], string> = z
  .string()
  .transform((text) => text.split(",").map((part) => part.trim()))
  .pipe(z.array(z.string().regex(/^\d{1,2}\.\d$/, "compute capabilities such as 8.6, separated by commas")));

const CLASSES_RULE = "names or ids of classes, separated by commas; quote a name that has one: '\"lamp, red\",person'";

/** `person,2,"lamp, red"`: names, and ids as numbers. */
export const classList: z.ZodType<readonly (string | number)[], string> = z.string().transform((text, context) => {
  const classes = classesIn(text);
  if (classes !== undefined && classes.length > 0) return classes;
  context.addIssue({ code: "custom", message: CLASSES_RULE });
  return z.NEVER;
});

/** A flag that is given or not. */
export const toggle: z.ZodType<boolean, true | undefined> = z
  .literal(true)
  .optional()
  .transform((value) => value === true);
