/** @module DetectorFlags: the flags that say which detector is loaded, and how it detects; several commands have them. */

import { readFileSync } from "node:fs";
import { z } from "zod";
import type { DetectorOptions } from "../api/detector-config.ts";
import type { DecodingLimits } from "../image/decode-limits.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { PREPROCESSING_FLAGS, preprocessingOf, preprocessingShape } from "./preprocessing-flags.ts";
import {
  autoOrToggle,
  classList,
  count,
  deviceNumbers,
  fraction,
  milliseconds,
  pixelSize,
  toggle,
  wholeNumber,
} from "./values.ts";

/** What decoding an image may cost, and what is taken. */
export const DECODING_FLAGS: readonly Flag[] = [
  {
    name: "max-pixels",
    value: "N",
    summary: "most pixels of an image (default 2^28; serve and worker 2^26)",
  },
  {
    name: "decode-timeout",
    value: "SECONDS",
    summary: "time to decode an image (default 60; serve and worker 10)",
  },
  { name: "damaged", value: "refuse|take", summary: "take what is left of damaged JPEGs, marked (default refuse)" },
  { name: "vectors", summary: "render SVG: only for images you trust" },
];

/** In the order of the help. */
export const DETECTOR_FLAGS: readonly Flag[] = [
  {
    name: "model",
    short: "m",
    value: "FILE|NAME",
    summary: "ONNX file, plan, or a name from `models` (default yolo11n)",
  },
  { name: "backend", value: "auto|cpu|gpu", summary: "where to run (default auto: the GPU where there is one)" },
  {
    name: "device",
    value: "N|N,N",
    summary: "number of the GPU (default 0), or several: frames go to the least loaded",
  },
  { name: "precision", value: "fp32|fp16", summary: "lowest precision an engine is built with (default fp16)" },
  { name: "threshold", short: "t", value: "SCORE", summary: "confidence threshold, 0 to 1 (default 0.25)" },
  { name: "iou", value: "OVERLAP", summary: "IoU threshold for NMS (default 0.7)" },
  { name: "max-detections", value: "N", summary: "maximum detections per image (default 300)" },
  {
    name: "classes",
    value: "LIST",
    isList: true,
    summary: "only these: names or ids; a name with a comma in quotes: '\"a, b\",c'",
  },
  { name: "agnostic", summary: "class-agnostic NMS: suppress overlaps across classes" },
  {
    name: "size",
    value: "N|WxH",
    summary: "input size for models with a dynamic input (default the model's, else 640)",
  },
  { name: "rectangular", summary: "keep the image's aspect ratio with a dynamic input: faster" },
  { name: "batch", value: "N", summary: "batch size (default 1)" },
  { name: "batch-wait", value: "MS", summary: "how long an image waits for others to fill a batch (default 0)" },
  {
    name: "in-flight",
    value: "N",
    summary: "batches in flight on each device (default 1 on the CPU, measured on a GPU)",
  },
  { name: "streams", value: "auto|one|split|parallel", summary: "how those share the GPU (default auto: measured)" },
  { name: "wait", value: "auto|poll|off-thread", summary: "how the GPU is waited for (default auto: by duration)" },
  { name: "jpeg", value: "auto|gpu|cpu", summary: "where JPEGs are decoded (default auto: nvJPEG on a GPU)" },
  {
    name: "no-jpeg-check",
    summary: "faster, for complete files: damaged data may show an earlier image",
  },
  {
    name: "zero-copy",
    value: "auto|on|off",
    summary: "the GPU reads frames in host memory (default auto: integrated GPUs)",
  },
  {
    name: "scaled-decoding",
    summary: "decode large JPEGs smaller: faster, scores differ a little",
  },
  ...DECODING_FLAGS,
  { name: "labels", value: "FILE", summary: "class names, one per line, if the model has none or others" },
  { name: "layout", value: "NAME", summary: "output layout, where the model does not tell it" },
  ...PREPROCESSING_FLAGS,
  { name: "threads", value: "N", summary: "CPU threads (default the physical cores)" },
];

const seconds = wholeNumber(1, 86_400).transform((value) => value * 1000);
/** Of {@linkcode DECODING_FLAGS}. */
export const decodingShape: {
  readonly "max-pixels": z.ZodOptional<z.ZodType<number, string>>;
  readonly "decode-timeout": z.ZodOptional<z.ZodType<number, string>>;
  readonly damaged: z.ZodOptional<z.ZodType<"refuse" | "take", string>>;
  readonly vectors: typeof toggle;
} = {
  "max-pixels": count(2 ** 40).optional(),
  "decode-timeout": seconds.optional(),
  damaged: z.enum(["refuse", "take"], "refuse or take").optional(),
  vectors: toggle,
};

/** What the flags of {@linkcode DECODING_FLAGS} stand for. */
export function decodingOf(flags: z.infer<z.ZodObject<typeof decodingShape>>): {
  [Key in keyof DecodingLimits]-?: DecodingLimits[Key] | undefined;
} {
  return {
    maxPixels: flags["max-pixels"],
    decodeTimeoutMs: flags["decode-timeout"],
    damaged: flags.damaged,
    vectors: flags.vectors ? true : undefined,
  };
}

const path = z.string().min(1, "a path");

const schema = z.object({
  model: path.optional(),
  backend: z.enum(["auto", "cpu", "gpu"], "auto, cpu or gpu").optional(),
  device: deviceNumbers.optional(),
  precision: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
  threshold: fraction.optional(),
  iou: fraction.optional(),
  "max-detections": count(100_000).optional(),
  classes: classList.optional(),
  agnostic: toggle,
  size: pixelSize.optional(),
  rectangular: toggle,
  "scaled-decoding": toggle,
  labels: path.optional(),
  batch: count(1024).default(1),
  "batch-wait": milliseconds.optional(),
  "in-flight": count(128).optional(),
  streams: z.enum(["auto", "one", "split", "parallel"], "auto, one, split or parallel").optional(),
  wait: z.enum(["auto", "poll", "off-thread"], "auto, poll or off-thread").optional(),
  jpeg: z.enum(["auto", "gpu", "cpu"], "auto, gpu or cpu").optional(),
  "no-jpeg-check": toggle,
  "zero-copy": autoOrToggle.optional(),
  layout: z.string().min(1, "the name of a layout").optional(),
  threads: count(1024).optional(),
  ...preprocessingShape,
  ...decodingShape,
});

/** The flags of a detector, checked. */
export interface DetectorArguments {
  /** Path or catalogue name; `undefined` for the default model. */
  readonly model: string | undefined;
  /** Pictures at once. */
  readonly batch: number;
  readonly detector: DetectorOptions;
}

/** Class names from a file, one a line; an empty line is a class without a name, empty lines at the end are none. */
function readLabels(command: string, file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8")
      .trimEnd()
      .split(/\r?\n/)
      .map((line) => line.trim());
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw refuse(
      command,
      "labels",
      `${JSON.stringify(file)} cannot be read: ${code}`,
      "give a file with one name a line",
    );
  }
}

/** Leave out what was not given, so that the library's own defaults hold. */
export function given<T extends object>(options: { [Key in keyof T]: T[Key] | undefined }): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/**
 * Check the flags that are in {@linkcode DETECTOR_FLAGS}; others are left alone. What was not given is left out.
 *
 * @param command for messages
 * @throws {OptionError} If a value is refused, or the file of labels cannot be read
 */
export function parseDetectorFlags(command: string, parsed: ParsedArguments): DetectorArguments {
  const flags = parseFlags(parsed, schema);
  const detector = given<DetectorOptions>({
    backend: flags.backend,
    device: flags.device,
    precision: flags.precision,
    threshold: flags.threshold,
    iou: flags.iou,
    maxDetections: flags["max-detections"],
    classes: flags.classes,
    classAgnostic: flags.agnostic,
    size: flags.size,
    rectangular: flags.rectangular,
    batch: flags.batch,
    layout: flags.layout,
    preprocessing: preprocessingOf(flags),
    threads: flags.threads,
    labels: flags.labels === undefined ? undefined : readLabels(command, flags.labels),
    scaledDecoding: flags["scaled-decoding"],
    batchWait: flags["batch-wait"],
    inFlight: flags["in-flight"],
    streams: flags.streams,
    wait: flags.wait,
    jpeg: flags.jpeg,
    jpegCheck: flags["no-jpeg-check"] ? false : undefined,
    zeroCopy: flags["zero-copy"],
    ...decodingOf(flags),
    onBuildProgress: undefined,
    signal: undefined,
  });
  return { model: flags.model, batch: flags.batch, detector };
}
