import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { imageOf } from "../../src/image/image.ts";
import { IMAGENET_MEAN } from "../../src/image/preprocessing.ts";
import { type Declared, model } from "../model/model-infos.ts";
import { fixedModel } from "../support/fixed-model.ts";

const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });
const SILENT = { isSilent: true } as const;

const priors = (count: number, channels: number): Declared[] => [
  ["boxes", [1, count, 4]],
  ["scores", [1, count, channels]],
];
const images = (width: number, height: number): { readonly inputs: Declared[] } => ({
  inputs: [["input_0", [1, 3, height, width]]],
});

test("the zoo's SSD by its names and size; of another size the name settles it", () => {
  const outputs: Declared[] = [
    ["bboxes", [1, -1, 4]],
    ["labels", [1, -1], "i64"],
    ["scores", [1, -1]],
  ];
  const found = recogniseModel(model(outputs, { inputs: [["image", [1, 3, 1200, 1200]]] }), SILENT);
  expect(found).toMatchObject({
    head: "ssd",
    needsNms: false,
    preprocessing: { fit: "stretch", resize: "antialias", mean: IMAGENET_MEAN },
    plan: { kind: "columns", boxUnit: "fraction" },
  });
  expect([found.labels.length, found.labels[1], found.labels[80]]).toEqual([81, "person", "toothbrush"]);
  expect(() => recogniseModel(model(outputs), {})).toThrow(/`head: "ssd"`/);
  expect(recogniseModel(model(outputs), { ...SILENT, head: "ssd", labels: ["a", "b"] }).labels).toEqual(["", "a", "b"]);
});

test("pytorch-ssd by the priors of its networks: MobileNet, VGG16, RFB", () => {
  const cases = [
    [300, 300, 3000, 21, 20, "aeroplane"],
    [512, 512, 8190, 91, 90, "person"],
    [300, 300, 8732, 21, 20, "aeroplane"],
    [320, 240, 4420, 2, 1, "face"],
    [300, 300, 3000, 6, 5, "class 0"],
  ] as const;
  for (const [width, height, count, channels, classes, first] of cases) {
    const found = recogniseModel(model(priors(count, channels), images(width, height)), SILENT);
    expect(found).toMatchObject({
      head: "ssd-pytorch",
      usualIou: 0.45,
      preprocessing: { fit: "stretch", colour: "RGB", scale: 1 / 128, mean: [127 / 128, 127 / 128, 127 / 128] },
      plan: { kind: "dense", classChannel: 1, classes },
    });
    expect([found.labels.length, found.labels[0]]).toEqual([classes, first]);
    expect(found.assumptions).toHaveLength(first === "class 0" ? 0 : 1);
  }
  const own = model(priors(3000, 3), images(300, 300));
  for (const labels of [
    ["cat", "dog"],
    ["BACKGROUND", "cat", "dog"],
  ]) {
    expect(recogniseModel(own, { ...SILENT, labels }).labels).toEqual(["cat", "dog"]);
  }
  expect(() => recogniseModel(own, { labels: ["cat"] })).toThrow("it has 2 classes, got 1 class name");
  // A grid's rows are of YOLO, which has no background.
  expect(() => recogniseModel(model(priors(8400, 80)), {})).toThrow('"damo-yolo"');
  expect(recogniseModel(model(priors(8400, 80)), { ...SILENT, head: "ssd-pytorch" }).labels).toHaveLength(79);
});

test("pytorch-ssd finds objects, and no background", async () => {
  const rows = 24;
  const scores = new Array<number>(rows * 3).fill(0);
  scores.splice(0, 3, 0.05, 0.05, 0.9);
  scores.splice(3, 3, 0.95, 0.03, 0.02);
  const boxes = new Array<number>(rows * 4).fill(0);
  boxes.splice(0, 8, 0.125, 0.25, 0.5, 0.75, 0, 0, 1, 1);
  const bytes = fixedModel([
    { name: "scores", shape: [1, rows, 3], values: scores },
    { name: "boxes", shape: [1, rows, 4], values: boxes },
  ]);
  // 32 pixels: 2 x 2 cells, and then one, on five levels.
  await using detector = await Detector.load(bytes, { backend: "cpu", labels: ["cat", "dog"], head: "ssd-pytorch" });
  const { detections } = await detector.detect(WIDE);
  expect(detections).toMatchObject([{ label: "dog", classId: 1, box: [8, 8, 32, 24] }]);
});

test("Azure Custom Vision: its metadata has the colours and the levels", async () => {
  const outputs = [
    { name: "detected_boxes", shape: [1, 2, 4], values: [0.125, 0.25, 0.5, 0.75, 0, 0, 0.25, 0.5] },
    { name: "detected_classes", shape: [1, 2], values: [1, 0], dtype: "i64" },
    { name: "detected_scores", shape: [1, 2], values: [0.9, 0.6] },
  ] as const;
  const metadata = { "Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255" };
  await using detector = await Detector.load(fixedModel(outputs, { metadata }), {
    backend: "cpu",
    labels: ["bolt", "nut"],
  });
  expect(detector.recognition).toMatchObject({
    head: "custom-vision",
    assumptions: [],
    preprocessing: { fit: "stretch", resize: "bicubic", colour: "BGR", scale: 1 },
  });
  const { detections } = await detector.detect(WIDE);
  expect(detections.map(({ label, box }) => [label, ...box])).toEqual([
    ["nut", 8, 8, 32, 24],
    ["bolt", 0, 0, 16, 16],
  ]);
  await using untold = await Detector.load(fixedModel(outputs), { backend: "cpu" });
  expect(untold.recognition).toMatchObject({ labels: [], preprocessing: { colour: "RGB", scale: 1 / 255 } });
  expect(untold.recognition.assumptions.join()).toContain("scale: 1");
  expect((await untold.detect(WIDE)).detections[0]!.label).toBe("class 1");
});
