import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { createTensor, type Shape } from "../../src/core/tensor.ts";
import { createNode, intOf, intsOf, OnnxTensor, OnnxValue, tensorOf, writeNode } from "../../src/onnx/messages.ts";
import { externalDataFiles, OnnxModel, readOnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type GraphSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { tinyModel } from "../support/tensorrt.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyTopDown } from "../support/toy-top-down.ts";

/** What a model makes of inputs that are the same each time, as bytes by name; open sides are 1, or 64 where they are those of an image. */
async function outputsOf(
  model: Uint8Array,
): Promise<readonly (readonly [name: string, shape: Shape, bytes: Buffer])[]> {
  await using session = await Session.fromBytes(model, "a model", { optimization: "disable" });
  const inputs = session.inputs.map(({ name, dtype, shape }) => {
    const tensor = createTensor(
      dtype,
      shape.map((side, axis) => (side > 0 ? side : axis < 2 && shape.length === 4 ? [1, 3][axis]! : 64)),
    );
    const { buffer, byteLength } = tensor.data;
    if (dtype === "f32") {
      const data = new Float32Array(buffer);
      for (let at = 0; at < data.length; at++) data[at] = (Math.imul(at, 2_654_435_761) >>> 8) / 2 ** 24;
    } else new Uint8Array(buffer, 0, byteLength).fill(1);
    return [name, tensor] as const;
  });
  const outputs = await session.run(Object.fromEntries(inputs));
  return [...outputs].map(([name, { shape, data }]) => [
    name,
    shape,
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

/** An unchanged model, written again, declares and computes the same. */
async function expectSame(bytes: Uint8Array): Promise<void> {
  const written = OnnxModel.read(bytes).write();
  expect(readOnnxModel(written)).toEqual(readOnnxModel(bytes));
  const [before, after] = [await outputsOf(bytes), await outputsOf(written)];
  expect(after.map(([name, shape]) => [name, shape])).toEqual(before.map(([name, shape]) => [name, shape]));
  for (const [at, [, , numbers]] of before.entries()) expect(numbers.equals(after[at]![2])).toBe(true);
  // What is written is written the same again: nothing is lost at the second time either.
  expect(Buffer.from(OnnxModel.read(written).write()).equals(written)).toBe(true);
}

test("a toy model that is written again computes the same, to the bit", async () => {
  const models = [
    tinyModel({ metadata: { task: "detect", empty: "" } }),
    toyDetector({ side: "side" }),
    toyClassifier({ side: "side", scores: "means", dtype: "f16" }),
    toyMap({ form: "i64", classes: 3, batch: "n" }),
    toyTopDown("simcc", { isOpen: true }),
  ];
  for (const model of models) await expectSame(model);
});

const SHARED = ["models", "models/tasks", "models/tasks/layouts"].flatMap((folder) =>
  isMissing(folder)
    ? []
    : readdirSync(sharedPath(folder))
        .filter((name) => name.endsWith(".onnx"))
        .map((name) => `${folder}/${name}`),
);
/** Those that are run: of large inputs one. */
const RUN = SHARED.filter((name) => /^models\/(?!yolov8n_640\.|i2i_tbefn)[^/]+$|yolo26-pose_e2e/.test(name));
test.skipIf(SHARED.length === 0)(
  `a model that is written again is the same, to the bit: ${SHARED.length} shared models, of which ${RUN.length} are run`,
  async () => {
    for (const name of SHARED) {
      const bytes = await Bun.file(sharedPath(name)).bytes();
      const model = OnnxModel.read(bytes);
      const again = OnnxModel.read(model.write());
      const [before, after] = [model, again].map(({ graph }) => Buffer.concat(graph.nodes.map(writeNode)));
      expect(before!.equals(after!)).toBe(true);
      expect([...again.metadata]).toEqual([...model.metadata]);
      const isSame = (tensor: OnnxTensor): boolean =>
        Buffer.from(tensor.message).equals(again.graph.initializers.get(tensor.name)!.message);
      expect([...model.graph.initializers.values()].every(isSame)).toBe(true);
      if (RUN.includes(name)) await expectSame(bytes);
    }
  },
  60_000,
);

test("fields that nobody knows, functions and annotations survive, and weights in other files stay there", () => {
  const field = (number: number, content: Uint8Array | string): Uint8Array => {
    const writer = new BinaryWriter().tag(number, WireType.LengthDelimited);
    return (typeof content === "string" ? writer.string(content) : writer.bytes(content)).finish();
  };
  const annotation = (tensor: string): Uint8Array => field(14, field(1, tensor));
  const node = Buffer.concat([field(1, "x"), field(1, "w"), field(2, "y"), field(4, "Mul"), field(99, "of the node")]);
  const external = [field(1, "location"), field(2, "weights.bin")];
  const weights = Buffer.concat([field(8, "w"), field(13, Buffer.concat(external)), Uint8Array.of(14 << 3, 1)]);
  const graph = [
    field(1, node),
    field(5, weights),
    field(11, OnnxValue.of("x", "f32", [1]).message),
    field(12, OnnxValue.of("y", "f32", ["n", undefined, 3]).message),
    ...[annotation("w"), annotation("gone"), field(98, "of the graph")],
  ];
  const bytes = Buffer.concat([
    Uint8Array.of(1 << 3, 8),
    ...[field(97, "of the model"), field(25, field(1, "function")), field(7, Buffer.concat(graph))],
  ]);
  const model = OnnxModel.read(bytes);
  expect(model.graph.outputs[0]!.shape).toEqual(["n", undefined, 3]);
  expect(model.graph.initializers.get("w")!.values()).toBeUndefined();
  model.graph.removeUnused();
  const written = Buffer.from(model.write());
  for (const text of ["of the node", "of the graph", "of the model", "function"])
    expect(written.includes(text)).toBe(true);
  expect(written.includes("gone")).toBe(false);
  expect(externalDataFiles(written)).toEqual(["weights.bin"]);
});

test("read() refuses what is no ONNX model, and one that is cut short", () => {
  const model = tinyModel();
  expect(() => OnnxModel.read(new Uint8Array(), "nothing")).toThrow("Cannot read nothing: it is no ONNX model");
  for (const length of [20, model.length - 1]) {
    expect(() => OnnxModel.read(model.subarray(0, length), "half")).toThrow("Cannot read half: it is no ONNX model");
  }
});

/** `y = x × two + one`, a branch that reads `one`, and what nobody reads. */
function changeable(): OnnxModel {
  const branch: GraphSpec = {
    nodes: [{ op: "Identity", inputs: ["one"], outputs: ["out"] }],
    inputs: [],
    outputs: [{ name: "out", dtype: "f32", shape: [2] }],
  };
  const scalar = (name: string, value: number) =>
    ({ name, dtype: "f32", shape: [2], data: Float32Array.of(value, value) }) as const;
  const bytes = onnxModel({
    nodes: [
      { op: "Mul", inputs: ["x", "two"], outputs: ["double"] },
      { op: "Neg", inputs: ["three"], outputs: ["unused"] },
      { op: "If", inputs: ["yes"], outputs: ["chosen"], attributes: { then_branch: branch, else_branch: branch } },
      { op: "Add", inputs: ["double", "chosen"], outputs: ["y"] },
    ],
    inputs: [
      { name: "x", dtype: "f32", shape: [2] },
      // As older exporters list weights.
      { name: "three", dtype: "f32", shape: [2] },
      { name: "spare", dtype: "f32", shape: [2] },
    ],
    outputs: [{ name: "y", dtype: "f32", shape: [2] }],
    initializers: [
      scalar("one", 1),
      scalar("two", 2),
      scalar("three", 3),
      { name: "yes", dtype: "bool", shape: [], data: Uint8Array.of(1) },
    ],
  });
  return OnnxModel.read(bytes);
}

test("removeUnused() keeps what branches read, and inputs that are none", async () => {
  const model = changeable();
  model.graph.removeUnused();
  expect(model.graph.nodes.map(({ op }) => op)).toEqual(["Mul", "If", "Add"]);
  expect([...model.graph.initializers.keys()]).toEqual(["one", "two", "yes"]);
  expect(model.graph.inputs.map(({ name }) => name)).toEqual(["x", "spare"]);
  await using session = await Session.fromBytes(model.write(), "a model");
  const x = createTensor("f32", [2]);
  x.data.set([1, 5]);
  const outputs = await session.run({ x, spare: x });
  expect(Array.from(outputs.get("y")!.data as Float32Array)).toEqual([3, 11]);
});

test("a graph that is changed: nodes, weights, outputs, metadata", async () => {
  const model = changeable();
  const { graph } = model;
  graph.initializers.set("four", OnnxTensor.of("four", "f16", [2], Float16Array.of(4, 0.5)));
  graph.nodes.push(createNode("Cast", ["four"], ["cast"], { to: 1 }), createNode("Mul", ["y", "cast"], ["z"]));
  graph.outputs = [OnnxValue.of("z", "f32", [2])];
  model.metadata.set("told", "yes");
  graph.removeUnused();
  expect(graph.nodes.at(-1)!.op).toBe("Mul");
  const written = model.write();
  await using session = await Session.fromBytes(written, "a model");
  const x = createTensor("f32", [2]);
  const outputs = await session.run({ x, spare: x });
  expect(Array.from(outputs.get("z")!.data as Float32Array)).toEqual([4, 0.5]);
  expect(session.model.metadata.told).toBe("yes");
  expect(readOnnxModel(written).outputs).toEqual([{ name: "z", dtype: "f32", shape: [2] }]);
});

test("attributes of every kind are what was written, and values of every form of a tensor", () => {
  const tensor = OnnxTensor.of("t", "i64", [2], BigInt64Array.of(-3n, 4n));
  const node = createNode("Any", ["a", ""], ["b"], {
    n: -2,
    list: [1, -1],
    share: { float: 0.5 },
    tensor,
  });
  expect([intOf(node, "n"), intsOf(node, "list"), intOf(node, "none")]).toEqual([-2, [1, -1], undefined]);
  expect(tensorOf(node, "tensor")!.values()).toEqual([-3, 4]);
  // Elements in the fields of their types, packed or not, rather than in raw bytes.
  const typed = (type: number, write: (writer: BinaryWriter) => void): number[] | undefined => {
    const writer = new BinaryWriter();
    writer.tag(2, WireType.Varint).int32(type);
    write(writer);
    return new OnnxTensor(writer.finish()).values();
  };
  expect(typed(1, (writer) => writer.tag(4, WireType.Bit32).float(1.5).tag(4, WireType.Bit32).float(2))).toEqual([
    1.5, 2,
  ]);
  expect(typed(10, (writer) => writer.tag(5, WireType.LengthDelimited).bytes(Uint8Array.of(0x80, 0x78)))).toEqual([1]);
  expect(typed(11, (writer) => writer.tag(10, WireType.Bit64).double(2.5))).toEqual([2.5]);
  expect(typed(8, () => undefined)).toBeUndefined();
});
