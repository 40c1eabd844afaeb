/**
 * @module DrawOptions: what callers may say about drawing, and to the helpers for boxes, checked once.
 */

import { z } from "zod";
import { type Filled, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { numberWithin, wholeWithin } from "../core/value-options.ts";
import { PREPROCESSING_OPTIONS } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { NmsOptions } from "./detect/nms.ts";

/** Which objects `nms` keeps. */
export interface NmsChoice {
  /** Objects that overlap a better one by more are left out, 0–1. Default 0.7. */
  readonly iou?: number | undefined;
  /** Objects with a lower score are left out, 0–1. Default 0. */
  readonly threshold?: number | undefined;
  /** At most this many. Default: all. */
  readonly maxDetections?: number | undefined;
  /** True: objects of different classes suppress each other as well. Default false. */
  readonly classAgnostic?: boolean | undefined;
}

const COUNT = "a whole number above 0";
const fraction = numberWithin(0, 1);

const nmsSchema = z.strictObject({
  iou: fraction.default(0.7),
  threshold: fraction.default(0),
  maxDetections: z.int(COUNT).positive(COUNT).optional(),
  classAgnostic: z.boolean("true or false").default(false),
});

/** Check the options of `nms`. @param count of objects @throws {OptionError} If one is unknown or out of range */
export function parseNmsChoice(options: NmsChoice, count: number): NmsOptions {
  const { maxDetections = count, ...choice } = parseOptions(nmsSchema, options, "choose boxes");
  return { ...choice, maxDetections: Math.min(maxDetections, count), classIds: undefined };
}

/** How `letterbox` puts an image into another size. */
export type LetterboxOptions = Pick<PreprocessingOptions, "fit" | "resize" | "pad">;

const SIDES = "two whole numbers from 1 to 65535";
const side = wholeWithin(1, 65_535, SIDES);
const { fit, resize, pad } = PREPROCESSING_OPTIONS;
const letterboxSchema = z.strictObject({
  size: z.tuple([side, side], SIDES),
  ...{ fit: fit.schema, resize: resize.schema, pad: pad.schema },
});

/** Check the options of `letterbox`. @throws {OptionError} If one is unknown or out of range */
export function parseLetterboxOptions(
  size: readonly [width: number, height: number],
  options: LetterboxOptions,
): LetterboxOptions {
  const { size: _, ...checked } = parseOptions(letterboxSchema, { size, ...options }, "resize an image");
  return checked as LetterboxOptions;
}

/** How what was found is drawn. */
export interface DrawOptions {
  /** Boxes, upright and oriented ones. Default true. */
  readonly boxes?: boolean | undefined;
  /** Names of classes. Default true. */
  readonly labels?: boolean | undefined;
  /** Scores beside the names, or in their place. Default true. */
  readonly scores?: boolean | undefined;
  /** Ids of tracks behind the names, where there are some: `person #3`. Default true. */
  readonly ids?: boolean | undefined;
  /** Where each object came from, where its tracker keeps that: its option `trace` says how far back. Default true. */
  readonly traces?: boolean | undefined;
  /** The pixels in each box are hidden, such as faces: `blur`, `pixelate`, or `none`, the default. */
  readonly privacy?: "none" | "blur" | "pixelate" | undefined;
  /** Names of the classes that `privacy` hides. Default: all. */
  readonly privacyClasses?: readonly string[] | undefined;
  /** The pixels of each object, tinted. Default true. */
  readonly masks?: boolean | undefined;
  /** Key points, and the lines between those of COCO's persons. Default true. */
  readonly skeleton?: boolean | undefined;
  /** Width of lines in whole pixels. Default: a 700th of the image's width and height together. */
  readonly lineWidth?: number | undefined;
  /** Size of letters in pixels. Default: a 167th of the image's width and height together, at least 13. */
  readonly fontSize?: number | undefined;
  /** Colours such as `"#ff8800"`, by class id, from the first again where there are more classes. Default: a colour by the name. */
  readonly palette?: readonly string[] | undefined;
  /** How much of a mask's colour covers the image, 0–1. Default 0.43. */
  readonly opacity?: number | undefined;
}

/** The same, complete; `undefined` where it goes by the image. */
export interface DrawConfig extends Filled<Omit<DrawOptions, "lineWidth" | "fontSize" | "palette" | "privacyClasses">> {
  readonly lineWidth: number | undefined;
  readonly fontSize: number | undefined;
  readonly palette: readonly string[] | undefined;
  readonly privacyClasses: readonly string[] | undefined;
}

const LARGEST = 1000;

const shown = z.boolean("true or false").default(true);
const COLOUR = 'a colour such as "#ff8800"';
const CLASSES = "a list of at least one class name";

/** Every option of drawing. */
export const DRAW_OPTIONS: OptionsOf<DrawOptions> = {
  boxes: { schema: shown, flag: "no-boxes", help: "draw no boxes" },
  labels: { schema: shown, flag: "no-labels", help: "draw no class names" },
  scores: { schema: shown, flag: "no-scores", help: "draw no scores" },
  ids: { schema: shown, flag: "no-ids", help: "draw no ids of tracks" },
  traces: { schema: shown, flag: "no-traces", help: "draw no traces" },
  privacy: {
    schema: z.enum(["none", "blur", "pixelate"], "none, blur or pixelate").default("none"),
    help: "hide the pixels of what was found, such as faces",
  },
  privacyClasses: {
    schema: z.array(z.string(CLASSES), CLASSES).min(1, CLASSES).optional(),
    value: "LIST",
    fromText: (text) => text.split(",").map((name) => name.trim()),
    help: "hide those of these classes only: face,person",
    otherwise: "all",
  },
  masks: { schema: shown, flag: "no-masks", help: "draw no masks" },
  skeleton: { schema: shown, flag: "no-skeleton", help: "draw no key points" },
  lineWidth: {
    schema: wholeWithin(1, LARGEST).optional(),
    help: "width of drawn lines in pixels",
    otherwise: "by the image's size",
  },
  fontSize: {
    schema: numberWithin(1, LARGEST).optional(),
    help: "size of drawn letters in pixels",
    otherwise: "by the image's size",
  },
  palette: {
    schema: z
      .array(z.string(COLOUR).regex(/^#[\da-f]{6}$/i, COLOUR), "a list of colours")
      .min(1, "a list of at least one colour")
      .optional(),
    value: "LIST",
    fromText: (text) => text.split(",").map((colour) => colour.trim()),
    help: "colours of the classes in turn: #ff8800,#0088ff",
    otherwise: "by name",
  },
  opacity: {
    schema: numberWithin(0, 1).default(0.43),
    help: "how much of the image drawn masks cover, 0 to 1",
  },
};
const schema = z.strictObject(shapeOf(DRAW_OPTIONS));

/** Check drawing options. @throws {OptionError} If one is unknown or out of range */
export function parseDrawOptions(options: DrawOptions | undefined): DrawConfig {
  return options === undefined ? USUAL : (parseOptions(schema, options, "draw") as DrawConfig);
}

const USUAL = parseOptions(schema, {}, "draw") as DrawConfig;
