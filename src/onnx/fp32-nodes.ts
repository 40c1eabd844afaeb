/**
 * @module Fp32 nodes: what an FP16 engine must compute in FP32 so that nothing is lost, found by operator and place.
 *
 * Measured by rounding every tensor of a model to FP16 (mAP50-95 on the 103 images, FP32 / all FP16 / but for the
 * normalisations): DEIMv2 femto 0.369 / 0.234 / 0.368, atto 0.297 / 0.285 / 0.298. Six others lose nothing.
 */

import { intOf, type OnnxNode } from "./messages.ts";
import { type OnnxGraph, OnnxModel } from "./model.ts";

/** Why nodes are kept in FP32; the key is what the log calls them. */
export const FP32_REASONS = {
  normalisation: "squares leave the range of FP16, or sums of them its precision",
  softmax: "its shares are smaller than FP16 tells apart",
  "exponential of boxes": "it leaves the range of FP16",
  "box arithmetic": "from 1024 pixels on FP16 has no halves, from 2048 on no odd numbers",
} as const;

/** What FP16 would lose. */
export type Fp32Reason = keyof typeof FP32_REASONS;

/** A node that an FP16 engine computes in FP32. */
export interface Fp32Node {
  readonly node: OnnxNode;
  readonly reason: Fp32Reason;
  /** Only other such nodes take what it gives, so that it is never stored as FP16. */
  readonly isInner: boolean;
}

/** What the rule must know beside the graph. */
export interface Fp32Facts {
  /** Longest side of the images that the model takes, in pixels; `undefined` where nobody knows. */
  readonly longestSide?: number | undefined;
  /** Sides of a tensor; `undefined` where they are not known. */
  readonly shapeOf?: ((tensor: string) => readonly number[] | undefined) | undefined;
  /** Version of ONNX's own operators; default: one of those that read an axis as today. */
  readonly opset?: number | undefined;
}

/** Operators that normalise by themselves. */
const NORMALISING: ReadonlySet<string> = new Set([
  "LayerNormalization",
  "InstanceNormalization",
  "GroupNormalization",
  "RMSNormalization",
  "SimplifiedLayerNormalization",
  "SkipLayerNormalization",
  "SkipSimplifiedLayerNormalization",
  "LpNormalization",
  "MeanVarianceNormalization",
]);

/** Operators that sum squares by themselves, or exponentials. */
const SUMMING: ReadonlySet<string> = new Set(["ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]);

/** What lies between the sum of the squares and its root: the epsilon, and the division by their number. */
const UNDER_ROOT: ReadonlySet<string> = new Set(["Add", "Max", "Clip", "Mul", "Div", "Reshape", "Unsqueeze", "Cast"]);

/** Arithmetic on single numbers. */
export const ARITHMETIC: ReadonlySet<string> = new Set([
  "Add",
  "Sub",
  "Mul",
  "Div",
  "Pow",
  "Exp",
  "Neg",
  "Max",
  "Min",
  "Clip",
]);

/** What takes boxes apart and puts them together, without a change. */
export const MOVING: ReadonlySet<string> = new Set([
  "Concat",
  "Slice",
  "Split",
  "Gather",
  "Reshape",
  "Transpose",
  "Squeeze",
  "Unsqueeze",
]);

/** Pixels from which on FP16 tells only whole ones apart. */
const WHOLE_PIXELS = 1024;

/** Elements of an axis from which on even shares of a softmax come near the smallest normal number of FP16, 2⁻¹⁴. */
const LONG_AXIS = 4096;

/** The opset from which on a softmax is of one axis. */
const SOFTMAX_OF_ONE_AXIS = 13;

/** Sides from which on a tensor of one or three channels is an image, and its arithmetic no boxes'. */
const IMAGE_SIDE = 64;

/** A graph with who makes and who takes each tensor. */
class Links {
  readonly graph: OnnxGraph;
  readonly #makers: ReadonlyMap<string, OnnxNode>;
  readonly #takers: ReadonlyMap<string, readonly OnnxNode[]>;

  constructor(graph: OnnxGraph) {
    this.graph = graph;
    this.#makers = graph.producers();
    this.#takers = graph.consumers();
  }

  makerOf(tensor: string | undefined): OnnxNode | undefined {
    return this.#makers.get(tensor ?? "");
  }

  takersOf(node: OnnxNode): OnnxNode[] {
    return node.outputs.flatMap((name) => this.#takers.get(name) ?? []);
  }

  isTaken(tensor: string): boolean {
    return this.#takers.has(tensor);
  }

  /** Makers of what a node takes, without constants. */
  makersFor({ inputs }: OnnxNode): OnnxNode[] {
    const makers = inputs.map((name) => this.#makers.get(name));
    return makers.filter((maker) => maker !== undefined && maker.op !== "Constant") as OnnxNode[];
  }

  /** Sides of a weight or constant; `undefined` for what nodes work out. */
  constantShape(tensor: string | undefined): readonly number[] | undefined {
    return this.graph.constant(tensor ?? "", this.#makers)?.shape;
  }
}

/** Longest way from a root up to the sum under it. */
const MOST_STEPS = 5;

/** The nodes from the sum of squares up to a root, the sum first; `undefined` where there is none. */
function underRoot(root: OnnxNode, links: Links): OnnxNode[] | undefined {
  const way: OnnxNode[] = [];
  let node: OnnxNode | undefined = root;
  for (let step = 0; step < MOST_STEPS; step++) {
    node = links.makersFor(node)[0];
    if (node === undefined) return undefined;
    way.unshift(node);
    if (node.op === "ReduceMean" || node.op === "ReduceSum" || SUMMING.has(node.op)) return way;
    if (!UNDER_ROOT.has(node.op)) return undefined;
  }
  return undefined;
}

/** What squares a tensor: `Pow`, or `Mul` of it by itself. */
function isSquare({ op, inputs }: OnnxNode): boolean {
  return op === "Pow" || (op === "Mul" && inputs[0] === inputs[1]);
}

/** A normalisation that the exporter wrote out: ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div; or without the mean. */
function normalisationAt(root: OnnxNode, links: Links): OnnxNode[] {
  const way = underRoot(root, links);
  if (way === undefined) return [];
  const found = [...way, root];
  if (!SUMMING.has(way[0]!.op)) {
    const square = links.makerOf(way[0]!.inputs[0]);
    if (square === undefined || !isSquare(square)) return [];
    found.unshift(square);
    const centred = links.makerOf(square.inputs[0]);
    const mean = centred?.op === "Sub" ? links.makerOf(centred.inputs[1]) : undefined;
    if (mean?.op === "ReduceMean") found.unshift(mean, centred!);
  }
  for (const divided of links.takersOf(root)) {
    if (divided.op !== "Div" && divided.op !== "Reciprocal") continue;
    found.push(divided);
    // Of 1/√x the normalised tensor is made by a product.
    const isInverse = divided.op === "Reciprocal" || links.constantShape(divided.inputs[0]) !== undefined;
    if (isInverse) found.push(...links.takersOf(divided).filter(({ op }) => op === "Mul"));
  }
  return found;
}

/** True for a layer with weights; a sum by fixed weights down to one number, as of DFL, is arithmetic. */
function isWeighted({ op, inputs }: OnnxNode, links: Links): boolean {
  if (op === "Gemm") return true;
  if (op !== "Conv" && op !== "ConvTranspose" && op !== "MatMul") return false;
  const weights = links.constantShape(inputs[1]);
  if (op !== "MatMul") return weights?.[0] !== 1;
  return weights !== undefined && weights.at(-1) !== 1;
}

/** Nodes behind the last layers with weights, whose outputs no such layer takes. */
function nodesBehind(links: Links): ReadonlySet<OnnxNode> {
  const { graph } = links;
  const inFront = new Set<OnnxNode>();
  const behind = new Set<OnnxNode>();
  for (const node of graph.nodes.toReversed()) {
    const isInFront = links.takersOf(node).some((taker) => inFront.has(taker) || isWeighted(taker, links));
    if (isInFront) inFront.add(node);
    else if (!isWeighted(node, links)) behind.add(node);
  }
  return behind;
}

/** Nodes behind the last layers with weights. */
export function nodesBehindWeights(graph: OnnxGraph): ReadonlySet<OnnxNode> {
  return nodesBehind(new Links(graph));
}

/** True for pixels [N, 1 or 3, H, W]: what an image model works out last. */
export function isImage(shape: readonly number[] | undefined): boolean {
  if (shape?.length !== 4 || (shape[1] !== 1 && shape[1] !== 3)) return false;
  return shape.slice(2).every((side) => side < 0 || side >= IMAGE_SIDE);
}

/** How many numbers share 1: those along an axis; before opset 13 those of all axes from one on, by default the second. */
function summedBySoftmax(node: OnnxNode, shape: readonly number[], opset = SOFTMAX_OF_ONE_AXIS): number {
  const axis = intOf(node, "axis");
  if (opset >= SOFTMAX_OF_ONE_AXIS) return shape.at(axis ?? -1) ?? 0;
  return shape.slice(axis ?? 1).reduce((product, side) => product * Math.max(side, 1), 1);
}

/**
 * The nodes of a model that FP16 would lose in: normalisations, as one operator or written out; softmax over long axes;
 * behind the last layers with weights the exponentials of boxes and what is worked out from them, and all arithmetic where
 * images are large.
 */
export function fp32Nodes(graph: OnnxGraph, facts: Fp32Facts = {}): Fp32Node[] {
  const links = new Links(graph);
  const found = new Map<OnnxNode, Fp32Reason>();
  const add = (node: OnnxNode, reason: Fp32Reason): void => {
    if (!found.has(node)) found.set(node, reason);
  };
  for (const node of graph.nodes) {
    const { op: operator, outputs } = node;
    if (NORMALISING.has(operator) || SUMMING.has(operator)) add(node, "normalisation");
    if (operator === "Sqrt" || operator === "Pow") {
      for (const part of normalisationAt(node, links)) add(part, "normalisation");
    }
    const shape = operator === "Softmax" ? facts.shapeOf?.(outputs[0]!) : undefined;
    if (shape !== undefined && summedBySoftmax(node, shape, facts.opset) >= LONG_AXIS) add(node, "softmax");
  }
  const isLarge = (facts.longestSide ?? 0) > WHOLE_PIXELS;
  const behind = nodesBehind(links);
  const afterExp = new Set<OnnxNode>();
  for (const node of graph.nodes) {
    if (!behind.has(node)) continue;
    const { op: operator } = node;
    const isAfter = operator === "Exp" || links.makersFor(node).some((maker) => afterExp.has(maker));
    if (isAfter && (ARITHMETIC.has(operator) || MOVING.has(operator))) {
      afterExp.add(node);
      add(node, "exponential of boxes");
    } else if (isLarge && (ARITHMETIC.has(operator) || operator === "Concat")) {
      if (!isImage(facts.shapeOf?.(node.outputs[0]!))) add(node, "box arithmetic");
    }
  }
  return [...found].map(([node, reason]) => ({
    node,
    reason,
    isInner:
      node.outputs.every((name) => links.isTaken(name)) && links.takersOf(node).every((taker) => found.has(taker)),
  }));
}

/** {@linkcode fp32Nodes} of a model. @param model bytes of an `.onnx` file; none are found where they are something else */
export function fp32NodesOf(model: Uint8Array, facts?: Fp32Facts): Fp32Node[] {
  const read = OnnxModel.readIf(model);
  return read === undefined ? [] : fp32Nodes(read.graph, { opset: read.opsets.get(""), ...facts });
}

/** `9 nodes of normalisation, 3 of softmax`: for messages. */
export function formatFp32Nodes(nodes: readonly { readonly reason: string }[]): string {
  const counts = new Map<string, number>();
  for (const { reason } of nodes) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts]
    .map(([reason, count], at) => `${count}${at > 0 ? "" : count === 1 ? " node" : " nodes"} of ${reason}`)
    .join(", ");
}
