/** @module DescribedEngine: what an engine declares, with the shapes that open outputs have for its typical input. */

import { ShapeError, TensorRtError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { isDynamic } from "../../core/shape.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { readTraits } from "../../model/model-traits.ts";
import { needsShapes, openOutputs, withShapes } from "../../model/open-shapes.ts";
import type { Engine } from "../../tensorrt/engine.ts";

/**
 * Inputs, outputs and metadata of an engine. Where an output's axes are open, a context works its shape out for the
 * typical shapes of the first profile, without running. What depends on the data stays open.
 */
export async function describedEngine(engine: Engine): Promise<ModelInfo> {
  const { inputs, outputs, metadata, source } = engine;
  const model: ModelInfo = { inputs, outputs, metadata };
  const image = needsShapes(model) ? readTraits(model, {})?.image : undefined;
  if (image === undefined) return model;
  const opt = engine.tensor(image.name).profiles[0]?.opt ?? [];
  const [, second = 0, third = 0, fourth = 0] = opt;
  const size = image.layout === "NCHW" ? ([fourth, third] as const) : ([third, second] as const);
  try {
    using context = await engine.createContext({ memory: "user-managed" });
    engine.runtime.device?.makeCurrent();
    for (const { name, shape, profiles } of inputs) {
      if (isDynamic(shape)) context.tensor(name).setShape(profiles[0]?.opt ?? shape);
    }
    return withShapes(model, new Map(outputs.map(({ name }) => [name, context.tensor(name).shape])), size);
  } catch (error) {
    if (!(error instanceof TensorRtError || error instanceof ShapeError)) throw error;
    const [reason] = error.message.split("\n", 1);
    logger.warn(`Cannot find the shapes of ${openOutputs(model)} of ${source} at ${size.join("x")}: ${reason}`);
    return model;
  }
}
