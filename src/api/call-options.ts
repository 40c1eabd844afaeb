/**
 * @module CallOptions: what calls, streams and warm-ups are told, whatever the façade, checked once; and what a call of a detector
 * may say of slices and of classes, which are looked up among a model's.
 */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import {
  type Complete,
  nearestWord,
  type Option,
  type OptionsOf,
  type OptionTable,
  parseOptions,
  shapeOf,
} from "../core/options.ts";
import { numberWithin, wholeWithin } from "../core/value-options.ts";
import { idsOf, labelOf } from "../model/model-info.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";
import type { SliceEdges, SliceMerge, SliceMetric } from "../tasks/image-grid.ts";
import { MACHINE_OPTIONS, SIZE_OPTION } from "./machine-options.ts";

/** What every call may be told. */
export interface CallOptions {
  /** Aborted: the call rejects at once with the signal's reason, and an image that had no slot yet never runs. */
  readonly signal?: AbortSignal | undefined;
}

/** How the images of a stream are taken, whatever the task. */
export interface StreamRules {
  /**
   * `"all"`: every image is run, and the sequence is read only as fast as slots become free. `"latest"`, for live
   * sources: the sequence is read continuously; while all slots are busy the newest image waits, and the one that waited
   * before it is dropped. Default `"all"`.
   */
  readonly policy?: "all" | "latest" | undefined;
  /** Called with the error of one image and its place in the sequence; the image is skipped in the results. */
  readonly onError?: ((error: unknown, index: number) => void) | undefined;
  /** Called with the place in the sequence of each image that is dropped for a newer one. */
  readonly onDrop?: ((index: number) => void) | undefined;
  /** Aborted: no further image is begun; once those that are running have ended, the stream throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The rules of one stream, complete, and the options of its calls. */
export type StreamConfig<Options> = Complete<StreamRules, "onError" | "onDrop" | "signal"> & {
  readonly call: Options;
};

/** Of a function that is called back. */
export const CALLBACK_OPTION: Option<z.ZodOptional<z.ZodType<never>>> = {
  schema: z.custom<never>((value) => typeof value === "function", "a function").optional(),
};

const streamShape = {
  policy: z.enum(["all", "latest"], "all or latest").default("all"),
  onError: CALLBACK_OPTION.schema,
  onDrop: CALLBACK_OPTION.schema,
};

/** Checks what the calls and streams of a façade are told. */
export class CallParser<Options extends CallOptions = CallOptions> {
  /** What a call does, for messages: `detect`. */
  readonly action: string;
  readonly #table: OptionTable;
  readonly #call: z.ZodObject;
  readonly #stream: z.ZodObject;

  /** @param table of a call's options, but for the signal */
  constructor(action: string, table: OptionTable = {}) {
    this.action = action;
    this.#table = { ...table, signal: MACHINE_OPTIONS.signal };
    this.#call = z.strictObject(shapeOf(this.#table));
    this.#stream = this.#call.extend(streamShape);
  }

  /** Options of one call. @throws {OptionError} If one is unknown or out of range */
  call(options: object): Options {
    return parseOptions(this.#call, options, this.action, this.#table) as Options;
  }

  /** Options of a stream. @throws {OptionError} If one is unknown or out of range */
  stream(options: object): StreamConfig<Options> {
    const parsed = parseOptions(this.#stream, options, `${this.action} in a stream`, this.#table);
    const { policy, onError, onDrop, signal, ...call } = parsed as unknown as StreamConfig<never>;
    return { policy, onError, onDrop, signal, call: call as unknown as Options };
  }
}

/** What `Detector.warmUp` is told. */
export interface WarmUpOptions {
  /** Width and height of the images to come, in pixels: memory is taken for as many. Default 1920 × 1080. */
  readonly size?: readonly [width: number, height: number] | undefined;
}

/** Sides of an image of which JPEG can hold no more. */
const imageSide = wholeWithin(1, 65_500);
const warmUpSchema = z.strictObject({ size: z.tuple([imageSide, imageSide], "[width, height]").optional() });

/**
 * Check the options of a warm-up.
 *
 * @param maxPixels of the detector; the default size is no larger
 * @throws {OptionError} If one is unknown or out of range, or the size has more pixels
 */
export function parseWarmUpOptions(options: WarmUpOptions, maxPixels: number): { width: number; height: number } {
  const { size } = parseOptions(warmUpSchema, options, "warm up");
  const side = Math.floor(Math.sqrt(maxPixels));
  const [width, height] = size ?? [Math.min(1920, side), Math.min(1080, side)];
  if (width * height <= maxPixels) return { width, height };
  const found = `Option "size" must have at most ${maxPixels} pixels, as the images, got ${width}x${height}`;
  throw new OptionError(`${found}\nHint: raise maxPixels of load, or give the size of the images to come`, "size");
}

/** How images are cut into slices, and what is found in them merged: as SAHI does it. */
export interface SliceOptions {
  /** Size of a slice in pixels: a square side, or [width, height]. Default: that of the model's input. */
  readonly size?: number | readonly [width: number, height: number] | undefined;
  /** Share of a slice that neighbours have in common, from 0 to 0.9. Default 0.2. */
  readonly overlap?: number | undefined;
  /** Whether the whole image is seen as well, for objects larger than a slice. Default true. */
  readonly whole?: boolean | undefined;
  /**
   * How detections that overlap become one. `"nms"`: the best is kept. `"greedy-nmm"`: it grows over those that overlap it, mask and
   * oriented box included. `"nmm"`: likewise, and over those that overlap these. Default `"greedy-nmm"`.
   */
  readonly merge?: SliceMerge | undefined;
  /** What overlap is measured by: intersection over the smaller of both, `"ios"`, or over the union, `"iou"`. Default `"ios"`. */
  readonly metric?: SliceMetric | undefined;
  /** Detections that overlap by at least as much become one, 0–1. Default 0.5. */
  readonly threshold?: number | undefined;
  /** `"drop"`: boxes that end at an inner edge of their slice are left out where another view has the object whole. Default `"keep"`. */
  readonly edges?: SliceEdges | undefined;
  /** An image of more slices is refused. Default 4096. */
  readonly maxSlices?: number | undefined;
}

const MERGES = ["nms", "nmm", "greedy-nmm"] as const satisfies readonly SliceMerge[];
const upper = { GREEDYNMM: "greedy-nmm" } as Readonly<Record<string, string>>;

/** Every option of slices. */
export const SLICE_OPTIONS: OptionsOf<SliceOptions> = {
  size: {
    schema: SIZE_OPTION.schema,
    value: "N|WxH",
    fromText: SIZE_OPTION.fromText!,
    textRule: SIZE_OPTION.textRule!,
    flag: "slice",
    help: "detect in slices of this size: finds small objects in large images",
    aliases: ["sliceSize"],
  },
  overlap: {
    schema: numberWithin(0, 0.9).default(0.2),
    help: "share of a slice that neighbours have in common",
    aliases: ["overlapRatio", "sliceOverlap"],
  },
  whole: {
    schema: z.boolean("true or false").default(true),
    flag: "no-whole",
    help: "slices only, without the whole image beside them",
    aliases: ["noStandardPrediction"],
  },
  merge: {
    schema: z.enum(MERGES, `one of ${MERGES.join(", ")}`).default("greedy-nmm"),
    flag: "slice-merge",
    help: "how what slices share becomes one",
    aliases: [["postprocessType", (text: string) => upper[text] ?? text.toLowerCase()]],
  },
  metric: {
    schema: z.enum(["iou", "ios"], "iou or ios").default("ios"),
    flag: "slice-metric",
    help: "what overlap is over: the union, or the smaller",
    aliases: [["postprocessMatchMetric", (text: string) => text.toLowerCase()]],
  },
  threshold: {
    schema: numberWithin(0, 1).default(0.5),
    flag: "slice-threshold",
    help: "overlap from which slices' detections become one",
    aliases: ["postprocessMatchThreshold"],
  },
  edges: {
    schema: z.enum(["keep", "drop"], "keep or drop").default("keep"),
    flag: "slice-edges",
    help: "boxes cut by a slice; drop: if another view has them whole",
  },
  maxSlices: {
    schema: wholeWithin(1, 1_000_000).default(4096),
    help: "refuse images of more slices",
  },
};

/** Class names in a message. */
const MOST_NAMES = 100;

/** Entries between commas, or between double quotes, where a comma is a comma and `""` is a quote. */
const CLASS_ENTRY = /\s*(?:"((?:[^"]|"")*)"\s*|([^",][^,]*)?)(,|$)/y;

/**
 * Read a list of classes from one text, as `--classes` and `?classes=` have it: `person,2,"lamp, red"`. What is in double
 * quotes is a name, whatever it holds; digits without them are an id.
 *
 * @returns names and ids; empty where there are none, `undefined` if a quote is not closed
 */
export function classesIn(text: string): (string | number)[] | undefined {
  const classes: (string | number)[] = [];
  for (let at = 0; at < text.length; at = CLASS_ENTRY.lastIndex) {
    CLASS_ENTRY.lastIndex = at;
    const match = CLASS_ENTRY.exec(text);
    if (match === null) return undefined;
    const [, quoted, plain = ""] = match;
    const word = plain.trim();
    if (quoted !== undefined) classes.push(quoted.replaceAll('""', '"'));
    else if (word !== "") classes.push(/^\d+$/.test(word) ? Number(word) : word);
  }
  return classes;
}

/** The names for a message: of thousands the first will do. */
function listOf(labels: readonly string[]): string {
  const shown = labels.slice(0, MOST_NAMES).map((_, id) => labelOf(labels, id));
  return labels.length > MOST_NAMES ? `${shown.join(", ")}, …` : shown.join(", ");
}

/**
 * Look up the classes of a call in the model's labels.
 *
 * @throws {OptionError} If a class is none of the model's
 */
export function nmsOptionsOf(
  config: Omit<NmsOptions, "classIds"> & { readonly classes: readonly (string | number)[] | undefined },
  labels: readonly string[],
): NmsOptions {
  const { classes, ...rest } = config;
  if (classes === undefined) return { ...rest, classIds: undefined };
  const classIds = new Set<number>();
  for (const wanted of classes) {
    const ids = idsOf(wanted, labels);
    if (ids.length === 0) {
      const near = typeof wanted === "string" ? nearestWord(wanted, labels) : undefined;
      const more =
        near === undefined ? `\nHint: the classes are ${listOf(labels)}` : `. Did you mean ${JSON.stringify(near)}?`;
      throw new OptionError(`Unknown class ${JSON.stringify(wanted)}${more}`, "classes");
    }
    for (const id of ids) classIds.add(id);
  }
  return { ...rest, classIds };
}
