/** @module Outer layers: the first stage of a model, its heads, and what follows a choice of rows: they stay in float. */

import { isMeanOfBins } from "../heads/cut.ts";
import { intOf, intsOf, type OnnxNode } from "../onnx/messages.ts";
import type { OnnxGraph } from "../onnx/model.ts";

const WEIGHTED: ReadonlySet<string> = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

/** Activations whose output is a map of features, not yet what a model says. */
const FEATURES: ReadonlySet<string> = new Set(
  "LeakyRelu PRelu HardSwish Gelu Mish Elu Selu LayerNormalization".split(" "),
);

/** Operators that choose rows or places: what comes after them is little, and sensitive. */
const CHOICES: ReadonlySet<string> = new Set("TopK NonMaxSuppression GridSample".split(" "));

/** Inputs, besides the outputs of the graph, from which the last layers before them are looked for. */
const SENSITIVE: Readonly<Record<string, number>> = { Softmax: 0, GridSample: 1, TopK: 0, NonMaxSuppression: 0 };

/** Steps between a tensor and its gate: `x · tanh(softplus(x))` has two, `x · clip(x + 3) / 6` three. */
const MOST_GATES = 4;

/** True if a node multiplies a tensor by what is computed of it alone, as SiLU does. @param isConstant of a tensor's name */
function isGated(
  { op, inputs }: OnnxNode,
  producers: ReadonlyMap<string, OnnxNode>,
  isConstant: (name: string) => boolean,
): boolean {
  if (op !== "Mul" || inputs.length !== 2) return false;
  const leads = (from: string, to: string): boolean => {
    let name = from;
    for (let step = 0; step <= MOST_GATES; step++) {
      if (name === to) return step > 0;
      const node = producers.get(name);
      const [next, ...others] = (node?.inputs ?? []).filter((input) => input !== "" && !isConstant(input));
      if (next === undefined || others.length > 0 || WEIGHTED.has(node!.op)) return false;
      name = next;
    }
    return false;
  };
  return leads(inputs[0]!, inputs[1]!) || leads(inputs[1]!, inputs[0]!);
}

/**
 * The layers of a graph's heads, with the reason that each stays in float.
 *
 * Going back from the outputs, through any arithmetic, the first layer with weights on each way is one, such as the last convolutions
 * of a detector with its mean of bins; a map that is activated as features are is none. The same holds from softmax, from places that
 * are sampled, and from rows that are chosen; and all that depends on such a choice is one too.
 */
export function headLayers(graph: OnnxGraph): ReadonlyMap<OnnxNode, string> {
  const producers = graph.producers();
  const isConstant = (name: string): boolean => graph.constant(name, producers) !== undefined;
  const found = new Map<OnnxNode, string>();
  for (const node of afterChoices(graph))
    if (WEIGHTED.has(node.op)) found.set(node, "a layer behind a choice of rows, such as TopK");
  const open = graph.outputs.map(({ name }) => name);
  for (const { op, inputs } of graph.nodes) {
    const input = SENSITIVE[op];
    if (input !== undefined && inputs[input] !== undefined) open.push(inputs[input]);
  }
  const seen = new Set<string>();
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (name === "" || seen.has(name)) continue;
    seen.add(name);
    const node = producers.get(name);
    if (node === undefined || FEATURES.has(node.op) || isGated(node, producers, isConstant)) continue;
    if (!WEIGHTED.has(node.op)) open.push(...node.inputs);
    else if (node.inputs[1] !== undefined && isConstant(node.inputs[1])) {
      found.set(node, "the last layer of a head");
      // The mean of bins is a layer by its form only.
      if (isMeanOfBins(graph, producers, node)) open.push(node.inputs[0]!);
    }
  }
  return found;
}

function afterChoices(graph: OnnxGraph): ReadonlySet<OnnxNode> {
  const consumers = graph.consumers();
  const found = new Set<OnnxNode>();
  const open = graph.nodes.filter(({ op }) => CHOICES.has(op));
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const output of node.outputs) {
      for (const reader of consumers.get(output) ?? []) {
        if (found.has(reader)) continue;
        found.add(reader);
        open.push(reader);
      }
    }
  }
  return found;
}

/**
 * Tensors by which the cost of quantising is seen: what the heads give. Behind a choice of rows others may be chosen, so that nothing
 * can be compared there; of a model that goes on with layers behind it, what they read of the part before is taken as well.
 */
export function tellingTensors(graph: OnnxGraph): string[] {
  const after = afterChoices(graph);
  const isBehind = (node: OnnxNode): boolean => after.has(node) || CHOICES.has(node.op);
  const heads = [...headLayers(graph).keys()].filter((node) => !after.has(node)).map(({ outputs }) => outputs[0]!);
  if (![...after].some(({ op }) => WEIGHTED.has(op))) return heads;
  const producers = graph.producers();
  const read = graph.nodes.filter(isBehind).flatMap(({ inputs }) => inputs);
  const given = read.filter((name) => {
    const producer = producers.get(name);
    return producer !== undefined && !isBehind(producer) && graph.constant(name, producers) === undefined;
  });
  return [...new Set([...heads, ...given])];
}

/** Layers that make maps smaller. */
const STRIDED: ReadonlySet<string> = new Set(["Conv", "MaxPool", "AveragePool", "LpPool"]);
/** Operators that make maps larger again. */
const GROWING: ReadonlySet<string> = new Set(["Resize", "Upsample", "ConvTranspose", "DepthToSpace"]);
/** How much narrower than the image the maps of the first stages are at most. FP8 rounds coarser, whatever the range. */
const MOST_STRIDE = { int8: 4, fp8: 8 } as const;

/** How much narrower the map is that a node gives than the one it reads. */
function strideOf(graph: OnnxGraph, node: OnnxNode, producers: ReadonlyMap<string, OnnxNode>): number {
  if (STRIDED.has(node.op)) return Number(intsOf(node, "strides")?.at(-1) ?? 1);
  if (node.op === "SpaceToDepth") return intOf(node, "blocksize") ?? 1;
  if (node.op !== "Slice") return 1;
  const valuesOf = (input: number): number[] => {
    const constant = graph.constant(node.inputs[input] ?? "", producers);
    return [...(constant?.values() ?? [])].map(Number);
  };
  // Of an image that is taken apart, rows first, the columns count.
  const [axes, steps] = [valuesOf(3), valuesOf(4)];
  const at = axes.findIndex((axis) => axis === 3 || axis === -1);
  return at < 0 ? 1 : Math.max(steps[at] ?? 1, 1);
}

/**
 * The convolutions of a graph's first stages: those that give maps of a quarter of the image's side or more, for FP8 of an eighth, in a
 * network that goes on to smaller ones. They hold few weights, and all layers behind them read their error: most of it is theirs, as
 * what they give has outliers.
 */
export function firstStage(graph: OnnxGraph, type: keyof typeof MOST_STRIDE): ReadonlySet<OnnxNode> {
  const producers = graph.producers();
  const strides = new Map(graph.inputs.map(({ name }) => [name, 1]));
  const found = new Set<OnnxNode>();
  let most = 1;
  for (const node of graph.nodes) {
    const read = Math.max(...node.inputs.map((name) => strides.get(name) ?? 0));
    if (read === 0) continue;
    const stride = GROWING.has(node.op) ? Number.POSITIVE_INFINITY : read * strideOf(graph, node, producers);
    for (const name of node.outputs) strides.set(name, stride);
    if (node.op !== "Conv") continue;
    if (stride <= MOST_STRIDE[type]) found.add(node);
    if (Number.isFinite(stride)) most = Math.max(most, stride);
  }
  return most > MOST_STRIDE[type] ? found : new Set();
}
