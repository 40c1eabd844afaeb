import { expect, test } from "bun:test";
import { ModelError, OnnxRuntimeError } from "../../src/core/errors.ts";
import { createTensor, type Tensor } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { chance } from "../support/chance.ts";
import { arithmeticModel, countingModel } from "../support/onnx-models.ts";
import { onnxModel } from "../support/onnx-writer.ts";

const CONVOLUTION = onnxModel({
  nodes: [
    { op: "Conv", inputs: ["x", "w"], outputs: ["c"], attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } },
    { op: "Reshape", inputs: ["c", "shape"], outputs: ["flat"] },
    { op: "Softmax", inputs: ["flat"], outputs: ["y"], attributes: { axis: 1 } },
  ],
  inputs: [{ name: "x", dtype: "f32", shape: ["N", 2, 5, 3] }],
  outputs: [{ name: "y", dtype: "f32", shape: ["N", 15] }],
  initializers: [
    { name: "w", dtype: "f32", shape: [1, 2, 3, 3], data: new Float32Array(18).fill(0.1) },
    { name: "shape", dtype: "i64", shape: [2], data: BigInt64Array.of(-1n, 15n) },
  ],
});

const MODELS = [arithmeticModel(), countingModel(), CONVOLUTION];

/** Cut short, a few bytes changed, one bit flipped, or a piece taken out. */
function corrupt(model: Uint8Array, kind: number, random: () => number): Uint8Array {
  const at = Math.floor(random() * model.length);
  if (kind === 0) return model.slice(0, at);
  const copy = model.slice();
  if (kind === 1) {
    for (let count = 0; count < 4; count++) copy[Math.floor(random() * copy.length)] = Math.floor(random() * 256);
    return copy;
  }
  if (kind === 2) {
    copy[at]! ^= 1 << Math.floor(random() * 8);
    return copy;
  }
  return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 1 + Math.floor(random() * 20))]);
}

/** Small inputs of whatever was declared; `undefined` if that is too large. */
function inputsOf(session: Session): Record<string, Tensor> | undefined {
  const entries = session.inputs.map(({ name, dtype, shape }): [string, Tensor] | undefined => {
    const dims = shape.map((dim) => (dim < 0 ? 2 : dim));
    return dims.reduce((a, b) => a * b, 1) > 100_000 ? undefined : [name, createTensor(dtype, dims)];
  });
  return entries.every((entry) => entry !== undefined) ? Object.fromEntries(entries) : undefined;
}

test("Session survives 400 broken models: each is a ModelError, fails as an error, or runs", async () => {
  const random = chance(20261121);
  const counts = { refused: 0, failed: 0, ran: 0 };
  for (let round = 0; round < 400; round++) {
    const bytes = corrupt(MODELS[round % MODELS.length]!, round % 4, random);
    try {
      using session = await Session.fromBytes(bytes, "broken", { intraOpThreads: 1 });
      const inputs = inputsOf(session);
      if (inputs === undefined) continue;
      await session.run(inputs, { signal: AbortSignal.timeout(500) });
      counts.ran += 1;
    } catch (error) {
      if (error instanceof ModelError) counts.refused += 1;
      else if (error instanceof OnnxRuntimeError) counts.failed += 1;
      else throw error;
    }
  }
  expect(counts.refused).toBeGreaterThan(100);
  expect(counts.ran).toBeGreaterThan(20);
}, 120_000);
