import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import { type FixedModelOptions, type FixedOutput, fixedModel } from "../support/fixed-model.ts";

// Detectors as torchvision, MMDetection and PaddleDetection export them: finished rows, and images prepared their way.

const SIDE = 64;
/** Twice as wide as high: half as large in an input of 64 × 64. */
const WIDE = imageOf(new Uint8Array(128 * 64 * 3), { width: 128, height: 64 });

/** Outputs as torch.onnx numbers them, for an image that lies between 16 rows of black above and below. */
const TORCHVISION: readonly FixedOutput[] = [
  { name: "4208", shape: [2, 4], values: [10.5, 20.25, 40.75, 44, 0, 17, 63.5, 47.5] },
  { name: "4177", shape: [2], values: [0.9, 0.75] },
  { name: "4178", shape: [2], values: [1, 18], dtype: "i64" },
];

test("torchvision's detectors take one image without a batch, and number COCO's classes by category id", async () => {
  for (const model of [{ isSingle: true }, {}] satisfies FixedModelOptions[]) {
    await using detector = await Detector.load(fixedModel(TORCHVISION, { side: SIDE, ...model }), { backend: "cpu" });
    const { head, preprocessing, assumptions } = detector.recognition;
    expect(head).toBe("torchvision");
    expect(preprocessing).toMatchObject({ fit: "letterbox", scale: 1 / 255, mean: [0, 0, 0], pad: [0, 0, 0] });
    expect(assumptions).toEqual([expect.stringMatching(/--mean 0\.485,0\.456,0\.406 .*`labels` for other classes/)]);
    const { detections } = await detector.detect(WIDE);
    expect(detections).toEqual([
      { label: "person", classId: 1, score: expect.closeTo(0.9, 5) as number, box: [21, 8.5, 81.5, 56] },
      { label: "dog", classId: 18, score: 0.75, box: [0, 2, 127, 63] },
    ]);
  }
});

test("an input of torchvision's with open sides is as large as its image, to the pixel", async () => {
  const model = fixedModel(TORCHVISION, { side: "side", isSingle: true });
  await using detector = await Detector.load(model, { backend: "cpu", labels: ["", "cat"] });
  expect(detector.recognition).toMatchObject({ isImageSized: true, stride: 1, fixedSize: undefined });
  const { detections } = await detector.detect(imageOf(new Uint8Array(61 * 43 * 3), { width: 61, height: 43 }));
  // Neither resized nor padded; boxes end at the edges of the image.
  expect(detections.map(({ label, box }) => [label, box])).toEqual([
    ["cat", [10.5, 20.25, 40.75, 43]],
    ["class 18", [0, 17, 61, 43]],
  ]);
});

test("torchvision's Keypoint R-CNN gives people and their points", async () => {
  const points = Array.from({ length: 2 * 17 }, (_, at) => [at, 20 + at / 2, 1]).flat();
  const outputs: readonly FixedOutput[] = [
    ...TORCHVISION.slice(0, 2),
    { name: "4178", shape: [2], values: [1, 1], dtype: "i64" },
    { name: "3016", shape: [2, 17, 3], values: points },
    { name: "end_scores.7", shape: [2, 17], values: new Array(34).fill(3.5) },
  ];
  await using model = await Model.load(fixedModel(outputs, { side: SIDE, isSingle: true }), { backend: "cpu" });
  if (!(model instanceof PoseEstimator)) throw new Error(`it was loaded as ${model.task}`);
  expect(model.recognition.head).toBe("keypoint-rcnn");
  const { objects } = await model.detect(WIDE);
  expect(objects.map(({ label }) => label)).toEqual(["person", "person"]);
  expect(objects[1]!.keypoints[16]).toEqual({ name: "right_ankle", x: 66, y: 41, score: 1 });
});

/** Rows as mmdeploy fills them up: the score 0, and no class. */
const MMDET: readonly FixedOutput[] = [
  { name: "dets", shape: [1, 3, 5], values: [10.5, 2.25, 40.75, 26, 0.9, 0, 1, 63.5, 30.5, 0.75, 0, 0, 0, 0, 0] },
  { name: "labels", shape: [1, 3], values: [0, 16, -1], dtype: "i64" },
];

test("MMDetection's rows, by mmdeploy: padded right and below, and rows without a class are none", async () => {
  await using detector = await Detector.load(fixedModel(MMDET, { side: SIDE }), { backend: "cpu" });
  const { head, preprocessing, assumptions } = detector.recognition;
  expect(head).toBe("mmdet");
  expect(preprocessing).toMatchObject({ fit: "letterbox-top-left", colour: "RGB", mean: [123.675, 116.28, 103.53] });
  expect(assumptions).toEqual([expect.stringMatching(/RTMDet give .*--colour BGR --mean 103\.53,.*; for YOLOX /)]);
  const { detections } = await detector.detect(WIDE, { threshold: 0 });
  expect(detections).toEqual([
    { label: "person", classId: 0, score: expect.closeTo(0.9, 5) as number, box: [21, 4.5, 81.5, 52] },
    { label: "dog", classId: 16, score: 0.75, box: [0, 2, 127, 61] },
  ]);
});
