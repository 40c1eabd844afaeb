/** @module Float16 choice: which nodes of a model keep FP32 when its other tensors become FP16, as strongly typed networks need it. */

import {
  ARITHMETIC,
  type Fp32Facts,
  type Fp32Reason,
  fp32Nodes,
  isImage,
  MOVING,
  nodesBehindWeights,
} from "./fp32-nodes.ts";
import { graphsOf, intOf, nodeName, type OnnxNode, type OnnxTensor } from "./messages.ts";
import type { OnnxGraph, OnnxModel } from "./model.ts";
import { isOnnxOperator, type TensorTypes } from "./operators.ts";

/** Why a node keeps FP32. */
export type KeptReason =
  | Fp32Reason
  | "range"
  | "indices"
  | "operator"
  | "control flow"
  | "between others"
  | "asked for";

/** What the choice may know of a model beside its graph. */
export interface Float16Facts extends Pick<Fp32Facts, "shapeOf"> {
  /** Largest magnitude that each tensor had on images. Without it what works boxes out in pixels keeps FP32, however small the image. */
  readonly ranges?: ReadonlyMap<string, number> | undefined;
  /** False: FP16 also where it loses: only operators without it, indices and constants beyond it keep FP32. Default true. */
  readonly hasRule?: boolean | undefined;
  /** Names of nodes that keep FP32 in any case. */
  readonly exclude?: readonly string[] | undefined;
}

/** Largest number of FP16. */
export const FP16_MAX = 65_504;

/** Behind the last weights, where tensors are pixels and scores, FP16 has less than halves from here on. */
const MOST_PIXELS = 512;

/** Constants up to here are shares, powers and factors; centres of cells, strides and sizes are larger. */
const MOST_SHARE = 4;

/** What a layer sums may be larger than what was seen: images differ. */
const MOST_ANYWHERE = FP16_MAX / 4;

/** Operators that ONNX or libraries have in FP32 only, or that make numbers of a type that they say themselves. */
const FP32_ONLY: ReadonlySet<string> = new Set(
  (
    "Celu NonMaxSuppression Range Multinomial RandomUniform RandomNormal RandomUniformLike RandomNormalLike Bernoulli EyeLike " +
    "DynamicQuantizeLinear LSTM GRU RNN RoiAlign MaxRoiPool DFT STFT MelWeightMatrix HannWindow HammingWindow BlackmanWindow"
  ).split(" "),
);

/** The opset from which on Q/DQ nodes take FP16 and its scales. */
const OPSET_OF_FP16_SCALES = 19;
/** The opset from which on sums along an axis take FP16. */
const OPSET_OF_FP16_SUMS = 14;

/** Operators that take a constant beyond FP16 as the largest number of it, and mean the same. */
const CLAMPING: ReadonlySet<string> = new Set(["Where", "Clip", "Min", "Max", "Pad"]);

const INTEGERS: ReadonlySet<string | undefined> = new Set(["i64", "i32", "i16", "u16", "u32", "u64"]);

/** Functions of single numbers that positions are worked out by. */
const FUNCTIONS: ReadonlySet<string> = new Set(
  "Floor Ceil Round Mod Abs Sign Sqrt Reciprocal Sin Cos Log Identity Expand Tile CumSum".split(" "),
);

/** Beside {@linkcode MOVING}: what passes its numbers on as they are. */
const PASSING: ReadonlySet<string> = new Set([
  ...MOVING,
  "Identity",
  "Flatten",
  "Expand",
  "Tile",
  "GatherElements",
  "GatherND",
]);

/** Inputs that stay as they are, by operator: scales and regions of a resize. */
export function staysFp32({ op }: OnnxNode, input: number): boolean {
  return input > 0 && (op === "Resize" || op === "Upsample");
}

/** Operators that read a tensor of any type, and give one of their own. */
export function readsAnyType({ op }: OnnxNode): boolean {
  return op === "Cast" || op === "Shape" || op === "Size" || op === "IsNaN";
}

/** Largest finite magnitude of constants; 0 for what lies in another file. */
function largestOf(tensor: OnnxTensor | undefined): number {
  const floats = tensor?.floats() ?? [];
  let most = 0;
  for (const value of floats) {
    const size = Math.abs(value);
    if (size > most && size !== Number.POSITIVE_INFINITY) most = size;
  }
  return most;
}

/** A graph with what the choice asks of it. */
class Choice {
  readonly kept = new Map<OnnxNode, KeptReason>();
  readonly #graph: OnnxGraph;
  readonly #types: TensorTypes;
  readonly #producers: ReadonlyMap<string, OnnxNode>;
  readonly #opset: number;
  /** Tensors that are worked out of whole numbers. */
  readonly #counted = new Set<string>();

  constructor(model: OnnxModel, types: TensorTypes) {
    this.#graph = model.graph;
    this.#types = types;
    this.#producers = model.graph.producers();
    this.#opset = model.opsets.get("") ?? model.opsets.get("ai.onnx") ?? 1;
  }

  keep(node: OnnxNode, reason: KeptReason): void {
    if (!this.kept.has(node) && this.#hasFloats(node)) this.kept.set(node, reason);
  }

  /** What has no FP16, or is not known well enough. */
  byOperator(): void {
    for (const node of this.#graph.nodes) {
      const { op, inputs, outputs } = node;
      const isQuantiser = op === "QuantizeLinear" || op === "DequantizeLinear";
      const isUnknown = [...inputs, ...outputs].some((name) => name !== "" && !this.#types.has(name));
      if (!graphsOf(node).next().done) this.keep(node, "control flow");
      else if (!isOnnxOperator(node) || FP32_ONLY.has(op) || isUnknown) this.keep(node, "operator");
      else if (op === "CumSum" && this.#opset < OPSET_OF_FP16_SUMS) this.keep(node, "operator");
      else if (isQuantiser && this.#opset < OPSET_OF_FP16_SCALES) this.keep(node, "operator");
    }
  }

  byRule({ shapeOf }: Float16Facts): void {
    const found = fp32Nodes(this.#graph, { shapeOf, opset: this.#opset });
    for (const { node, reason } of found) this.keep(node, reason);
  }

  /** Where nobody has seen how large boxes become: what follows the centres of cells, strides and sizes, behind the last weights. */
  byPixels({ shapeOf }: Float16Facts): void {
    const behind = nodesBehindWeights(this.#graph);
    const pixels = new Set<string>();
    const isPlace = (name: string): boolean =>
      this.#counted.has(name) || largestOf(this.#graph.constant(name, this.#producers)) > MOST_SHARE;
    for (const node of this.#graph.nodes) {
      const { op, inputs, outputs } = node;
      const floats = inputs.filter((name) => this.#types.get(name) === "f32");
      const isArithmetic = ARITHMETIC.has(op);
      if (!behind.has(node) || !(isArithmetic || PASSING.has(op)) || this.#isBias(node)) continue;
      if (!floats.some((name) => pixels.has(name) || (isArithmetic && isPlace(name)))) continue;
      if (isImage(shapeOf?.(outputs[0]!))) continue;
      for (const name of outputs) pixels.add(name);
      this.keep(node, "box arithmetic");
    }
  }

  byRange(ranges: ReadonlyMap<string, number>): void {
    const behind = nodesBehindWeights(this.#graph);
    for (const node of this.#graph.nodes) {
      const most = behind.has(node) ? MOST_PIXELS : MOST_ANYWHERE;
      if (readsAnyType(node) || node.op === "Constant") continue;
      if ([...node.inputs, ...node.outputs].some((name) => (ranges.get(name) ?? 0) > most)) this.keep(node, "range");
    }
  }

  /** Constants that FP16 does not hold. */
  byConstants(): void {
    const most = new Map<string, number>();
    for (const node of this.#graph.nodes) {
      if (CLAMPING.has(node.op) || this.kept.has(node)) continue;
      for (const name of node.inputs) {
        if (this.#types.get(name) !== "f32") continue;
        if (!most.has(name)) most.set(name, largestOf(this.#graph.constant(name, this.#producers)));
        if (most.get(name)! > FP16_MAX) this.keep(node, "range");
      }
    }
  }

  /** Positions and sizes that are worked out of whole numbers: FP16 has none above 2048 in a row. */
  byIndices(): void {
    const constant = new Set<string>();
    const counted = this.#counted;
    const isConstant = (name: string): boolean =>
      constant.has(name) || this.#graph.constant(name, this.#producers) !== undefined;
    for (const node of this.#graph.nodes) {
      const { op, inputs, outputs } = node;
      const floats = inputs.filter((name) => this.#types.get(name) === "f32");
      const isCounted = floats.some((name) => counted.has(name));
      const isKnown = floats.length > 0 && floats.every((name) => counted.has(name) || isConstant(name));
      const fromIntegers = op === "Cast" && intOf(node, "to") === 1 && INTEGERS.has(this.#types.get(inputs[0]!));
      const isArithmetic = ARITHMETIC.has(op) || FUNCTIONS.has(op);
      if (fromIntegers || op === "Range" || (isKnown && (isArithmetic || (isCounted && PASSING.has(op))))) {
        for (const name of outputs) counted.add(name);
        this.keep(node, "indices");
      } else if (op === "ConstantOfShape" || (isKnown && PASSING.has(op))) {
        for (const name of outputs) constant.add(name);
      }
    }
  }

  /** What only passes numbers on between nodes that keep FP32 does not round them on their way. */
  between(keepsOutputs: boolean): void {
    const consumers = this.#graph.consumers();
    const outputs = new Set(this.#graph.outputs.map(({ name }) => name));
    const inputs = new Set(this.#graph.inputs.map(({ name }) => name));
    const passing = new Set(
      this.#graph.nodes.filter((node) => PASSING.has(node.op) && isOnnxOperator(node) && !this.kept.has(node)),
    );
    const isOf32 = (node: OnnxNode | undefined): boolean =>
      node !== undefined && (this.kept.has(node) || passing.has(node));
    const isFed = (name: string): boolean => {
      if (this.#types.get(name) !== "f32" || inputs.has(name)) return true;
      return this.#graph.constant(name, this.#producers) !== undefined || isOf32(this.#producers.get(name));
    };
    const isTaken = (name: string): boolean => {
      if (outputs.has(name) && !keepsOutputs) return false;
      const all = consumers.get(name) ?? [];
      return all.every((node) => isOf32(node) || node.inputs.every((one, at) => one !== name || staysFp32(node, at)));
    };
    for (let size = -1; size !== passing.size; ) {
      size = passing.size;
      for (const node of passing) {
        if (!node.inputs.every(isFed) || !node.outputs.every(isTaken)) passing.delete(node);
      }
    }
    for (const node of passing) this.keep(node, "between others");
  }

  #hasFloats({ op, inputs, outputs }: OnnxNode): boolean {
    if (op === "Constant") return false;
    return [...(op === "Cast" ? [] : inputs), ...outputs].some((name) => {
      const type = this.#types.get(name);
      return type === "f32" || (name !== "" && type === undefined);
    });
  }

  /** True for the bias of a matrix product: it is a part of the layer. */
  #isBias({ op, inputs }: OnnxNode): boolean {
    const isBehindProduct = inputs.some((name) => this.#producers.get(name)?.op === "MatMul");
    const hasConstant = inputs.some((name) => this.#graph.constant(name, this.#producers) !== undefined);
    return op === "Add" && isBehindProduct && hasConstant;
  }
}

/**
 * The nodes that keep FP32, each with its reason.
 *
 * @param types       of the tensors, as {@linkcode elementTypes} has them
 * @param keepsOutputs whether the model's outputs keep their types
 */
export function keptInFp32(
  model: OnnxModel,
  types: TensorTypes,
  facts: Float16Facts,
  keepsOutputs: boolean,
): ReadonlyMap<OnnxNode, KeptReason> {
  const choice = new Choice(model, types);
  const asked = new Set(facts.exclude);
  for (const node of model.graph.nodes) if (asked.has(nodeName(node))) choice.keep(node, "asked for");
  choice.byOperator();
  choice.byIndices();
  if (facts.hasRule !== false) {
    choice.byRule(facts);
    if (facts.ranges === undefined) choice.byPixels(facts);
    else choice.byRange(facts.ranges);
  }
  choice.byConstants();
  choice.between(keepsOutputs);
  return choice.kept;
}
