/** @module Converted: what a model says of its conversion: its types are chosen, and an engine keeps them. */

import type { OnnxModel } from "./model.ts";

/** Key of the metadata. */
const CONVERTED_KEY = "bun_tensorrt_precision";

/** Say in a model what it was converted to. */
export function markConverted({ metadata }: OnnxModel, precision: string): void {
  metadata.set(CONVERTED_KEY, precision);
}

/** What a model was converted to; `undefined` for one as it was exported. */
export function convertedTo(metadata: Readonly<Record<string, string>>): string | undefined {
  return metadata[CONVERTED_KEY];
}

/** True if weights of a model are FP16: who made them so has chosen its types. */
export function isOfHalves({ graph }: OnnxModel): boolean {
  return [...graph.initializers.values()].some(({ elementType, shape }) => elementType === "f16" && shape.length > 1);
}
