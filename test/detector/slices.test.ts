import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Detector } from "../../src/api/detector.ts";
import { OrientedDetector, Segmenter } from "../../src/api/object-model.ts";
import { setLogSink } from "../../src/core/log.ts";
import { flatImage } from "../support/flat-image.ts";
import { sharedFile } from "../support/shared.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyObb, toySegmenter } from "../support/toy-objects.ts";

const backend = "cpu";
const wide = flatImage(112, 64, 255);

test("Detector: slices find what lies in each, the whole image is seen beside them, and streams go the same way", async () => {
  const slices = { overlap: 0.25 };
  await using alone = await Detector.load(toyDetector(), { backend, slices: { ...slices, whole: false } });
  await using both = await Detector.load(toyDetector(), { backend, slices });
  const { detections } = await alone.detect(wide, { classes: ["cat"] });
  expect(detections.map(({ box }) => [...box])).toEqual([
    [8, 8, 40, 40],
    [56, 8, 88, 40],
  ]);
  // That of the whole image holds both, less bright for its padding.
  const merged = await both.detect(wide, { classes: ["cat"] });
  // Its 37 rows of 64 lie below 13 of padding.
  expect(merged.detections.map(({ box }) => [...box])).toEqual([
    [8, 0, 70, Math.fround((27 * 64) / 37)],
    [56, 8, 88, 40],
  ]);
  for await (const { detections: streamed } of both.stream([wide, wide], { classes: ["cat"] })) {
    expect(streamed).toEqual(merged.detections);
  }
  expect((await both.detect(wide, { maxDetections: 1 })).detections.length).toBe(1);
});

test("Segmenter: the mask of an object that several slices show is what any of them has of it, in the image", async () => {
  const slices = { overlap: 0.75, whole: false };
  await using segmenter = await Segmenter.load(toySegmenter, { backend, slices });
  const { objects } = await segmenter.detect(flatImage(48, 32, 255));
  const found = objects.map(({ label, box, mask }) => [label, [...box], mask.width, mask.bounds.x, mask.area]);
  expect(found).toEqual([
    ["cat", [4, 4, 28, 16], 48, 4, 24 * 12],
    ["cat", [20, 4, 36, 16], 48, 20, 16 * 12],
    ["dog", [12, 20, 36, 28], 48, 12, 2 * 4 * 8],
    ["dog", [28, 20, 44, 28], 48, 28, 4 * 8],
  ]);
  const refused = Segmenter.load(toySegmenter, { backend, slices, maskSize: "proto" });
  await expect(refused).rejects.toThrow(
    'Cannot give masks of the size "proto": masks of several slices are joined in the image\nHint: leave out `maskSize`',
  );
});

test("OrientedDetector: oriented boxes that slices share grow at the angle of the best", async () => {
  const slices = { overlap: 0.9, whole: false };
  await using detector = await OrientedDetector.load(toyObb, { backend, slices });
  const { objects } = await detector.detect(flatImage(36, 32, 255));
  const found = objects.map(({ label, xywhr }) => [label, ...xywhr.map((value) => Number(value.toFixed(4)))]);
  expect(found).toEqual([
    ["cat", 16, 16, 12, 4, 1.5708],
    ["cat", 20, 16, 12, 4, 1.5708],
    ["dog", 10, 8, 12, 8, 0],
  ]);
});

test("slices: what does not go with them is refused or logged", async () => {
  const lines: string[] = [];
  setLogSink((_, line) => lines.push(line));
  try {
    const options = { backend, slices: {}, scaledDecoding: true, batchWaitMs: 5 };
    await using detector = await Detector.load(toyDetector(), options);
    expect(() => detector.staged([wide])).toThrow("Cannot run the stages one by one: images are cut into slices");
    expect(lines.join("\n")).toContain("Ignoring `scaledDecoding`: slices are of the image at its full size");
    expect(lines.join("\n")).toContain("Ignoring `batchWaitMs`: a run has the slices of one image");
  } finally {
    setLogSink(undefined);
  }
  const wrong = Detector.load(toyDetector(), { backend, slices: { overlap: 1 } });
  await expect(wrong).rejects.toThrow('Option "slices.overlap" must be a number from 0 to 0.9, got 1');
});

const photograph = sharedFile("images", "photos", "street_1920x1080.jpg");
const model = sharedFile("models", "yolov8n_640.onnx");
const reference = sharedFile("reference", "slicing", "street_1920x1080.json");

test.skipIf(photograph === undefined || model === undefined || reference === undefined)(
  "yolov8n on a street: boxes are those of SAHI with Ultralytics",
  async () => {
    const { sahi } = JSON.parse(readFileSync(reference!, "utf8"));
    await using detector = await Detector.load(model!, { backend, slices: { size: 512 } });
    const { detections } = await detector.detect(photograph!);
    const want: number[][] = sahi.merged.GREEDYNMM_IOS_byClass;
    expect(detections.length).toBe(want.length);
    for (const [x1, y1, x2, y2, score, classId] of want) {
      const distance = ({ box, score: own }: (typeof detections)[number]): number =>
        Math.max(...[x1!, y1!, x2!, y2!].map((side, at) => Math.abs(side - box[at]!)), 100 * Math.abs(score! - own));
      const nearest = Math.min(...detections.filter((found) => found.classId === classId).map(distance));
      expect([x1, y1, nearest < 0.05]).toEqual([x1, y1, true]);
    }
  },
  60_000,
);
