/** @module FewerLayers: a graph is rewritten so that an engine has fewer kernels to run for the same numbers. */

import { volume } from "../core/tensor.ts";
import { FP16_MAX } from "./float16-choice.ts";
import { createNode, intOf, intsOf, type OnnxNode, OnnxTensor } from "./messages.ts";
import type { OnnxGraph, OnnxModel } from "./model.ts";
import { isOnnxOperator } from "./operators.ts";

/** Input of a Conv. */
const WEIGHTS = 1;
const BIAS = 2;

/** Channels of NCHW. */
const CHANNELS = 1;

/** Parts of a map begin where the vectors of FP16 formats do, else they would be copied. */
const PART_CHANNELS = 8;

/** Since this version of the operator set Split reads its sizes from an input. */
const SIZES_BY_INPUT = 13;

/**
 * Rewrite what exporters write and engines run as kernels of their own, each of which only moves or adds what another has just
 * written. The same numbers come out, but for the order in which they are added:
 *
 * - convolutions of the same input, each with a SiLU behind it, become one: engines join the convolutions by themselves, and then
 *   run each SiLU by itself;
 * - a sum that only a concatenation before a convolution reads is left to that convolution's weights: `W₁b + W₂(b + c)` is
 *   `(W₁ + W₂)b + W₂c`, so that SiLU and convolution are one kernel where there was a sum behind them;
 * - all parts of a split, concatenated again, are what was split: engines copy each part.
 *
 * Weights that are not FP32, or lie in files beside the model, stay as they are, and so does a model in which another library's
 * operator has a name of these: ONNX Runtime writes one whose Conv has weights of another order.
 *
 * @param joinsSiblings whether convolutions of one input become one
 */
export function fewerLayers({ graph, opsets }: OnnxModel, joinsSiblings = true): void {
  if (graph.nodes.some((node) => REWRITTEN.has(node.op) && !isOnnxOperator(node))) return;
  if (joinsSiblings) joinSiblings(graph, opsets.get("") ?? opsets.get("ai.onnx") ?? 1);
  foldSums(graph);
  joinParts(graph);
  graph.removeUnused();
}

/** What works on each element by itself. */
const ELEMENTWISE: ReadonlySet<string> = new Set(["Sigmoid", "Mul", "Add", "Relu", "LeakyRelu", "HardSwish"]);

/** Operators that are rewritten, or read on the way. */
const REWRITTEN: ReadonlySet<string> = new Set(["Conv", "Split", "Concat", ...ELEMENTWISE]);

/** Who reads each tensor; outputs of the graph are nobody's alone. */
class Readers {
  readonly #consumers: ReadonlyMap<string, readonly OnnxNode[]>;
  readonly #outputs: ReadonlySet<string>;

  constructor(graph: OnnxGraph) {
    this.#consumers = graph.consumers();
    this.#outputs = new Set(graph.outputs.map(({ name }) => name));
  }

  /** The nodes that read a tensor; none of an output of the graph. */
  of(name: string): readonly OnnxNode[] {
    return this.#outputs.has(name) ? [] : (this.#consumers.get(name) ?? []);
  }

  /** The only one. */
  onlyOf(name: string): OnnxNode | undefined {
    const readers = this.of(name);
    return readers.length === 1 ? readers[0] : undefined;
  }
}

/** A name that nothing of a graph has. */
function freeName(graph: OnnxGraph, wanted: string): string {
  const isTaken = (name: string): boolean =>
    graph.initializers.has(name) ||
    graph.inputs.some((input) => input.name === name) ||
    graph.nodes.some(({ outputs }) => outputs.includes(name));
  let name = wanted;
  for (let at = 1; isTaken(name); at += 1) name = `${wanted}:${at}`;
  return name;
}

/** FP32 weights that lie in the model; `undefined` for others, and where they are not as many as their shape says. */
function floatsOf(weights: OnnxTensor | undefined): Float32Array<ArrayBuffer> | undefined {
  const floats = weights?.floats();
  return weights !== undefined && floats?.length === volume(weights.shape) ? floats : undefined;
}

/** A convolution with a SiLU behind it, which alone reads it. */
interface Activated {
  readonly conv: OnnxNode;
  readonly sigmoid: OnnxNode;
  readonly product: OnnxNode;
  readonly weights: OnnxTensor;
  readonly bias: OnnxTensor;
}

function activatedBy(conv: OnnxNode, graph: OnnxGraph, readers: Readers): Activated | undefined {
  if (conv.op !== "Conv" || conv.inputs.length <= BIAS || (intOf(conv, "group") ?? 1) !== 1) return undefined;
  const made = conv.outputs[0]!;
  const behind = readers.of(made);
  const sigmoid = behind.find(({ op }) => op === "Sigmoid");
  const product = behind.find(({ op }) => op === "Mul");
  if (behind.length !== 2 || sigmoid === undefined || product === undefined) return undefined;
  const gate = sigmoid.outputs[0]!;
  if (readers.onlyOf(gate) !== product || !product.inputs.includes(gate)) return undefined;
  const weights = graph.initializers.get(conv.inputs[WEIGHTS]!);
  const bias = graph.initializers.get(conv.inputs[BIAS]!);
  if (weights === undefined || bias === undefined) return undefined;
  if (floatsOf(weights) === undefined || floatsOf(bias)?.length !== weights.shape[0]) return undefined;
  return bias.shape[0]! % PART_CHANNELS === 0 ? { conv, sigmoid, product, weights, bias } : undefined;
}

/** What convolutions must have in common to be one. */
function kindOf({ conv, weights }: Activated): string {
  const attributes = [...conv.attributes].map(([name, message]) => `${name}:${message.toBase64()}`).sort();
  return [conv.inputs[0], ...weights.shape.slice(1), ...attributes].join("\n");
}

/** Convolutions of the same input, each with a SiLU behind it, become one. */
function joinSiblings(graph: OnnxGraph, opset: number): void {
  const readers = new Readers(graph);
  const siblings = Map.groupBy(
    graph.nodes.flatMap((node) => activatedBy(node, graph, readers) ?? []),
    kindOf,
  );
  for (const group of siblings.values()) if (group.length > 1) joinGroup(graph, group, opset);
}

function joinGroup(graph: OnnxGraph, group: readonly Activated[], opset: number): void {
  const [{ conv: first, weights, product }] = group as [Activated, ...Activated[]];
  const sizes = group.map(({ bias }) => bias.shape[0]!);
  const named = (part: string): string => freeName(graph, `${product.outputs[0]}:joined:${part}`);
  const [made, gate, whole] = [named("conv"), named("gate"), named("whole")] as const;
  const shape = [sizes.reduce((sum, size) => sum + size), ...weights.shape.slice(1)];
  const names = [
    addFloats(
      graph,
      named("weights"),
      shape,
      group.map((one) => one.weights),
    ),
    addFloats(
      graph,
      named("bias"),
      shape.slice(0, 1),
      group.map((one) => one.bias),
    ),
  ];
  const conv = createNode("Conv", [first.inputs[0]!, ...names], [made]);
  for (const [name, message] of first.attributes) conv.attributes.set(name, message);
  const parts = group.map((one) => one.product.outputs[0]!);
  const hasInput = opset >= SIZES_BY_INPUT;
  const inputs = [whole];
  if (hasInput) {
    const name = named("sizes");
    graph.initializers.set(name, OnnxTensor.of(name, "i64", [sizes.length], BigInt64Array.from(sizes, BigInt)));
    inputs.push(name);
  }
  const joined = [
    conv,
    createNode("Sigmoid", [made], [gate]),
    createNode("Mul", [made, gate], [whole]),
    createNode("Split", inputs, parts, { axis: CHANNELS, ...(hasInput ? {} : { split: sizes }) }),
  ];
  const gone = new Set(group.flatMap((one) => [one.conv, one.sigmoid, one.product]));
  graph.nodes = graph.nodes.flatMap((node) => (node === first ? joined : gone.has(node) ? [] : [node]));
}

/** Tensors one behind the other as one, of this name. */
function addFloats(graph: OnnxGraph, name: string, shape: readonly number[], parts: readonly OnnxTensor[]): string {
  const all = new Float32Array(shape.reduce((product, side) => product * side, 1));
  let at = 0;
  for (const part of parts) {
    const floats = part.floats()!;
    all.set(floats, at);
    at += floats.length;
  }
  graph.initializers.set(name, OnnxTensor.of(name, "f32", shape, all));
  return name;
}

/** Sums that only a concatenation before a convolution reads are left to the convolution. */
function foldSums(graph: OnnxGraph): void {
  const maps = new MapReading(graph);
  let readers = new Readers(graph);
  for (const concat of graph.nodes) {
    if (concat.op !== "Concat" || intOf(concat, "axis") !== CHANNELS) continue;
    // From the last, as each sum may be a part of the next.
    for (let at = concat.inputs.length - 1; at >= 0; at -= 1) {
      if (!foldSum(graph, maps, readers, concat, at)) continue;
      graph.removeUnused();
      readers = new Readers(graph);
    }
  }
}

/** @returns false where it is none that can be left to the convolution */
function foldSum(graph: OnnxGraph, maps: MapReading, readers: Readers, concat: OnnxNode, at: number): boolean {
  const sum = maps.producers.get(concat.inputs[at]!);
  if (sum?.op !== "Add" || readers.onlyOf(sum.outputs[0]!) !== concat) return false;
  const conv = readers.onlyOf(concat.outputs[0]!);
  if (conv?.op !== "Conv") return false;
  if (concat.inputs.indexOf(sum.outputs[0]!) !== concat.inputs.lastIndexOf(sum.outputs[0]!)) return false;
  const term = sum.inputs.find((name) => concat.inputs.includes(name));
  const other = sum.inputs.find((name) => name !== term);
  if (term === undefined || other === undefined || !maps.isAsLarge(other, term)) return false;
  const channels = concat.inputs.map((name) => maps.channelsOf(name));
  const counts = channels.filter((count) => count !== undefined);
  const weights = graph.initializers.get(conv.inputs[WEIGHTS]!);
  const floats = floatsOf(weights);
  if (weights === undefined || floats === undefined || counts.length < channels.length) return false;
  const [outputs = 0, read = 0, ...kernel] = weights.shape;
  // Of groups each reads a part only, and its weights have no more.
  if (counts.reduce((total, count) => total + count, 0) !== read) return false;
  const count = counts[at]!;
  const into = concat.inputs.indexOf(term);
  if (counts[into] !== count || maps.channelsOf(other) !== count) return false;
  const area = kernel.reduce((product, side) => product * side, 1);
  const startOf = (index: number): number => counts.slice(0, index).reduce((total, one) => total + one, 0) * area;
  const [from, to] = [startOf(at), startOf(into)];
  for (let row = 0; row < outputs; row += 1) {
    const start = row * read * area;
    for (let k = 0; k < count * area; k += 1) {
      const folded = floats[start + to + k]! + floats[start + from + k]!;
      // Engines may hold weights in FP16.
      if (!(Math.abs(folded) <= FP16_MAX)) return false;
      floats[start + to + k] = folded;
    }
  }
  const name = freeName(graph, `${conv.outputs[0]}:weights:${at}`);
  graph.initializers.set(name, OnnxTensor.of(name, "f32", weights.shape, floats));
  conv.inputs[WEIGHTS] = name;
  concat.inputs[at] = other;
  return true;
}

/** Reads of a graph how large its maps are. */
class MapReading {
  readonly producers: ReadonlyMap<string, OnnxNode>;
  readonly #graph: OnnxGraph;

  constructor(graph: OnnxGraph) {
    this.#graph = graph;
    this.producers = graph.producers();
  }

  /** Channels of a map; `undefined` where they are not certain. */
  channelsOf(name: string): number | undefined {
    const counts = new Set<number | undefined>();
    const isRead = this.#walk(name, (node, output) => {
      if (ELEMENTWISE.has(node.op)) return node.inputs;
      if (node.op === "Conv") counts.add(this.#graph.initializers.get(node.inputs[WEIGHTS]!)?.shape[0]);
      else if (node.op === "Split" && intOf(node, "axis") === CHANNELS)
        counts.add(this.#sizesOf(node)?.[node.outputs.indexOf(output)]);
      else return undefined;
      return [];
    });
    return isRead && counts.size === 1 ? [...counts][0] : undefined;
  }

  /** Whether a map was made of another without a change of its sides. */
  isAsLarge(name: string, as: string): boolean {
    return this.#walk(
      name,
      (node) => {
        if (ELEMENTWISE.has(node.op)) return node.inputs;
        return node.op === "Conv" && this.#keepsSides(node) ? node.inputs.slice(0, WEIGHTS) : undefined;
      },
      as,
    );
  }

  /**
   * Look at what made a map, and at what made that.
   *
   * @param inputsOf what to look at behind a node; `undefined` ends it
   * @param end      what need not be looked at
   * @returns false where it was ended, or came to an input of the model or a constant
   */
  #walk(
    name: string,
    inputsOf: (node: OnnxNode, output: string) => readonly string[] | undefined,
    end?: string,
  ): boolean {
    const seen = new Set([end]);
    // Not by recursion: graphs are deep, and a SiLU reads each map twice.
    const open = [name];
    for (let output = open.pop(); output !== undefined; output = open.pop()) {
      if (seen.has(output)) continue;
      seen.add(output);
      const node = this.producers.get(output);
      const inputs = node && inputsOf(node, output);
      if (inputs === undefined) return false;
      open.push(...inputs);
    }
    return true;
  }

  #sizesOf(split: OnnxNode): readonly number[] | undefined {
    return intsOf(split, "split") ?? this.#graph.constant(split.inputs[1] ?? "", this.producers)?.values();
  }

  #keepsSides(conv: OnnxNode): boolean {
    const kernel = this.#graph.initializers.get(conv.inputs[WEIGHTS]!)?.shape.slice(2);
    if (kernel === undefined || conv.attributes.has("auto_pad")) return false;
    const pads = intsOf(conv, "pads") ?? kernel.flatMap(() => [0, 0]);
    const strides = intsOf(conv, "strides") ?? [];
    const dilations = intsOf(conv, "dilations") ?? kernel.map(() => 1);
    const isKept = kernel.every((side, at) => pads[at]! + pads[at + kernel.length]! === dilations[at]! * (side - 1));
    return isKept && strides.every((stride) => stride === 1);
  }
}

/** All parts of a split in their order, concatenated again, are what was split. */
function joinParts(graph: OnnxGraph): void {
  const producers = graph.producers();
  for (const concat of graph.nodes) {
    if (concat.op !== "Concat") continue;
    for (let at = 0; at < concat.inputs.length; at += 1) {
      const split = producers.get(concat.inputs[at]!);
      if (split?.op !== "Split" || (intOf(split, "axis") ?? 0) !== intOf(concat, "axis")) continue;
      const parts = concat.inputs.slice(at, at + split.outputs.length);
      if (parts.join("\n") === split.outputs.join("\n")) concat.inputs.splice(at, parts.length, split.inputs[0]!);
    }
  }
}
