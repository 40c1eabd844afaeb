import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Detector } from "../../../src/api/detector.ts";
import { Device } from "../../../src/cuda/device.ts";
import { decodeImage } from "../../../src/image/image-file.ts";
import type { DetectionResult } from "../../../src/tasks/detect/detection.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { flatImage } from "../../support/flat-image.ts";
import { isGpuMissing, SLOW_TEST_MS } from "../../support/gpu.ts";
import { isPlanForeign, PLAN } from "../../support/gpu-tensorrt.ts";
import { sharedPath } from "../../support/shared.ts";
import { toyDetector } from "../../support/toy-detector.ts";

setDefaultTimeout(SLOW_TEST_MS);

describe.skipIf(isGpuMissing || Device.count() < 2)("Detector on two GPUs", () => {
  useEngineCache();

  test("Detector.stream() over two devices gives what one gives, in order, and both take part", async () => {
    const options = { backend: "gpu", precision: "fp32", firstEngine: "full", threshold: 0, inFlight: 2 } as const;
    const images = Array.from({ length: 250 }, (_, at) => flatImage(64 + (at % 5), 64, 255 - at));
    const wanted: DetectionResult["detections"][] = [];
    await using one = await Detector.load(toyDetector(), options);
    for await (const { detections } of one.stream(images)) wanted.push(detections);
    expect(wanted[0]![0]!.score).toBeCloseTo(0.9, 2);
    await using detector = await Detector.load(toyDetector(), { ...options, device: [0, 1] });
    expect(detector.backends.length).toBe(2);
    let at = 0;
    for await (const { index, detections } of detector.stream(images)) {
      expect(index).toBe(at);
      expect(detections).toEqual([...wanted[at]!]);
      at += 1;
    }
    expect(at).toBe(250);
  });

  test("Detector on two devices joins calls to batches on either", async () => {
    await using detector = await Detector.load(toyDetector(), {
      backend: "gpu",
      precision: "fp32",
      firstEngine: "full",
      batch: 4,
      inFlight: 1,
      device: [1, 0],
    });
    const results = await Promise.all(Array.from({ length: 64 }, () => detector.detect(flatImage(33, 65, 255))));
    expect(results.every(({ detections }) => detections.length === 3)).toBe(true);
  });

  test.skipIf(isPlanForeign())("Detector.stream() of a plan over two devices finds what one finds", async () => {
    const names = readdirSync(sharedPath("images/photos")).filter((name) => name.endsWith(".jpg"));
    const images = await Promise.all(names.map((name) => decodeImage(sharedPath("images/photos", name))));
    const frames = Array.from({ length: 40 }, (_, at) => images[at % images.length]!);
    await using one = await Detector.load(sharedPath(PLAN), { backend: "gpu", inFlight: 1 });
    const wanted: DetectionResult["detections"][] = [];
    for (const image of images) wanted.push((await one.detect(image)).detections);
    await using both = await Detector.load(sharedPath(PLAN), { backend: "gpu", inFlight: 2, device: [0, 1] });
    let count = 0;
    for await (const { index, detections } of both.stream(frames)) {
      expect(index).toBe(count++);
      expect(detections).toEqual([...wanted[index % wanted.length]!]);
    }
    expect(count).toBe(frames.length);
  });
});
