/** @module Values: zod schemas from the text of a flag to what it stands for. */

import { z } from "zod";
import { bytesFrom, numberFrom, sizeFrom } from "../core/from-text.ts";
import { wholeWithin } from "../core/number-options.ts";
import type { Option } from "../core/options.ts";

/** A number above 0, at most `most`. */
export function positiveNumber(most: number): z.ZodType<number, string> {
  const rule = `a number above 0, at most ${most}`;
  return z.string().transform(numberFrom).pipe(z.number(rule).positive(rule).max(most, rule));
}

/** A whole number from `least` to `most`. */
export function wholeNumber(least: number, most: number): z.ZodType<number, string> {
  return z.string().transform(numberFrom).pipe(wholeWithin(least, most));
}

/** A whole number from 1 to `most`. */
export function count(most: number): z.ZodType<number, string> {
  return wholeNumber(1, most);
}

/** `640`, or `640x480`: a square side, or [width, height] in pixels. */
export const pixelSize: z.ZodType<number | readonly [width: number, height: number], string> = z
  .string()
  .regex(/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/i, "a side such as 640, or width x height such as 640x480, in pixels")
  .transform((text) => sizeFrom(text) as number | [number, number]);

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

/** `64MiB`, `1.5GiB`, `500MB`, `4096`: a number of bytes. */
export const byteCount: z.ZodType<number, string> = z
  .string()
  .transform(bytesFrom)
  .pipe(z.int("a number of bytes, such as 64MiB, 2GiB or 1048576"));

/** `8.6,8.9`: compute capabilities. */
export const capabilityList: z.ZodType<readonly string[], string> = z
  .string()
  .transform((text) => text.split(",").map((part) => part.trim()))
  .pipe(z.array(z.string().regex(/^\d{1,2}\.\d$/, "compute capabilities such as 8.6, separated by commas")));

/** A flag that is given or not. */
export const toggle: { readonly schema: z.ZodDefault<z.ZodBoolean> } = { schema: z.boolean().default(false) };

/** The path of a file or a folder. */
export const path: z.ZodType<string> = z.string().min(1, "a path");

/** `--list` */
export const LIST: Option<z.ZodOptional<z.ZodType<string>>> = {
  schema: path.optional(),
  value: "FILE",
  help: "more inputs, one a line, # for comments; `-` is standard input",
};

/** `--quiet` */
export const QUIET: Option<z.ZodDefault<z.ZodBoolean>> = {
  ...toggle,
  flag: "quiet",
  short: "q",
  help: "no progress and no summary",
};

/**
 * Standard output in `--output`. Opened by its other name, a file it is led into would have two who write, each from its
 * own place on.
 */
const STANDARD_OUTPUT: readonly string[] = ["-", "/dev/stdout"];

/** The file that `--output` names; `undefined` for standard output. */
export function outputFile(output: string | undefined): string | undefined {
  return STANDARD_OUTPUT.includes(output ?? "-") ? undefined : output;
}
