/** @module Many images, several in flight, results in order, bad ones reported: `bun examples/02-many-images.ts *.jpg` */

import { Detector } from "bun-tensorrt";

const paths = process.argv.slice(2);
if (paths.length === 0) throw new Error("Usage: bun examples/02-many-images.ts IMAGE …");

await using detector = await Detector.load("yolo11n", { inFlight: 2, classes: ["person"] });

let persons = 0;
let failed = 0;
const onError = (error: unknown, index: number): void => {
  failed += 1;
  console.log(`${paths[index]}: ${error instanceof Error ? error.message : error}`);
};
for await (const { detections } of detector.stream(paths, { onError })) persons += detections.length;
console.log(`${persons} persons in ${paths.length - failed} images, ${failed} could not be read`);
