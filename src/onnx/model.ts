/** @module OnnxModel: an ONNX model in memory, to be looked at, changed and written again. Weights are never decoded. */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ModelError, message } from "../core/errors.ts";
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
import { contentOf, contentsOf, type Field, numberOf, readFields, textOf, writeContent, writeInt } from "./wire.ts";

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

/** Graphs within graphs: what protobuf itself takes, and so TensorRT and ONNX Runtime. */
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
