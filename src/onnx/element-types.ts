/** @module Element types: of every tensor of a graph, by its operators, without a library. */

import { ELEMENT_TYPES } from "../core/tensor.ts";
import { graphsOf, intOf, type OnnxNode, tensorOf } from "./messages.ts";
import { OnnxGraph } from "./model.ts";

/** Element types by tensor, as `f32`; what is not known is left out. */
export type TensorTypes = Map<string, string>;

/** Outputs of operators that have one type whatever they read; "" stands for that of the first input. */
const FIXED: Readonly<Record<string, readonly string[]>> = {
  Shape: ["i64"],
  Size: ["i64"],
  NonZero: ["i64"],
  ArgMax: ["i64"],
  ArgMin: ["i64"],
  NonMaxSuppression: ["i64"],
  TopK: ["", "i64"],
  MaxPool: ["", "i64"],
  Unique: ["", "i64", "i64", "i64"],
  Dropout: ["", "bool"],
  Equal: ["bool"],
  Greater: ["bool"],
  GreaterOrEqual: ["bool"],
  Less: ["bool"],
  LessOrEqual: ["bool"],
  And: ["bool"],
  Or: ["bool"],
  Not: ["bool"],
  Xor: ["bool"],
  IsNaN: ["bool"],
  IsInf: ["bool"],
  LayerNormalization: ["", "f32", "f32"],
  ConvInteger: ["i32"],
  MatMulInteger: ["i32"],
  DynamicQuantizeLinear: ["u8", "f32", "u8"],
};

/** Operators whose type is that of another input than the first. */
const TYPED_BY: Readonly<Record<string, number>> = {
  Where: 1,
  OneHot: 2,
  CastLike: 1,
  DequantizeLinear: 1,
  QLinearConv: 7,
  QLinearMatMul: 7,
};

/** Those whose attribute says it, and what holds without it: a type, or that of the first input. */
const TYPED_BY_ATTRIBUTE: Readonly<Record<string, readonly [attribute: string, otherwise: string]>> = {
  Cast: ["to", "undefined"],
  RandomNormal: ["dtype", "f32"],
  RandomUniform: ["dtype", "f32"],
  RandomNormalLike: ["dtype", ""],
  RandomUniformLike: ["dtype", ""],
  EyeLike: ["dtype", ""],
  Bernoulli: ["dtype", ""],
  Multinomial: ["dtype", "i32"],
};

/** Operators of sequences, optionals and texts, whose outputs are no tensors of numbers, or none of the first input's type. */
const UNTYPED = /^(Sequence|Optional|String|SplitToSequence|ConcatFromSequence|TfIdf|.*Window$|MelWeight)/;

/** True for the operators of ONNX itself. */
export function isOnnxOperator({ domain }: OnnxNode): boolean {
  return domain === "" || domain === "ai.onnx";
}

function constantType(node: OnnxNode): string | undefined {
  const value = tensorOf(node, "value");
  if (value !== undefined) return value.elementType;
  const [attribute = ""] = node.attributes.keys();
  return { value_float: "f32", value_floats: "f32", value_int: "i64", value_ints: "i64" }[attribute];
}

/** Types of the outputs of the graphs within a node. */
function bodyTypes(node: OnnxNode, types: TensorTypes): (string | undefined)[] {
  const [message] = graphsOf(node);
  if (message === undefined) return [];
  const body = new OnnxGraph(message);
  const inner = elementTypes(body, types);
  const found = body.outputs.map(({ name }) => inner.get(name));
  // A loop's first output is its condition.
  return node.op === "Loop" ? found.slice(1) : found;
}

/** Types of the outputs of a node; `undefined` where they are not known. */
function outputTypes(node: OnnxNode, types: TensorTypes): readonly (string | undefined)[] {
  const { op, inputs, outputs } = node;
  if (!isOnnxOperator(node)) return [];
  const first = types.get(inputs.find((name) => name !== "") ?? "");
  const every = (type: string | undefined): (string | undefined)[] => outputs.map(() => type);
  const fixed = FIXED[op];
  if (fixed !== undefined) return fixed.map((type) => (type === "" ? first : type));
  const by = TYPED_BY_ATTRIBUTE[op];
  if (by !== undefined) {
    const said = intOf(node, by[0]);
    return every(said === undefined ? by[1] || first : ELEMENT_TYPES[said]);
  }
  if (op in TYPED_BY) return every(types.get(inputs[TYPED_BY[op]!] ?? ""));
  if (op === "Constant") return [constantType(node)];
  if (op === "ConstantOfShape") return [tensorOf(node, "value")?.elementType ?? "f32"];
  if (op === "QuantizeLinear") {
    const said = intOf(node, "output_dtype") ?? 0;
    return [said === 0 ? (types.get(inputs[2] ?? "") ?? "u8") : ELEMENT_TYPES[said]];
  }
  if (op === "If" || op === "Loop" || op === "Scan") return bodyTypes(node, types);
  return UNTYPED.test(op) ? [] : every(first);
}

/**
 * The element types of the tensors of a graph: what it declares, and for the others what its operators make of their inputs.
 *
 * @param around types of the graph around it, which its nodes may read
 */
export function elementTypes(graph: OnnxGraph, around: TensorTypes = new Map()): TensorTypes {
  const types: TensorTypes = new Map(around);
  for (const { name, elementType } of [...graph.inputs, ...graph.values.values(), ...graph.outputs]) {
    if (elementType !== undefined && elementType !== "undefined") types.set(name, elementType);
  }
  for (const [name, { elementType }] of graph.initializers) types.set(name, elementType);
  for (const node of graph.nodes) {
    const found = outputTypes(node, types);
    for (const [at, name] of node.outputs.entries()) {
      const type = found[at];
      if (name !== "" && type !== undefined && type !== "undefined" && !types.has(name)) types.set(name, type);
    }
  }
  return types;
}
