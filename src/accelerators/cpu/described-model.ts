/** @module DescribedModel: what a session's model declares, with the shapes of open outputs found by a run on zeros. */

import { ModelError, OnnxRuntimeError, ShapeError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { createTensor, type Tensor, type TensorInfo } from "../../core/tensor.ts";
import { readTraits } from "../../heads/traits.ts";
import { type ModelInfo, needsShapes, openOutputs, withShapes } from "../../model/model-info.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../../runtime/backend.ts";
import type { OpenedModel } from "../../runtime/task.ts";

/** How open outputs are found. */
export interface DescribeOptions {
  /** Size of the input; `undefined` for the model's preferred one. */
  readonly size?: Size | undefined;
  /** For messages. */
  readonly source: string;
  /** Ends the run; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** Zeros for the image, ones for what tells of its size. An open first axis is the batch, open last ones are the size. */
function placeholder(info: TensorInfo, isImage: boolean, size: Size, layout: "NCHW" | "NHWC"): Tensor {
  const [width, height] = size;
  const sides = isImage && layout === "NHWC" ? [1, height, width, 3] : [1, 3, height, width];
  const rest = info.shape.length === 3 ? [1, height, width] : [1, 2];
  const open = info.shape.length === 4 ? sides : rest;
  const tensor = createTensor(
    info.dtype,
    info.shape.map((side, axis) => (side >= 0 ? side : (open[axis] ?? 1))),
  );
  if (!isImage) tensor.data.fill((info.dtype === "i64" ? 1n : 1) as never);
  return tensor;
}

/**
 * What the model declares. Outputs whose axes are open get the shapes they have for one size of the input: the model is run
 * once on zeros. Where that fails it stays as it is declared, with a line in the log.
 *
 * @throws the signal's reason, if it was aborted
 */
export async function describedModel(session: Session, options: DescribeOptions): Promise<ModelInfo> {
  const { model } = session;
  const traits = needsShapes(model) ? readTraits(model, {}) : undefined;
  if (traits === undefined || model.inputs.some(({ shape }) => shape.includes(0))) return model;
  const { image, preferredSize } = traits;
  const size = image.fixedSize ?? options.size ?? preferredSize;
  const { signal, source } = options;
  try {
    const inputs = Object.fromEntries(
      model.inputs.map((info) => [info.name, placeholder(info, info.name === image.name, size, image.layout)]),
    );
    const outputs = await session.run(inputs, signal === undefined ? {} : { signal });
    return withShapes(model, new Map([...outputs].map(([name, { shape }]) => [name, shape])), size);
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof OnnxRuntimeError || error instanceof ShapeError || error instanceof ModelError)) throw error;
    const [reason] = error.message.split("\n", 1);
    logger.warn(
      `Cannot find the shapes of ${openOutputs(model)} of ${source} by a run at ${size.join("x")}: ${reason}`,
    );
    return model;
  }
}

/**
 * A session's model as tasks look at it.
 *
 * @param source for messages
 * @param signal ends what is run of it meanwhile
 */
export function openedSession(session: Session, source: string, signal: AbortSignal | undefined): OpenedModel {
  return {
    model: session.model,
    source,
    described: (size) => describedModel(session, { size, source, signal }),
    rangeOf: () => undefined,
    outputsFor: (input, dtype, shape) => runOnZeros(session, createTensor(dtype, shape), input, signal),
  };
}

async function runOnZeros(
  session: Session,
  zeros: Tensor,
  input: string,
  signal: AbortSignal | undefined,
): Promise<TensorInfo[]> {
  const outputs = await session.run({ [input]: zeros }, signal === undefined ? {} : { signal });
  return session.outputs.map(({ name, dtype }) => ({ name, dtype, shape: outputs.get(name)!.shape }));
}
