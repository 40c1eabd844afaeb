import { expect, test } from "bun:test";
import { externalDataFiles, readOnnxMetadata } from "../../src/tensorrt/onnx-metadata.ts";
import { type GraphSpec, onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { tinyModel } from "../support/tensorrt.ts";

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

const YOLO = "models/yolov8n_640_dynamic.onnx";
test.skipIf(isMissing(YOLO))("readOnnxMetadata() reads Ultralytics' metadata, as yolov8n is there", async () => {
  const metadata = readOnnxMetadata(await Bun.file(sharedPath(YOLO)).bytes());
  expect(metadata.task).toBe("detect");
  expect(metadata.names).toContain("person");
});
