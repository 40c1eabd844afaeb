/** @module Objects in images: `bun examples/01-detect.ts street.jpg …` */

import { Detector } from "bun-tensorrt";

const paths = process.argv.slice(2);
if (paths.length === 0) throw new Error("Usage: bun examples/01-detect.ts IMAGE …");

await using detector = await Detector.load("yolo11n");
for (const path of paths) {
  const { detections, timing } = await detector.detect(path);
  console.log(`${path}: ${detections.length} objects in ${timing.total.toFixed(1)} ms`);
  for (const { label, score, box } of detections) {
    console.log(`  ${label} ${score.toFixed(2)} at ${box.map((side) => side.toFixed(0)).join(" ")}`);
  }
}
