/**
 * @module OnnxModel: an ONNX model in memory, to be looked at, changed and written again, without decoding its weights; and what a file
 * declares, what a plan would otherwise lose of it, and which other files belong to it.
 */

import { realpathSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ModelError, message } from "../core/errors.ts";
import { kindOf, statsOf } from "../core/paths.ts";
import type { TensorInfo } from "../core/tensor.ts";
import {
  graphsOf,
  type OnnxNode,
  OnnxTensor,
  OnnxValue,
  readEntry,
  readNode,
  tensorOf,
  writeEntry,
  writeNode,
} from "./messages.ts";
import {
  contentOf,
  contentsOf,
  type Field,
  fieldsIn,
  numberOf,
  readFields,
  textOf,
  writeContent,
  writeInt,
} from "./wire.ts";

/** Fields of ModelProto, GraphProto, OperatorSetIdProto and TensorAnnotation. @see github.com/onnx/onnx, onnx/onnx.proto */
const MODEL = { irVersion: 1, graph: 7, opset: 8, metadata: 14 } as const;
const GRAPH = { node: 1, initializer: 5, input: 11, output: 12, value: 13, annotation: 14 } as const;
const OPSET = { domain: 1, version: 2 } as const;
const ANNOTATION = { tensor: 1 } as const;

/** A model. Fields that are not known here, functions among them, come out as they went in. */
export class OnnxModel {
  readonly graph: OnnxGraph;
  /** Custom metadata, such as Ultralytics' `names`. */
  readonly metadata: Map<string, string>;
  /** Version of the file format: what decides which element types a library expects in it. */
  irVersion: number;
  /** Versions of the operator sets, by domain; ONNX's own is the empty string. */
  readonly opsets: Map<string, number>;
  readonly #rest: readonly Uint8Array[];

  private constructor(graph: OnnxGraph, fields: readonly Field[]) {
    const contents = (wanted: number): Uint8Array[] =>
      fields.flatMap(({ number, value }) => (number === wanted && typeof value !== "number" ? [value] : []));
    this.graph = graph;
    this.metadata = new Map(contents(MODEL.metadata).map(readEntry));
    this.opsets = new Map(
      contents(MODEL.opset).map((set) => [textOf(contentOf(set, OPSET.domain)), numberOf(set, OPSET.version) ?? 1]),
    );
    const irVersion = fields.findLast(({ number }) => number === MODEL.irVersion)?.value;
    this.irVersion = typeof irVersion === "number" ? irVersion : 0;
    const known: readonly number[] = Object.values(MODEL);
    this.#rest = fields.filter(({ number }) => !known.includes(number)).map(({ raw }) => raw);
  }

  /**
   * Read a model. Its bytes are held, and must not change.
   *
   * @param bytes  of an `.onnx` file
   * @param source what to call it in messages
   * @throws {ModelError} If they are no ONNX model, or cut short
   */
  static read(bytes: Uint8Array, source = "the model"): OnnxModel {
    try {
      const fields = [...readFields(bytes)];
      const graphs = fields.filter(({ number, value }) => number === MODEL.graph && typeof value !== "number");
      if (graphs.length === 1) return new OnnxModel(new OnnxGraph(graphs[0]!.value as Uint8Array), fields);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const text = message(`read ${source}`, `it is no ONNX model, or cut short (${error.message})`);
      throw new ModelError(text, source, { cause: error });
    }
    throw new ModelError(message(`read ${source}`, "it is no ONNX model"), source);
  }

  /** A model; `undefined` where the bytes are none, which the parser is to say. */
  static readIf(bytes: Uint8Array): OnnxModel | undefined {
    try {
      return OnnxModel.read(bytes);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      return undefined;
    }
  }

  /** The bytes of the model. Weights in other files are named as before. */
  write(): Uint8Array<ArrayBuffer> {
    const graph = this.graph.write();
    const length = graph.reduce((sum, chunk) => sum + chunk.byteLength, 0);
    const writer = new BinaryWriter();
    writeInt(writer, MODEL.irVersion, this.irVersion);
    for (const raw of this.#rest) writer.raw(raw);
    for (const [domain, version] of this.opsets) {
      const set = new BinaryWriter();
      if (domain !== "") writeContent(set, OPSET.domain, domain);
      writeInt(set, OPSET.version, version);
      writeContent(writer, MODEL.opset, set.finish());
    }
    // Chunks rather than one message, so that weights are copied once.
    writer.tag(MODEL.graph, WireType.LengthDelimited).uint32(length);
    for (const chunk of graph) writer.raw(chunk);
    for (const [key, value] of this.metadata) writeEntry(writer, MODEL.metadata, key, value);
    return writer.finish();
  }
}

/** Nodes, weights and declared values of a model. The arrays and maps are the caller's to change. */
export class OnnxGraph {
  /** In an order in which each stands after those that it reads. */
  nodes: OnnxNode[] = [];
  /** Weights and constants by name. */
  readonly initializers: Map<string, OnnxTensor> = new Map();
  inputs: OnnxValue[] = [];
  outputs: OnnxValue[] = [];
  /** What the file declares of tensors between inputs and outputs, by name. */
  readonly values: Map<string, OnnxValue> = new Map();
  /** What is said of the quantisation of tensors, by their names. */
  readonly #annotations = new Map<string, Uint8Array>();
  readonly #rest: Uint8Array[] = [];

  /** @throws {Error} If the message is cut short */
  constructor(graph: Uint8Array) {
    for (const { number, value, raw } of readFields(graph)) {
      if (typeof value === "number") this.#rest.push(raw);
      else if (number === GRAPH.node) this.nodes.push(readNode(value));
      else if (number === GRAPH.initializer) {
        const tensor = new OnnxTensor(value);
        this.initializers.set(tensor.name, tensor);
      } else if (number === GRAPH.input) this.inputs.push(new OnnxValue(value));
      else if (number === GRAPH.output) this.outputs.push(new OnnxValue(value));
      else if (number === GRAPH.value) {
        const declared = new OnnxValue(value);
        this.values.set(declared.name, declared);
      } else if (number === GRAPH.annotation) {
        this.#annotations.set(textOf(contentOf(value, ANNOTATION.tensor)), value);
      } else this.#rest.push(raw);
    }
  }

  /** The node that makes each tensor. */
  producers(): Map<string, OnnxNode> {
    return new Map(this.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  }

  /** The nodes that read each tensor. */
  consumers(): Map<string, OnnxNode[]> {
    const found = new Map<string, OnnxNode[]>();
    for (const node of this.nodes) {
      for (const name of new Set(readsOf(node))) {
        const readers = found.get(name);
        if (readers === undefined) found.set(name, [node]);
        else readers.push(node);
      }
    }
    return found;
  }

  /** The constant of a name: an initialiser, or what a `Constant` node holds. @param producers of this graph */
  constant(name: string, producers: ReadonlyMap<string, OnnxNode>): OnnxTensor | undefined {
    const node = producers.get(name);
    if (node?.op === "Identity") return this.constant(node.inputs[0]!, producers);
    return node?.op === "Constant" ? tensorOf(node, "value") : this.initializers.get(name);
  }

  /** Remove the nodes that no output needs, and what is said of their tensors and of weights that nobody reads. */
  removeUnused(): void {
    const producers = this.producers();
    const needed = new Set<string>();
    const used = new Set<OnnxNode>();
    const open = this.outputs.map(({ name }) => name);
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (needed.has(name)) continue;
      needed.add(name);
      const node = producers.get(name);
      if (node === undefined || used.has(node)) continue;
      used.add(node);
      open.push(...readsOf(node));
    }
    this.nodes = this.nodes.filter((node) => used.has(node));
    const isMade = (name: string): boolean => needed.has(name) || used.has(producers.get(name)!);
    // Older exporters list weights among the inputs; an input that nothing reads is one all the same.
    this.inputs = this.inputs.filter(({ name }) => needed.has(name) || !this.initializers.has(name));
    for (const map of [this.initializers, this.values, this.#annotations]) {
      for (const name of map.keys()) if (!isMade(name)) map.delete(name);
    }
  }

  /** @internal The message in pieces, of which the larger are those that were read. */
  write(): readonly Uint8Array[] {
    const writer = new BinaryWriter();
    for (const node of this.nodes) writeContent(writer, GRAPH.node, writeNode(node));
    for (const value of this.inputs) writeContent(writer, GRAPH.input, value.message);
    for (const value of this.outputs) writeContent(writer, GRAPH.output, value.message);
    for (const value of this.values.values()) writeContent(writer, GRAPH.value, value.message);
    for (const annotation of this.#annotations.values()) writeContent(writer, GRAPH.annotation, annotation);
    const chunks = [...this.#rest, writer.finish()];
    for (const { message: tensor } of this.initializers.values()) {
      const head = new BinaryWriter().tag(GRAPH.initializer, WireType.LengthDelimited).uint32(tensor.byteLength);
      chunks.push(head.finish(), tensor);
    }
    return chunks;
  }
}

/** Graphs within graphs, messages within messages: what protobuf itself takes, and so TensorRT and ONNX Runtime. */
const MAX_DEPTH = 100;

/** The tensors that branches and loops of a node read by name, those of the graph around them among others. */
export function readWithin(node: OnnxNode): string[] {
  return readsOf({ ...node, inputs: [] });
}

/** The tensors that a node reads, those that its branches and loops read of the graph around them included. */
function readsOf(node: OnnxNode, depth = 0): string[] {
  const names = node.inputs.filter((name) => name !== "");
  if (depth > MAX_DEPTH) return names;
  // The graph's own among them do no harm.
  for (const graph of graphsOf(node)) {
    for (const content of contentsOf(graph, GRAPH.node)) names.push(...readsOf(readNode(content), depth + 1));
    for (const output of contentsOf(graph, GRAPH.output)) names.push(new OnnxValue(output).name);
  }
  return names;
}

/** Key of the metadata. */
const CONVERTED_KEY = "bun_tensorrt_precision";

/** Say in a model what it was converted to. */
export function markConverted({ metadata }: OnnxModel, precision: string): void {
  metadata.set(CONVERTED_KEY, precision);
}

/** What a model was converted to; `undefined` for one as it was exported. */
export function convertedTo(metadata: Readonly<Record<string, string>>): string | undefined {
  return metadata[CONVERTED_KEY];
}

/** True if weights of a model are FP16: who made them so has chosen its types. */
export function isOfHalves({ graph }: OnnxModel): boolean {
  return [...graph.initializers.values()].some(({ elementType, shape }) => elementType === "f16" && shape.length > 1);
}

/** Operators whose weights are to be finite: an infinite constant of others may be meant, as in a mask. */
const WEIGHTED: ReadonlySet<string> = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

/** A number of a model that is none, or weights that are infinite; what lies in other files is not looked at. */
export function notFinite({ graph }: OnnxModel): { readonly name: string; readonly value: number } | undefined {
  const weights = new Set(graph.nodes.flatMap(({ op, inputs }) => (WEIGHTED.has(op) ? inputs.slice(1) : [])));
  for (const [name, tensor] of graph.initializers) {
    const isWeights = weights.has(name);
    const value = tensor.floats()?.find((one) => Number.isNaN(one) || (isWeights && !Number.isFinite(one)));
    if (value !== undefined) return { name, value };
  }
  return undefined;
}

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

/**
 * Read the metadata of a model. Skips over the graph without looking at it.
 *
 * @param model bytes of an `.onnx` file
 * @returns keys and values; empty where the bytes are no ONNX model
 */
export function readOnnxMetadata(model: Uint8Array): Record<string, string> {
  return Object.fromEntries([...contentsOf(model, MODEL.metadata)].map(readEntry));
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
  for (const graph of contentsOf(model, MODEL.graph)) {
    for (const { number, value } of fieldsIn(graph)) {
      if (typeof value === "number") continue;
      if (number === GRAPH.initializer) initialised.add(new OnnxTensor(value).name);
      if (number !== GRAPH.input && number !== GRAPH.output) continue;
      const { info } = new OnnxValue(value);
      if (info !== undefined) (number === GRAPH.input ? inputs : outputs).push(info);
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
