import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Detector } from "../../../src/api/detector.ts";
import { UnavailableError } from "../../../src/core/errors.ts";
import type { Detection } from "../../../src/tasks/detect/detection.ts";
import { SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { withHole, withOrientation } from "../../support/images.ts";
import { isNvJpegMissing } from "../../support/nvjpeg.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

setDefaultTimeout(SLOW_TEST_MS);

const PLAN = "engines/yolov8n_640_fp16_trt10.6.0_sm90.plan";
const STREET = "images/photos/street_1920x1080.jpg";
const canRun = !isNvJpegMissing && !isTensorRtMissing && !isMissing(PLAN) && !isMissing(STREET);

function load(jpeg: "auto" | "gpu" | "cpu", inFlight = 1): Promise<Detector> {
  return Detector.load(sharedPath(PLAN), { backend: "gpu", jpeg, inFlight });
}

/** Pixels differ by a level here and there, and so the boxes by a fraction of a pixel. */
function expectAlike(got: readonly Detection[], want: readonly Detection[]): void {
  expect(got.map(({ label }) => label)).toEqual(want.map(({ label }) => label));
  for (const [index, { box, score }] of want.entries()) {
    expect(Math.abs(got[index]!.score - score)).toBeLessThan(0.01);
    for (let side = 0; side < 4; side++) expect(Math.abs(got[index]!.box[side]! - box[side]!)).toBeLessThan(0.5);
  }
}

describe.skipIf(!canRun)("Detector with nvJPEG", () => {
  test("finds in JPEG files what it finds by the CPU's decoder, and says how they were decoded", async () => {
    const street = readFileSync(sharedPath(STREET));
    const files = [street, withOrientation(street, 6), readFileSync(sharedPath("images/photos/bus.jpg"))];
    await using cpu = await load("cpu");
    await using gpu = await load("auto");
    expect([cpu.backend.jpeg, gpu.backend.jpeg]).toEqual([undefined, undefined]);
    for (const bytes of files) {
      const want = await cpu.detect(bytes);
      const got = await gpu.detect(bytes);
      expectAlike(got.detections, want.detections);
      expect([got.width, got.height]).toEqual([want.width, want.height]);
      expect(got.timing.decode).toBeGreaterThan(0);
    }
    expect(gpu.backend.jpeg).toEqual({ gpu: 3, cpu: 0, failed: 0, refusals: {} });
    expect(cpu.backend.jpeg).toBeUndefined();
  });

  test("streams files, with one that is damaged left out", async () => {
    await using detector = await load("gpu", 8);
    const street = readFileSync(sharedPath(STREET));
    const sources = Array.from({ length: 100 }, (_, index) => (index % 10 === 3 ? withHole(street) : street));
    const failed: number[] = [];
    const seen: number[] = [];
    for await (const { index, detections } of detector.stream(sources, { onError: (_, at) => failed.push(at) })) {
      seen.push(index);
      expect(detections.length).toBeGreaterThan(3);
    }
    expect(failed).toEqual([3, 13, 23, 33, 43, 53, 63, 73, 83, 93]);
    expect(seen.length).toBe(90);
    expect(detector.backend.jpeg).toMatchObject({ gpu: 90, failed: 10, refusals: { "damaged data": 10 } });
  });

  test("staged() gives pixels on the host, and the same boxes", async () => {
    await using detector = await load("gpu");
    const street = readFileSync(sharedPath(STREET));
    using batch = await detector.staged([street]);
    expect(batch.images[0]).toMatchObject({ width: 1920, height: 1080, format: "RGB" });
    expect(batch.images[0]!.data.length).toBe(1920 * 1080 * 3);
    await batch.preprocess();
    await batch.infer();
    const [staged = []] = await batch.postprocess();
    batch.close();
    expectAlike((await detector.detect(street)).detections, staged);
  });

  test("jpeg gpu is refused by name where libnvjpeg is not", async () => {
    const program = `
      const { Detector } = await import(${JSON.stringify(`${import.meta.dir}/../../../src/api/detector.ts`)});
      await Detector.load(${JSON.stringify(sharedPath(PLAN))}, { backend: "gpu", jpeg: "gpu" }).then(
        () => console.log("loaded"),
        (error) => console.log(error.name, error.message),
      );
      process.exit(0);`;
    const env = { ...process.env, BUN_TENSORRT_NVJPEG: "/nowhere/libnvjpeg.so.13" };
    const child = Bun.spawnSync([process.execPath, "-e", program], { env });
    expect(child.stdout.toString()).toStartWith(
      `${UnavailableError.name} Cannot decode JPEG by nvJPEG: libnvjpeg was not found\n`,
    );
  });
});
