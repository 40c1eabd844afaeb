/** @module ONNX Runtime only, for models that are no detectors: `bun examples/05-onnxruntime.ts model.onnx` */

import type { Tensor } from "bun-tensorrt";
import { createTensor, Session } from "bun-tensorrt/onnxruntime";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("Usage: bun examples/05-onnxruntime.ts MODEL");

await using session = await Session.load(path, { intraOpThreads: 1 });
const inputs: Record<string, Tensor> = {};
for (const { name, dtype, shape } of session.inputs) {
  inputs[name] = createTensor(
    dtype,
    shape.map((dim, axis) => (dim > 0 ? dim : axis === 0 ? 1 : 64)),
  );
}
for (const [name, { dtype, shape }] of await session.run(inputs)) console.log(`${name}: ${dtype} [${shape}]`);
