/**
 * @module Operators: what a graph's operators make of element types, without a library, and how a model is raised to a later version of them,
 * by rule or not at all.
 */

import { ModelError, message } from "../core/errors.ts";
import { ELEMENT_TYPES } from "../core/tensor.ts";
import { graphsOf, intOf, intsOf, type OnnxNode, OnnxTensor, setAttribute, tensorOf } from "./messages.ts";
import { OnnxGraph, type OnnxModel } from "./model.ts";

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

/** Versions that models are raised to: Q/DQ along an axis, and Q/DQ of FP16 and FP8. */
export type RaisedOpset = 13 | 19;

/** From which version on the rules here hold. */
const LEAST = 11;

/** Version of the file format that has the element types of FP8, and the one that went with opset 13. */
const IR_VERSIONS: Readonly<Record<RaisedOpset, number>> = { 13: 7, 19: 9 };

/** What the rules need to know of a graph. */
interface Raise {
  readonly graph: OnnxGraph;
  readonly rankOf: (tensor: string) => number | undefined;
}

/** A rule makes a node of an older version one of a newer. @returns why it cannot, or `undefined` */
type Rule = (node: OnnxNode, raise: Raise) => string | undefined;

/** An attribute of whole numbers becomes the second input. */
function asInput(attribute: string): Rule {
  return (node, { graph }) => {
    const numbers = intsOf(node, attribute);
    if (numbers === undefined) return undefined;
    const name = `${node.outputs[0]}_${attribute}`;
    const values = BigInt64Array.from(numbers, BigInt);
    graph.initializers.set(name, OnnxTensor.of(name, "i64", [numbers.length], values));
    node.attributes.delete(attribute);
    node.inputs[1] = name;
    return undefined;
  };
}

/** Before opset 13 a softmax was of all axes from one on, which is the same where that is the last. */
const softmax: Rule = (node, { rankOf }) => {
  const rank = rankOf(node.inputs[0]!);
  const axis = intOf(node, "axis") ?? 1;
  if (rank === undefined || (axis !== rank - 1 && axis !== -1)) return "is of several axes, or of an unknown number";
  setAttribute(node, "axis", -1);
  return undefined;
};

const splitEvenly: Rule = (node) => {
  if ((node.inputs[1] ?? "") === "") setAttribute(node, "num_outputs", node.outputs.length);
  return undefined;
};

const dropRatio: Rule = (node) => {
  node.attributes.delete("ratio");
  return undefined;
};

const REDUCTIONS =
  "ReduceMax ReduceMean ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare";

/** What changed in a version, by operator. */
const CHANGES: readonly { readonly version: number; readonly rules: Readonly<Record<string, Rule>> }[] = [
  { version: 12, rules: { Dropout: dropRatio } },
  {
    version: 13,
    rules: {
      Softmax: softmax,
      LogSoftmax: softmax,
      Hardmax: softmax,
      Squeeze: asInput("axes"),
      Unsqueeze: asInput("axes"),
      ReduceSum: asInput("axes"),
      Split: asInput("split"),
    },
  },
  {
    version: 18,
    rules: { Split: splitEvenly, ...Object.fromEntries(REDUCTIONS.split(" ").map((op) => [op, asInput("axes")])) },
  },
];

/** The domain of ONNX's own operators, and their version in a model. */
function opsetOf(model: OnnxModel): readonly [domain: string, version: number] {
  const domain = model.opsets.has("") ? "" : "ai.onnx";
  return [domain, model.opsets.get(domain) ?? 1];
}

function refuseRaise(model: OnnxModel, to: RaisedOpset, source: string, found: string): never {
  const least = Math.max(to, 17);
  const hint = `export it with opset ${least}: yolo export … opset=${least}, or torch.onnx.export(…, opset_version=${least})`;
  throw new ModelError(message(`raise ${source} from opset ${opsetOf(model)[1]} to ${to}`, found, hint), source);
}

/** For those who work for minutes before they raise a model. @throws {ModelError} If it is older than opset 11 */
export function refuseTooOld(model: OnnxModel, to: RaisedOpset, source: string): void {
  if (opsetOf(model)[1] < LEAST) refuseRaise(model, to, source, `rules are known from opset ${LEAST} on`);
}

/**
 * Raise a model to a version of ONNX's operators, where it has an older one. It is changed where it stands.
 *
 * @param rankOf number of sides of a tensor, where it is known
 * @param source what to call the model in messages
 * @throws {ModelError} If it is older than opset 11, or a rule does not hold for one of its nodes
 */
export function raiseOpset(
  model: OnnxModel,
  to: RaisedOpset,
  rankOf: (tensor: string) => number | undefined,
  source: string,
): void {
  const [domain, from] = opsetOf(model);
  model.irVersion = Math.max(model.irVersion, IR_VERSIONS[to]);
  if (from >= to) return;
  refuseTooOld(model, to, source);
  const refuse = (found: string): never => refuseRaise(model, to, source, found);
  const { graph } = model;
  const raise: Raise = { graph, rankOf };
  for (const { version, rules } of CHANGES) {
    if (version <= from || version > to) continue;
    for (const node of graph.nodes) {
      const inner = innerOps(node).find((op) => Object.hasOwn(rules, op));
      if (inner !== undefined) refuse(`its ${node.op} holds the operator ${inner}, which changed in opset ${version}`);
      const rule = node.domain === "" && Object.hasOwn(rules, node.op) ? rules[node.op] : undefined;
      const why = rule?.(node, raise);
      if (why !== undefined) refuse(`${node.op} ${JSON.stringify(node.name)} ${why}`);
    }
  }
  model.opsets.set(domain, to);
}

/** Operators in the branches and loops of a node. */
function innerOps(node: OnnxNode): string[] {
  return [...graphsOf(node)].flatMap((inner) =>
    new OnnxGraph(inner).nodes.flatMap((one) => [one.op, ...innerOps(one)]),
  );
}
