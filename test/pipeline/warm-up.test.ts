import { expect, test } from "bun:test";
import { ImageError, NativeError } from "../../src/core/errors.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import { Pipeline, warmUp } from "../../src/runtime/pipeline.ts";
import type { DetectPipeline } from "../support/backends.ts";
import { flatImage } from "../support/flat-image.ts";
import { WatchedBackend } from "../support/watched-backend.ts";

const SELECTION = { threshold: 0.25, iou: 0.7, maxDetections: 300, classAgnostic: false, classIds: undefined };
const IMAGE_FILE = flatImage(70, 33, 0);

async function withPipeline(
  inFlight: number,
  batch: number,
  work: (pipeline: DetectPipeline, backend: WatchedBackend) => Promise<void>,
): Promise<void> {
  const backend = await WatchedBackend.load();
  const pipeline = new Pipeline(backend, { inFlight, batch });
  try {
    await work(pipeline, backend);
  } finally {
    backend.letGo();
    await pipeline.close();
  }
}

test("warmUp() runs each image alone and as a batch, in every slot at once", () =>
  withPipeline(3, 4, async (pipeline, backend) => {
    backend.hold();
    const warm = warmUp(pipeline, [IMAGE_FILE, await encodeImage(IMAGE_FILE)], SELECTION);
    while (backend.running < 3) await Bun.sleep(1);
    backend.letGo();
    await warm;
    expect(backend.runs.toSorted()).toEqual([...Array(6).fill(1), ...Array(6).fill(4)]);
    expect(new Set(backend.selections).size).toBe(1);
    expect(backend.selections[0]).toEqual({ ...SELECTION, isMadeUp: true });
  }));

test("warmUp() does not wait for a slot that is at work, nor for another warm-up", () =>
  withPipeline(2, 1, async (pipeline, backend) => {
    const work = Promise.withResolvers<void>();
    const working = pipeline.withSlot(() => work.promise);
    await warmUp(pipeline, [IMAGE_FILE], SELECTION);
    expect(backend.runs).toEqual([1]);
    await Promise.all([warmUp(pipeline, [IMAGE_FILE], SELECTION), warmUp(pipeline, [IMAGE_FILE], SELECTION)]);
    work.resolve();
    await working;
    await warmUp(pipeline, [IMAGE_FILE], SELECTION);
    expect(backend.runs).toEqual([1, 1, 1, 1, 1]);
  }));

test("warmUp() tells what is wrong with an image or the model, once every slot has ended", () =>
  withPipeline(2, 1, async (pipeline, backend) => {
    await expect(warmUp(pipeline, [new Uint8Array(9)], SELECTION)).rejects.toThrow(ImageError);
    backend.fault = new NativeError("Cannot run: it fails", { code: "ORT_FAIL", call: "Run" });
    await expect(warmUp(pipeline, [IMAGE_FILE], SELECTION)).rejects.toBe(backend.fault);
    expect(backend.running).toBe(0);
  }));
