/** @module Convert config: what callers of `convert` may set. */

import { z } from "zod";
import { CALLBACK_OPTION } from "../api/call-options.ts";
import { MACHINE_OPTIONS } from "../api/machine-options.ts";
import { type Filled, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import type { Comparison } from "./compare-config.ts";

/** Element types that a model can be converted to. */
const CONVERTED_PRECISIONS = ["fp16", "int8", "fp8"] as const;

/** What a model is converted to: FP16 tensors, or Q/DQ nodes of INT8 or FP8 (E4M3) around its layers. */
export type ConvertedPrecision = "fp16" | "int8" | "fp8";

/** How the largest number of a tensor is found that its scale covers. */
export const CALIBRATION_METHODS = ["max", "percentile", "mse", "entropy"] as const;

/** How the largest number of a tensor is found that its scale covers. */
export type CalibrationMethod = "max" | "percentile" | "mse" | "entropy";

/** Options of `convert`. */
export interface ConvertOptions {
  readonly precision: ConvertedPrecision;
  /**
   * Images that are like those the model will see: a folder, or paths and folders. INT8 and FP8 need them. With FP16 they show which
   * tensors leave its range; without them a rule says it. Or the `.calibration.json` that an earlier conversion of the model kept.
   */
  readonly calibration?: string | readonly string[] | undefined;
  /** Where the converted model is written. Default: beside the model, `yolo11n.fp16.onnx`. */
  readonly output?: string | undefined;
  /** Element types of inputs and outputs: `"keep"` as they were, or `"fp16"`. Default `"keep"`. */
  readonly io?: "keep" | "fp16" | undefined;
  /** Default `"mse"`: the range of the least error, as a few outliers ruin the largest. */
  readonly method?: CalibrationMethod | undefined;
  /** Most images of the calibration. Default 512. */
  readonly samples?: number | undefined;
  /** Names of nodes that keep FP32 with FP16, and with INT8 and FP8 are FP16; of one without a name, that of its first output. */
  readonly exclude?: readonly string[] | undefined;
  /**
   * With INT8 and FP8: how much the model may lose, 0–1. Layers that cost most go back to FP16, or blocks of neighbours, until it does
   * not lose more: of the mAP, or of equal classes, with the model of FP32 as the teacher; of a model whose task is not known, of its
   * outputs' noise. It is measured on a quarter of the images, which are held back from the calibration. Default: the loss is not
   * measured, and layers stay in float by rule alone.
   */
  readonly maxLoss?: number | undefined;
  /**
   * With `maxLoss`: the loss is of the mAP by these annotations, in a form that `evaluate` takes. With `report`: it has the mAP of both
   * models by them.
   */
  readonly annotations?: string | undefined;
  /** With `maxLoss`: images that layers are ranked by. Default 16. */
  readonly sensitivityImages?: number | undefined;
  /**
   * Where a report is written: a page of one file (`.html`) with accuracy beside FP32, sizes, layers, and the images whose boxes changed
   * most. What is measured for it is measured on a quarter of the images, which are held back from the calibration.
   */
  readonly report?: string | undefined;
  /** Called with what is done: images of the calibration, then the parts of the model that are written. */
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
  /** Called with an image that cannot be read; it is skipped and counted. Without it the first one ends the conversion. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
  /** Ends the conversion; its reason is thrown, and nothing is written. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a conversion is. */
export interface ConvertProgress {
  /** `"measure"`: images, again for each model that is tried; `"rank"`: layers. */
  readonly phase: "calibrate" | "measure" | "rank" | "write";
  readonly done: number;
  readonly total: number;
}

/** A node of a converted model. */
export interface ConvertedLayer {
  readonly name: string;
  /** Operator, as `Conv`. */
  readonly op: string;
  /** What it computes in. */
  readonly type: "fp32" | "fp16" | "int8" | "fp8";
  /** Why it is not in the precision of the conversion; `undefined` where it is, or where it never would be. */
  readonly reason?: string | undefined;
}

/** What quantising costs, and which layers went back to float for it. */
export interface Sensitivity {
  /** What was allowed. */
  readonly maxLoss: number;
  /** With all layers quantised. */
  readonly lossBefore: number;
  /** Of the model that was written. */
  readonly loss: number;
  /** Images that the teacher was asked about. */
  readonly images: number;
  /**
   * Images that were held back from the calibration, so that the loss is measured on others: of those given a quarter, 64 at most.
   * None with annotations, and where there are fewer than 16: the loss is of the images of the calibration then.
   */
  readonly heldBack: readonly string[];
  /** Images that the loss was to be measured on, and that could not be read. */
  readonly skipped: readonly string[];
  /** With annotations: what the model of FP32 has by them, of which the loss is taken off. */
  readonly truth?: number | undefined;
  /** The worst first, with the signal to noise at the heads where a layer is the only one quantised; none where nothing had to be done. */
  readonly layers: readonly {
    readonly name: string;
    readonly op: string;
    /** In decibels. */
    readonly sqnr: number;
    /** True: it is not quantised. */
    readonly isKept: boolean;
  }[];
  /** Neighbouring layers that were put back together, in the order of the model; none where single layers were enough. */
  readonly blocks: readonly {
    /** As the names of its layers begin, as `/model.2`. */
    readonly name: string;
    readonly layers: readonly string[];
    /** How much less is lost with this block in float, and no other. */
    readonly cost: number;
    /** True: it is not quantised. */
    readonly isKept: boolean;
  }[];
  /** Every model that was measured: with so many layers in float, so much is lost. */
  readonly attempts: readonly { readonly kept: number; readonly loss: number }[];
}

/** What was measured for a report. */
export interface ConversionReport {
  /** Path of the page. */
  readonly path: string;
  /** The converted model beside that of FP32; `undefined` where there were no images. */
  readonly comparison?: Comparison | undefined;
  /** Images that were held back from the calibration for it; of fewer than 16 none, and those of the calibration were taken. */
  readonly heldBack: readonly string[];
  /** With annotations: the lowest AP, or the share of first classes that are right. */
  readonly truth?: { readonly before: number; readonly after: number } | undefined;
}

/** What became of a model. */
export interface Conversion {
  /** Path of the converted model. */
  readonly path: string;
  readonly precision: ConvertedPrecision;
  /** Bytes of the model with its weights, before and after. */
  readonly byteLength: { readonly before: number; readonly after: number };
  /** In the order of the model, without casts, constants and Q/DQ nodes. */
  readonly layers: readonly ConvertedLayer[];
  /** Casts between FP32 and FP16. */
  readonly casts: number;
  /** With `maxLoss`. */
  readonly sensitivity?: Sensitivity | undefined;
  /** With `report`. */
  readonly report?: ConversionReport | undefined;
  /** Images that were used and skipped, and the file that keeps the ranges; `undefined` without a calibration. */
  readonly calibration?:
    | { readonly images: number; readonly skipped: readonly string[]; readonly file: string }
    | undefined;
}

const path = z.string("a path").min(1, "a path");
const named = z.array(z.string("names of nodes"), "names of nodes");

/** Every option of `convert`. */
export const CONVERT_OPTIONS: OptionsOf<ConvertOptions> = {
  precision: {
    schema: z.enum(CONVERTED_PRECISIONS, CONVERTED_PRECISIONS.join(", ")),
    short: "p",
    help: "what the model is converted to",
  },
  calibration: {
    schema: z.union([path, z.array(path)], "a folder, or a list of images").optional(),
    value: "DIR|LIST",
    help: "images like those it will see: a folder, a .txt list, or kept ranges (.json)",
  },
  output: {
    schema: path.optional(),
    short: "o",
    value: "FILE",
    help: "the converted model (default beside the model)",
  },
  io: { schema: z.enum(["keep", "fp16"], "keep or fp16").default("keep"), help: "element type of inputs and outputs" },
  method: {
    schema: z.enum(CALIBRATION_METHODS, CALIBRATION_METHODS.join(", ")).default("mse"),
    help: "how the ranges of int8 and fp8 are found",
  },
  samples: {
    schema: z.int().min(1, "at least 1 image").max(1_000_000, "at most 1000000 images").default(512),
    value: "N",
    help: "most images of the calibration",
  },
  exclude: {
    schema: named.default([]),
    value: "LIST",
    isList: true,
    fromText: (text) => text.split(",").map((name) => name.trim()),
    help: "names of nodes that stay in float",
  },
  maxLoss: {
    schema: z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1").optional(),
    value: "N",
    help: "put back what costs most until no more mAP is lost",
  },
  annotations: {
    schema: path.optional(),
    value: "FILE",
    help: "with --max-loss or --report: mAP by these (default by the fp32 model)",
  },
  sensitivityImages: {
    schema: z.int("1 to 256 images").min(1, "1 to 256 images").max(256, "1 to 256 images").default(16),
    value: "N",
    help: "with --max-loss: images to rank layers by",
  },
  report: {
    schema: path.optional(),
    value: "FILE",
    help: "write a page (.html): accuracy, layers, images that changed",
  },
  onProgress: CALLBACK_OPTION,
  onError: CALLBACK_OPTION,
  signal: MACHINE_OPTIONS.signal,
};
const schema = z.strictObject(shapeOf(CONVERT_OPTIONS));

type Defaulted = "io" | "method" | "samples" | "exclude" | "sensitivityImages";

/** Options with their defaults. */
export type ConvertConfig = Omit<ConvertOptions, Defaulted> & Filled<Pick<ConvertOptions, Defaulted>>;

/** Check the options of a conversion. @throws {OptionError} If one is unknown or out of range */
export function parseConvertOptions(options: ConvertOptions): ConvertConfig {
  return parseOptions(schema, options, "convert a model", CONVERT_OPTIONS) as unknown as ConvertConfig;
}
