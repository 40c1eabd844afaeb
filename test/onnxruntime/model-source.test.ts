import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { ModelError, OnnxRuntimeError } from "../../src/core/errors.ts";
import { createTensor } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { testFolder } from "../support/folder.ts";
import { arithmeticModel } from "../support/onnx-models.ts";
import { type ModelSpec, onnxModel } from "../support/onnx-writer.ts";

setDefaultTimeout(120_000);

const inFolder = testFolder("model");

/** Write a file; returns its path. */
function file(name: string, content: string | Uint8Array): string {
  const path = inFolder(name);
  writeFileSync(path, content);
  return path;
}

/** The error of loading, which must name the source. */
async function refusal(load: Promise<Session>, source: string): Promise<ModelError> {
  const error = await load.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ModelError);
  expect((error as ModelError).source).toBe(source);
  expect((error as ModelError).message).toStartWith(`Cannot load the model ${JSON.stringify(source)}: `);
  return error as ModelError;
}

/** The code of the error below. */
function codeOf(error: ModelError): string {
  expect(error.cause).toBeInstanceOf(OnnxRuntimeError);
  return (error.cause as OnnxRuntimeError).code;
}

test("Session.load() names a path where nothing is, a folder, and an empty file", async () => {
  const path = inFolder("absent.onnx");
  expect((await refusal(Session.load(path), path)).message).toEndWith("there is no such file\nHint: check the path");
  const directory = inFolder("model.onnx");
  mkdirSync(directory);
  expect((await refusal(Session.load(directory), directory)).message).toContain("it is a folder");
  const empty = file("empty.onnx", "");
  expect((await refusal(Session.load(empty), empty)).message).toContain("it is empty");
  const pipe = inFolder("pipe.onnx");
  Bun.spawnSync(["mkfifo", pipe]);
  expect((await refusal(Session.load(pipe), pipe)).message).toContain("it is a pipe\nHint: write the model to a file");
  expect((await refusal(Session.load("/dev/zero"), "/dev/zero")).message).toContain("it is a device");
  expect((await refusal(Session.fromBytes(new Uint8Array(0), "bytes"), "bytes")).message).toEndWith("it is empty");
});

test.each([
  ["notes.txt", "these are my notes, not a model"],
  ["truncated.onnx", arithmeticModel().slice(0, 100)],
] as const)(
  "Session.load() refuses %s as no ONNX model, with ONNX Runtime's error as the cause",
  async (name, content) => {
    const path = file(name, content);
    const error = await refusal(Session.load(path), path);
    expect(codeOf(error)).toBe("ORT_INVALID_PROTOBUF");
    expect(error.message).toContain("(CreateSession returned ORT_INVALID_PROTOBUF)");
    expect(error.message).toEndWith("\nHint: the file is not an ONNX model, or it is truncated: get it again");
    const bytes = await Bun.file(path).bytes();
    expect((await refusal(Session.fromBytes(bytes, "bytes"), "bytes")).message).toContain("CreateSessionFromArray");
  },
);

test.each([
  ["version https://git-lfs and so on", "a Git LFS pointer"],
  ["PK\u0003\u0004rest of the archive", "a ZIP archive, as PyTorch's .pt files are"],
  ["<!DOCTYPE html><html></html>", "an HTML page"],
  ["ftrt\0\0\0\0", "a TensorRT plan"],
])("Session.load() says what a file is that begins with %p", async (content, kind) => {
  const path = file("model.onnx", content);
  const error = await refusal(Session.load(path), path);
  expect(error.message).toStartWith(`Cannot load the model ${JSON.stringify(path)}: it is ${kind}\nHint: `);
  expect(codeOf(error)).toStartWith("ORT_");
});

const IO = {
  inputs: [{ name: "x", dtype: "f32", shape: [4] }],
  outputs: [{ name: "y", dtype: "f32", shape: [4] }],
} satisfies Pick<ModelSpec, "inputs" | "outputs">;

test.each([
  ["an operator of nobody", { nodes: [{ op: "NoSuchOp", inputs: ["x"], outputs: ["y"] }] }, "TensorRT plugin"],
  [
    "a TensorRT plugin",
    { nodes: [{ op: "EfficientNMS_TRT", inputs: ["x"], outputs: ["y"], domain: "TRT" }] },
    "TensorRT plugin",
  ],
  ["an opset of the future", { nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }], opset: 99 }, "older opset"],
] as const)("Session.fromBytes() refuses %s, with a hint", async (_, graph, hint) => {
  const error = await refusal(Session.fromBytes(onnxModel({ ...IO, ...graph }), "odd"), "odd");
  expect(codeOf(error)).toStartWith("ORT_");
  expect(error.message.split("\nHint: ")[1]).toContain(hint);
});

test("Session.fromBytes() refuses a file format of the future, with a hint", async () => {
  const model = onnxModel({ ...IO, nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }] });
  // The first field is the version of the format.
  expect(model[0]).toBe(8);
  model[1] = 99;
  const error = await refusal(Session.fromBytes(model, "odd"), "odd");
  expect(error.message.split("\nHint: ")[1]).toContain("an older version of the onnx package");
});

test.each([
  ["f64", { name: "x", dtype: "f64", shape: [1] }, "a tensor of f64"],
  ["string", { name: "x", dtype: "string", shape: [1] }, "a tensor of string"],
] as const)("Session.fromBytes() refuses an input of %s, by name", async (_, x, found) => {
  const model = onnxModel({
    nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
    inputs: [x],
    outputs: [{ ...x, name: "y" }],
  });
  const error = await refusal(Session.fromBytes(model, "odd"), "odd");
  expect(error.message).toContain(
    `input "x" must be a tensor of f32, f16, i64, i32, u16, u8, i8 or bool, got ${found}`,
  );
});

test("Session.fromBytes() takes samples of 16 bits", async () => {
  const model = onnxModel({
    nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "u16", shape: [1, 3, 8, 8] }],
    outputs: [{ name: "y", dtype: "u16", shape: [1, 3, 8, 8] }],
  });
  using session = await Session.fromBytes(model, "thermal");
  const x = Uint16Array.from({ length: 192 }, (_, at) => at * 341);
  const outputs = await session.run({ x: { dtype: "u16", shape: [1, 3, 8, 8], data: x } });
  expect(outputs.get("y")?.data).toEqual(x);
});

test("Session.fromBytes() refuses an output that is no tensor, by name", async () => {
  const model = onnxModel({
    nodes: [{ op: "SequenceConstruct", inputs: ["x"], outputs: ["y"] }],
    inputs: IO.inputs,
    outputs: [{ name: "y", dtype: "f32", sequence: true }],
  });
  const error = await refusal(Session.fromBytes(model, "odd"), "odd");
  expect(error.message).toContain(
    'output "y" must be a tensor of f32, f16, i64, i32, u16, u8, i8 or bool, got a sequence',
  );
});

test("Session.load() finds weights in a file beside the model, wherever the process is", async () => {
  const external = (location: string) =>
    onnxModel({
      ...IO,
      nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
      initializers: [{ name: "w", dtype: "f32", shape: [4], data: { location, offset: 4, length: 16 } }],
    });
  file("weights.bin", new Uint8Array(Float32Array.of(9, 1, 2, 3, 4).buffer));
  using session = await Session.load(file("model.onnx", external("weights.bin")));
  const outputs = await session.run({ x: createTensor("f32", [4]) });
  expect([...outputs.get("y")!.data]).toEqual([1, 2, 3, 4]);

  const path = file("lonely.onnx", external("nowhere.bin"));
  const error = await refusal(Session.load(path), path);
  expect(error.message.split("\nHint: ")[1]).toContain("its weights lie in files of their own");
  file("short.bin", new Uint8Array(8));
  const short = file("short.onnx", external("short.bin"));
  const truncated = await refusal(Session.load(short), short);
  expect(truncated.message.split("\nHint: ")[1]).toContain("a file of its weights is truncated");
  const bytes = await refusal(Session.fromBytes(external("weights.bin"), "bytes"), "bytes");
  expect(bytes.message.split("\nHint: ")[1]).toContain("load it by its path");
});

test("Session.load() takes a relative path, and one that is not ASCII", async () => {
  const name = `modèle-${process.pid}.onnx`;
  file(name, arithmeticModel());
  using absolute = await Session.load(inFolder(name));
  expect(absolute.inputs).toHaveLength(2);
  const former = process.cwd();
  process.chdir(inFolder());
  try {
    using relative = await Session.load(name);
    expect(relative.label).toBe(`Session "${name}"`);
  } finally {
    process.chdir(former);
  }
});
