import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type DType, type Tensor, tensorOf } from "../../src/core/tensor.ts";
import { type Float16Options, halvesOf, toFloat16 } from "../../src/onnx/float16.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { elementTypes } from "../../src/onnx/operators.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { describeTensors } from "../../src/precision/tensor-probe.ts";
import { type InitializerSpec, type ModelSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

function scalar(name: string, value: number): InitializerSpec {
  return { name, dtype: "f32", shape: [], data: Float32Array.of(value) };
}

/** Convert a model; what it is then: types of tensors, and nodes as `Op inputs > outputs`. */
function converted(bytes: Uint8Array, options: Float16Options = {}) {
  const onnx = OnnxModel.read(bytes);
  const conversion = toFloat16(onnx, options);
  const written = onnx.write();
  const { graph } = OnnxModel.read(written);
  const types = elementTypes(graph);
  const nodes = graph.nodes.map(({ op, inputs, outputs }) => `${op} ${inputs.join(",")} > ${outputs.join(",")}`);
  const kept = conversion.kept.map(({ node, reason }) => `${node.op}: ${reason}`);
  return { ...conversion, kept, bytes: written, graph, types, nodes };
}

async function outputsOf(bytes: Uint8Array, inputs: Readonly<Record<string, Tensor>>): Promise<Map<string, number[]>> {
  await using session = await Session.fromBytes(bytes, "a test");
  const outputs = await session.run(inputs);
  return new Map([...outputs].map(([name, { data }]) => [name, Array.from(data as Iterable<number | bigint>, Number)]));
}

const X: Tensor = tensorOf("f32", [1, 4], Float32Array.of(0.25, -1, 2, 3));

function model(spec: Partial<ModelSpec>, type: DType = "f32"): Uint8Array<ArrayBuffer> {
  return onnxModel({
    nodes: [],
    inputs: [{ name: "x", dtype: type, shape: [1, 4] }],
    outputs: [{ name: "y", dtype: type, shape: [1, 4] }],
    ...spec,
  });
}

test("toFloat16() casts at the borders, and keeps the names and types of inputs and outputs", async () => {
  const bytes = model({
    nodes: [
      { op: "Mul", inputs: ["x", "half"], outputs: ["a"] },
      { op: "Sigmoid", inputs: ["a"], outputs: ["y"] },
    ],
    initializers: [scalar("half", 0.5)],
    metadata: { names: "{0: 'a'}" },
  });
  const { nodes, casts, kept, types, graph } = converted(bytes);
  expect(nodes).toEqual(["Cast x > x_fp16", "Mul x_fp16,half > a", "Sigmoid a > y_fp16", "Cast y_fp16 > y"]);
  expect([casts, kept, types.get("half"), types.get("a"), types.get("y")]).toEqual([2, [], "f16", "f16", "f32"]);
  expect(graph.outputs.map(({ info }) => info)).toEqual([{ name: "y", dtype: "f32", shape: [1, 4] }]);
  const [before, after] = [await outputsOf(bytes, { x: X }), await outputsOf(converted(bytes).bytes, { x: X })];
  for (const [at, value] of after.get("y")!.entries()) expect(value).toBeCloseTo(before.get("y")![at]!, 3);
  expect(OnnxModel.read(converted(bytes).bytes).metadata.get("names")).toBe("{0: 'a'}");

  const half = converted(bytes, { io: "fp16" });
  expect(half.nodes).toEqual(["Mul x,half > a", "Sigmoid a > y"]);
  expect([...half.graph.inputs, ...half.graph.outputs].map(({ elementType }) => elementType)).toEqual(["f16", "f16"]);
  expect(converted(bytes, { io: ["y"] }).nodes.at(-1)).toBe("Sigmoid a > y");
});

test("toFloat16() gives a constant of both types twice, and leaves scales and sizes as they are", async () => {
  const bytes = model({
    nodes: [
      { op: "Celu", inputs: ["x"], outputs: ["a"] },
      { op: "Mul", inputs: ["a", "factor"], outputs: ["b"] },
      { op: "Reshape", inputs: ["b", "shape"], outputs: ["c"] },
      { op: "Resize", inputs: ["c", "", "scales"], outputs: ["d"] },
      { op: "NonMaxSuppression", inputs: ["boxes", "d", "most", "factor"], outputs: ["chosen"] },
      { op: "Flatten", inputs: ["d"], outputs: ["y"] },
    ],
    initializers: [
      scalar("factor", 0.3),
      { name: "shape", dtype: "i64", shape: [3], data: BigInt64Array.of(1n, 1n, 4n) },
      { name: "scales", dtype: "f32", shape: [3], data: Float32Array.of(1, 1, 1) },
      { name: "boxes", dtype: "f32", shape: [1, 4, 4], data: new Float32Array(16) },
      { name: "most", dtype: "i64", shape: [1], data: BigInt64Array.of(1n) },
    ],
    outputs: [
      { name: "y", dtype: "f32", shape: [1, 4] },
      { name: "chosen", dtype: "i64", shape: ["n", 3] },
    ],
  });
  const { kept, types, nodes } = converted(bytes);
  expect(kept).toEqual(["Celu: operator", "NonMaxSuppression: operator"]);
  expect([types.get("factor"), types.get("factor_fp16"), types.get("scales"), types.get("boxes")]).toEqual([
    "f32",
    "f16",
    "f32",
    "f32",
  ]);
  expect(nodes).toContain("Resize c,,scales > d");
  const [before, after] = [await outputsOf(bytes, { x: X }), await outputsOf(converted(bytes).bytes, { x: X })];
  for (const [at, value] of after.get("y")!.entries()) expect(value).toBeCloseTo(before.get("y")![at]!, 3);
});

test("toFloat16() keeps positions that are counted, and what leads from one node of FP32 to the next", async () => {
  const bytes = model({
    nodes: [
      { op: "Shape", inputs: ["x"], outputs: ["shape"] },
      { op: "Cast", inputs: ["shape"], outputs: ["sides"], attributes: { to: 1 } },
      { op: "Mul", inputs: ["sides", "many"], outputs: ["places"] },
      { op: "Unsqueeze", inputs: ["places", "axis"], outputs: ["row"] },
      { op: "Cast", inputs: ["row"], outputs: ["whole"], attributes: { to: 7 } },
      { op: "Sigmoid", inputs: ["x"], outputs: ["y"] },
    ],
    initializers: [scalar("many", 4099), { name: "axis", dtype: "i64", shape: [1], data: BigInt64Array.of(0n) }],
    outputs: [
      { name: "y", dtype: "f32", shape: [1, 4] },
      { name: "whole", dtype: "i64", shape: [1, 2] },
    ],
  });
  const { kept, bytes: after } = converted(bytes);
  expect(kept).toEqual(["Cast: indices", "Mul: indices", "Unsqueeze: indices"]);
  expect((await outputsOf(after, { x: X })).get("whole")).toEqual([4099, 4 * 4099]);
});

test("toFloat16() leaves branches in FP32, with what they read of the graph around them", async () => {
  const branch = (value: string) => ({
    nodes: [{ op: "Add", inputs: ["a", value], outputs: [`sum_${value}`] }],
    inputs: [],
    outputs: [{ name: `sum_${value}`, dtype: "f32", shape: [1, 4] }] as const,
  });
  const bytes = model({
    nodes: [
      { op: "Mul", inputs: ["x", "half"], outputs: ["a"] },
      {
        op: "If",
        inputs: ["yes"],
        outputs: ["b"],
        attributes: { then_branch: branch("half"), else_branch: branch("x") },
      },
      { op: "Mul", inputs: ["b", "half"], outputs: ["y"] },
    ],
    initializers: [scalar("half", 0.5), { name: "yes", dtype: "bool", shape: [], data: Uint8Array.of(1) }],
  });
  const { kept, nodes, bytes: after } = converted(bytes);
  expect(kept).toEqual(["If: control flow"]);
  expect(nodes.slice(0, 3)).toEqual(["Cast x > x_fp16", "Mul x_fp16,half_fp16 > a_fp16", "Cast a_fp16 > a"]);
  const [wanted, found] = [await outputsOf(bytes, { x: X }), await outputsOf(after, { x: X })];
  for (const [at, value] of found.get("y")!.entries()) expect(value).toBeCloseTo(wanted.get("y")![at]!, 3);
});

test("toFloat16() removes casts that have become idle, and keeps operators whose types are not known", () => {
  const bytes = model({
    nodes: [
      { op: "Cast", inputs: ["x"], outputs: ["a"], attributes: { to: 10 } },
      { op: "Relu", inputs: ["a"], outputs: ["b"] },
      { op: "Cast", inputs: ["b"], outputs: ["c"], attributes: { to: 1 } },
      { op: "Erf", inputs: ["c"], outputs: ["d"] },
      { op: "Own", domain: "own", inputs: ["d"], outputs: ["e"] },
      { op: "Tanh", inputs: ["e"], outputs: ["y"] },
    ],
  });
  const { nodes, kept } = converted(bytes);
  expect(kept).toEqual(["Own: operator", "Tanh: operator"]);
  expect(nodes).toEqual(["Cast x > a", "Relu a > b", "Erf b > d", "Cast d > d_fp32", "Own d_fp32 > e", "Tanh e > y"]);
});

test("toFloat16() keeps what constants and ranges say is too large", () => {
  const bytes = model({
    nodes: [
      { op: "Mul", inputs: ["x", "large"], outputs: ["a"] },
      { op: "Clip", inputs: ["a", "", "large"], outputs: ["b"] },
      { op: "Sigmoid", inputs: ["b"], outputs: ["y"] },
    ],
    initializers: [scalar("large", 1e6)],
  });
  expect(converted(bytes).kept).toEqual(["Mul: box arithmetic", "Clip: box arithmetic"]);
  expect(converted(bytes, { hasRule: false }).kept).toEqual(["Mul: range"]);
  const ranges = new Map([["b", 513]]);
  expect(converted(bytes, { ranges }).kept).toEqual(["Clip: range", "Sigmoid: range", "Mul: range"]);
});

test("halvesOf() clamps, keeps infinities, and lets no constant of one element become 0", () => {
  expect([...halvesOf(Float32Array.of(1e6, -1e6, Number.POSITIVE_INFINITY, 1e-9))]).toEqual([
    65504,
    -65504,
    Number.POSITIVE_INFINITY,
    0,
  ]);
  expect([...halvesOf(Float32Array.of(-1e-12))]).toEqual([-(2 ** -24)]);
});

const YOLO = "models/yolov8n_640.onnx";
const AUTOCAST = "reference/quantisation/yolov8n_640.autocast-fp16.json";

test.skipIf(isMissing(YOLO) || isMissing(AUTOCAST))(
  "toFloat16() leaves those nodes of yolov8n in FP32 that AutoCast leaves, by the same ranges, as the model is there",
  async () => {
    const bytes = await Bun.file(sharedPath(YOLO)).bytes();
    const autocast = JSON.parse(readFileSync(sharedPath(AUTOCAST), "utf8"));
    const ranges = new Map([["/model.22/Mul_2_output_0", 637]]);
    const found = toFloat16(OnnxModel.read(bytes), { ranges });
    expect(found.kept.map(({ node }) => [node.name, node.op])).toEqual(autocast.nodesLeftInFp32);
    expect(found.casts).toBe(autocast.casts.length);
    // Without ranges, boxes are worked out in FP32 from the centres of the cells on: six nodes more, and one cast.
    const byRule = toFloat16(OnnxModel.read(bytes));
    expect([byRule.kept.length, byRule.casts]).toEqual([8, 4]);
  },
);

for (const path of [YOLO, "models/deimv2_hgnetv2_atto_coco.onnx", "models/tasks/yolo11n-pose_640_nms.onnx"]) {
  test.skipIf(isMissing(path))(`elementTypes() are those of ONNX Runtime, as ${path} is there`, async () => {
    const bytes = await Bun.file(sharedPath(path)).bytes();
    const { graph } = OnnxModel.read(bytes);
    graph.values.clear();
    const types = elementTypes(graph);
    const described = await describeTensors({ bytes, name: path });
    expect(described.size).toBeGreaterThan(200);
    for (const { name, dtype } of described.values()) expect([name, types.get(name)]).toEqual([name, dtype]);
  });
}
