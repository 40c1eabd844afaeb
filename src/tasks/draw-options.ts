/** @module DrawOptions: what callers may say about drawing, checked once. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";
import { type Colour, colourOfHex } from "../image/class-colour.ts";

/** How what was found is drawn. */
export interface DrawOptions {
  /** Boxes, upright and oriented ones. Default true. */
  readonly boxes?: boolean;
  /** Names of classes. Default true. */
  readonly labels?: boolean;
  /** Scores beside the names, or in their place. Default true. */
  readonly scores?: boolean;
  /** The pixels of each object, tinted. Default true. */
  readonly masks?: boolean;
  /** Key points, and the lines between those of COCO's persons. Default true. */
  readonly skeleton?: boolean;
  /** Width of lines in whole pixels. Default: a 700th of the image's width and height together. */
  readonly lineWidth?: number;
  /** Size of letters in pixels. Default: a 167th of the image's width and height together, at least 13. */
  readonly fontSize?: number;
  /** Colours such as `"#ff8800"`, by class id, from the first again where there are more classes. Default: a colour by the name. */
  readonly palette?: readonly string[];
  /** How much of a mask's colour covers the image, 0–1. Default 0.43. */
  readonly opacity?: number;
}

/** The same, complete; `undefined` where it goes by the image. */
export interface DrawConfig extends Required<Omit<DrawOptions, "lineWidth" | "fontSize" | "palette">> {
  readonly lineWidth: number | undefined;
  readonly fontSize: number | undefined;
  readonly palette: readonly Colour[] | undefined;
}

const LARGEST = 1000;

const shown = z.boolean("true or false").default(true);
const pixels = `from 1 to ${LARGEST}`;

const schema: z.ZodType<DrawConfig, DrawOptions> = z.strictObject({
  boxes: shown,
  labels: shown,
  scores: shown,
  masks: shown,
  skeleton: shown,
  lineWidth: z
    .int(`a whole number ${pixels}`)
    .min(1, `a whole number ${pixels}`)
    .max(LARGEST, `a whole number ${pixels}`)
    .optional(),
  fontSize: z.number(`a number ${pixels}`).min(1, `a number ${pixels}`).max(LARGEST, `a number ${pixels}`).optional(),
  palette: z
    .array(
      z.string('a colour such as "#ff8800"').regex(/^#[\da-f]{6}$/i, 'a colour such as "#ff8800"'),
      "a list of colours",
    )
    .min(1, "a list of at least one colour")
    .transform((colours) => colours.map(colourOfHex))
    .optional(),
  opacity: z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1").default(0.43),
}) as never;

const USUAL = parseOptions(schema, {}, "draw");

/** Check drawing options. @throws {OptionError} If one is unknown or out of range */
export function parseDrawOptions(options: DrawOptions | undefined): DrawConfig {
  return options === undefined ? USUAL : parseOptions(schema, options, "draw");
}
