/** @module Frames that are decoded already, here a moving grey square: `bun examples/03-camera-frames.ts` */

import { Detector, type Image, imageOf } from "bun-tensorrt";

const width = 640;
const height = 480;

/** A camera: it fills the same memory again and again, so a frame is copied before it is handed on. */
function* camera(frames: number): Generator<Image> {
  const memory = new Uint8Array(width * height * 3);
  for (let frame = 0; frame < frames; frame++) {
    memory.fill(30);
    for (let y = 100; y < 300; y++) memory.fill(200, (y * width + frame * 20) * 3, (y * width + frame * 20 + 200) * 3);
    yield imageOf(memory.slice(), { width, height, format: "BGR" });
  }
}

await using detector = await Detector.load("yolo11n", { inFlight: 2, threshold: 0.1 });
let frames = 0;
for await (const { detections, timing } of detector.stream(camera(5))) {
  console.log(`frame ${frames++}: ${detections.length} objects, ${timing.infer.toFixed(1)} ms in the model`);
}
