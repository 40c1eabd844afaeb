/**
 * @module OpenedModel: a model as accelerators take it: what it declares, with the shapes of open outputs found by a run on zeros; and as it
 * is run: cut at the maps of its head where its task knows the head, and the cut is proved.
 */

import {
  BunTensorRtError,
  inShort,
  LibraryLoadError,
  ModelError,
  OnnxRuntimeError,
  ShapeError,
  TensorRtError,
} from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { createTensor, type Shape, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import type { ProofOptions } from "../heads/cut-proof.ts";
import type { ModelSpec } from "../heads/head.ts";
import type { MapPlan } from "../heads/plans.ts";
import type { ShapedModel } from "../heads/shaping.ts";
import { declaredModel, SHAPING_VERSION } from "../heads/shaping-config.ts";
import { readTraits } from "../heads/traits.ts";
import { type ModelInfo, needsShapes, openOutputs, withShapes } from "../model/model-info.ts";
import { readOnnxModel } from "../onnx/model.ts";
import type { Session } from "../onnxruntime/session.ts";
import type { Size } from "../runtime/backend.ts";
import { noDevicePart, type OpenedModel, type Task } from "../runtime/task.ts";

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

/** What says how a model may be shaped. */
type ShapingTask = Pick<Task<unknown, unknown, unknown>, "forShaping">;

/** An ONNX model of which only what it declares is known. */
interface OnnxFile {
  readonly bytes: Uint8Array;
  /** Where it was read from; `undefined` for bytes. */
  readonly path?: string | undefined;
  /** For messages. */
  readonly source: string;
}

/** What is to run the model. */
interface Runner {
  /** Why maps that are read by a plan of this kind stay as they were exported; `undefined` where they need not. */
  readonly whyNot: (plan: MapPlan) => string | undefined;
  /** Whether convolutions of one input become one. */
  readonly joinsSiblings: boolean;
  readonly signal: AbortSignal | undefined;
}

/** As tasks look at it. Nothing is run. */
export function declaredOnly({ bytes, source }: OnnxFile): OpenedModel {
  const model = readOnnxModel(bytes);
  return {
    model,
    source,
    described: () => Promise.resolve(model),
    rangeOf: () => undefined,
    outputsFor: () => Promise.reject(noDevicePart("a model that is not loaded", "find the shapes of its outputs")),
  };
}

/**
 * What tells the plans of a model apart that are shaped for different heads; `undefined` for one that is built as it is. One whose
 * outputs are open is recognised only when it is built.
 */
export async function variantOf(file: OnnxFile, task: ShapingTask): Promise<string | undefined> {
  if (task.forShaping === undefined) return undefined;
  const opened = declaredOnly(file);
  const found = await task.forShaping(opened);
  if (found === undefined) return needsShapes(opened.model) ? `shaped ${SHAPING_VERSION}` : undefined;
  const { head, plan, extras } = found.spec;
  return plan.kind === "own" ? undefined : JSON.stringify({ version: SHAPING_VERSION, head, plan, extras });
}

/** Whether cuts can be proved here, without which none is made: it takes ONNX Runtime. */
export function canProve(): boolean {
  try {
    openOnnxRuntime();
    return true;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return false;
  }
}

/**
 * A model that is cut at the maps of its head.
 *
 * @param file   of an ONNX model
 * @param opened the same, with the shapes of its outputs
 * @returns its bytes; `undefined` for one that is run as it was exported
 */
export async function shapedBytes(
  { bytes, path, source }: OnnxFile,
  opened: OpenedModel,
  task: ShapingTask,
  { whyNot, joinsSiblings, signal }: Runner,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const found = await task.forShaping?.(opened);
  if (found === undefined) return undefined;
  const { shapeModel } = await import("../heads/shaping.ts");
  const shaped = await shapeModel(bytes, found.model, found.spec, path, joinsSiblings);
  if ("isUnproved" in shaped) {
    const found = `Building ${source} as it was exported, which runs slower: its head is cut only where ONNX Runtime proves the cut`;
    logger.warn(`${found} (${shaped.reason})\nHint: \`bunx bun-tensorrt install onnxruntime\` fetches it`);
    return undefined;
  }
  const reason = "reason" in shaped ? shaped.reason : whyNot(shaped.shaping.plan);
  if ("reason" in shaped || reason !== undefined) {
    logger.debug(`Leaving ${source} as it was exported: ${reason}`);
    return undefined;
  }
  logger.debug(`Cut ${source} at the maps of its head "${shaped.shaping.head}"`);
  return provedOf(shaped, source, found.spec, { path, signal });
}

/**
 * What is run of a model that was cut: the rewritten one, where it gives the same maps; else the one that was only cut.
 *
 * @param source of the model, for the log
 * @param spec   what the model was recognised as
 * @throws the signal's reason, if it was aborted
 */
export async function provedOf(
  { model, cut }: Omit<ShapedModel, "shaping">,
  source: string,
  spec: ModelSpec,
  options: ProofOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  if (Buffer.compare(model, cut) === 0) return model;
  let reason: string | undefined;
  try {
    const { mapsApart } = await import("../heads/cut-proof.ts");
    reason = await mapsApart(cut, model, spec, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof BunTensorRtError)) throw error;
    reason = inShort(error);
  }
  if (reason === undefined) return model;
  logger.warn(`Using ${source} without the rewrite for fewer kernels, which ONNX Runtime did not confirm (${reason})`);
  return cut;
}
