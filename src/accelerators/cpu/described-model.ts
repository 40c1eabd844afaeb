/** @module DescribedModel: what a session's model declares, with the shapes of open outputs found by a run on zeros. */

import { ModelError, OnnxRuntimeError, ShapeError, TensorRtError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { createTensor, type Shape, type Tensor, type TensorInfo } from "../../core/tensor.ts";
import { declaredModel } from "../../heads/shaping-config.ts";
import { readTraits } from "../../heads/traits.ts";
import { type ModelInfo, needsShapes, openOutputs, withShapes } from "../../model/model-info.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../../runtime/backend.ts";
import type { OpenedModel } from "../../runtime/task.ts";

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

/** Why shapes may not be found; anything else is a mistake. */
const REFUSALS = [OnnxRuntimeError, TensorRtError, ShapeError, ModelError];

/**
 * A model whose open outputs have the shapes that are found for one size of the input. Where they cannot be found it stays as
 * it is declared, with a line in the log.
 *
 * @param how for the log: `by a run at 64x64`
 */
export async function withFoundShapes(
  model: ModelInfo,
  source: string,
  size: Size,
  how: string,
  find: () => Promise<ReadonlyMap<string, Shape>>,
): Promise<ModelInfo> {
  try {
    return withShapes(model, await find(), size);
  } catch (error) {
    if (!(error instanceof Error && REFUSALS.some((refusal) => error instanceof refusal))) throw error;
    const [reason] = error.message.split("\n", 1);
    logger.warn(`Cannot find the shapes of ${openOutputs(model)} of ${source} ${how}: ${reason}`);
    return model;
  }
}

/**
 * What the model declares. Outputs whose axes are open get the shapes they have for one size of the input, by a run on zeros.
 *
 * @param size of the input; `undefined` for the model's preferred one
 * @throws the signal's reason, if it was aborted
 */
async function describedModel(
  session: Session,
  source: string,
  signal: AbortSignal | undefined,
  wanted?: Size,
): Promise<ModelInfo> {
  const model = declaredModel(session.model, source);
  const traits = needsShapes(model) ? readTraits(model) : undefined;
  if (traits === undefined || model.inputs.some(({ shape }) => shape.includes(0))) return model;
  const { image, preferredSize } = traits;
  const size = image.fixedSize ?? wanted ?? preferredSize;
  const described = await withFoundShapes(model, source, size, `by a run at ${size.join("x")}`, async () => {
    const inputs = Object.fromEntries(
      model.inputs.map((info) => [info.name, placeholder(info, info.name === image.name, size, image.layout)]),
    );
    try {
      const outputs = await session.run(inputs, { signal });
      return new Map([...outputs].map(([name, { shape }]) => [name, shape]));
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  });
  const openRows = model.outputs.filter(({ shape }) => shape.length < 2 || shape[1]! < 0).map(({ name }) => name);
  return { ...described, openRows };
}

/** A session's model as tasks look at it. The signal ends what is run of it meanwhile. */
export function openedSession(session: Session, source: string, signal: AbortSignal | undefined): OpenedModel {
  return {
    model: declaredModel(session.model, source),
    source,
    described: (size) => describedModel(session, source, signal, size),
    rangeOf: () => undefined,
    sample: (input, tensor) => session.run({ [input]: tensor }, { signal }),
    async outputsFor(input, dtype, shape) {
      const outputs = await session.run({ [input]: createTensor(dtype, shape) }, { signal });
      return session.outputs.map((info) => ({
        name: info.name,
        dtype: info.dtype,
        shape: outputs.get(info.name)!.shape,
      }));
    },
  };
}
