/** @module Values: zod schemas from the text of a flag to what it stands for. */

import { z } from "zod";

function numberFrom(text: string): number {
  return text.trim() === "" ? Number.NaN : Number(text);
}

/** `0.25`: a number from 0 to 1. */
export const fraction: z.ZodType<number, string> = z
  .string()
  .transform(numberFrom)
  .pipe(z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1"));

/** A whole number from 1 to `most`. */
export function count(most: number): z.ZodType<number, string> {
  const rule = `a whole number from 1 to ${most}`;
  return z.string().transform(numberFrom).pipe(z.int(rule).min(1, rule).max(most, rule));
}

/** `640`, or `640x480`: a square side, or [width, height] in pixels. */
export const pixelSize: z.ZodType<number | readonly [width: number, height: number], string> = z
  .string()
  .regex(/^[1-9]\d{0,4}(x[1-9]\d{0,4})?$/i, "a side such as 640, or width x height such as 640x480, in pixels")
  .transform((text) => {
    const [width = 0, height] = text.toLowerCase().split("x").map(Number);
    return height === undefined ? width : ([width, height] as const);
  });

/** `person,2,dog`: names, and ids as numbers. */
export const classList: z.ZodType<readonly (string | number)[], string> = z
  .string()
  .transform((text) =>
    text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "")
      .map((part) => (/^\d+$/.test(part) ? Number(part) : part)),
  )
  .pipe(z.array(z.union([z.string(), z.number()])).min(1, "names or ids of classes, divided by commas"));

/** A flag that is given or not. */
export const toggle: z.ZodType<boolean, true | undefined> = z
  .literal(true)
  .optional()
  .transform((value) => value === true);
