/** @module Opset: a model raised to a later version of ONNX's operators, by rule or not at all. */

import { ModelError, message } from "../core/errors.ts";
import { graphsOf, intOf, intsOf, type OnnxNode, OnnxTensor, setAttribute } from "./messages.ts";
import { OnnxGraph, type OnnxModel } from "./model.ts";

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
  const domain = model.opsets.has("") ? "" : "ai.onnx";
  const from = model.opsets.get(domain) ?? 1;
  model.irVersion = Math.max(model.irVersion, IR_VERSIONS[to]);
  if (from >= to) return;
  const refuse = (found: string): never => {
    const least = Math.max(to, 17);
    const hint = `export it with opset ${least}: yolo export … opset=${least}, or torch.onnx.export(…, opset_version=${least})`;
    throw new ModelError(message(`raise ${source} from opset ${from} to ${to}`, found, hint), source);
  };
  if (from < LEAST) refuse(`rules are known from opset ${LEAST} on`);
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
