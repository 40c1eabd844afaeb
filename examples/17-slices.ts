/** @module Small objects of a large image, in slices: `bun examples/17-slices.ts MODEL IMAGE [SIZE]` */

import { Detector } from "bun-tensorrt";

const [model, source, size = "640"] = process.argv.slice(2);
if (model === undefined || source === undefined) throw new Error("Usage: bun examples/17-slices.ts MODEL IMAGE [SIZE]");

await using whole = await Detector.load(model);
await using sliced = await Detector.load(model, { slices: { size: Number(size) }, batch: 16 });
for (const [name, detector] of Object.entries({ whole, sliced })) {
  await detector.warmUp();
  const { detections, timing } = await detector.detect(source);
  console.log(`${name}: ${detections.length} objects in ${timing.total.toFixed(1)} ms`);
}
