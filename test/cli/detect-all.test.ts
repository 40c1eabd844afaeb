import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Detector } from "../../src/api/detector.ts";
import { closeAfter, detectAll, type ImageStream, imagesOf, withPoints } from "../../src/cli/detect-images.ts";
import type { OnBadImage } from "../../src/cli/result-target.ts";
import { ClosedError, ImageError } from "../../src/core/errors.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import type { DetectionResult } from "../../src/tasks/detect/detection.ts";
import { flatImage } from "../support/flat-image.ts";
import { noiseImage } from "../support/image-models.ts";
import { toyDetector } from "../support/toy-detector.ts";

const never = new AbortController().signal;
const ignore: OnBadImage = () => {};

/** Answers with the number in a file's name as the width; `bad…` is no image, `broken…` a failure of the machine. */
function fakeDetector(): ImageStream & { readonly begun: string[] } {
  const begun: string[] = [];
  return {
    begun,
    async *stream(files, { onError }) {
      let index = 0;
      for await (const source of files) {
        const file = String(source);
        begun.push(file);
        if (file.startsWith("bad")) onError(new ImageError(`Cannot decode "${file}"`, file), index);
        else if (file.startsWith("broken")) onError(new Error("no memory"), index);
        else yield { width: Number(file) } as DetectionResult;
        index += 1;
      }
    },
  };
}

test("detectAll() pairs results with their files around bad images", async () => {
  const events: string[] = [];
  const files = imagesOf(["bad0", "1", "bad2", "bad3", "4", "bad5"], false);
  const onBadImage: OnBadImage = (file) => void events.push(`bad ${file}`);
  for await (const { file, result } of detectAll(fakeDetector(), files, never, onBadImage)) {
    expect(result.width).toBe(Number(file));
    events.push(file);
  }
  expect(events).toEqual(["bad bad0", "1", "bad bad2", "bad bad3", "4", "bad bad5"]);
});

test("detectAll() begins no further image once aborted", async () => {
  const abort = new AbortController();
  const detector = fakeDetector();
  const seen: string[] = [];
  const images = imagesOf(["1", "2", "3", "4"], false);
  for await (const { file } of detectAll(detector, images, abort.signal, ignore)) {
    seen.push(file);
    if (file === "2") abort.abort();
  }
  expect(seen).toEqual(["1", "2"]);
  expect(detector.begun).toEqual(["1", "2"]);
});

test("detectAll() stops at what is not the fault of an image", async () => {
  const run = async (): Promise<void> => {
    for await (const _ of detectAll(fakeDetector(), imagesOf(["1", "broken", "2"], false), never, ignore));
  };
  await expect(run()).rejects.toThrow("no memory");
});

test("closeAfter() ends a run that never ends, a while after the signal, and the results before it are kept", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-endless-"));
  try {
    const file = join(folder, "white.png");
    writeFileSync(file, await encodeImage(flatImage(64, 64, 255), { format: "png" }));
    await using detector = await Detector.load(toyDetector({ isEndless: true }), { backend: "cpu" });
    const abort = new AbortController();
    closeAfter(abort.signal, detector, 10);
    setTimeout(() => abort.abort(), 10);
    expect(await Array.fromAsync(detectAll(detector, imagesOf([file], false), abort.signal, ignore))).toEqual([]);
    const failing: ImageStream = {
      async *stream() {
        yield { width: 1 } as DetectionResult;
        throw new ClosedError("detect", "the detector");
      },
    };
    const results = (signal: AbortSignal): Promise<object[]> =>
      Array.fromAsync(detectAll(failing, imagesOf(["1"], false), signal, ignore));
    expect(await results(abort.signal)).toHaveLength(1);
    await expect(results(never)).rejects.toBeInstanceOf(ClosedError);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("withPoints() decodes a file once, for both models, and leaves one that is broken to the first", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-points-"));
  const [good, cut, bad] = ["good.jpg", "cut.jpg", "bad.jpg"].map((name) => join(folder, name));
  const jpeg = await encodeImage(noiseImage(64, 48), { format: "jpeg" });
  await Promise.all([
    Bun.write(good!, jpeg),
    Bun.write(cut!, jpeg.subarray(0, jpeg.length * 0.7)),
    Bun.write(bad!, "none"),
  ]);
  const seen: unknown[] = [];
  const posed: unknown[] = [];
  const timing = { decode: 0, preprocess: 1, infer: 1, postprocess: 1, total: 3 };
  const result = { width: 64, height: 48, dropped: 0, implausible: 0, timing };
  const detector = {
    async *stream(images: AsyncIterable<unknown>, { onError }: { onError: (error: unknown, index: number) => void }) {
      let index = 0;
      for await (const image of images) {
        seen.push(image);
        if (typeof image === "string") onError(new ImageError("no image", image), index);
        else yield { ...result, detections: [], index };
        index += 1;
      }
    },
  };
  const estimator = {
    task: "pose",
    estimate: async (image: unknown) => {
      posed.push(image);
      return { ...result, objects: [] };
    },
  };
  const finder = withPoints(detector as never, estimator as never, { damaged: "take" });
  async function* sources(): AsyncGenerator<string> {
    yield* [good!, bad!, cut!];
  }
  const bads: number[] = [];
  const results = await Array.fromAsync(finder.stream(sources(), { onError: (_, index) => bads.push(index) }));
  rmSync(folder, { recursive: true });
  expect(bads).toEqual([1]);
  expect(seen.map((image) => (typeof image === "string" ? image : (image as { width: number }).width))).toEqual([
    64,
    bad!,
    64,
  ]);
  expect(posed).toEqual([seen[0], seen[2]]);
  expect(posed[0]).toBe(seen[0]);
  const [first, second] = results as { timing: { decode: number; total: number }; damage?: string }[];
  expect(first!.timing.decode).toBeGreaterThan(0);
  expect(first!.timing.total).toBeGreaterThan(6);
  expect([first!.damage === undefined, typeof second!.damage]).toEqual([true, "string"]);
});
