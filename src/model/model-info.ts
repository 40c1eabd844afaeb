/** @module ModelInfo: what a model file says of itself, whichever runtime read it. */

import { formatTensorInfo, isDynamic, type Shape, type TensorInfo } from "../core/tensor.ts";

/** Inputs, outputs and metadata of a model. The order of the tensors means nothing: match by name and shape. */
export interface ModelInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Custom metadata, such as Ultralytics' `names`, `task`, `stride`, `imgsz`, `end2end`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Size of the input, in pixels, for which open outputs were given the shapes they have; `undefined` if none were. */
  readonly shapesAt?: readonly [width: number, height: number] | undefined;
  /** Names of outputs whose number of rows was found by a run on one image: for another it may be another. */
  readonly openRows?: readonly string[] | undefined;
}

/** Two indented lists, for messages and `inspect`. */
export function formatModelInfo(model: ModelInfo): string {
  const list = (tensors: readonly TensorInfo[]): string => tensors.map((t) => `  ${formatTensorInfo(t)}`).join("\n");
  return `inputs:\n${list(model.inputs)}\noutputs:\n${list(model.outputs)}`;
}

/**
 * True if the declared shape is too little to recognise a head by: the axis after the batch is open, which holds the rows
 * or the channels, or even the rank is. A grid with its channels first tells enough by them.
 */
function isOpen({ shape }: TensorInfo): boolean {
  return shape.length === 0 || (shape.length >= 3 && shape[1]! < 0);
}

/** True if a model's outputs must have shapes before it can be recognised: run it, or ask for them. Classes alone may be open, too. */
export function needsShapes({ outputs }: ModelInfo): boolean {
  const [first, ...others] = outputs;
  const isOfClasses = others.length === 0 && first?.shape.length === 2 && first.shape[1]! < 0;
  return isOfClasses || outputs.some(isOpen);
}

/** The first axis stays as declared: it is the batch, or the rows of all images. No rows say nothing of their number. */
function shapeOf({ shape }: TensorInfo, found: Shape | undefined): Shape {
  if (found === undefined || found.length === 0) return shape;
  if (shape.length !== 0 && shape.length !== found.length) return shape;
  return found.map((side, axis) => {
    const declared = axis === 0 ? (shape[0] ?? -1) : (shape[axis] ?? -1);
    return declared >= 0 || axis === 0 ? declared : side > 0 ? side : -1;
  });
}

/**
 * A model with the shapes that its outputs have for one size of the input, where it leaves them open.
 *
 * @param shapes by name of the output; -1, or 0, where a side is still unknown
 * @param size   of the input, in pixels
 */
export function withShapes(
  model: ModelInfo,
  shapes: ReadonlyMap<string, Shape>,
  size: readonly [width: number, height: number],
): ModelInfo {
  const outputs = model.outputs.map((info) => ({ ...info, shape: shapeOf(info, shapes.get(info.name)) }));
  return { ...model, outputs, shapesAt: size };
}

/** The outputs that are open, for messages. */
export function openOutputs({ outputs }: ModelInfo): string {
  return outputs
    .filter(({ shape }) => shape.length === 0 || isDynamic(shape))
    .map(formatTensorInfo)
    .join(", ");
}
