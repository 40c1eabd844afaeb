/** @module Declared: what an ONNX file declares, what a plan would otherwise lose of it, and which other files belong to it. */

import { realpathSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { ModelError, message } from "../core/errors.ts";
import { kindOf, statsOf } from "../core/paths.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { OnnxTensor, OnnxValue, readEntry } from "./messages.ts";
import { contentsOf, fieldsIn } from "./wire.ts";

/** Fields of ModelProto and GraphProto. @see github.com/onnx/onnx, onnx/onnx.proto */
const METADATA_PROPS = 14;
const GRAPH = 7;
const INITIALIZER = 5;
const INPUT = 11;
const OUTPUT = 12;

/** A message that tensors lie in: which of its fields hold them, or more such messages. */
interface Holder {
  readonly tensors: readonly number[];
  readonly holders: Readonly<Record<number, keyof typeof HOLDERS>>;
}

/** Weights lie in a graph's initialisers, in attributes of its nodes, and in the graphs that are attributes. */
const HOLDERS = {
  model: { tensors: [], holders: { 7: "graph", 25: "function" } },
  graph: { tensors: [5], holders: { 1: "node", 15: "sparse" } },
  function: { tensors: [], holders: { 7: "node" } },
  node: { tensors: [], holders: { 5: "attribute" } },
  attribute: { tensors: [5, 10], holders: { 6: "graph", 11: "graph", 22: "sparse", 23: "sparse" } },
  sparse: { tensors: [1, 2], holders: {} },
} as const;

/** Messages within messages: what protobuf itself takes, and so TensorRT and ONNX Runtime. */
const MAX_DEPTH = 100;

/**
 * Read the metadata of a model. Skips over the graph without looking at it.
 *
 * @param model bytes of an `.onnx` file
 * @returns keys and values; empty where the bytes are no ONNX model
 */
export function readOnnxMetadata(model: Uint8Array): Record<string, string> {
  return Object.fromEntries([...contentsOf(model, METADATA_PROPS)].map(readEntry));
}

/** What an ONNX file declares. */
interface DeclaredTensors {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Read what a model declares, without a library and without its weights. Tensors of element types that none of ours has are
 * left out, as the libraries refuse them.
 *
 * @param model bytes of an `.onnx` file
 * @returns no tensors where the bytes are no ONNX model
 */
export function readOnnxModel(model: Uint8Array): DeclaredTensors {
  const [inputs, outputs]: [TensorInfo[], TensorInfo[]] = [[], []];
  const initialised = new Set<string>();
  for (const graph of contentsOf(model, GRAPH)) {
    for (const { number, value } of fieldsIn(graph)) {
      if (typeof value === "number") continue;
      if (number === INITIALIZER) initialised.add(new OnnxTensor(value).name);
      if (number !== INPUT && number !== OUTPUT) continue;
      const { info } = new OnnxValue(value);
      if (info !== undefined) (number === INPUT ? inputs : outputs).push(info);
    }
  }
  // Older exporters list weights as inputs too.
  return {
    inputs: inputs.filter(({ name }) => !initialised.has(name)),
    outputs,
    metadata: readOnnxMetadata(model),
  };
}

/** Every tensor in a message, however deep. */
function* tensorsIn(message: Uint8Array, kind: keyof typeof HOLDERS, depth = 0): Generator<Uint8Array> {
  if (depth > MAX_DEPTH) return;
  const { tensors, holders }: Holder = HOLDERS[kind];
  for (const { number, value } of fieldsIn(message)) {
    if (typeof value === "number") continue;
    const holder = holders[number];
    if (holder !== undefined) yield* tensorsIn(value, holder, depth + 1);
    if (tensors.includes(number)) yield value;
  }
}

/**
 * Files beside the model that hold weights of it. Graphs that are nested deeper than protobuf takes are not looked into:
 * no library loads such a model.
 *
 * @returns their paths relative to the model's folder, each once; empty for a model of one file
 */
export function externalDataFiles(model: Uint8Array): string[] {
  const files = new Set<string>();
  for (const tensor of tensorsIn(model, "model")) {
    const { location } = new OnnxTensor(tensor).external;
    if (location !== undefined) files.add(location);
  }
  return [...files];
}

function isWithin(folder: string, path: string): boolean {
  return !/^\.\.(?:\/|$)/.test(relative(folder, path));
}

/**
 * Paths of the files that hold weights of a model, none of which has been opened. Missing ones are the parser's to name.
 *
 * @param path of the model
 * @throws {ModelError} If one lies outside the model's folder, also by way of a link, or is no file, such as a pipe or a
 * device: ONNX Runtime refuses them too
 */
export function externalDataPaths(model: Uint8Array, path: string): string[] {
  const folder = resolve(dirname(path));
  return externalDataFiles(model).map((location) => {
    const refuse = (found: string): never => {
      const text = message(`load the model ${JSON.stringify(path)}`, found, "put its weights into a file beside it");
      throw new ModelError(text, path);
    };
    const named = `its weights ${JSON.stringify(location)}`;
    const file = join(folder, location);
    const stats =
      isWithin(folder, file) && !location.startsWith("/") ? statsOf(file) : refuse(`${named} lie outside its folder`);
    if (stats === undefined) return file;
    if (!stats.isFile()) refuse(`${named} are ${kindOf(stats)}`);
    // Caches keep files elsewhere and link to them, but then the model as well.
    const homes = [realpathSync(folder), ...(statsOf(path) === undefined ? [] : [dirname(realpathSync(path))])];
    const real = realpathSync(file);
    return homes.some((home) => isWithin(home, real)) ? file : refuse(`${named} lie outside its folder, at ${real}`);
  });
}
