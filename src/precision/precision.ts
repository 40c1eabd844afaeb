/** @module Precision: `convert` and `compare`, whose work is loaded with the first call. */

import type { ModelSource } from "../api/model-source.ts";
import type { CompareOptions, Comparison, Conversion, ConvertOptions } from "./precision-config.ts";

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

/**
 * Compare two models, plans or backends: both are run on the same images, one after the other. Outputs of one name are compared
 * element by element; of models of objects the boxes are matched, and the second's mAP is measured with the objects of the first as
 * the truth. Of models whose task is not known the outputs are compared.
 *
 * @param first  path of an ONNX file or a plan, a name of the catalogue, an address, or bytes
 * @param second likewise; it may be the same model, with other options in `options.second`
 * @throws {OptionError} If an option is wrong or missing
 * @throws {ModelError} If one is no model, or they are of different tasks
 * @throws {ImageError} If there is no image, or one cannot be read and there is no `onError`
 * @throws {UnavailableError} If a backend that was asked for cannot be used
 * @throws the reason of `options.signal`
 *
 * @example The GPU, where there is one, beside the CPU
 * ```ts
 * import { compare } from "bun-tensorrt";
 *
 * const { outputs, agreement } = await compare("yolo11n", "yolo11n", { images: "val2017", first: { backend: "cpu" } });
 * for (const { name, max, cosine } of outputs) console.log(name, max, cosine);
 * if (agreement?.kind === "objects") console.log(agreement.matched, agreement.ap.box);
 * ```
 */
export async function compare(first: ModelSource, second: ModelSource, options: CompareOptions): Promise<Comparison> {
  const { runComparison } = await import("./comparison.ts");
  return runComparison(first, second, options);
}
