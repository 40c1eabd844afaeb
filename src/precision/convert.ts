/** @module Convert: a model of FP32 becomes one of FP16, INT8 or FP8, without Python. */

import type { ModelSource } from "../api/model-source.ts";
import type { Conversion, ConvertOptions } from "./convert-config.ts";

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
 * const { path, layers } = await convert("yolo11n", { precision: "int8", calibration: "val2017", output: "int8.onnx" });
 * console.log(path, layers.filter(({ type }) => type === "int8").length);
 * ```
 */
export async function convert(source: ModelSource, options: ConvertOptions): Promise<Conversion> {
  const { runConversion } = await import("./conversion.ts");
  return runConversion(source, options);
}
