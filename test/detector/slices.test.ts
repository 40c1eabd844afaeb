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

test("slices of a call are those of a model that was loaded with them; calls without share batches meanwhile", async () => {
  const slices = { overlap: 0.25, whole: false };
  await using loaded = await Detector.load(toyDetector(), { backend, slices });
  await using plain = await Detector.load(toyDetector(), { backend, batch: 4 });
  const options = { classes: ["cat"] };
  const wanted = {
    sliced: (await loaded.detect(wide, options)).detections,
    whole: (await plain.detect(wide)).detections,
  };
  expect(wanted.sliced.length).toBe(2);
  const results = await Promise.all([
    plain.detect(wide),
    plain.detect(wide, { ...options, slices }),
    plain.detect(wide),
    plain.detect(wide, { ...options, slices: { ...slices, overlap: 0 } }),
    plain.detect(wide, { ...options, slices }),
    plain.detect(wide),
    loaded.detect(wide, { slices: false }),
  ]);
  const [first, sliced, second, apart, again, third, undone] = results.map(({ detections }) => detections);
  for (const one of [first, second, third, undone]) expect(one).toEqual(wanted.whole);
  for (const one of [sliced, again]) expect(one).toEqual(wanted.sliced);
  expect(apart!.length).toBe(2);
  for await (const { detections } of plain.stream([wide, wide], { ...options, slices })) {
    expect(detections).toEqual(wanted.sliced);
  }
});

test("slices of a call: more runs than one, and those of masks and oriented boxes", async () => {
  const slices = { overlap: 0.9, whole: false };
  const narrow = flatImage(36, 32, 255);
  await using turned = await OrientedDetector.load(toyObb, { backend });
  await using turnedBefore = await OrientedDetector.load(toyObb, { backend, slices });
  expect((await turned.detect(narrow, { slices })).objects).toEqual((await turnedBefore.detect(narrow)).objects);
  const rules = { overlap: 0.75, merge: "nms", metric: "iou" } as const;
  await using masks = await Segmenter.load(toySegmenter, { backend });
  await using masksBefore = await Segmenter.load(toySegmenter, { backend, slices: rules, batch: 3 });
  // Thirteen views: two runs of eight, or five of three.
  const [got, want] = [
    await masks.detect(flatImage(120, 32, 255), { slices: rules }),
    await masksBefore.detect(flatImage(120, 32, 255)),
  ];
  expect(want.objects.length).toBeGreaterThan(4);
  expect(got.objects.map(({ box, mask }) => [...box, ...mask.toRle().counts])).toEqual(
    want.objects.map(({ box, mask }) => [...box, ...mask.toRle().counts]),
  );
});

test("slices go with tracks", async () => {
  await using detector = await Detector.load(toyDetector(), { backend });
  const frames = Array.from({ length: 4 }, () => wide);
  const options = { classes: ["cat"], slices: { overlap: 0.25, whole: false } };
  for await (const { index, detections } of detector.track(frames, options)) {
    expect([index, detections.map(({ trackId }) => trackId).sort()]).toEqual([index, [1, 2]]);
  }
});

test("slices of a call: what does not go with them, and too many, are refused", async () => {
  await using detector = await Detector.load(toyDetector(), { backend, scaledDecoding: true });
  await expect(detector.detect(wide, { slices: {} })).rejects.toThrow("the model was loaded with `scaledDecoding`");
  await expect(detector.detect(wide, { slices: true as never })).rejects.toThrow('Option "slices" must be an object');
  await expect(detector.detect(wide, { slices: { overlap: 2 } })).rejects.toThrow(
    'Option "slices.overlap" must be a number from 0 to 0.9, got 2',
  );
  await using plain = await Detector.load(toyDetector(), { backend });
  const many = plain.detect(flatImage(2000, 1000, 9), { slices: { size: 8, overlap: 0.9 } });
  await expect(many).rejects.toThrow("an image of 2000x1000 has 1979049 slices of 8x8, and 4096 are allowed");
  const few = plain.detect(wide, { slices: { size: 32, overlap: 0, maxSlices: 7 } });
  await expect(few).rejects.toThrow("an image of 112x64 has 8 slices of 32x32, and 7 are allowed");
  expect(
    (await plain.detect(wide, { slices: { size: 32, overlap: 0, maxSlices: 8 } })).detections.length,
  ).toBeGreaterThan(0);
  using staged = await plain.staged([wide]);
  await staged.preprocess();
  await staged.infer();
  await expect(staged.postprocess({ slices: {} })).rejects.toThrow("images are cut into slices");
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
