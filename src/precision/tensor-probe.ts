/** @module Tensor probe: the tensors inside a model: their element types and shapes, and sessions that give them as outputs. */

import { dirname, resolve } from "node:path";
import { ModelError, message } from "../core/errors.ts";
import { bytesPerElement, type Shape, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { externalDataFiles } from "../onnx/declared.ts";
import { OnnxValue } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";
import { Session } from "../onnxruntime/session.ts";
import type { SessionOptions } from "../onnxruntime/session-options.ts";

/** A model to look into. */
export interface ProbedModel {
  /** Of an `.onnx` file. */
  readonly bytes: Uint8Array;
  /** For messages. */
  readonly name: string;
  /** Of the file, where it has one: weights in other files are found beside it. */
  readonly path?: string | undefined;
}

/** Shapes that inputs of open sides are given, by name. */
type InputShapes = Readonly<Record<string, Shape>>;

/** The shapes that tensors give the inputs that they fill. */
export function inputShapesOf(inputs: Readonly<Record<string, Tensor>>): InputShapes {
  return Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
}

/** What the tensors of one group of {@linkcode tensorGroups} take together, unless the caller says another figure. */
const GROUP_BYTES = 256 * 2 ** 20;

/**
 * Element type and shape of every tensor between the inputs and outputs of a model, the outputs included, as ONNX Runtime infers
 * them. Branches and loops have tensors of their own, which are not looked at.
 *
 * @param shapes of inputs whose sides are open: without them most shapes stay open too
 * @returns by name, in the order of the graph; without those of element types that no tensor here has, such as sequences and f64
 * @throws {ModelError} If ONNX Runtime does not take the model
 */
export async function describeTensors(
  model: ProbedModel,
  shapes: InputShapes = {},
): Promise<ReadonlyMap<string, TensorInfo>> {
  const onnx = OnnxModel.read(model.bytes, model.name);
  const names = onnx.graph.nodes.flatMap((node) => node.outputs.filter((name) => name !== ""));
  await using session = await sessionOf(onnx, model, names, shapes, {
    optimization: "disable",
    ignoreUnreadable: true,
  });
  return new Map(session.outputs.map((info) => [info.name, info]));
}

/**
 * Divide tensors into groups, so that those of one group fit into memory together.
 *
 * @param tensors what {@linkcode describeTensors} found; open sides count as 1
 * @param most    bytes of a group; a larger tensor has one to itself
 */
export function tensorGroups(tensors: Iterable<TensorInfo>, most: number = GROUP_BYTES): string[][] {
  const groups: string[][] = [];
  let left = 0;
  for (const { name, dtype, shape } of tensors) {
    const bytes = shape.reduce((product, side) => product * Math.max(side, 1), bytesPerElement(dtype));
    if (groups.length === 0 || bytes > left) {
      groups.push([]);
      left = most;
    }
    groups.at(-1)!.push(name);
    left -= bytes;
  }
  return groups;
}

/**
 * Open a session of a model whose outputs are tensors inside it: nothing beyond them is computed.
 *
 * @param names of tensors that nodes give, as {@linkcode describeTensors} has them; what inputs hold, the caller has already
 * @throws {ModelError} If a node gives no such tensor, or ONNX Runtime does not take the model
 */
export async function probeSession(
  model: ProbedModel,
  names: readonly string[],
  shapes: InputShapes = {},
  options: SessionOptions = {},
): Promise<Session> {
  return sessionOf(OnnxModel.read(model.bytes, model.name), model, names, shapes, options);
}

function sessionOf(
  onnx: OnnxModel,
  { bytes, name: source, path }: ProbedModel,
  names: readonly string[],
  shapes: InputShapes,
  options: SessionOptions,
): Promise<Session> {
  const { graph } = onnx;
  const producers = graph.producers();
  const missing = names.find((name) => !producers.has(name));
  if (missing !== undefined) {
    const found = `no node of it gives a tensor ${JSON.stringify(missing)}`;
    throw new ModelError(message(`look into the model ${source}`, found), source);
  }
  const declared = new Map(graph.outputs.map((output) => [output.name, output]));
  graph.outputs = names.map((name) => declared.get(name) ?? graph.values.get(name) ?? OnnxValue.named(name));
  graph.inputs = graph.inputs.map((input) => {
    const shape = shapes[input.name];
    return shape === undefined ? input : OnnxValue.of(input.name, input.elementType ?? "undefined", shape);
  });
  for (const name of names) graph.values.delete(name);
  graph.removeUnused();
  const isElsewhere = path !== undefined && externalDataFiles(bytes).length > 0;
  const weightsFolder = isElsewhere ? dirname(resolve(path)) : undefined;
  return Session.fromBytes(onnx.write(), source, { spinning: false, ...options, weightsFolder });
}
