import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Detector } from "../../../src/api/detector.ts";
import { nvdecUnavailable } from "../../../src/nvdec/nvdec.ts";
import type { Detection } from "../../../src/tasks/detect/detection.ts";
import { detectVideo } from "../../../src/video/detect-video.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { isOnCpu, SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { recordedVideo } from "../../support/recorded-video.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { readStream, streamNames } from "../../support/video-streams.ts";

setDefaultTimeout(SLOW_TEST_MS);

const MODEL = "models/yolov8n_640.onnx";
const isOut = isTensorRtMissing || isOnCpu || nvdecUnavailable() !== undefined || isMissing(MODEL);
const names = isOut ? [] : streamNames();

useEngineCache();

const facts = (detections: readonly Detection[]): object[] =>
  detections.map(({ label, score, box }) => ({ label, score, box }));

describe.each(["h264-1080p", "hevc-1080p", "h264-vtest", "hevc10-1080p"])("%s", (name) => {
  test.skipIf(isOut || !names.includes(name))(
    "boxes of frames in device memory are those of the same pixels on the host, and no pixel comes there",
    async () => {
      const stream = readStream(name);
      await using detector = await Detector.load(sharedPath(MODEL), { backend: "gpu" });
      const found: object[][] = [];
      await using video = await recordedVideo(stream);
      for await (const { detections, frame } of detectVideo(detector, video)) {
        expect(frame.resident).toBeDefined();
        found.push(facts(detections));
      }
      expect([found.length, video.copied]).toEqual([stream.frames.length, 0]);
      expect(found.flat().length).toBeGreaterThan(0);
      await using again = await recordedVideo(stream);
      let at = 0;
      for await (using frame of again) {
        const { data } = frame;
        if (stream.bits === 8) {
          expect(new Bun.CryptoHasher("md5").update(data).digest("hex")).toBe(stream.frames[at]![1]);
        }
        expect(frame.resident).toBeUndefined();
        const { detections } = await detector.detect(frame);
        expect(facts(detections)).toEqual(found[at]!);
        at += 1;
      }
      expect([at, again.copied]).toEqual([found.length, found.length]);
    },
  );
});

test.skipIf(isOut || !names.includes("h264-1080p"))(
  "frames that are kept outlive the surfaces of the decoder, and tracks go through a video that nobody releases",
  async () => {
    const stream = readStream("h264-1080p");
    await using detector = await Detector.load(sharedPath(MODEL), { backend: "gpu" });
    await using video = await recordedVideo(stream);
    const kept = await Array.fromAsync(video);
    expect(kept.length).toBe(stream.frames.length);
    for (const [at, frame] of kept.entries()) {
      using _ = frame;
      expect(new Bun.CryptoHasher("md5").update(frame.data).digest("hex")).toBe(stream.frames[at]![1]);
    }
    await using tracked = await recordedVideo(stream, { rounds: 3 });
    const ids = new Set<number>();
    let results = 0;
    for await (const { detections } of detector.track(tracked)) {
      results += 1;
      for (const { trackId } of detections) ids.add(trackId);
    }
    expect([results, tracked.copied]).toEqual([stream.frames.length * 3, 0]);
    expect(ids.size).toBeGreaterThan(0);
  },
);
