/** @module An engine by hand: built, loaded, bound to memory and run: `bun examples/low-level/5-engine.ts model.onnx` */

import { copyToDevice, copyToHost, Device, DeviceBuffer, Stream } from "bun-tensorrt/cuda";
import { createTensor } from "bun-tensorrt/onnxruntime";
import { EngineCache, Runtime } from "bun-tensorrt/tensorrt";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("Usage: bun examples/low-level/5-engine.ts MODEL.onnx");

using device = Device.open();
using stream = Stream.create(device);
const onnx = await Bun.file(path).bytes();
const options = { precision: "fp16", batch: 1, size: [640, 640] } as const; // batch and size: where the model leaves them open
const { bytes, isHit } = await new EngineCache().obtain(onnx, options, { device, path });
console.log(isHit ? "the plan was in the cache" : "the plan was built");

using runtime = await Runtime.create({ device });
using engine = await runtime.deserialize(bytes, { source: path });
using context = await engine.createContext(); // one for each inference that runs at the same time

using memory = new DisposableStack();
const bind = (name: string): DeviceBuffer => {
  const tensor = context.tensor(name);
  const { dtype } = engine.tensor(name);
  const buffer = memory.use(DeviceBuffer.create(dtype, tensor.shape, { stream }));
  tensor.setAddress(buffer.pointer);
  return buffer;
};
for (const { name, dtype, shape, profiles } of engine.inputs) {
  // Where a side is open, the profile says for which sizes the engine is best.
  if (shape.includes(-1)) context.tensor(name).setShape(profiles[0]!.opt);
  const buffer = bind(name);
  copyToDevice(buffer, createTensor(dtype, buffer.shape).data, { stream });
}
const outputs = engine.outputs.map(({ name }) => [name, bind(name)] as const);
context.enqueue(stream);
for (const [name, buffer] of outputs) {
  const { data } = createTensor(buffer.dtype, buffer.shape);
  copyToHost(data, buffer, { stream });
  console.log(`${name}: ${buffer.dtype} [${buffer.shape}], first ${data[0]}`);
}
