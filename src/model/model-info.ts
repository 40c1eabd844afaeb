/** @module ModelInfo: what a model file says of itself, whichever runtime read it. */

import { formatTensorInfo, type TensorInfo } from "../core/tensor.ts";

/** Inputs, outputs and metadata of a model. The order of the tensors means nothing: match by name and shape. */
export interface ModelInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Custom metadata, such as Ultralytics' `names`, `task`, `stride`, `imgsz`, `end2end`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Size of the input, in pixels, for which open outputs were given the shapes they have; `undefined` if none were. */
  readonly shapesAt?: readonly [width: number, height: number] | undefined;
}

/** Two indented lists, for messages and `inspect`. */
export function formatModelInfo(model: ModelInfo): string {
  const list = (tensors: readonly TensorInfo[]): string => tensors.map((t) => `  ${formatTensorInfo(t)}`).join("\n");
  return `inputs:\n${list(model.inputs)}\noutputs:\n${list(model.outputs)}`;
}
