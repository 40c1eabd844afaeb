/** @module Compare config: what callers of `compare` may set, and what they get. */

import { z } from "zod";
import { CALLBACK_OPTION } from "../api/call-options.ts";
import { DETECTOR_OPTIONS } from "../api/detector-config.ts";
import type { ModelOptions } from "../api/model.ts";
import { numberWithin } from "../core/number-options.ts";
import { type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import type { ClassAgreement, ObjectAgreement } from "../tasks/evaluate/agreement.ts";

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

const path = z.string("a path").min(1, "a path");
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
  signal: DETECTOR_OPTIONS.signal,
};
const schema = z.strictObject(shapeOf(COMPARE_OPTIONS));

/** Options with their defaults. */
export interface CompareConfig extends CompareOptions {
  readonly samples: number;
  readonly threshold: number;
  readonly layers: boolean;
}

/** Check the options of a comparison. @throws {OptionError} If one is unknown or out of range */
export function parseCompareOptions(options: CompareOptions): CompareConfig {
  return parseOptions(schema, options, "compare two models", COMPARE_OPTIONS) as CompareConfig;
}
