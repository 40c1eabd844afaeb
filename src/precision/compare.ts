/** @module Compare: two models, plans or backends beside each other on the same images. */

import type { ModelSource } from "../api/model-source.ts";
import type { CompareOptions, Comparison } from "./compare-config.ts";

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
