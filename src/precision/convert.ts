/** @module Convert: a model of FP32 becomes one of FP16, INT8 or FP8, without Python. */

import type { ModelSource } from "../api/model-source.ts";
import type { ConvertedPrecision, ConvertOptions } from "./convert-config.ts";

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
  /** Images that were used and skipped, and the file that keeps the ranges; `undefined` without a calibration. */
  readonly calibration?:
    | { readonly images: number; readonly skipped: readonly string[]; readonly file: string }
    | undefined;
}

/**
 * Convert a model, so that TensorRT computes it in FP16, INT8 or FP8: TensorRT 11 and TensorRT-RTX compute in what a model says.
 * Its metadata stay, so that it is recognised as before. What would lose keeps FP32: normalisations, indices, boxes in pixels. INT8
 * and FP8 need images like those that the model will see; heads and attention stay in FP16.
 *
 * @param source  path of an ONNX file, a name of the catalogue, a URL or bytes; any ONNX model, known head or not
 * @param options at least the precision
 * @returns what each layer computes in, and where the model is
 * @throws {OptionError} If an option is wrong or missing
 * @throws {ModelError} If it is no ONNX model, is converted already, or a tensor has numbers that are not finite
 * @throws {ImageError} If there is no image, or one cannot be read and there is no `onError`
 * @throws {BunTensorRtError} If the model cannot be written; nothing is left half-written
 * @throws the reason of `options.signal`
 *
 * @example
 * ```ts
 * import { convert } from "bun-tensorrt";
 *
 * const { path, layers } = await convert("yolo11n", { precision: "int8", calibration: "photos", output: "yolo11n.int8.onnx" });
 * console.log(path, layers.filter(({ type }) => type === "int8").length);
 * ```
 */
export async function convert(source: ModelSource, options: ConvertOptions): Promise<Conversion> {
  const { runConversion } = await import("./conversion.ts");
  return runConversion(source, options);
}
