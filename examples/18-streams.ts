/** @module Eight cameras at once, each with its own tracks: `bun examples/18-streams.ts [rtsp://… rtsp://… …]` */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "bun-tensorrt";
import { detectVideos, type VideoInput } from "bun-tensorrt/video";

/** A moment of ffmpeg's test video, for those who have no camera at hand. */
function testVideo(): string {
  const path = join(tmpdir(), "bun-tensorrt-camera.mp4");
  const source = "testsrc2=size=320x240:rate=10:duration=0.2";
  Bun.spawnSync(["ffmpeg", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", path]);
  return path;
}

const addresses = Bun.argv.slice(2);
const sources = addresses.length > 0 ? addresses : new Array<string>(8).fill(testVideo());
// A live source drops frames that nobody has time for, and reconnects; each camera may have other options.
const cameras = sources.map((source, at): VideoInput => ({ source, name: `camera ${at + 1}`, fps: 10 }));

await using detector = await Detector.load("yolo11n", { batch: 8 });
const counts = new Map<string, { frames: number; tracks: Set<number> }>();
// Without it the first camera that fails would end the others.
const onError = (error: unknown, camera: string): void => console.error(`${camera}: ${error}`);
for await (const { source, detections } of detectVideos(detector, cameras, { tracker: "bytetrack", onError })) {
  const count = counts.get(source) ?? { frames: 0, tracks: new Set() };
  count.frames += 1;
  for (const { trackId } of detections) count.tracks.add(trackId);
  counts.set(source, count);
}
for (const [camera, { frames, tracks }] of [...counts].sort()) {
  console.log(`${camera}: ${frames} frames, ${tracks.size} tracks`);
}
