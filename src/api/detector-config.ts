/** @module Detector config: what callers may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import { message, OptionError } from "../core/errors.ts";
import { nearestWord, parseOptions } from "../core/options.ts";
import type { WaitMode } from "../cuda/wait.ts";
import { DEFAULT_MAX_PIXELS, type DecodingLimits } from "../image/decode-limits.ts";
import { decodingShape } from "../image/decode-options.ts";
import { FITS, type Fit } from "../image/geometry.ts";
import { type PreprocessingOptions, RESIZES, type Resize } from "../image/preprocessing.ts";
import { idsOf, labelOf } from "../model/labels.ts";
import type { BuildProgress, EngineBuild, JpegDecoding, Size, StreamLayout, ZeroCopy } from "../runtime/backend.ts";
import type { NmsOptions } from "../tasks/detect/nms.ts";

/** Options of one call; those given to `load` are the defaults. */
export interface DetectOptions {
  /** Lowest score that is kept, 0–1. Default 0.25. */
  readonly threshold?: number;
  /** Boxes that overlap a better one by more are left out, 0–1. Default 0.7; end-to-end models do not use it. */
  readonly iou?: number;
  /** At most this many detections a picture. Default 300. */
  readonly maxDetections?: number;
  /** True: boxes of different classes suppress each other as well. Default false. */
  readonly classAgnostic?: boolean;
  /** Names or ids of the classes to keep. Default: all. */
  readonly classes?: readonly (string | number)[];
  /**
   * Aborted: the call rejects at once with the signal's reason. A frame that had no slot yet never runs; one that is
   * running runs to its end unseen, and until then its pixels are read. Other frames are not affected.
   */
  readonly signal?: AbortSignal;
}

/** Options of `Detector.stream`. */
export interface StreamOptions extends DetectOptions {
  /**
   * `"all"`: every picture is detected, and the sequence is read only as fast as slots become free. `"latest"`, for live
   * sources: the sequence is read continuously; while all slots are busy the newest picture waits, and the one that waited
   * before it is dropped. Default `"all"`.
   */
  readonly policy?: "all" | "latest";
  /** Called with the error of one picture and its place in the sequence; the picture is left out of the results. */
  readonly onError?: (error: unknown, index: number) => void;
  /** Called with the place in the sequence of each picture that is dropped for a newer one. */
  readonly onDrop?: (index: number) => void;
  /** Aborted: no further picture is begun; once those that are running have ended, the stream throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Options of `Detector.load`. */
export interface DetectorOptions extends DetectOptions, DecodingLimits {
  /** Where to run. Default `"auto"`: what `$BUN_TENSORRT_BACKEND` says, else the GPU where there is one, else the CPU. */
  readonly backend?: "auto" | "cpu" | "gpu";
  /** Name of the output layout, where the model does not tell or tells wrong. Default: recognised. */
  readonly layout?: string;
  /**
   * What the model wants done to a picture, where its layout's way is wrong: models of other origins may share the tensors of a
   * known layout. `bun-tensorrt inspect` shows what is assumed. Default: the layout's.
   */
  readonly preprocessing?: PreprocessingOptions;
  /** Class names by id. Default: the model's own, else COCO's where the count fits. */
  readonly labels?: readonly string[];
  /** Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's `imgsz`, else 640. */
  readonly size?: number | readonly [width: number, height: number];
  /** True: give a model with dynamic height and width the frame's own ratio instead of a square. Default false. */
  readonly rectangular?: boolean;
  /** Most pictures the model gets at once. Default 1; at most the model's own batch. */
  readonly batch?: number;
  /**
   * With `batch` above 1, overlapping calls of `detect` with the same options are joined to one run of at most `batch`
   * pictures. A picture waits at most this many milliseconds for others; a full batch does not wait. Default 0: only
   * pictures that find no free slot, or come at the same time, are joined.
   */
  readonly batchWait?: number;
  /** Batches in flight on each device: each owns its buffers. Default: 1 on the CPU, 2 to 8 by a measurement on a GPU. */
  readonly inFlight?: number;
  /** CPU threads of one inference. Default: the physical cores. */
  readonly threads?: number;
  /**
   * True: JPEG files come at 1/2, 1/4 or 1/8 of their size where that is still no smaller than the model's input. Faster
   * for large photographs; the pixels, and so the scores, differ a little from those of the whole picture. Default false.
   */
  readonly scaledDecoding?: boolean;
  /**
   * Number of the GPU, from 0 on; or several: the model is then loaded on each, and a frame goes to the least loaded.
   * Default 0.
   */
  readonly device?: number | readonly number[];
  /**
   * How frames in flight share the GPU. `"one"`: one stream for all; `"split"`: a stream each for copy-in, compute and
   * copy-out; `"parallel"`: frames side by side on streams of their own, or from 16 in flight on by two on up to 16: 32 in
   * flight give the most frames a second. Default `"auto"`: the fastest in a short measurement, kept with the engine's cache
   * entry.
   */
  readonly streams?: StreamLayout;
  /**
   * How the JS thread waits for the GPU: `"poll"` answers soonest, `"off-thread"` leaves the thread to others. Default
   * `"auto"`: by the measured duration.
   */
  readonly wait?: WaitMode;
  /**
   * Where JPEG files are decoded. Default `"auto"`: by nvJPEG where the model runs on a GPU that has engines for JPEG, and
   * the library is there.
   */
  readonly jpeg?: JpegDecoding;
  /**
   * False: faster, for files that are known to be whole. nvJPEG does not tell where a file's data is damaged, and leaves
   * in its place what an earlier picture had there: boxes may then be those of another picture. What is cut short, or
   * damaged in its header, is still found. Default true: the GPU looks at the data of every file that nvJPEG decodes.
   */
  readonly jpegCheck?: boolean;
  /** True: the GPU reads frames in mapped host memory, without a copy. Default `"auto"`: on GPUs that share the host's memory. */
  readonly zeroCopy?: ZeroCopy;
  /** False: each piece of a frame is enqueued by itself on a GPU, for experiments. Default true: one CUDA graph a frame. */
  readonly graph?: boolean;
  /** What an engine built from an ONNX model may compute in. Default `"fp16"`; TensorRT 11 and RTX build what the model says. */
  readonly precision?: "fp32" | "fp16";
  /** Told a few times a second while an engine is built, which takes minutes; the plan is then kept. */
  readonly onBuildProgress?: (progress: BuildProgress) => void;
  /** Ends the building of an engine; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** Complete options of `Detector.load`. */
export interface DetectorConfig {
  readonly backend: "auto" | "cpu" | "gpu";
  readonly layout: string | undefined;
  readonly preprocessing: PreprocessingOptions | undefined;
  readonly labels: readonly string[] | undefined;
  readonly size: Size | undefined;
  readonly rectangular: boolean;
  readonly batch: number;
  readonly batchWait: number;
  readonly inFlight: number | undefined;
  readonly threads: number | undefined;
  readonly maxPixels: number;
  readonly damaged: "refuse" | "take" | undefined;
  readonly vectors: boolean | undefined;
  readonly decodeTimeoutMs: number | undefined;
  readonly scaledDecoding: boolean;
  /** At least one; no two alike. */
  readonly devices: readonly number[];
  readonly streams: StreamLayout;
  readonly wait: WaitMode;
  readonly jpeg: JpegDecoding;
  readonly jpegCheck: boolean;
  readonly zeroCopy: ZeroCopy;
  readonly graph: boolean;
  readonly build: EngineBuild;
  readonly detect: DetectConfig;
}

/** Complete options of one call, before class names are looked up. */
export interface DetectConfig {
  readonly threshold: number;
  readonly iou: number;
  readonly maxDetections: number;
  readonly classAgnostic: boolean;
  readonly classes: readonly (string | number)[] | undefined;
}

const side = z.int().min(1, "a whole number of pixels").max(16384, "at most 16384 pixels");

const detectShape = {
  threshold: z.number().min(0, "a number from 0 to 1").max(1, "a number from 0 to 1").optional(),
  iou: z.number().min(0, "a number from 0 to 1").max(1, "a number from 0 to 1").optional(),
  maxDetections: z.int().min(1, "at least 1").max(100_000, "at most 100000").optional(),
  classAgnostic: z.boolean("true or false").optional(),
  classes: z
    .array(z.union([z.string(), z.int().min(0)]), "names or ids")
    .min(1, "a list of at least one class")
    .optional(),
};
const abortSignal = z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional();
const detectSchema = z.strictObject({ ...detectShape, signal: abortSignal });

function callback<T>(): z.ZodOptional<z.ZodType<T, T>> {
  return z.custom<T>((value) => typeof value === "function", "a function").optional();
}

const streamSchema = z.strictObject({
  ...detectShape,
  signal: abortSignal,
  policy: z.enum(["all", "latest"], "all or latest").default("all"),
  onError: callback<(error: unknown, index: number) => void>(),
  onDrop: callback<(index: number) => void>(),
});

const DEVICE_RULE = "a number from 0 to 1023, or a list of 1 to 64 different ones";
const deviceNumber = z.int(DEVICE_RULE).min(0, DEVICE_RULE).max(1023, DEVICE_RULE);
const deviceList = z
  .array(deviceNumber)
  .min(1, DEVICE_RULE)
  .max(64, DEVICE_RULE)
  .refine((numbers) => new Set(numbers).size === numbers.length, DEVICE_RULE);
const oneDevice = deviceNumber.transform((number): readonly number[] => [number]);
const deviceNumbers = z.union([oneDevice, deviceList], DEVICE_RULE);

/** One value for all channels, or one for each. */
function channels(value: z.ZodType<number>, rule: string): z.ZodType<number | [number, number, number]> {
  return z.union([value, z.tuple([value, value, value])], rule);
}

const LEVELS = "a level from 0 to 255, or three";
const DEVIATIONS = "a number other than 0, or three";
const preprocessing = z.strictObject({
  fit: z.enum(FITS as readonly [Fit, ...Fit[]], `one of ${FITS.join(", ")}`).optional(),
  resize: z.enum(RESIZES as readonly [Resize, ...Resize[]], RESIZES.join(" or ")).optional(),
  colour: z.enum(["RGB", "BGR"], "RGB or BGR").optional(),
  scale: z.number("a number above 0: 1/255, or 1").positive("a number above 0: 1/255, or 1").optional(),
  mean: channels(z.number(), "a number, or three").optional(),
  std: channels(
    z.number(DEVIATIONS).refine((value) => value !== 0, DEVIATIONS),
    DEVIATIONS,
  ).optional(),
  pad: channels(z.number().min(0).max(255), LEVELS).optional(),
});

const loadSchema = z.strictObject({
  ...detectShape,
  backend: z.enum(["auto", "cpu", "gpu"], "auto, cpu or gpu").default("auto"),
  layout: z.string("the name of a layout").optional(),
  preprocessing: preprocessing.optional(),
  labels: z.array(z.string(), "a list of names").optional(),
  size: z
    .union(
      [side.transform((value): Size => [value, value]), z.tuple([side, side])],
      "a side from 1 to 16384 pixels, or [width, height]",
    )
    .optional(),
  rectangular: z.boolean("true or false").default(false),
  batch: z.int().min(1, "at least 1").max(1024, "at most 1024").default(1),
  batchWait: z.number("a number of milliseconds").min(0, "0 or more").max(60_000, "at most 60000 ms").default(0),
  inFlight: z.int().min(1, "at least 1").max(128, "at most 128").optional(),
  threads: z.int().min(1, "at least 1").max(1024, "at most 1024").optional(),
  maxPixels: z.int().min(1, "at least 1").default(DEFAULT_MAX_PIXELS),
  ...decodingShape,
  scaledDecoding: z.boolean("true or false").default(false),
  device: deviceNumbers.default([0]),
  streams: z.enum(["auto", "one", "split", "parallel"], "auto, one, split or parallel").default("auto"),
  wait: z.enum(["auto", "poll", "off-thread"], "auto, poll or off-thread").default("auto"),
  jpeg: z.enum(["auto", "gpu", "cpu"], "auto, gpu or cpu").default("auto"),
  jpegCheck: z.boolean("true or false").default(true),
  zeroCopy: z.union([z.literal("auto"), z.boolean()], "auto, true or false").default("auto"),
  graph: z.boolean("true or false").default(true),
  precision: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
  onBuildProgress: callback<(progress: BuildProgress) => void>(),
  signal: abortSignal,
});

/** Class names in a message. */
const MOST_NAMES = 100;

const DETECT_DEFAULTS: DetectConfig = {
  threshold: 0.25,
  iou: 0.7,
  maxDetections: 300,
  classAgnostic: false,
  classes: undefined,
};

function detectConfig(options: DetectOptions, defaults: DetectConfig): DetectConfig {
  return {
    threshold: options.threshold ?? defaults.threshold,
    iou: options.iou ?? defaults.iou,
    maxDetections: options.maxDetections ?? defaults.maxDetections,
    classAgnostic: options.classAgnostic ?? defaults.classAgnostic,
    classes: options.classes ?? defaults.classes,
  };
}

/**
 * Check the options of `Detector.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseDetectorOptions(options: DetectorOptions): DetectorConfig {
  const parsed = parseOptions(loadSchema, options, "load a detector");
  const { threshold, iou, maxDetections, classAgnostic, classes, layout, labels, size, threads, ...others } = parsed;
  const { preprocessing: said, ...unsaid } = others;
  const { precision, onBuildProgress: onProgress, signal, device: devices, inFlight, ...most } = unsaid;
  const { damaged, vectors, decodeTimeoutMs, ...rest } = most;
  const detect = { threshold, iou, maxDetections, classAgnostic, classes } as DetectOptions;
  const build = { precision, onProgress, signal };
  const preprocessing = said as PreprocessingOptions | undefined;
  const open = { layout, labels, size, threads, inFlight, preprocessing, damaged, vectors, decodeTimeoutMs };
  return { ...rest, ...open, devices, build, detect: detectConfig(detect, DETECT_DEFAULTS) };
}

/**
 * Check the options of one call; what it leaves out is taken from `defaults`.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseDetectOptions(options: DetectOptions, defaults: DetectConfig): DetectConfig {
  return detectConfig(parseOptions(detectSchema, options, "detect") as DetectOptions, defaults);
}

/** Complete options of one stream. */
export interface StreamConfig {
  readonly policy: "all" | "latest";
  readonly onError: StreamOptions["onError"] | undefined;
  readonly onDrop: StreamOptions["onDrop"] | undefined;
  readonly signal: AbortSignal | undefined;
  readonly detect: DetectConfig;
}

/**
 * Check the options of a stream; what they leave out of those of a call is taken from `defaults`.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseStreamOptions(options: StreamOptions, defaults: DetectConfig): StreamConfig {
  const { policy, onError, onDrop, signal, ...detect } = parseOptions(streamSchema, options, "detect in a stream");
  return { policy, onError, onDrop, signal, detect: detectConfig(detect as DetectOptions, defaults) };
}

/** What `Detector.warmUp` is told. */
export interface WarmUpOptions {
  /** Width and height of the pictures to come, in pixels: memory is taken for as many. Default 1920 × 1080. */
  readonly size?: readonly [width: number, height: number];
}

/** Sides of a picture of which JPEG can hold no more. */
const pictureSide = z.int().min(1, "at least 1").max(65_500, "at most 65500");
const warmUpSchema = z.strictObject({ size: z.tuple([pictureSide, pictureSide], "[width, height]").optional() });

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
  const found = `option "size" must have at most ${maxPixels} pixels, as the pictures, got ${width}x${height}`;
  throw new OptionError(
    message("warm up", found, "raise maxPixels of load, or give the size of the pictures to come"),
    "size",
  );
}

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
export function nmsOptionsOf(config: DetectConfig, labels: readonly string[]): NmsOptions {
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
