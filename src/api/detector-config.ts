/** @module Detector config: what callers of a detector, and of `evaluate`, may set, checked once with zod, and what the internals then rely on. */

import { z } from "zod";
import type { OpenOptions } from "../accelerators/accelerator.ts";
import { message, OptionError } from "../core/errors.ts";
import { type Filled, type GivenOptions, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { numbersFrom, numberWithin, wholeWithin } from "../core/value-options.ts";
import { ownHeads } from "../heads/own-head.ts";
import { type HeadDefinition, isHeadDefinition } from "../heads/own-head-options.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import { PREPROCESSING_OPTIONS, refusePadding } from "../image/image-options.ts";
import type { PreprocessingOptions } from "../image/preprocessing.ts";
import type { DetectTaskOptions } from "../tasks/detect/detect-task.ts";
import { USUAL_SELECTION } from "../tasks/detect/nms.ts";
import { type SlicePlan, USUAL_SLICES } from "../tasks/image-grid.ts";
import type { RotatedSuppression } from "../tasks/obb/rotated.ts";
import type { MaskSize } from "../tasks/segment/mask-plan.ts";
import {
  CALLBACK_OPTION,
  CallParser,
  classesIn,
  SLICE_OPTIONS,
  type SliceOptions,
  type StreamRules,
} from "./call-options.ts";
import {
  ANCHORS_OPTION,
  group,
  KEYPOINT_SHAPE_OPTION,
  LABELS_OPTION,
  LOAD_OPTIONS,
  loadingOf,
  type MachineChoice,
  SIZE_OPTION,
  TASK_OPTION,
} from "./machine-options.ts";

/** Options of one call; those given to `load` are the defaults. */
export interface DetectOptions {
  /** Lowest score that is kept, 0–1. Default 0.25. */
  readonly threshold?: number | undefined;
  /**
   * IoU threshold for NMS, 0–1: boxes that overlap a better one by more are suppressed. Default 0.7, or what the face detectors'
   * families have; end-to-end models ignore it.
   */
  readonly iou?: number | undefined;
  /** At most this many detections an image. Default 300. */
  readonly maxDetections?: number | undefined;
  /** True: boxes of different classes suppress each other as well. Default false. */
  readonly classAgnostic?: boolean | undefined;
  /** Names or ids of the classes to keep. Default: all. */
  readonly classes?: readonly (string | number)[] | undefined;
  /**
   * Detect in slices of the image, as SAHI does: small objects of large images are found. `{}` for slices of the size of the model's
   * input, by SAHI's defaults. Those of one image share a run, of at most `batch` of them, or 8 where that is 1. `false`: the image as
   * a whole. Default: as the model was loaded.
   */
  readonly slices?: SliceOptions | false | undefined;
  /**
   * Aborted: the call rejects at once with the signal's reason. A frame that had no slot yet never runs; one that is
   * running runs to its end unseen, and until then its pixels are read. Other frames are not affected.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `Detector.stream`. */
export interface StreamOptions extends Omit<DetectOptions, "signal">, StreamRules {}

/** Options of `Detector.load`. */
export interface DetectorOptions extends Omit<DetectOptions, "signal">, DecodingLimits, MachineChoice {
  /**
   * `"detect"`: take a model that says more of its objects, such as key points, and give boxes only. Without it such a model is
   * refused, with the name of its own façade.
   */
  readonly task?: "detect" | undefined;
  /** Name of the head (output layout), where it is not recognised, or wrongly. Default: recognised. */
  readonly head?: string | undefined;
  /**
   * Heads of one's own, of {@linkcode defineHead}. Those that take a model for their own come before the built-in ones; `head` may
   * name one.
   */
  readonly heads?: readonly HeadDefinition[] | undefined;
  /**
   * What the model wants done to an image, where its head's way is wrong: models of other origins may share the tensors of a
   * known head. `bun-tensorrt inspect` shows what is assumed. Default: the head's.
   */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** Class names by id. Default: the model's own, else COCO's where the count fits. */
  readonly labels?: readonly string[] | undefined;
  /** Input size in pixels of a model with dynamic height and width: a square side, or [width, height]. Default: the model's `imgsz`, else 640; CenterFace's that of each image. */
  readonly size?: number | readonly [width: number, height: number] | undefined;
  /**
   * True: give a model with dynamic height and width the frame's own ratio instead of a square. The images of a batch share the
   * smallest input that holds each, so that what is found may differ with its neighbours. Default false.
   */
  readonly rectangular?: boolean | undefined;
  /**
   * Size of the masks of a segmentation model. `"image"`: that of the image. `"input"`: that of the model's input, padding
   * included. `"proto"`: that of the masks as the model gives them, mostly a quarter of the input's. Default `"image"`.
   */
  readonly maskSize?: MaskSize | undefined;
  /**
   * Points of an object, and numbers a point, of a pose model whose metadata does not say it: `[17, 3]` for x, y and a score of each,
   * `[5, 2]` for x and y. Default: the model's own.
   */
  readonly keypointShape?: readonly [points: number, numbers: 2 | 3] | undefined;
  /**
   * Anchors of a model that gives raw maps: widths and heights in input pixels, finest level first, or the family that has them:
   * `"yolov3"`, `"yolov4"`, `"yolov5"`, `"yolov7"`. Default: the model's metadata, or those of a `.yaml`, `.cfg` or `anchors.txt` beside it.
   */
  readonly anchors?: string | readonly number[] | undefined;
  /**
   * Which oriented boxes are suppressed. `"any"`: those too like any better one, be that suppressed itself or not, as Ultralytics
   * does. `"greedy"`: those too like a better one that is kept. Default `"any"`.
   */
  readonly rotatedNms?: RotatedSuppression | undefined;
  /**
   * Detect in slices of the image, as SAHI does: small objects of large images are found. The slices of an image are one batch.
   * `{}` for those of the size of the model's input, by SAHI's defaults. Default: the image as a whole.
   */
  readonly slices?: SliceOptions | undefined;
  /** Most images the model gets at once, or most slices of one. Default 1, of slices 8; at most the model's own batch. */
  readonly batch?: number | undefined;
  /**
   * With `batch` above 1, overlapping calls of `detect` with the same options are joined to one run of at most `batch`
   * images. An image waits at most this many milliseconds for others; a full batch does not wait. Default 0: only
   * images that find no free slot, or come at the same time, are joined.
   */
  readonly batchWaitMs?: number | undefined;
  /** Batches in flight on each device: each owns its buffers. Default: 1 on the CPU, 2 to 8 by a measurement on a GPU. */
  readonly inFlight?: number | undefined;
  /**
   * True: JPEG files come at 1/2, 1/4 or 1/8 of their size where that is still no smaller than the model's input. Faster
   * for large photographs; the pixels, and so the scores, differ a little from those of the full-size image. Default false.
   */
  readonly scaledDecoding?: boolean | undefined;
  /**
   * Number of the GPU, from 0 on; or several: the model is then loaded on each, and a frame goes to the least loaded.
   * Default 0.
   */
  readonly device?: number | readonly number[] | undefined;
}

/** Complete options of `Detector.load`. */
export interface DetectorConfig extends OpenOptions, DetectTaskOptions {
  readonly labels: readonly string[] | undefined;
  readonly batchWaitMs: number;
  readonly maxPixels: number;
  /** At least one; no two alike. */
  readonly devices: readonly number[];
  readonly detect: DetectConfig;
  /** False: the IoU threshold of `detect` is the usual one, and that of a model's family comes before it. */
  readonly isIouGiven: boolean;
}

/** Complete options of one call, before class names are looked up. */
export interface DetectConfig extends Filled<Omit<DetectOptions, "classes" | "slices" | "signal">> {
  readonly classes: DetectOptions["classes"] | undefined;
  /** `undefined`: as the model was loaded. */
  readonly slices?: SlicePlan | false | undefined;
}

/** Options of one call, checked. */
export type GivenDetectOptions = { readonly [Name in keyof DetectConfig]?: DetectConfig[Name] | undefined };

const { classIds: _, ...selection } = USUAL_SELECTION;
const DETECT_DEFAULTS: DetectConfig = { ...selection, classes: undefined };

const fraction = numberWithin(0, 1).optional();

/** Of a call, and the defaults of calls. */
const detectTable: GivenOptions<Omit<DetectOptions, "slices" | "signal">> = {
  threshold: {
    schema: fraction,
    short: "t",
    value: "SCORE",
    help: "confidence threshold, 0 to 1",
    otherwise: `${DETECT_DEFAULTS.threshold}`,
    aliases: ["conf", "confidence", "confThres", "confidenceThreshold", "scoreThreshold"],
  },
  iou: {
    schema: fraction,
    value: "OVERLAP",
    help: "IoU threshold for NMS",
    otherwise: `${DETECT_DEFAULTS.iou}`,
    aliases: ["iouThres", "nmsThreshold"],
  },
  maxDetections: {
    schema: wholeWithin(1, 100_000).optional(),
    help: "maximum detections per image",
    otherwise: `${DETECT_DEFAULTS.maxDetections}`,
    aliases: ["maxDet"],
  },
  classes: {
    schema: z
      .array(z.union([z.string(), z.int().min(0)], "the name or id of a class"), "names or ids of classes")
      .min(1, "a list of at least one class")
      .optional(),
    value: "LIST",
    isList: true,
    fromText: (text) => classesIn(text) ?? text,
    help: "only these: names or ids; a name with a comma in quotes: '\"a, b\",c'",
  },
  classAgnostic: {
    schema: z.boolean("true or false").optional(),
    help: "class-agnostic NMS: suppress overlaps across classes",
    aliases: ["agnostic", "agnosticNms"],
  },
};

const slices = group<SlicePlan>(SLICE_OPTIONS);

/** Slices of single calls. A union would say of a wrong rule no more than that one of both is wanted. */
export const CALL_SLICES: z.ZodType<SlicePlan | false | undefined, unknown> = z
  .unknown()
  .transform((value, context) => {
    if (value === false) return value;
    const parsed = slices.schema.safeParse(value);
    if (parsed.success) return parsed.data;
    context.issues.push(...(parsed.error.issues as never[]));
    return z.NEVER;
  });

/** Checks what calls and streams of a detector are told. */
export const DETECT_CALLS: CallParser<DetectOptions> = new CallParser("detect", {
  ...detectTable,
  slices: { ...slices, schema: CALL_SLICES.optional() },
});

const DEVICE_RULE = "a number from 0 to 1023, or a list of 1 to 64 different ones";
const deviceNumber = wholeWithin(0, 1023, DEVICE_RULE);
const deviceList = z
  .array(deviceNumber)
  .min(1, DEVICE_RULE)
  .max(64, DEVICE_RULE)
  .refine((numbers) => new Set(numbers).size === numbers.length, DEVICE_RULE);
const oneDevice = deviceNumber.transform((number): readonly number[] => [number]);

const ROTATED_SUPPRESSIONS = ["any", "greedy"] as const satisfies readonly RotatedSuppression[];
const MASK_SIZES = ["image", "input", "proto"] as const satisfies readonly MaskSize[];

/** Heads of the caller's. */
const HEADS_OPTION = {
  schema: z
    .array(z.custom<HeadDefinition>(isHeadDefinition, "a head, of `defineHead`"), "a list of heads, of `defineHead`")
    .optional(),
};

const { batch, batchWaitMs, inFlight: __, device: ___, ...common } = LOAD_OPTIONS;

const loadTable = {
  device: {
    schema: z.union([oneDevice, deviceList], DEVICE_RULE).default([0]),
    value: "N|N,N",
    fromText: numbersFrom,
    help: "number of the GPU, or several: frames go to the least loaded",
  },
  ...detectTable,
  size: { ...SIZE_OPTION, otherwise: "the model's, else 640" },
  rectangular: {
    schema: z.boolean("true or false").default(false),
    help: "keep the image's aspect ratio with a dynamic input: faster",
    aliases: ["rect"],
  },
  slices,
  maskSize: {
    schema: z.enum(MASK_SIZES, `one of ${MASK_SIZES.join(", ")}`).default("image"),
    help: "size of masks; proto: as the model gives them",
  },
  keypointShape: KEYPOINT_SHAPE_OPTION,
  anchors: { ...ANCHORS_OPTION, schema: ANCHORS_OPTION.schema.optional() },
  rotatedNms: {
    schema: z.enum(ROTATED_SUPPRESSIONS, `one of ${ROTATED_SUPPRESSIONS.join(", ")}`).optional(),
    help: "what suppresses oriented boxes: any better one, or kept ones",
    otherwise: "any",
  },
  batch: { ...batch, schema: batch.schema.unwrap().optional(), otherwise: `1, of slices ${USUAL_SLICES}` },
  batchWaitMs,
  inFlight: {
    schema: wholeWithin(1, 128).optional(),
    help: "batches in flight on each device",
    otherwise: "1 on the CPU, measured on a GPU",
  },
  scaledDecoding: {
    schema: z.boolean("true or false").default(false),
    help: "decode large JPEGs smaller: faster, scores differ a little",
  },
  labels: LABELS_OPTION,
  task: TASK_OPTION,
  head: {
    schema: z.string("the name of a head").min(1, "the name of a head").optional(),
    value: "NAME|FILE",
    help: "head (output layout), where it is not recognised; or a file with one's own",
    aliases: ["layout"],
  },
  heads: HEADS_OPTION,
  preprocessing: group<PreprocessingOptions>(PREPROCESSING_OPTIONS),
  ...common,
} satisfies OptionsOf<DetectorOptions>;
const loading = loadingOf("load a detector", loadTable);

/** Every option of `Detector.load`. */
export const DETECTOR_OPTIONS: OptionsOf<DetectorOptions> = loadTable;

/** What a call is told, complete: what it leaves out is taken from `defaults`. */
export function detectConfig(options: GivenDetectOptions, defaults: DetectConfig): DetectConfig {
  return {
    threshold: options.threshold ?? defaults.threshold,
    iou: options.iou ?? defaults.iou,
    maxDetections: options.maxDetections ?? defaults.maxDetections,
    classAgnostic: options.classAgnostic ?? defaults.classAgnostic,
    classes: options.classes ?? defaults.classes,
    ...(options.slices === undefined ? {} : { slices: options.slices }),
  };
}

/** Of masks in another size than that of their image, from slices. */
export function maskSizeError(maskSize: MaskSize): OptionError {
  const found = "masks of several slices are joined in the image";
  const hint = 'leave out `maskSize`, or give `"image"`';
  return new OptionError(message(`give masks of the size "${maskSize}"`, found, hint), "maskSize");
}

/**
 * Check the options of `Detector.load` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseDetectorOptions(options: DetectorOptions): DetectorConfig {
  const { device: devices, threshold, iou, maxDetections, classAgnostic, classes, heads, ...config } = loading(options);
  refusePadding(config.preprocessing);
  if (config.slices !== undefined && config.maskSize !== "image") throw maskSizeError(config.maskSize);
  const given = { threshold, iou, maxDetections, classAgnostic, classes };
  return {
    ...config,
    batch: config.batch ?? (config.slices === undefined ? 1 : USUAL_SLICES),
    heads: heads && ownHeads(heads),
    devices,
    detect: detectConfig(given, DETECT_DEFAULTS),
    isIouGiven: iou !== undefined,
  };
}

/** Options of `evaluate`. Those of a call to `detect` hold for every image; a classifier has none of them. */
export interface EvaluateOptions extends Omit<DetectOptions, "slices"> {
  /** Lowest score that counts, 0–1. Default 0.001, as average precision needs all that a model finds. */
  readonly threshold?: number | undefined;
  /** Names or ids of the classes to score; objects of others are left out of the ground truth. Default: all. */
  readonly classes?: readonly (string | number)[] | undefined;
  /** Folder with the images of an annotation file. Default: a folder beside it that has them. */
  readonly images?: string | undefined;
  /** Which part of a dataset is scored, where it has several. Default `"val"`. */
  readonly split?: string | undefined;
  /** Called after each image. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Called with an image that cannot be read or scored; it is skipped. Without it the first one ends the evaluation. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
}

/** Scores below this say nothing. */
export const EVALUATE_THRESHOLD = 0.001;

const folder = z.string("a path").min(1, "a path").optional();
const { threshold, iou, maxDetections, classAgnostic, classes, signal } = DETECTOR_OPTIONS;

/** Every option of `evaluate`. */
export const EVALUATE_OPTIONS: OptionsOf<EvaluateOptions> = {
  images: { schema: folder, value: "DIR", help: "folder with the images of an annotation file" },
  split: { schema: folder, value: "NAME", help: "part of the dataset to score", otherwise: "val" },
  threshold: { ...threshold, otherwise: `${EVALUATE_THRESHOLD}` },
  ...{ iou, maxDetections, classAgnostic, classes, signal },
  onProgress: CALLBACK_OPTION,
  onError: CALLBACK_OPTION,
};
const schema = z.strictObject(shapeOf(EVALUATE_OPTIONS));

/** Check the options of an evaluation. @throws {OptionError} If one is unknown or out of range */
export function parseEvaluateOptions(options: EvaluateOptions): EvaluateOptions {
  return parseOptions(schema, options, "evaluate a model", EVALUATE_OPTIONS) as EvaluateOptions;
}
