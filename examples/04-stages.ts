/** @module The stages one by one, with the tensors between them open: `bun examples/04-stages.ts street.jpg` */

import { Detector } from "bun-tensorrt";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("Usage: bun examples/04-stages.ts IMAGE");

await using detector = await Detector.load("yolo11n");
using batch = await detector.staged([path]);
await batch.preprocess();
const input = await batch.input();
const { padX, padY, scaleX } = batch.placements[0]!;
console.log(`input ${input.dtype} [${input.shape}], scale ${scaleX.toFixed(3)}, padding ${padX} and ${padY}`);
await batch.infer();
for (const [name, { dtype, shape }] of await batch.outputs()) console.log(`output ${name} ${dtype} [${shape}]`);
for (const threshold of [0.1, 0.25, 0.5]) {
  const [detections] = await batch.postprocess({ threshold });
  console.log(`threshold ${threshold}: ${detections?.length} objects`);
}
