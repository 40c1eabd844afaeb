/** @module Convert config: what callers of `convert` may set. */

import { z } from "zod";
import { parseOptions } from "../core/options.ts";

/** Element types that a model can be converted to. */
export const CONVERTED_PRECISIONS = ["fp16", "int8", "fp8"] as const;

/** What a model is converted to: FP16 tensors, or Q/DQ nodes of INT8 or FP8 (E4M3) around its layers. */
export type ConvertedPrecision = (typeof CONVERTED_PRECISIONS)[number];

/** How the largest number of a tensor is found that its scale covers. */
export const CALIBRATION_METHODS = ["max", "percentile", "mse", "entropy"] as const;

/** How the largest number of a tensor is found that its scale covers. */
export type CalibrationMethod = (typeof CALIBRATION_METHODS)[number];

/** Options of `convert`. */
export interface ConvertOptions {
  readonly precision: ConvertedPrecision;
  /**
   * Images that are like those the model will see: a folder, or paths and folders. INT8 and FP8 need them. With FP16 they show which
   * tensors leave its range; without them a rule says it.
   */
  readonly calibration?: string | readonly string[] | undefined;
  /** Where the converted model is written. Default: beside the model, `yolo11n.fp16.onnx`. */
  readonly output?: string | undefined;
  /** Element types of inputs and outputs: `"keep"` as they were, or `"fp16"`. Default `"keep"`. */
  readonly io?: "keep" | "fp16" | undefined;
  /** Default `"max"`. */
  readonly method?: CalibrationMethod | undefined;
  /** Most images of the calibration. Default 512. */
  readonly samples?: number | undefined;
  /** Names of nodes that keep FP32, and with INT8 and FP8 are not quantised. */
  readonly exclude?: readonly string[] | undefined;
  /** Called with what is done: images of the calibration, then the parts of the model that are written. */
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
  /** Called with an image that cannot be read; it is skipped and counted. Without it the first one ends the conversion. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
  /** Ends the conversion; its reason is thrown, and nothing is written. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a conversion is. */
export interface ConvertProgress {
  readonly phase: "calibrate" | "write";
  readonly done: number;
  readonly total: number;
}

const path = z.string("a path").min(1, "a path");
const callback = z.custom<never>((value) => typeof value === "function", "a function");

const schema = z.strictObject({
  precision: z.enum(CONVERTED_PRECISIONS, CONVERTED_PRECISIONS.join(", ")),
  calibration: z.union([path, z.array(path)], "a folder, or a list of images").optional(),
  output: path.optional(),
  io: z.enum(["keep", "fp16"], "keep or fp16").default("keep"),
  method: z.enum(CALIBRATION_METHODS, CALIBRATION_METHODS.join(", ")).default("max"),
  samples: z.int().min(1, "at least 1 image").max(1_000_000, "at most 1000000 images").default(512),
  exclude: z.array(z.string("names of nodes"), "names of nodes").default([]),
  onProgress: callback.optional(),
  onError: callback.optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, "an AbortSignal").optional(),
});

/** Options with their defaults. */
export type ConvertConfig = ConvertOptions & Required<Pick<ConvertOptions, "io" | "method" | "samples" | "exclude">>;

/** Check the options of a conversion. @throws {OptionError} If one is unknown or out of range */
export function parseConvertOptions(options: ConvertOptions): ConvertConfig {
  return parseOptions(schema, options, "convert a model") as ConvertConfig;
}
