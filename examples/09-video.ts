/** @module A video, frame by frame, and a copy with boxes: `bun examples/09-video.ts [street.mp4 [annotated.mp4]]` */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "bun-tensorrt";
import { detectVideo, paintDetections, VideoSink, VideoSource } from "bun-tensorrt/video";

/** A second of ffmpeg's test video, for those who have no video at hand. */
function testVideo(): string {
  const path = join(tmpdir(), "bun-tensorrt-test.mp4");
  const source = "testsrc2=size=640x360:rate=15:duration=1";
  Bun.spawnSync(["ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", path]);
  return path;
}

const [path = testVideo(), copy = join(tmpdir(), "bun-tensorrt-annotated.mp4")] = Bun.argv.slice(2);
await using video = await VideoSource.open(path);
const { width, height, info } = video;
console.log(`${info.codec} ${width}x${height}, about ${video.expected ?? "?"} frames`);

await using detector = await Detector.load("yolo11n", { threshold: 0.3 });
await using sink = await VideoSink.open(copy, { width, height }); // frames keep their own times

for await (const { frame, detections } of detectVideo(detector, video)) {
  const labels = detections.map(({ label, score }) => `${label} ${score.toFixed(2)}`).join(", ");
  console.log(`${(frame.timestampMs / 1000).toFixed(3)} s: ${labels || "nothing"}`);
  paintDetections(frame, detections); // onto the frame's own pixels
  await sink.write(frame, frame.timestampMs);
}
await sink.finish();
console.log(`${sink.written} frames in ${copy}`);
