/** @module Precision config: what callers of `convert` and `compare` may set, and what they get. */

import { z } from "zod";
import { CALLBACK_OPTION } from "../api/call-options.ts";
import { MACHINE_OPTIONS } from "../api/machine-options.ts";
import type { ModelOptions } from "../api/model.ts";
import { type Filled, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { numberWithin } from "../core/value-options.ts";
import type { ClassAgreement, ObjectAgreement } from "../tasks/evaluate/evaluation.ts";

const path = z.string("a path").min(1, "a path");

/** Options of `compare`. */
export interface CompareOptions {
  /** Images that both models are run on: a folder, or paths and folders. */
  readonly images: string | readonly string[];
  /** Most images; of more, so many are taken evenly. Default 128. */
  readonly samples?: number | undefined;
  /** Lowest score of the objects of the first model that count as the truth, and of both where boxes are matched. Default 0.25. */
  readonly threshold?: number | undefined;
  /**
   * How far outputs may be apart: the largest difference of each, as a share of its largest magnitude in the first model. Left out:
   * any distance is within.
   */
  readonly tolerance?: number | undefined;
  /** How much less than 1 the second model's mAP, or its share of equal classes, may be. Left out: any loss is within. */
  readonly maxLoss?: number | undefined;
  /** True: tensors inside the models that both have are compared too, by the CPU. Both must be ONNX files. Default false. */
  readonly layers?: boolean | undefined;
  /** What the first model is loaded with. Default for both: the whole model as it was exported. */
  readonly first?: ModelOptions | undefined;
  /** What the second model is loaded with. */
  readonly second?: ModelOptions | undefined;
  /** Called after each image; with `layers` each counts again for every group of tensors. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Called with an image that cannot be read; it is skipped. Without it the first one ends the comparison. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
  /** Ends the comparison; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** How far a tensor is from another of its name, over all images. */
export interface TensorDifference {
  readonly name: string;
  /** On the last image. */
  readonly shape: readonly number[];
  /** Largest difference of two elements. */
  readonly max: number;
  /** Mean difference. */
  readonly mean: number;
  /** The largest difference as a share of the largest magnitude in the first model. */
  readonly relative: number;
  /** Cosine of the angle between the tensors: 1 for tensors that differ by a factor only. */
  readonly cosine: number;
  /** Signal to noise in decibels: the higher, the more alike; `Infinity` for equal tensors. */
  readonly sqnr: number;
  /** Elements of which one is no finite number and the other is another. */
  readonly nonFinite: number;
}

/** A tensor that has none to be compared with. */
export interface UnmatchedTensor {
  readonly name: string;
  readonly reason: string;
}

/** A model that was compared. */
export interface ComparedModel {
  readonly name: string;
  /** `undefined` where its task is not known: only outputs are compared then. */
  readonly task: string | undefined;
  /** What ran it. */
  readonly backend: string;
}

/** How far two models are apart. */
export interface Comparison {
  readonly models: readonly [first: ComparedModel, second: ComparedModel];
  /** Images that were compared. */
  readonly images: number;
  /** Images that could not be read. */
  readonly skipped: readonly string[];
  /** Outputs of both, in the order of the first. */
  readonly outputs: readonly TensorDifference[];
  /** Outputs of one only, or of another shape. */
  readonly unmatched: readonly UnmatchedTensor[];
  /** Tensors inside both, in the order of the first; `undefined` without `layers`. */
  readonly layers?: readonly TensorDifference[] | undefined;
  /** `undefined` for models of neither objects nor classes. */
  readonly agreement?: ObjectAgreement | ClassAgreement | undefined;
  /** False where the tolerance or the loss that was allowed is exceeded, or no output could be compared. */
  readonly isWithin: boolean;
}

const model = z.custom<ModelOptions>((value) => typeof value === "object" && value !== null, "options of Model.load");

/** Every option of `compare`. */
export const COMPARE_OPTIONS: OptionsOf<CompareOptions> = {
  images: {
    schema: z.union([path, z.array(path)], "a folder, or a list of images"),
    value: "DIR|FILE",
    help: "images that both are run on",
  },
  samples: {
    schema: z.int().min(1, "at least 1 image").max(1_000_000, "at most 1000000 images").default(128),
    help: "most images",
  },
  threshold: {
    schema: numberWithin(0, 1, "a number from 0 to 1").default(0.25),
    help: "lowest score of the objects that are matched",
  },
  tolerance: {
    schema: numberWithin(0, 1e9, "a number from 0 on").optional(),
    help: "most that outputs may differ, as a share of their largest value; else exit code 1",
  },
  maxLoss: {
    schema: numberWithin(0, 1, "a number from 0 to 1").optional(),
    help: "most that mAP, or equal classes, may be below 1; else exit code 1",
  },
  layers: { schema: z.boolean("true or false").default(false), help: "compare the tensors inside two ONNX models too" },
  first: { schema: model.optional() },
  second: { schema: model.optional() },
  onProgress: CALLBACK_OPTION,
  onError: CALLBACK_OPTION,
  signal: MACHINE_OPTIONS.signal,
};
const compareSchema = z.strictObject(shapeOf(COMPARE_OPTIONS));

/** Options with their defaults. */
export interface CompareConfig extends CompareOptions {
  readonly samples: number;
  readonly threshold: number;
  readonly layers: boolean;
}

/** Check the options of a comparison. @throws {OptionError} If one is unknown or out of range */
export function parseCompareOptions(options: CompareOptions): CompareConfig {
  return parseOptions(compareSchema, options, "compare two models", COMPARE_OPTIONS) as CompareConfig;
}

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
const convertSchema = z.strictObject(shapeOf(CONVERT_OPTIONS));

type Defaulted = "io" | "method" | "samples" | "exclude" | "sensitivityImages";

/** Options with their defaults. */
export type ConvertConfig = Omit<ConvertOptions, Defaulted> & Filled<Pick<ConvertOptions, Defaulted>>;

/** Check the options of a conversion. @throws {OptionError} If one is unknown or out of range */
export function parseConvertOptions(options: ConvertOptions): ConvertConfig {
  return parseOptions(convertSchema, options, "convert a model", CONVERT_OPTIONS) as unknown as ConvertConfig;
}
