import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { externalDataFiles, externalDataPaths, readOnnxMetadata, readOnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type GraphSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { tinyModel } from "../support/tensorrt.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyTopDown } from "../support/toy-top-down.ts";

setDefaultTimeout(120_000);

test("readOnnxMetadata() reads what the writer wrote", () => {
  const metadata = { names: "{0: 'person', 1: \"it's\"}", "": "", stride: "32", umlauts: "äöü" };
  expect(readOnnxMetadata(tinyModel({ metadata }))).toEqual(metadata);
  expect(readOnnxMetadata(tinyModel())).toEqual({});
});

test("readOnnxMetadata() stands bytes that are no model", () => {
  for (let length = 0; length < 300; length += 7) {
    const noise = Uint8Array.from({ length }, (_, index) => (index * 73 + length) % 256);
    expect(readOnnxMetadata(noise)).toBeInstanceOf(Object);
    expect(readOnnxMetadata(tinyModel().subarray(0, length))).toEqual({});
  }
});

test("readOnnxModel() reads what ONNX Runtime does of a model, also where sides or even their number are open", async () => {
  const weight = { name: "w", dtype: "f32", shape: [1], data: Float32Array.of(2) } as const;
  const models = [
    tinyModel({ metadata: { task: "detect" } }),
    toyDetector({ side: "side" }),
    toyClassifier({ side: "side", scores: "means", dtype: "f16" }),
    toyMap({ form: "i64", classes: 3, batch: "n" }),
    toyTopDown("simcc", { isOpen: true }),
    // Weights that are listed as inputs, as older exporters do.
    onnxModel({
      nodes: [{ op: "Mul", inputs: ["x", "w"], outputs: ["y"] }],
      inputs: [
        { name: "x", dtype: "f32", shape: ["n", 0] },
        { name: "w", dtype: "f32", shape: [1] },
      ],
      outputs: [{ name: "y", dtype: "f32", shape: ["n", 0] }],
      initializers: [weight],
    }),
  ];
  for (const model of models) {
    await using session = await Session.fromBytes(model, "a model");
    const { inputs, outputs, metadata } = session.model;
    expect(readOnnxModel(model)).toEqual({ inputs: [...inputs], outputs: [...outputs], metadata: { ...metadata } });
  }
  for (let length = 0; length < models[0]!.length; length += 5) {
    expect(readOnnxModel(models[0]!.subarray(0, length)).inputs.length).toBeLessThan(2);
  }
});

test("externalDataFiles() lists the files beside a model, each once", () => {
  const weights = (name: string, location: string): object => ({
    name,
    dtype: "f32",
    shape: [2],
    data: { location, offset: 0, length: 8 },
  });
  const model = onnxModel({
    nodes: [{ op: "Add", inputs: ["a", "b"], outputs: ["c"] }],
    inputs: [],
    outputs: [{ name: "c", dtype: "f32", shape: [2] }],
    initializers: [weights("a", "weights.bin"), weights("b", "weights.bin"), weights("d", "sub/more.bin")] as never,
  });
  expect(externalDataFiles(model)).toEqual(["weights.bin", "sub/more.bin"]);
  expect(externalDataFiles(tinyModel())).toEqual([]);
});

test("externalDataFiles() finds the weights of graphs inside nodes", () => {
  const branch = (location: string): GraphSpec => ({
    nodes: [{ op: "Identity", inputs: ["w"], outputs: ["out"] }],
    inputs: [],
    outputs: [{ name: "out", dtype: "f32", shape: [2] }],
    initializers: [{ name: "w", dtype: "f32", shape: [2], data: { location, offset: 0, length: 8 } }],
  });
  const attributes = { then_branch: branch("yes.bin"), else_branch: branch("no.bin") };
  const model = onnxModel({
    nodes: [{ op: "If", inputs: ["condition"], outputs: ["y"], attributes }],
    inputs: [{ name: "condition", dtype: "bool", shape: [] }],
    outputs: [{ name: "y", dtype: "f32", shape: [2] }],
  });
  expect(externalDataFiles(model)).toEqual(["yes.bin", "no.bin"]);
  for (let length = 0; length < model.length; length++) {
    expect(externalDataFiles(model.subarray(0, length)).length).toBeLessThan(3);
  }
});

test("externalDataFiles() stands graphs within graphs, however deep, and groups", () => {
  const wrap = (field: number, content: Uint8Array): Uint8Array => {
    const writer = new BinaryWriter();
    return writer.tag(field, WireType.LengthDelimited).bytes(content).finish();
  };
  const entry = Buffer.concat([wrap(1, Buffer.from("location")), wrap(2, Buffer.from("deep.bin"))]);
  const nested = (depth: number): Uint8Array => {
    let graph = wrap(5, wrap(13, entry));
    for (let level = 0; level < depth; level++) graph = wrap(1, wrap(5, wrap(6, graph)));
    return wrap(7, graph);
  };
  expect(externalDataFiles(nested(30))).toEqual(["deep.bin"]);
  expect(externalDataFiles(nested(4000))).toEqual([]);
  expect(externalDataFiles(new Uint8Array(100_000).fill(0x0b))).toEqual([]);
});

test("externalDataPaths() refuses weights outside the model's folder, and what is no file, before it is opened", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-weights-"));
  try {
    for (const name of ["model", "blobs"]) mkdirSync(join(folder, name));
    const path = join(folder, "model", "a.onnx");
    for (const file of ["model/a.onnx", "model/w.bin", "outside.bin"]) writeFileSync(join(folder, file), "x");
    Bun.spawnSync(["mkfifo", join(folder, "model/fifo")]);
    symlinkSync("/dev/zero", join(folder, "model/zero"));
    symlinkSync("../outside.bin", join(folder, "model/link"));
    const paths = (location: string): string[] =>
      externalDataPaths(
        onnxModel({
          nodes: [],
          inputs: [],
          outputs: [],
          initializers: [{ name: "w", dtype: "f32", shape: [2], data: { location, offset: 0, length: 8 } }],
        }),
        path,
      );
    for (const location of ["w.bin", "missing.bin", "..w.bin"]) {
      expect(paths(location)).toEqual([join(folder, "model", location)]);
    }
    for (const location of ["../outside.bin", join(folder, "outside.bin"), join(folder, "model/w.bin"), "link"]) {
      expect(() => paths(location)).toThrow("lie outside its folder");
    }
    expect(() => paths("fifo")).toThrow('its weights "fifo" are a pipe\nHint: put its weights into a file beside it');
    expect(() => paths("zero")).toThrow('its weights "zero" are a device');
    // As caches of downloads have it: both are links to files elsewhere.
    rmSync(path);
    writeFileSync(join(folder, "blobs/1"), "x");
    writeFileSync(join(folder, "blobs/2"), "x");
    symlinkSync("../blobs/1", path);
    symlinkSync("../blobs/2", join(folder, "model/data"));
    expect(paths("data")).toEqual([join(folder, "model/data")]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const YOLO = "models/yolov8n_640_dynamic.onnx";
test.skipIf(isMissing(YOLO))("readOnnxMetadata() reads Ultralytics' metadata, as yolov8n is there", async () => {
  const metadata = readOnnxMetadata(await Bun.file(sharedPath(YOLO)).bytes());
  expect(metadata.task).toBe("detect");
  expect(metadata.names).toContain("person");
});
