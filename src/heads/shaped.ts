/** @module Shaped: what a model that was cut at its head's maps says of itself: what it declared before, and how its maps are read. */

import { ModelError, message } from "../core/errors.ts";
import { DTYPES, type TensorInfo } from "../core/tensor.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { RowExtra } from "../model/rows.ts";
import type { ModelSpec } from "./head.ts";
import type { MapPlan } from "./map-plan.ts";

/** Key of the metadata that holds a {@linkcode Shaping} as JSON. */
export const SHAPED_KEY = "bun_tensorrt_shaped";

/** How the maps of a model that was cut are read in place of the outputs that it declared. */
export interface Shaping {
  /** What the model declared, by which it is recognised as it was. */
  readonly outputs: readonly TensorInfo[];
  /** Size of the input for which open outputs were given their shapes; left out if none were. */
  readonly shapesAt?: readonly [width: number, height: number];
  /** The head that it was cut for. */
  readonly head: string;
  readonly plan: MapPlan;
  /** What is fetched for each row, from the maps. */
  readonly extras: readonly RowExtra[];
}

const KINDS: readonly string[] = ["anchor-maps", "distance-maps", "offset-maps"] satisfies MapPlan["kind"][];

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isTensor(value: unknown): value is TensorInfo {
  const { name, dtype, shape } = isRecord(value) ? value : {};
  return (
    typeof name === "string" &&
    DTYPES.some((one) => one === dtype) &&
    Array.isArray(shape) &&
    shape.every(Number.isInteger)
  );
}

/** That it has the form of one: what decoders read of it they check themselves, frame by frame. */
function isShaping(value: unknown): value is Shaping {
  if (!isRecord(value) || typeof value.head !== "string" || !isRecord(value.plan)) return false;
  const { outputs, plan, extras } = value;
  const isPlan = KINDS.some((kind) => kind === plan.kind) && Array.isArray(plan.levels) && plan.levels.every(isRecord);
  return isPlan && Array.isArray(outputs) && outputs.every(isTensor) && Array.isArray(extras) && extras.every(isRecord);
}

/** How a model was cut; `undefined` for one that is as it was exported. @throws {ModelError} If what it says is malformed */
export function shapingOf({ metadata }: Pick<ModelInfo, "metadata">, source = "the model"): Shaping | undefined {
  const json = metadata[SHAPED_KEY];
  if (json === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (isShaping(value)) return value;
  const found = `its metadata "${SHAPED_KEY}" is not what this package writes`;
  throw new ModelError(message(`load ${source}`, found, "build it again from its ONNX model"), source);
}

/** A model as it declared itself before it was cut: what heads and tasks are recognised by. */
export function declaredModel(model: ModelInfo, source?: string): ModelInfo {
  const shaping = shapingOf(model, source);
  if (shaping === undefined) return model;
  const { outputs, shapesAt } = shaping;
  return { ...model, outputs, ...(shapesAt && { shapesAt }) };
}

/**
 * What a model was recognised as, read from its maps if it was cut.
 *
 * @throws {ModelError} If it was cut for another head
 */
export function withMaps<Spec extends ModelSpec>(spec: Spec, model: ModelInfo, source?: string): Spec {
  const shaping = shapingOf(model, source);
  if (shaping === undefined) return spec;
  const { head, plan, extras } = shaping;
  if (spec.head !== head) {
    const found = `it was cut for the head "${head}", and is to be read as "${spec.head}"`;
    const hint = `build it with \`shape: false\` (\`--no-shape\`)`;
    throw new ModelError(message(`load ${source ?? "the model"}`, found, hint), source ?? "the model");
  }
  return { ...spec, plan, ...(spec.extras && { extras }) };
}
