import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { detectVideo } from "../../src/video/detect-video.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { ffmpeg, isFfmpegMissing } from "../support/videos.ts";

setDefaultTimeout(120_000);

const MODEL = ["models", "yolov8n_640.onnx"] as const;
const PHOTO = ["images", "photos", "street_1920x1080.jpg"] as const;
const isSkipped = isFfmpegMissing || isMissing(...MODEL) || isMissing(...PHOTO);

/** Largest distance of two edges in pixels. */
function distance(a: Detection, b: Detection): number {
  return Math.max(...a.box.map((edge, at) => Math.abs(edge - b.box[at]!)));
}

test.skipIf(isSkipped)(
  "boxes of NV12 frames on the CPU are those of RGB frames, odd sizes too",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-nv12-"));
    try {
      await using detector = await Detector.load(sharedPath(...MODEL), { backend: "cpu" });
      for (const size of ["1280x720", "641x427"]) {
        const path = join(folder, `${size}.mkv`);
        const filter = `scale=${size.replace("x", ":")},format=yuv420p`;
        const input = ["-loop", "1", "-i", sharedPath(...PHOTO), "-frames:v", "2", "-vf", filter];
        await ffmpeg(...input, "-c:v", "ffv1", path);
        const found: Record<"nv12" | "rgb", Detection[][]> = { nv12: [], rgb: [] };
        for (const pixels of ["nv12", "rgb"] as const) {
          await using video = await VideoSource.open(path, { pixels });
          for await (const { frame, detections } of detectVideo(detector, video)) {
            expect(frame.format).toBe(pixels === "nv12" ? "NV12" : "RGB");
            found[pixels].push([...detections]);
          }
        }
        expect(found.nv12.length).toBe(2);
        for (const [index, detections] of found.nv12.entries()) {
          const clear = detections.filter(({ score }) => score > 0.3);
          expect(clear.length).toBeGreaterThan(1);
          for (const detection of clear) {
            const same = found.rgb[index]!.filter(({ label }) => label === detection.label);
            const [nearest] = same.sort((a, b) => distance(a, detection) - distance(b, detection));
            expect(nearest).toBeDefined();
            expect(distance(nearest!, detection)).toBeLessThan(6);
            expect(Math.abs(nearest!.score - detection.score)).toBeLessThan(0.05);
          }
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);
