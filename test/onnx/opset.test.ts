import { expect, test } from "bun:test";
import { tensorOf } from "../../src/core/tensor.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { type RaisedOpset, raiseOpset } from "../../src/onnx/operators.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type NodeSpec, onnxModel } from "../support/onnx-writer.ts";

/** Of opset 11: every operator whose form a later one changed. */
const NODES: readonly NodeSpec[] = [
  { op: "Unsqueeze", inputs: ["x"], outputs: ["one"], attributes: { axes: [0] } },
  { op: "Squeeze", inputs: ["one"], outputs: ["two"], attributes: { axes: [0] } },
  { op: "Split", inputs: ["two"], outputs: ["a", "b"], attributes: { axis: 1, split: [1, 3] } },
  { op: "Split", inputs: ["two"], outputs: ["c", "d"], attributes: { axis: 1 } },
  { op: "Softmax", inputs: ["b"], outputs: ["soft"] },
  { op: "Dropout", inputs: ["soft"], outputs: ["kept"], attributes: { ratio: { float: 0.5 } } },
  { op: "ReduceSum", inputs: ["kept"], outputs: ["sum"], attributes: { axes: [1] } },
  { op: "ReduceMean", inputs: ["c"], outputs: ["mean"], attributes: { axes: [1] } },
  { op: "ReduceMax", inputs: ["d"], outputs: ["max"], attributes: { axes: [1], keepdims: 0 } },
];

function model(nodes: readonly NodeSpec[], opset = 11): Uint8Array<ArrayBuffer> {
  const outputs = ["a", "kept", "sum", "mean", "max"].filter((name) =>
    nodes.some((node) => node.outputs.includes(name)),
  );
  return onnxModel({
    opset,
    nodes,
    inputs: [{ name: "x", dtype: "f32", shape: [2, 4] }],
    outputs: outputs.map((name) => ({ name, dtype: "f32" as const })),
  });
}

async function outputsOf(bytes: Uint8Array): Promise<unknown> {
  await using session = await Session.fromBytes(bytes, "a model");
  const x = tensorOf("f32", [2, 4], Float32Array.of(1, 2, 3, 4, -1, 0, 5, 2));
  return [...(await session.run({ x }))];
}

function raised(bytes: Uint8Array, to: RaisedOpset, rank: number | undefined = 2): OnnxModel {
  const onnx = OnnxModel.read(bytes);
  raiseOpset(onnx, to, () => rank, "a model");
  return onnx;
}

test("a model that is raised computes the same, to the bit", async () => {
  const wanted = await outputsOf(model(NODES));
  for (const to of [13, 19] as const) {
    const onnx = raised(model(NODES), to);
    expect(onnx.opsets.get("")).toBe(to);
    expect(await outputsOf(onnx.write())).toEqual(wanted);
  }
});

test("a model that is new enough stays as it is", () => {
  const bytes = model(NODES.slice(4, 5), 17);
  const onnx = raised(bytes, 13);
  expect(onnx.opsets.get("")).toBe(17);
});

test("raiseOpset() refuses what no rule holds for", () => {
  expect(() => raised(model(NODES), 13, 3)).toThrow(
    'Cannot raise a model from opset 11 to 13: Softmax "Softmax_4" is of several axes, or of an unknown number\nHint: export it with opset 17: yolo export … opset=17',
  );
  expect(() => raised(model(NODES, 9), 19)).toThrow(
    /from opset 9 to 19: rules are known from opset 11 on\nHint: .*opset=19/,
  );
  const branch = {
    inputs: [],
    outputs: [{ name: "m", dtype: "f32" as const }],
    nodes: [{ ...NODES[7]!, inputs: ["x"], outputs: ["m"] }],
  };
  const nested: NodeSpec[] = [
    { op: "ReduceMin", inputs: ["x"], outputs: ["low"], attributes: { keepdims: 0 } },
    { op: "Cast", inputs: ["low"], outputs: ["yes"], attributes: { to: 9 } },
    { op: "If", inputs: ["yes"], outputs: ["a"], attributes: { then_branch: branch, else_branch: branch } },
  ];
  expect(() => raised(model(nested, 17), 19)).toThrow(
    "its If holds the operator ReduceMean, which changed in opset 18",
  );
});
