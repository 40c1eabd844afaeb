/** @module OnnxMetadata: what an ONNX file declares, what a plan would otherwise lose of it, and which other files belong to it. */

import { realpathSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ModelError, message } from "../core/errors.ts";
import { kindOf, statsOf } from "../core/stats-of.ts";
import { DTYPES, ELEMENT_TYPES, type TensorInfo } from "../core/tensor.ts";

/** Fields of ModelProto, TensorProto and StringStringEntryProto. @see github.com/onnx/onnx, onnx/onnx.proto */
const METADATA_PROPS = 14;
const EXTERNAL_DATA = 13;
const KEY = 1;
const VALUE = 2;

/** Fields of ModelProto, GraphProto, ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto and Dimension. */
const GRAPH = 7;
const INITIALIZER = 5;
const INITIALIZER_NAME = 8;
const INPUT = 11;
const OUTPUT = 12;
const NAME = 1;
const TYPE = 2;
const TENSOR_TYPE = 1;
const ELEMENT_TYPE = 1;
const SHAPE = 2;
const DIMENSION = 1;
const SIDE = 1;

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

const decoder = new TextDecoder();

const NOTHING = new Uint8Array();

/** Messages, texts and whole numbers in a message, up to its end or to where the bytes are no protobuf. */
function* valuesIn(message: Uint8Array): Generator<readonly [number: number, value: Uint8Array | number]> {
  const reader = new BinaryReader(message);
  try {
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      if (type === WireType.LengthDelimited) yield [number, reader.bytes()];
      else if (type === WireType.Varint) yield [number, Number(reader.int64())];
      else if (type === WireType.StartGroup)
        return; // ONNX has none, and they nest
      else reader.skip(type);
    }
  } catch (error) {
    // Thrown by the reader alone: what the caller throws does not come here.
    if (!(error instanceof Error)) throw error;
  }
}

/** The messages and texts among them. */
function* fieldsIn(message: Uint8Array): Generator<readonly [number: number, content: Uint8Array]> {
  for (const [number, value] of valuesIn(message)) if (typeof value !== "number") yield [number, value];
}

/** Fields of one number in a message. */
function* fieldsOf(message: Uint8Array, wanted: number): Generator<Uint8Array> {
  for (const [number, content] of fieldsIn(message)) if (number === wanted) yield content;
}

function entryOf(content: Uint8Array): [key: string, value: string] {
  let [key, value] = ["", ""];
  for (const [number, text] of fieldsIn(content)) {
    if (number === KEY) key = decoder.decode(text);
    else if (number === VALUE) value = decoder.decode(text);
  }
  return [key, value];
}

/**
 * Read the metadata of a model. Skips over the graph without looking at it.
 *
 * @param model bytes of an `.onnx` file
 * @returns keys and values; empty where the bytes are no ONNX model
 */
export function readOnnxMetadata(model: Uint8Array): Record<string, string> {
  return Object.fromEntries([...fieldsOf(model, METADATA_PROPS)].map(entryOf));
}

/** The last whole number of a field. */
function numberIn(message: Uint8Array, wanted: number): number | undefined {
  let found: number | undefined;
  for (const [number, value] of valuesIn(message)) if (number === wanted && typeof value === "number") found = value;
  return found;
}

function textIn(message: Uint8Array, wanted: number): string {
  const [text] = fieldsOf(message, wanted);
  return decoder.decode(text);
}

/** A declared input or output: -1 where a side is open; no sides where even their number is. */
function tensorOf(declared: Uint8Array): TensorInfo | undefined {
  const [type = NOTHING] = fieldsOf(declared, TYPE);
  const [tensor = NOTHING] = fieldsOf(type, TENSOR_TYPE);
  const dtype = DTYPES.find((one) => one === ELEMENT_TYPES[numberIn(tensor, ELEMENT_TYPE) ?? 0]);
  if (dtype === undefined) return undefined;
  const [sides = NOTHING] = fieldsOf(tensor, SHAPE);
  const shape = [...fieldsOf(sides, DIMENSION)].map((side) => Math.max(numberIn(side, SIDE) ?? -1, -1));
  return { name: textIn(declared, NAME), dtype, shape };
}

/** What an ONNX file declares. */
export interface DeclaredTensors {
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
  for (const graph of fieldsOf(model, GRAPH)) {
    for (const [number, content] of fieldsIn(graph)) {
      if (number === INITIALIZER) initialised.add(textIn(content, INITIALIZER_NAME));
      if (number !== INPUT && number !== OUTPUT) continue;
      const tensor = tensorOf(content);
      if (tensor !== undefined) (number === INPUT ? inputs : outputs).push(tensor);
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
  for (const [number, content] of fieldsIn(message)) {
    const holder = holders[number];
    if (holder !== undefined) yield* tensorsIn(content, holder, depth + 1);
    if (tensors.includes(number)) yield content;
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
    for (const entry of fieldsOf(tensor, EXTERNAL_DATA)) {
      const [key, value] = entryOf(entry);
      if (key === "location") files.add(value);
    }
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
