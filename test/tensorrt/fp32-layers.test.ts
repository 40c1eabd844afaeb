import { expect, spyOn, test } from "bun:test";
import { type Fp32Facts, formatFp32Nodes, fp32NodesOf } from "../../src/onnx/fp32-nodes.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import { keepFp32 } from "../../src/tensorrt/fp16-network.ts";
import { Network, OnnxParser } from "../../src/tensorrt/network.ts";
import { type NodeSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { openFrom, RTX } from "../support/tensorrt.ts";

const WIDTH = 4;
const WEIGHTS = Float32Array.from({ length: WIDTH * WIDTH }, (_, index) => Math.sin(index));

/** A model [1, 6, 4] of given nodes, from `x` to `y`, with a layer with weights in front that makes `x`. */
function modelOf(nodes: readonly NodeSpec[]): Uint8Array<ArrayBuffer> {
  const scalar = (name: string, value: number) =>
    ({ name, dtype: "f32", shape: [], data: Float32Array.of(value) }) as const;
  return onnxModel({
    nodes: [{ op: "MatMul", inputs: ["input", "weights"], outputs: ["x"] }, ...nodes],
    inputs: [{ name: "input", dtype: "f32", shape: [1, 6, WIDTH] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 6, WIDTH] }],
    initializers: [
      { name: "weights", dtype: "f32", shape: [WIDTH, WIDTH], data: WEIGHTS },
      { name: "gamma", dtype: "f32", shape: [WIDTH], data: Float32Array.of(1, 2, 3, 4) },
      scalar("two", 2),
      scalar("epsilon", 1e-5),
      scalar("one", 1),
    ],
  });
}

const LAST = { axes: [-1] } as const;

/** Layer normalisation as PyTorch writes it out up to opset 16. */
const WRITTEN_OUT: readonly NodeSpec[] = [
  { op: "ReduceMean", inputs: ["x"], outputs: ["mean"], attributes: LAST },
  { op: "Sub", inputs: ["x", "mean"], outputs: ["centred"] },
  { op: "Pow", inputs: ["centred", "two"], outputs: ["squares"] },
  { op: "ReduceMean", inputs: ["squares"], outputs: ["variance"], attributes: LAST },
  { op: "Add", inputs: ["variance", "epsilon"], outputs: ["positive"] },
  { op: "Sqrt", inputs: ["positive"], outputs: ["deviation"] },
  { op: "Div", inputs: ["centred", "deviation"], outputs: ["normal"] },
  { op: "Mul", inputs: ["normal", "gamma"], outputs: ["scaled"] },
  { op: "MatMul", inputs: ["scaled", "weights"], outputs: ["y"] },
];

/** Root mean square, with an inverse. */
const INVERSE: readonly NodeSpec[] = [
  { op: "Mul", inputs: ["x", "x"], outputs: ["squares"] },
  { op: "ReduceMean", inputs: ["squares"], outputs: ["variance"], attributes: LAST },
  { op: "Add", inputs: ["variance", "epsilon"], outputs: ["positive"] },
  { op: "Sqrt", inputs: ["positive"], outputs: ["deviation"] },
  { op: "Div", inputs: ["one", "deviation"], outputs: ["factor"] },
  { op: "Mul", inputs: ["x", "factor"], outputs: ["normal"] },
  { op: "MatMul", inputs: ["normal", "weights"], outputs: ["y"] },
];

/** Boxes as YOLOX decodes them. */
const BOXES: readonly NodeSpec[] = [
  { op: "Exp", inputs: ["x"], outputs: ["sides"] },
  { op: "Mul", inputs: ["sides", "two"], outputs: ["pixels"] },
  { op: "Sigmoid", inputs: ["x"], outputs: ["score"] },
  { op: "Add", inputs: ["pixels", "score"], outputs: ["y"] },
];

/** Each node found: its first output, what FP16 would lose there, and whether only others of them take it. */
function found(nodes: readonly NodeSpec[], facts?: Fp32Facts): string[] {
  return fp32NodesOf(modelOf(nodes), facts).map(
    ({ node, reason, isInner }) => `${node.outputs[0]}: ${reason}${isInner ? ", inner" : ""}`,
  );
}

test("fp32NodesOf() finds a normalisation that is written out, from the mean to the quotient", () => {
  const names = ["mean", "centred", "squares", "variance", "positive", "deviation"];
  expect(found(WRITTEN_OUT)).toEqual([
    ...names.map((name) => `${name}: normalisation, inner`),
    "normal: normalisation",
  ]);
});

test("fp32NodesOf() finds one by 1/√x, down to the product", () => {
  const names = ["squares", "variance", "positive", "deviation", "factor"];
  expect(found(INVERSE)).toEqual([...names.map((name) => `${name}: normalisation, inner`), "normal: normalisation"]);
});

test("fp32NodesOf() finds those that are one operator, and nothing in roots and means of other use", () => {
  const fused = { op: "LayerNormalization", inputs: ["x", "gamma"], outputs: ["y"] };
  expect(found([fused])).toEqual(["y: normalisation"]);
  const others = [
    { op: "Sqrt", inputs: ["x"], outputs: ["root"] },
    { op: "ReduceMean", inputs: ["root"], outputs: ["mean"], attributes: LAST },
    { op: "Div", inputs: ["x", "mean"], outputs: ["y"] },
  ];
  expect(found(others)).toEqual([]);
});

test("fp32NodesOf() finds exponentials of boxes behind the last weights, and not in front of them", () => {
  expect(found(BOXES)).toEqual([
    "sides: exponential of boxes, inner",
    "pixels: exponential of boxes, inner",
    "y: exponential of boxes",
  ]);
  const inFront = [...BOXES.slice(0, 3), { op: "MatMul", inputs: ["pixels", "weights"], outputs: ["y"] }];
  expect(found(inFront)).toEqual([]);
});

test("fp32NodesOf() finds the arithmetic of boxes of large images alone, and none of pixels", () => {
  const boxes = [
    { op: "Mul", inputs: ["x", "two"], outputs: ["pixels"] },
    { op: "Add", inputs: ["pixels", "one"], outputs: ["y"] },
  ];
  expect(found(boxes, { longestSide: 640 })).toEqual([]);
  expect(found(boxes, { longestSide: 1280 })).toEqual(["pixels: box arithmetic, inner", "y: box arithmetic"]);
  expect(found(boxes, { longestSide: 1280, shapeOf: () => [1, 3, 1280, -1] })).toEqual([]);
});

test("fp32NodesOf() finds softmax over long axes", () => {
  const softmax = [{ op: "Softmax", inputs: ["x"], outputs: ["y"], attributes: { axis: 1 } }];
  expect(found(softmax, { shapeOf: () => [1, 4095, 4] })).toEqual([]);
  expect(found(softmax, { shapeOf: () => [1, 8400, 4] })).toEqual(["y: softmax"]);
  expect(found(softmax)).toEqual([]);
});

test("fp32NodesOf() knows that a softmax before opset 13 is of all axes from the second on, and since of the last", () => {
  const softmax = [{ op: "Softmax", inputs: ["x"], outputs: ["y"] }];
  const shapeOf = (): number[] => [1, 64, 80];
  expect(found(softmax, { shapeOf, opset: 12 })).toEqual(["y: softmax"]);
  expect(found(softmax, { shapeOf, opset: 13 })).toEqual([]);
  const last = [{ ...softmax[0]!, attributes: { axis: 2 } }];
  expect(found(last, { shapeOf, opset: 12 })).toEqual([]);
});

test("formatFp32Nodes() counts by reason", () => {
  expect(formatFp32Nodes(fp32NodesOf(modelOf(WRITTEN_OUT)))).toBe("7 nodes of normalisation");
  const mixed = [{ reason: "normalisation" }, { reason: "softmax" }, { reason: "softmax" }] as const;
  expect(formatFp32Nodes(mixed)).toBe("1 node of normalisation, 2 of softmax");
  expect(formatFp32Nodes([])).toBe("");
});

test("fp32NodesOf() stands bytes that are no model", () => {
  for (let length = 0; length < 300; length += 7) {
    const noise = Uint8Array.from({ length }, (_, index) => (index * 73 + length) % 256);
    expect(fp32NodesOf(noise)).toEqual([]);
  }
});

const DEIM = "models/deimv2_hgnetv2_atto_coco.onnx";

test.skipIf(RTX === undefined)(
  "keepFp32() finds the layers of a written-out normalisation in a network, as TensorRT-RTX has been fetched",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using network = builder.createNetwork();
    const model = modelOf(WRITTEN_OUT);
    using _parser = await OnnxParser.parse(network, model);
    // TensorRT-RTX takes no precisions: what would be set is what counts.
    const set = spyOn(network, "computeInFp32").mockImplementation(() => {});
    expect(keepFp32(network, model).length).toBe(7);
    const names = set.mock.calls.map(([index]) => network.layerOutputs(index)[0]!.name);
    expect(names).toEqual(["mean", "centred", "squares", "variance", "positive", "deviation", "normal"]);
    expect(set.mock.calls.map(([, stored]) => stored.length)).toEqual([1, 1, 1, 1, 1, 1, 0]);
    set.mockRestore();
    expect(() => network.computeInFp32(0, [])).toThrow("ILayer::setPrecision");
  },
);

test.skipIf(RTX === undefined || isMissing(DEIM))(
  "keepFp32() finds the nine normalisations of DEIMv2 and nothing else, as it and TensorRT-RTX are there",
  async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using network = builder.createNetwork();
    const model = await Bun.file(sharedPath(DEIM)).bytes();
    using _parser = await OnnxParser.parse(network, model);
    const set = spyOn(Network.prototype, "computeInFp32").mockImplementation(() => {});
    try {
      const kept = keepFp32(network, model, { longestSide: 320 });
      expect([kept.length, set.mock.calls.length]).toEqual([54, 54]);
      expect(kept.every(({ node }) => /\/norm[123]\//.test(node.name))).toBe(true);
    } finally {
      set.mockRestore();
    }
  },
);
