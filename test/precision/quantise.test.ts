import { expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import { type DType, tensorOf } from "../../src/core/tensor.ts";
import { toFloat16 } from "../../src/onnx/float16.ts";
import type { OnnxNode } from "../../src/onnx/messages.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type Quantisation, type QuantiseOptions, quantise } from "../../src/precision/quantise.ts";
import { ChannelSums } from "../../src/precision/rounding.ts";
import { describeTensors, probeSession } from "../../src/precision/tensor-probe.ts";
import { type NodeSpec, onnxModel } from "../support/onnx-writer.ts";

/** Numbers of chance, the same each time. */
function chance(length: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const NODES: readonly NodeSpec[] = [
  { op: "Conv", inputs: ["x", "w1", "b1"], outputs: ["a"], attributes: { pads: [1, 1, 1, 1] } },
  { op: "Relu", inputs: ["a"], outputs: ["ra"] },
  { op: "ConvTranspose", inputs: ["ra", "w2"], outputs: ["up"], attributes: { strides: [2, 2], group: 2 } },
  { op: "Relu", inputs: ["up"], outputs: ["ru"] },
  { op: "Transpose", inputs: ["ru"], outputs: ["rows"], attributes: { perm: [0, 2, 3, 1] } },
  { op: "MatMul", inputs: ["rows", "w3"], outputs: ["m"] },
  { op: "Relu", inputs: ["m"], outputs: ["rm"] },
  { op: "MatMul", inputs: ["rm", "w4"], outputs: ["y"] },
];

function network(opset = 17): Uint8Array<ArrayBuffer> {
  const weights = (name: string, shape: readonly number[], seed: number) => ({
    name,
    dtype: "f32" as const,
    shape,
    data: chance(
      shape.reduce((product, side) => product * side, 1),
      seed,
    ),
  });
  return onnxModel({
    opset,
    metadata: { task: "detect", names: "{0: 'a'}" },
    inputs: [{ name: "x", dtype: "f32", shape: [1, 16, 6, 5] }],
    outputs: [{ name: "y", dtype: "f32" }],
    nodes: NODES,
    initializers: [
      weights("w1", [32, 16, 3, 3], 1),
      weights("b1", [32], 2),
      weights("w2", [32, 16, 3, 3], 3),
      weights("w3", [32, 48], 4),
      weights("w4", [48, 16], 5),
    ],
  });
}

const RANGES = new Map(Object.entries({ x: 1, ra: 20, rows: 60, ru: 60 }));

async function quantised(
  bytes: Uint8Array,
  options: Partial<QuantiseOptions> & Pick<QuantiseOptions, "type">,
): Promise<Quantisation> {
  const tensors = await describeTensors({ bytes, name: "a network" });
  return quantise(OnnxModel.read(bytes), { ranges: RANGES, tensors, source: "a network", ...options });
}

async function answer(bytes: Uint8Array): Promise<Float32Array<ArrayBuffer>> {
  await using session = await Session.fromBytes(bytes, "a network", { optimization: "basic" });
  const x = tensorOf("f32", [1, 16, 6, 5], chance(480, 9));
  return Float32Array.from((await session.run({ x })).get("y")!.data as Float32Array);
}

/** Power of the difference over that of the numbers, as a root. */
function difference(found: Float32Array, wanted: Float32Array): number {
  const square = (numbers: Float32Array): number => numbers.reduce((sum, one) => sum + one * one, 0);
  return Math.sqrt(square(found.map((one, at) => one - wanted[at]!)) / square(wanted));
}

const plain = await answer(network());

test("an INT8 model computes nearly the same, with a byte a weight; biases and metadata stay", async () => {
  const { model, activations, weights, kept } = await quantised(network(), { type: "int8" });
  expect(activations.map(({ tensor, scale }) => [tensor, scale])).toEqual([
    ["x", Math.fround(1 / 127)],
    ["ra", Math.fround(20 / 127)],
    ["rows", Math.fround(60 / 127)],
  ]);
  expect(weights.map(({ tensor, axis, scales }) => [tensor, axis, scales.length])).toEqual([
    ["w1", 0, 32],
    ["w2", 1, 16],
    ["w3", 1, 48],
  ]);
  expect([...kept].map(([{ outputs }]) => outputs[0])).toEqual(["y"]);
  const bytes = model.write();
  const found = await answer(bytes);
  expect(difference(found, plain)).toBeWithin(1e-4, 0.03);
  expect(bytes.length).toBeLessThan(network().length * 0.45);
  const written = OnnxModel.read(bytes);
  expect([...written.metadata]).toEqual([...OnnxModel.read(network()).metadata]);
  expect(written.opsets.get("")).toBe(17);
  expect(written.graph.initializers.get("b1")!.elementType).toBe("f32");
  expect(written.graph.initializers.get("w1_int8")!.elementType).toBe("i8");
  expect(written.graph.initializers.has("w1")).toBe(false);
});

test("weights that stay float are quantised to the same by their QuantizeLinear", async () => {
  const float = (await quantised(network(), { type: "int8", weights: "float" })).model.write();
  const stored = (await quantised(network(), { type: "int8" })).model.write();
  expect(await answer(float)).toEqual(await answer(stored));
  expect(OnnxModel.read(float).graph.initializers.get("w1")!.elementType).toBe("f32");
});

test("an FP8 model has opset 19, and codes of E4M3", async () => {
  const { model, weights } = await quantised(network(), { type: "fp8" });
  // Its transposed convolution has groups, which FP8 lacks.
  expect(weights.map(({ tensor }) => tensor)).toEqual(["w3"]);
  expect([model.opsets.get(""), model.irVersion]).toEqual([19, 9]);
  expect(model.graph.initializers.get("w3_fp8")!.elementType).toBe("f8e4m3fn");
  expect(difference(await answer(model.write()), plain)).toBeWithin(1e-4, 0.05);
});

test("ONNX Runtime loads an FP8 model whose additions it would fuse as those of INT8", async () => {
  const weights = (name: string, seed: number) => ({
    name,
    dtype: "f32" as const,
    shape: [32, 32, 3, 3],
    data: chance(32 * 32 * 9, seed),
  });
  const conv = (input: string, output: string): NodeSpec => ({
    op: "Conv",
    inputs: [input, `w${output}`],
    outputs: [output],
    attributes: { pads: [1, 1, 1, 1] },
  });
  const bytes = onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: [1, 32, 4, 4] }],
    outputs: [{ name: "y", dtype: "f32" }],
    initializers: ["a", "b", "y"].map((name, at) => weights(`w${name}`, at + 1)),
    nodes: [
      conv("x", "a"),
      { op: "Relu", inputs: ["a"], outputs: ["ra"] },
      { op: "Add", inputs: ["x", "ra"], outputs: ["sum"] },
      conv("sum", "b"),
      { op: "Relu", inputs: ["b"], outputs: ["rb"] },
      conv("rb", "y"),
    ],
  });
  const ranges = new Map(Object.entries({ x: 1, ra: 20, sum: 20 }));
  const { model } = await quantised(bytes, { type: "fp8", ranges, additions: true });
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    for (let time = 0; time < 2; time++) {
      await using session = await Session.fromBytes(model.write(), "a residual block");
      expect(session.config.optimization).toBe("basic");
    }
  } finally {
    setLogSink(former);
  }
  expect(lines).toEqual([
    "info: Loading a residual block with fewer optimisations: ONNX Runtime moves its FP8 to operators that have none",
  ]);
  // By default no addition is in FP8, as no kernel adds in it.
  const plain = await quantised(bytes, { type: "fp8", ranges });
  expect(plain.activations.map(({ tensor }) => tensor)).toEqual(["x", "sum"]);
});

test("ONNX Runtime loads an FP8 layer whose Q/DQ nodes it would move behind an operator that has no FP8", async () => {
  const operators = {
    MaxPool: { inputs: ["ra"], attributes: { kernel_shape: [1, 1] } },
    Transpose: { inputs: ["ra"], attributes: { perm: [0, 1, 3, 2] } },
    Reshape: { inputs: ["ra", "shape"] },
    Slice: { inputs: ["ra", "from", "to"] },
    Clip: { inputs: ["ra", "low", "high"] },
  };
  const indices = (name: string, ...values: readonly bigint[]) => {
    return { name, dtype: "i64" as const, shape: [values.length], data: BigInt64Array.from(values) };
  };
  const number = (name: string, value: number) => ({
    ...{ name, dtype: "f32" as const, shape: [] },
    data: Float32Array.of(value),
  });
  const convolution = (input: string, output: string): NodeSpec => ({
    ...{ op: "Conv", inputs: [input, `w${output}`], outputs: [output] },
    attributes: { pads: [1, 1, 1, 1] },
  });
  for (const [op, spec] of Object.entries(operators)) {
    const bytes = onnxModel({
      opset: 17,
      inputs: [{ name: "x", dtype: "f32", shape: [1, 32, 4, 4] }],
      outputs: [{ name: "y", dtype: "f32" }],
      initializers: [
        ...["a", "b", "y"].map((name, at) => ({
          ...{ name: `w${name}`, dtype: "f32" as const, shape: [32, 32, 3, 3] },
          data: chance(32 * 32 * 9, at + 1),
        })),
        ...[indices("shape", 1n, 32n, 4n, 4n), indices("from", 0n, 0n, 0n, 0n), indices("to", 1n, 32n, 2n, 2n)],
        ...[number("low", 0), number("high", 6)],
      ],
      nodes: [
        convolution("x", "a"),
        { op: "Relu", inputs: ["a"], outputs: ["ra"] },
        { op, outputs: ["p"], ...spec },
        convolution("p", "b"),
        { op: "Relu", inputs: ["b"], outputs: ["rb"] },
        convolution("rb", "y"),
      ],
    });
    const ranges = new Map(Object.entries({ p: 20, ra: 20 }));
    const exclude = ({ outputs }: OnnxNode): boolean => outputs[0] !== "b";
    const { model } = await quantised(bytes, { type: "fp8", ranges, exclude });
    await using session = await Session.fromBytes(model.write(), op);
    expect([op, session.config.optimization]).toEqual([op, "disable"]);
    await using plain = await Session.fromBytes(bytes, op);
    expect(plain.config.optimization).not.toBe("disable");
  }
});

test("scales that are made for FP16 are the same once the model is FP16", async () => {
  for (const type of ["int8", "fp8"] as const) {
    const { model, activations, weights } = await quantised(network(), { type, forFloat16: true });
    for (const { scale } of activations) expect(Math.f16round(scale)).toBe(scale);
    for (const { scales } of weights) expect([...scales].map(Math.f16round)).toEqual([...scales]);
    const before = await answer(model.write());
    toFloat16(model);
    const half = model.graph.initializers.get("w3_scale")!;
    expect(half.elementType).toBe("f16" satisfies DType);
    expect(half.values()).toEqual([...weights.find(({ tensor }) => tensor === "w3")!.scales]);
    // ONNX Runtime 1.28 cuts FP16 off where it is to round it to INT8; 1.32 rounds.
    expect(difference(await answer(model.write()), before)).toBeLessThan(type === "int8" ? 0.08 : 0.03);
  }
});

test("a model in FP16 is quantised with scales of FP16", async () => {
  const half = OnnxModel.read(network());
  toFloat16(half);
  const bytes = half.write();
  const ranges = new Map([...RANGES, ["x_fp16", 1]]);
  const { model } = await quantised(bytes, { type: "int8", ranges });
  expect(model.graph.initializers.get("ra_scale")!.elementType).toBe("f16");
  expect(difference(await answer(model.write()), plain)).toBeLessThan(0.12);
});

test("a model of opset 11 is raised, or refused where no rule holds", async () => {
  const { model } = await quantised(network(11), { type: "int8" });
  expect(model.opsets.get("")).toBe(13);
  expect(await answer(model.write())).toEqual(
    await answer((await quantised(network(), { type: "int8" })).model.write()),
  );
  await expect(quantised(network(10), { type: "int8" })).rejects.toThrow(
    "Cannot raise a network from opset 10 to 13: rules are known from opset 11 on\nHint: export it with opset 17",
  );
});

test("quantise() refuses a model that is quantised, one of which nothing is, and a tensor without a range", async () => {
  const { model } = await quantised(network(), { type: "int8" });
  await expect(quantised(model.write(), { type: "int8" })).rejects.toThrow(
    "Cannot quantise a network: it is quantised already: it has 9 nodes such as DequantizeLinear",
  );
  await expect(quantised(network(), { type: "int8", exclude: () => true })).rejects.toThrow(
    "Cannot quantise a network: no layer of it can be quantised: named by `exclude`",
  );
  for (const [range, found] of [
    [undefined, "no range"],
    [Number.NaN, "the range NaN"],
  ] as const) {
    const ranges = new Map([...RANGES, ["ra", range as number]]);
    await expect(quantised(network(), { type: "int8", ranges })).rejects.toThrow(`the tensor "ra" has ${found}`);
  }
});

test("biases take back what rounding to FP8 adds to the means of a convolution's outputs", async () => {
  const bytes = onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: [1, 32, 4, 4] }],
    outputs: [{ name: "y", dtype: "f32" }],
    initializers: [
      { name: "w", dtype: "f32", shape: [32, 32, 1, 1], data: chance(1024, 1) },
      { name: "b", dtype: "f32", shape: [32], data: chance(32, 2) },
      { name: "v", dtype: "f32", shape: [32, 32, 1, 1], data: chance(1024, 3) },
    ],
    nodes: [
      { op: "Conv", inputs: ["x", "w", "b"], outputs: ["a"] },
      { op: "Relu", inputs: ["a"], outputs: ["ra"] },
      { op: "Conv", inputs: ["ra", "v"], outputs: ["c"] },
      { op: "LeakyRelu", inputs: ["c"], outputs: ["rc"] },
      { op: "Neg", inputs: ["rc"], outputs: ["y"] },
    ],
  });
  const data = chance(512, 7).map((value) => Math.abs(value) + 0.5);
  const input = { x: tensorOf("f32", [1, 32, 4, 4], data) };
  const named = { bytes, name: "two layers" };
  const read = async (from: Uint8Array): Promise<Record<string, Float32Array>> => {
    await using session = await probeSession({ ...named, bytes: from }, ["ra", "rc"]);
    const found = await session.run(input);
    return Object.fromEntries([...found].map(([name, { data: elements }]) => [name, elements as Float32Array]));
  };
  const float = await read(bytes);
  const meansOf = (elements: Float32Array) => {
    const sums = new ChannelSums();
    sums.add(elements, [1, 32, 4, 4]);
    return sums.means;
  };
  const ranges = new Map(Object.entries({ x: 1.5, ra: Math.max(...float.ra!) }));
  const means = new Map([
    ["x", meansOf(data)],
    ["ra", meansOf(float.ra!)],
  ]);
  const shiftOf = async (more: Partial<QuantiseOptions>): Promise<number> => {
    const { model } = await quantised(bytes, { type: "fp8", ranges, exclude: () => false, ...more });
    const got = meansOf((await read(model.write())).ra!);
    const wanted = means.get("ra")!;
    return Math.hypot(...wanted.map((mean, channel) => got[channel]! - mean));
  };
  const [before, after] = [await shiftOf({}), await shiftOf({ means })];
  expect(after).toBeLessThan(before / 3);
  // A convolution without a bias is given one.
  const { model } = await quantised(bytes, { type: "fp8", ranges, means });
  const biases = model.graph.nodes.filter(({ op }) => op === "Conv").map(({ inputs }) => inputs[2]);
  expect(biases).toEqual(["b_corrected", "Conv_2_corrected"]);
});

test("a Relu before FP8 cuts off what is below zero on the CPU, in FP32 and in FP16", async () => {
  const conv = (input: string, weights: string, output: string): NodeSpec => ({
    op: "Conv",
    inputs: [input, weights],
    outputs: [output],
  });
  const weights = (name: string, seed: number) => ({
    name,
    dtype: "f32" as const,
    shape: [32, 32, 1, 1],
    data: chance(1024, seed),
  });
  const bytes = onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: [1, 32, 8, 8] }],
    outputs: [{ name: "y", dtype: "f32" }],
    initializers: [weights("w", 1), weights("v", 2)],
    nodes: [
      conv("x", "w", "a"),
      { op: "Relu", inputs: ["a"], outputs: ["ra"] },
      conv("ra", "v", "c"),
      { op: "LeakyRelu", inputs: ["c"], outputs: ["y"] },
    ],
  });
  const x = tensorOf("f32", [1, 32, 8, 8], chance(2048, 5));
  const run = async (model: Uint8Array): Promise<Float32Array> => {
    await using session = await Session.fromBytes(model, "two layers");
    return (await session.run({ x })).get("y")!.data as Float32Array;
  };
  const wanted = await run(bytes);
  const ranges = new Map(Object.entries({ x: 1, ra: 12 }));
  const { model } = await quantised(bytes, { type: "fp8", ranges, forFloat16: true });
  expect(difference(await run(model.write()), wanted)).toBeLessThan(0.1);
  toFloat16(model);
  expect(difference(await run(model.write()), wanted)).toBeLessThan(0.1);
});
