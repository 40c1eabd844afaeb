import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelError } from "../../src/core/errors.ts";
import { tensorOf } from "../../src/core/tensor.ts";
import { describeTensors, probeSession, tensorGroups } from "../../src/precision/tensor-probe.ts";
import { onnxModel } from "../support/onnx-writer.ts";

/** Weights of a model: in it, or in a file beside it. */
function chain(weights: Float32Array<ArrayBuffer> | { location: string; offset: number; length: number }): Uint8Array {
  return onnxModel({
    inputs: [{ name: "x", dtype: "f32", shape: ["n", 3] }],
    outputs: [{ name: "y", dtype: "f32", shape: ["n", 3] }],
    initializers: [{ name: "w", dtype: "f32", shape: [3], data: weights }],
    nodes: [
      { op: "Mul", inputs: ["x", "w"], outputs: ["scaled"] },
      { op: "Shape", inputs: ["scaled"], outputs: ["shape"] },
      { op: "Cast", inputs: ["scaled"], outputs: ["double"], attributes: { to: 11 } },
      { op: "SequenceConstruct", inputs: ["double"], outputs: ["sequence"] },
      { op: "Exp", inputs: ["scaled"], outputs: ["y"] },
    ],
  });
}

const WEIGHTS = Float32Array.of(1, 2, 3);

test("describeTensors() has element types and shapes as ONNX Runtime infers them, without those that no tensor here has", async () => {
  const model = { bytes: chain(WEIGHTS), name: "a chain" };
  const open = await describeTensors(model);
  expect([...open]).toEqual([
    ["scaled", { name: "scaled", dtype: "f32", shape: [-1, 3] }],
    ["shape", { name: "shape", dtype: "i64", shape: [2] }],
    ["y", { name: "y", dtype: "f32", shape: [-1, 3] }],
  ]);
  const fixed = await describeTensors(model, { x: [4, 3] });
  expect(fixed.get("scaled")!.shape).toEqual([4, 3]);
});

test("probeSession() gives tensors inside a model, and computes nothing beyond them", async () => {
  await using session = await probeSession({ bytes: chain(WEIGHTS), name: "a chain" }, ["scaled"]);
  const outputs = await session.run({ x: tensorOf("f32", [1, 3], Float32Array.of(1, 1, 2)) });
  expect([...outputs].map(([name, { data }]) => [name, ...data])).toEqual([["scaled", 1, 2, 6]]);
  await expect(probeSession({ bytes: chain(WEIGHTS), name: "a chain" }, ["w"])).rejects.toThrow(
    'Cannot look into the model a chain: no node of it gives a tensor "w"',
  );
});

test("probeSession() finds weights beside the path of a model", async () => {
  const folder = mkdtempSync(join(tmpdir(), "probe-"));
  try {
    writeFileSync(join(folder, "weights.bin"), WEIGHTS);
    const path = join(folder, "chain.onnx");
    const bytes = chain({ location: "weights.bin", offset: 0, length: 12 });
    await using session = await probeSession({ bytes, name: "a chain", path }, ["scaled"]);
    const outputs = await session.run({ x: tensorOf("f32", [1, 3], Float32Array.of(1, 1, 1)) });
    expect([...outputs.get("scaled")!.data]).toEqual([1, 2, 3]);
    await expect(describeTensors({ bytes, name: "a chain" })).rejects.toBeInstanceOf(ModelError);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("tensorGroups() fills groups in order, and gives a tensor that is too large one to itself", () => {
  const tensors = [4, 5, 100, 1, -1].map((side, at) => ({ name: `t${at}`, dtype: "f32" as const, shape: [1, side] }));
  expect(tensorGroups(tensors, 40)).toEqual([["t0", "t1"], ["t2"], ["t3", "t4"]]);
});
