import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { OnnxModel } from "../../src/onnx/model.ts";
import { firstStage } from "../../src/precision/head-layers.ts";
import {
  type Placement,
  type PlacementOptions,
  placePairs,
  type QuantisedType,
} from "../../src/precision/placement.ts";
import { describeTensors } from "../../src/precision/tensor-probe.ts";
import { pulled } from "../support/catalogue.ts";
import { type NodeSpec, onnxModel } from "../support/onnx-writer.ts";
import { sharedFile } from "../support/shared.ts";

async function placed(
  bytes: Uint8Array,
  type: QuantisedType,
  options: Omit<PlacementOptions, "type" | "exclude"> & { exclude?: readonly string[] } = {},
): Promise<Placement> {
  const { graph } = OnnxModel.read(bytes);
  const tensors = new Map(await describeTensors({ bytes, name: "a model" }));
  for (const { name, info } of graph.inputs) if (info !== undefined) tensors.set(name, info);
  const { exclude, ...others } = options;
  return placePairs(graph, tensors, {
    type,
    ...others,
    exclude: exclude && (({ outputs }) => exclude.includes(outputs[0]!)),
  });
}

/** What ModelOpt 0.47 wrote of a model. @see ../shared/reference/quantisation/make_modelopt.py */
interface Reference {
  readonly quantisedInputs: readonly (readonly [node: string, op: string, inputs: readonly number[]])[];
  readonly activations: readonly { readonly tensor: string }[];
  readonly weights: readonly { readonly tensor: string }[];
}

function reference(name: string): Reference {
  return JSON.parse(readFileSync(sharedFile("reference/quantisation", `${name}.json`)!, "utf8"));
}

function orderOf(bytes: Uint8Array, name: string): number {
  return OnnxModel.read(bytes).graph.nodes.findIndex((node) => node.name === name);
}

/** The operators that the reference lists. */
const LISTED = /^(?:Conv|ConvTranspose|MatMul|Gemm|Add|Mul|Concat|MaxPool|Resize|Split|Softmax|Sigmoid)$/;

/** Nodes with the inputs that are quantised, and the tensors that are: `ours` and `theirs` hold what only one of both has. */
function differences({ activations, weights }: Placement, wanted: Reference): { ours: string[]; theirs: string[] } {
  const inputs = new Map<string, number[]>();
  for (const { node, input } of [...activations, ...weights].flatMap(({ readers }) => readers)) {
    if (LISTED.test(node.op)) inputs.set(node.name, [...(inputs.get(node.name) ?? []), input].sort());
  }
  const ours = new Set([
    ...activations.map(({ tensor }) => tensor),
    ...weights.map(({ tensor }) => tensor.name),
    ...[...inputs].map(([name, read]) => `${name} reads ${read.join(" ")}`),
  ]);
  const theirs = new Set([
    ...[...wanted.activations, ...wanted.weights].map(({ tensor }) => tensor),
    ...wanted.quantisedInputs.map(([name, , read]) => `${name} reads ${read.join(" ")}`),
  ]);
  return { ours: [...ours.difference(theirs)], theirs: [...theirs.difference(ours)] };
}

const yolov8n = sharedFile("models/yolov8n_640.onnx");
const yolo11nSeg = sharedFile("reference/quantisation/yolo11n-seg.int8.json") && (await pulled("yolo11n-seg"));

test.skipIf(yolov8n === undefined)("yolov8n has the pairs that ModelOpt writes", async () => {
  const bytes = readFileSync(yolov8n!);
  const int8 = await placed(bytes, "int8", { first: true });
  expect([int8.activations.length, int8.weights.length]).toEqual([63, 57]);
  expect(differences(int8, reference("yolov8n_640.int8"))).toEqual({ ours: [], theirs: [] });
  const fp8 = await placed(bytes, "fp8", { first: true, additions: true });
  expect([fp8.activations.length, fp8.weights.length]).toEqual([55, 53]);
  // It stays in float, 16 channels being too few; ModelOpt has it read the pair that the addition beside it needs all the same.
  expect(differences(fp8, reference("yolov8n_640.fp8"))).toEqual({
    ours: [],
    theirs: ["/model.2/m.0/cv1/conv/Conv reads 0"],
  });
});

test.skipIf(yolo11nSeg === undefined)(
  "yolo11n-seg has the pairs that ModelOpt writes, but for its attention and depthwise convolutions",
  async () => {
    const bytes = readFileSync(yolo11nSeg!);
    const attention = "/model.10/m/m.0/attn";
    const whole = await placed(bytes, "int8", { attention: true, depthwise: true, first: true });
    expect([whole.activations.length, whole.weights.length]).toEqual([100, 91]);
    expect(differences(whole, reference("yolo11n-seg.int8"))).toEqual({ ours: [], theirs: [] });
    const int8 = await placed(bytes, "int8", { depthwise: true, first: true });
    // Scores of attention lose most: unless asked for, its two products stay in float, with what they alone read.
    expect(differences(int8, reference("yolo11n-seg.int8"))).toEqual({
      ours: [],
      theirs: [
        `${attention}/Split_output_1`,
        `${attention}/Split_output_2`,
        `${attention}/Transpose_output_0`,
        `${attention}/Transpose_1_output_0`,
        `${attention}/MatMul reads 0 1`,
        `${attention}/MatMul_1 reads 0 1`,
      ],
    });
    const mixed = await placed(bytes, "int8", { attention: true, first: true, behindGrouped: true });
    expect([mixed.activations.length, mixed.weights.length]).toEqual([96, 84]);
    // Depthwise convolutions stay in float, with their weights and what they alone read.
    const depthwise = [0, 1, 2].flatMap((scale) => [0, 1].map((step) => `model.23.cv3.${scale}.${step}.0.conv`));
    const nodes = [0, 1, 2].flatMap((scale) =>
      [0, 1].map((step) => `/model.23/cv3.${scale}/cv3.${scale}.${step}/cv3.${scale}.${step}.0/conv/Conv`),
    );
    const { ours, theirs } = differences(mixed, reference("yolo11n-seg.int8"));
    expect(ours).toEqual([]);
    expect(theirs.toSorted()).toEqual(
      [
        `${attention}/Reshape_2_output_0`,
        ...[0, 1, 2].map((scale) => `/model.23/cv3.${scale}/cv3.${scale}.0/cv3.${scale}.0.1/act/Mul_output_0`),
        ...["model.10.m.0.attn.pe.conv", ...depthwise].map((name) => `${name}.weight`),
        ...[`${attention}/pe/conv/Conv`, ...nodes].map((name) => `${name} reads 0 1`),
      ].toSorted(),
    );
    // TensorRT 10.6 builds none of what is quantised right behind them.
    const built = await placed(bytes, "int8", { attention: true, first: true });
    const follows = [...built.kept].filter(
      ([, why]) => why === "right behind a grouped convolution in FP16, where TensorRT has no INT8 kernel",
    );
    expect(follows.map(([{ name }]) => name)).toEqual(
      [
        `${attention}/proj/conv/Conv`,
        ...nodes.map((name) => name.replace(/\.0\/conv\/Conv$/, ".1/conv/Conv")),
      ].toSorted((a, b) => orderOf(bytes, a) - orderOf(bytes, b)),
    );
    const quantised = new Set(built.activations.map(({ tensor }) => tensor));
    const grouped = nodes.map((name) => name.replace("/conv/Conv", "/act/Mul_output_0"));
    expect([...grouped, `${attention}/Add_output_0`].filter((tensor) => quantised.has(tensor))).toEqual([]);
    const fp8 = await placed(bytes, "fp8", { attention: true, first: true, additions: true });
    expect([fp8.activations.length, fp8.weights.length]).toEqual([85, 75]);
    // As with yolov8n: convolutions that stay in float read floats.
    expect(differences(fp8, reference("yolo11n-seg.fp8"))).toEqual({
      ours: [],
      theirs: ["/model.2/m.0", "/model.4/m.0", "/model.16/m.0"].map((block) => `${block}/cv1/conv/Conv reads 0`),
    });
  },
);

test.skipIf(yolov8n === undefined)("the first stage stays in float, unless it is asked for", async () => {
  const { activations, weights, kept } = await placed(readFileSync(yolov8n!), "int8");
  const first = [...kept]
    .filter(([, reason]) => reason === "a convolution of the first stages, whose error all others read")
    .map(([{ name }]) => name);
  expect(first).toEqual([
    "/model.0/conv/Conv",
    "/model.1/conv/Conv",
    ...["cv1", "m.0/cv1", "m.0/cv2", "cv2"].map((layer) => `/model.2/${layer}/conv/Conv`),
  ]);
  // What the first layer behind it reads is quantised there.
  expect(activations[0]!.tensor).toBe("/model.2/cv2/act/Mul_output_0");
  expect(weights.length).toBe(57 - first.length);
});

test.skipIf(yolov8n === undefined)("one scale goes through concatenations, pools and resizes", async () => {
  const { activations } = await placed(readFileSync(yolov8n!), "int8", { first: true });
  const groups = Map.groupBy(activations, ({ group }) => group);
  const groupOf = (name: string): string[] =>
    groups.get(activations.find(({ tensor }) => tensor === name)!.group)!.map(({ tensor }) => tensor);
  // SPPF: three pools of one map, joined. Its output is resized, joined with a map of the backbone, and once more further down.
  expect(groupOf("/model.9/cv1/act/Mul_output_0")).toEqual([
    "/model.9/cv1/act/Mul_output_0",
    "/model.9/m/MaxPool_output_0",
    "/model.9/m_1/MaxPool_output_0",
    "/model.9/Concat_output_0",
  ]);
  expect(groupOf("/model.9/cv2/act/Mul_output_0")).toEqual([
    "/model.6/cv2/act/Mul_output_0",
    "/model.9/cv2/act/Mul_output_0",
    "/model.11/Concat_output_0",
    "/model.20/Concat_output_0",
  ]);
  expect(groupOf("images")).toEqual(["images"]);
});

test("a network that stays at a quarter of the image has no first stage", () => {
  const chain = (strides: readonly number[]): NodeSpec[] =>
    strides.map((stride, at) => ({
      op: "Conv",
      inputs: [at === 0 ? "x" : `c${at - 1}`, `w${at}`],
      outputs: [`c${at}`],
      attributes: { pads: [1, 1, 1, 1], strides: [stride, stride] },
    }));
  const kept = (strides: readonly number[], type: QuantisedType = "int8"): string[] => {
    const { graph } = OnnxModel.read(graphOf(chain(strides), [`c${strides.length - 1}`]));
    return [...firstStage(graph, type)].map(({ outputs }) => outputs[0]!);
  };
  expect(kept([1, 2, 1, 2, 1])).toEqual([]);
  expect(kept([1, 2, 2, 2, 1])).toEqual(["c0", "c1", "c2"]);
  expect(kept([1, 2, 2, 2, 1], "fp8")).toEqual([]);
  expect(kept([1, 2, 2, 2, 2], "fp8")).toEqual(["c0", "c1", "c2", "c3"]);
});

/** A graph of convolutions of 16 channels, all of 3x3 and with weights of their own; those in `g…` are depthwise. */
function graphOf(nodes: readonly NodeSpec[], outputs: readonly string[]): Uint8Array {
  const weights = new Set(nodes.flatMap(({ inputs }) => inputs.filter((name) => name.startsWith("w"))));
  return onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: [1, 16, 8, 8] }],
    outputs: outputs.map((name) => ({ name, dtype: "f32" as const })),
    nodes,
    initializers: [...weights].map((name) => ({
      name,
      dtype: "f32",
      shape: [16, name.startsWith("wg") ? 1 : 16, 3, 3],
      data: new Float32Array(16 * (name.startsWith("wg") ? 1 : 16) * 9),
    })),
  });
}

const conv = (input: string, output: string): NodeSpec => ({
  op: "Conv",
  inputs: [input, `w${output}`],
  outputs: [output],
  attributes: { pads: [1, 1, 1, 1], ...(output.startsWith("g") && { group: 16 }) },
});
const node = (op: string, inputs: readonly string[], output: string): NodeSpec => ({ op, inputs, outputs: [output] });

test("a residual addition has its shortcut quantised, through the activation behind it", async () => {
  const bytes = graphOf(
    [
      conv("x", "a"),
      node("Relu", ["a"], "ra"),
      conv("ra", "b"),
      node("Add", ["b", "ra"], "sum"),
      node("Relu", ["sum"], "rs"),
      conv("rs", "c"),
      conv("ra", "d"),
      node("Add", ["c", "d"], "both"),
      node("Relu", ["both"], "rb"),
      conv("rb", "e"),
      node("Relu", ["e"], "re"),
      conv("re", "y"),
    ],
    ["y"],
  );
  const { activations, kept } = await placed(bytes, "int8");
  const readers = Object.fromEntries(
    activations.map((pair) => [
      pair.tensor,
      pair.readers.map(({ node: { outputs }, input }) => `${outputs[0]}.${input}`),
    ]),
  );
  expect(readers).toEqual({
    x: ["a.0"],
    ra: ["b.0", "sum.1", "d.0"],
    rs: ["c.0"],
    // Both operands come of convolutions: the addition is fused behind the last.
    c: ["both.0"],
    rb: ["e.0"],
  });
  expect([...kept].map(([{ outputs }, why]) => [outputs[0], why])).toEqual([["y", "the last layer of a head"]]);
});

test("what is excluded stays in float, and what only it read", async () => {
  const bytes = graphOf(
    [conv("x", "a"), node("Relu", ["a"], "ra"), conv("ra", "b"), node("Relu", ["b"], "rb"), conv("rb", "y")],
    ["y"],
  );
  expect((await placed(bytes, "int8")).activations.map(({ tensor }) => tensor)).toEqual(["x", "ra"]);
  const less = await placed(bytes, "int8", { exclude: ["b"] });
  expect(less.activations.map(({ tensor }) => tensor)).toEqual(["x"]);
  expect(less.weights.map(({ tensor }) => tensor.name)).toEqual(["wa"]);
  // 16 channels are too few for FP8.
  expect((await placed(bytes, "fp8")).activations).toEqual([]);
});

test("behind a depthwise convolution in FP16 nothing is quantised, up to the next layer", async () => {
  const bytes = graphOf(
    [
      ...[conv("x", "a"), node("Relu", ["a"], "ra")],
      // A way of its own, a residual addition, a join with a map of another layer, and a pool.
      ...[conv("ra", "g1"), node("Sigmoid", ["g1"], "s1"), node("Mul", ["g1", "s1"], "m1"), conv("m1", "b")],
      ...[node("Relu", ["b"], "rb"), conv("rb", "c"), node("Relu", ["c"], "rc")],
      ...[node("Add", ["m1", "ra"], "sum"), node("Relu", ["sum"], "rs"), conv("rs", "d"), node("Relu", ["d"], "rd")],
      ...[node("MaxPool", ["m1"], "pool"), node("Add", ["pool", "rd"], "again"), conv("again", "e")],
      ...[node("Relu", ["e"], "re"), node("Add", ["rc", "re"], "both"), conv("both", "y")],
    ].map((one) => (one.op === "MaxPool" ? { ...one, attributes: { kernel_shape: [1, 1] } } : one)),
    ["y"],
  );
  const why = "right behind a grouped convolution in FP16, where TensorRT has no INT8 kernel";
  const { activations, weights, kept } = await placed(bytes, "int8");
  expect(activations.map(({ tensor }) => tensor)).toEqual(["x", "rb"]);
  expect(weights.map(({ tensor }) => tensor.name)).toEqual(["wa", "wc"]);
  expect([...kept].map(([{ outputs }, reason]) => [outputs[0], reason])).toEqual([
    ["g1", "a depthwise convolution, whose channels no single scale fits"],
    ...["b", "d", "e"].map((name) => [name, why]),
    ["y", "the last layer of a head"],
  ]);
  const all = await placed(bytes, "int8", { behindGrouped: true });
  expect(all.activations.map(({ tensor }) => tensor)).toContain("m1");
  // One in INT8 gives INT8: what reads it is quantised, until it is put back into float.
  const depthwise = await placed(bytes, "int8", { depthwise: true });
  expect(depthwise.weights.map(({ tensor }) => tensor.name)).toEqual(["wa", "wg1", "wb", "wc", "wd", "we"]);
  const back = await placed(bytes, "int8", { depthwise: true, exclude: ["g1"] });
  expect(back.weights.map(({ tensor }) => tensor.name)).toEqual(["wa", "wc"]);
});
