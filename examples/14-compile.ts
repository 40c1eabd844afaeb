/**
 * @module One file that detects with nothing beside it:
 * `bun build --compile examples/14-compile.ts --outfile detect`, then `./detect yolo11n.onnx street.jpg …` on any Linux.
 */

import "bun-tensorrt/embed";
import { Detector } from "bun-tensorrt";

const [model, ...images] = process.argv.slice(2);
if (model === undefined || images.length === 0) throw new Error("Usage: detect MODEL IMAGE …");

await using detector = await Detector.load(model);
for (const image of images) {
  const { detections } = await detector.detect(image);
  console.log(`${image}: ${detections.map(({ label, score }) => `${label} ${score.toFixed(2)}`).join(", ")}`);
}
