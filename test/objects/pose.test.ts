import { describe, expect, test } from "bun:test";
import { registerAccelerator } from "../../src/accelerators/accelerator.ts";
import { openedSession } from "../../src/accelerators/opened-model.ts";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { PoseEstimator } from "../../src/api/object-model.ts";
import { setLogSink } from "../../src/core/log.ts";
import { placeRectangle, pointsToSource } from "../../src/image/geometry.ts";
import { imageOf } from "../../src/image/image.ts";
import { createDetectionBlock } from "../../src/model/rows.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { noDevicePart } from "../../src/runtime/task.ts";
import { formsFor } from "../../src/tasks/objects/object-forms.ts";
import { COCO_KEYPOINTS, mapKeypoints } from "../../src/tasks/objects/objects.ts";
import { pulled } from "../support/catalogue.ts";
import { chance } from "../support/chance.ts";
import { type FixedModelOptions, finalRows, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { isMissing, sharedFile } from "../support/shared.ts";
import { imagePath, largestDifference, matched, mostOthers, reference } from "./reference.ts";

const METADATA = { task: "pose", names: "{0: 'person'}", kpt_shape: "[17, 3]", stride: "32", imgsz: "[32, 32]" };

/** Twice as wide as high: half as large in the input, below 8 rows of padding. */
const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

/** In the input: point n lies at (n, n + 4). */
const POINTS = Array.from({ length: 17 }, (_, at) => [at, at + 4, at / 16]);

/** The same in the image; what lies in the padding is moved to the image's edge. */
const MAPPED = POINTS.map(([x = 0, y = 0, score = 0]) => [x * 2, Math.max(0, (y - 8) * 2), score]);

/** A person at 4 to 20, 10 to 22 of the input; a better and a worse box over each other, and one too faint. */
const RAW = rawGrid(56, [
  [3, [12, 16, 16, 12, 0.8, ...POINTS.flat()]],
  [4, [12, 16, 16, 11, 0.7, ...POINTS.flat().map((value) => value + 1)]],
  [9, [28, 12, 4, 4, 0.2, ...POINTS.flat()]],
]);
const FINAL = finalRows(57, [
  [4, 10, 20, 22, 0.8, 0, ...POINTS.flat()],
  [26, 10, 30, 14, 0.2, 0, ...POINTS.flat()],
]);

const cases: readonly (readonly [name: string, model: Uint8Array, options?: FixedModelOptions])[] = [
  ["before NMS", fixedModel([RAW], { metadata: METADATA })],
  ["of a dynamic size", fixedModel([RAW], { metadata: METADATA, side: "side" })],
  ["in f16", fixedModel([RAW], { metadata: METADATA, dtype: "f16" })],
  ["with NMS inside", fixedModel([FINAL], { metadata: { ...METADATA, args: "{'nms': True}" } })],
  ["end to end", fixedModel([FINAL], { metadata: { ...METADATA, end2end: "True" } })],
  ["end to end, without metadata", fixedModel([FINAL])],
];

for (const [name, model] of cases) {
  test(`a pose model ${name} gives a person and the points in the pixels of the image`, async () => {
    await using estimator = await Model.load(model, { backend: "cpu" });
    if (estimator.task !== "pose") throw new Error(`it was loaded as ${estimator.task}`);
    expect(estimator).toBeInstanceOf(PoseEstimator);
    const { task, objects, width, height } = await estimator.detect(WIDE);
    expect([task, width, height, objects.length]).toEqual(["pose", 64, 32, 1]);
    const [{ label, classId, score, box, keypoints }] = objects as [(typeof objects)[0]];
    expect([label, classId, score]).toEqual(["person", 0, expect.closeTo(0.8, 3)]);
    expect(largestDifference(box, [8, 4, 40, 28])).toBeLessThan(0.01);
    expect(keypoints.map((point) => point.name)).toEqual([...COCO_KEYPOINTS]);
    for (const [at, { x, y, score: sure }] of keypoints.entries()) {
      expect(largestDifference([x, y, sure], MAPPED[at]!)).toBeLessThan(0.01);
    }
  });
}

test("points have the form and the names that the metadata says, also two numbers a point and several classes", async () => {
  const metadata = {
    ...METADATA,
    names: "{0: 'cat', 1: 'dog'}",
    kpt_shape: "[2, 2]",
    kpt_names: "{0: ['head', 'tail'], 1: ['head', 'tail']}",
  };
  const grid = rawGrid(10, [[5, [12, 16, 16, 12, 0.1, 0.9, 4, 12, 20, 20]]]);
  await using estimator = await PoseEstimator.load(fixedModel([grid], { metadata }), { backend: "cpu" });
  const { objects } = await estimator.detect(WIDE);
  expect(objects).toMatchObject([
    {
      label: "dog",
      keypoints: [
        { x: 8, y: 8, score: 1, name: "head" },
        { x: 40, y: 24, score: 1, name: "tail" },
      ],
    },
  ]);
});

test("an object with a point that is no number is dropped and counted, like a box; its neighbour keeps its own points", async () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const broken = POINTS.flat().map((number, at) => (at === 20 ? value : number));
    const grid = rawGrid(56, [
      [3, [12, 16, 16, 12, 0.8, ...broken]],
      [9, [28, 16, 4, 4, 0.7, ...POINTS.flat()]],
    ]);
    await using estimator = await PoseEstimator.load(fixedModel([grid], { metadata: METADATA }), { backend: "cpu" });
    const { objects, dropped } = await estimator.detect(WIDE);
    expect([objects.length, dropped, objects[0]?.score]).toEqual([1, 1, expect.closeTo(0.7, 3)]);
    const points = objects[0]!.keypoints.map(({ x, y, score }) => [x, y, score]);
    expect(largestDifference(points.flat(), MAPPED.flat())).toBeLessThan(0.01);
    expect(largestDifference(objects[0]!.box, [52, 12, 60, 20])).toBeLessThan(0.01);
  }
});

test("what a model's tensors do not tell needs the caller's word, and no word makes one task another", async () => {
  // 52 classes have the channels of a person with 17 points.
  await expect(Model.load(fixedModel([RAW]), { backend: "cpu" })).rejects.toThrow("it fits none");
  await using asked = await PoseEstimator.load(fixedModel([RAW]), { backend: "cpu" });
  expect((await asked.detect(WIDE)).objects).toHaveLength(1);

  const pose = fixedModel([RAW], { metadata: METADATA });
  const refusal = Detector.load(pose, { backend: "cpu" });
  await expect(refusal).rejects.toThrow(
    /its task is "pose"\nHint: load it with `PoseEstimator`, or give `task: "detect"`/,
  );
  await using boxes = await Detector.load(pose, { backend: "cpu", task: "detect" });
  expect((await boxes.detect(WIDE)).detections).toMatchObject([{ label: "person", box: [8, 4, 40, 28] }]);
  await using named = await Detector.load(pose, { backend: "cpu", head: "yolo" });
  expect((await named.detect(WIDE)).detections).toHaveLength(1);

  const detect = fixedModel([rawGrid(5, [])], { metadata: { ...METADATA, task: "detect" } });
  const other = PoseEstimator.load(detect, { backend: "cpu" });
  const hint =
    /as a pose model: its task is "detect"\nHint: load it with `Detector`; on a command line leave out `--task`;/;
  await expect(other).rejects.toThrow(hint);
  const shape = fixedModel([RAW], { metadata: { ...METADATA, kpt_shape: "[5, 3]" } });
  const misfit = PoseEstimator.load(shape, { backend: "cpu" });
  await expect(misfit).rejects.toThrow(/its outputs are "output0" f32 \[1, 56, 21\], with 1 class name\n/);
  await expect(PoseEstimator.load(pose, { head: "yolo" } as object)).rejects.toThrow(
    /"head" must be one of PoseEstimator's, got "yolo"/,
  );
  await expect(Detector.load(pose, { task: "pose" } as object)).rejects.toThrow(/must be "detect" for a detector/);
});

test("where the choice is open, an accelerator without a part for the task leaves it to the CPU, and the log says so", async () => {
  const pose = fixedModel([RAW], { metadata: METADATA });
  // As a GPU refuses a task that has no part for it.
  using _ = registerAccelerator({
    names: ["deviceless"],
    machine: "GPU",
    preference: 100,
    load: async () => ({
      unavailable: () => undefined,
      async open(source, task) {
        await using session = await Session.fromBytes(source as Uint8Array, "the model");
        await task.check!(openedSession(session, "the model", undefined));
        throw noDevicePart(`the task "${task.name}"`, task.action);
      },
    }),
  });
  const lines: string[] = [];
  const { BUN_TENSORRT_BACKEND: variable } = process.env;
  process.env.BUN_TENSORRT_BACKEND = "auto";
  const former = setLogSink((_level, text) => void lines.push(text));
  try {
    await using estimator = await PoseEstimator.load(pose);
    expect((await estimator.detect(WIDE)).objects).toHaveLength(1);
    expect(lines.join()).toContain(
      'Running on the CPU: Cannot load a pose model: the task "pose" does not run on a GPU',
    );
  } finally {
    setLogSink(former);
    process.env.BUN_TENSORRT_BACKEND = variable;
  }
  const asked = PoseEstimator.load(pose, { backend: "deviceless" });
  await expect(asked).rejects.toThrow('the task "pose" does not run on a GPU\nHint: run it with backend "cpu"');
});

test("batches and streams give what single calls do", async () => {
  await using estimator = await PoseEstimator.load(cases[0]![1], { backend: "cpu" });
  const square = imageOf(new Uint8Array(32 * 32 * 3), { width: 32, height: 32 });
  const images = [WIDE, square, WIDE];
  const single = await Promise.all(images.map(async (image) => (await estimator.detect(image)).objects));
  expect(single[1]![0]!.keypoints[3]).toEqual({ x: 3, y: 7, score: expect.closeTo(3 / 16, 5), name: "left_ear" });
  expect((await estimator.detectBatch(images)).map(({ objects }) => objects)).toEqual(single);
  const streamed = await Array.fromAsync(estimator.stream(images), ({ objects }) => objects);
  expect(streamed).toEqual(single);
  expect((await estimator.detect(WIDE, { threshold: 0.1 })).objects).toHaveLength(2);
  expect((await estimator.detect(WIDE, { threshold: 0.1, iou: 1 })).objects).toHaveLength(3);
});

test("a result as JSON, table, label file, COCO's results and drawing", async () => {
  await using estimator = await PoseEstimator.load(cases[0]![1], { backend: "cpu" });
  const result = await estimator.detect(WIDE);
  const forms = formsFor("pose");
  const points = MAPPED.map(([x, y, score = 0]) => [x, y, Number(score.toFixed(4))]);
  expect(forms.json(result)).toMatchObject({
    task: "pose",
    width: 64,
    objects: [{ label: "person", classId: 0, score: 0.8, box: [8, 4, 40, 28], keypoints: points }],
    dropped: 0,
  });
  expect(forms.columns.at(-1)).toBe("points");
  expect(forms.rows(result)).toEqual([["person", "0.800", "8.0", "4.0", "40.0", "28.0", "13/17"]]);
  const [line = ""] = forms.yolo(result).split("\n");
  const numbers = line.split(" ").map(Number);
  expect(numbers).toHaveLength(1 + 4 + 51 + 1);
  expect(numbers.slice(0, 8)).toEqual([0, 0.375, 0.5, 0.5, 0.75, 0, 0, 0]);
  expect(numbers.at(-1)).toBe(0.8);
  expect(forms.coco(result, 7, (id) => id + 1)).toEqual([
    { image_id: 7, category_id: 1, bbox: [8, 4, 32, 24], score: 0.8, keypoints: points.flat() },
  ]);
  expect(forms.coco(result, 7, () => undefined)).toEqual([]);
  // The line between the hips, 11 and 12, where no side of the box lies.
  const large = imageOf(new Uint8Array(640 * 320 * 3), { width: 640, height: 320 });
  const { data } = await forms.draw(large, await estimator.detect(large));
  const pixel = (x: number, y: number): number => data[(y * 640 + x) * 3]! + data[(y * 640 + x) * 3 + 1]!;
  expect(pixel(230, 150)).toBeGreaterThan(0);
  expect(pixel(300, 100)).toBe(0);
});

/** What the package finds, file by file; a dynamic model was given the images' own ratio there. */
const REFERENCES: readonly (readonly [model: string, ...reference: string[]])[] = [
  ["yolo11n-pose", "yolo11n-pose.json"],
  ["yolo11n-pose_640_nms.onnx", "yolo11n-pose_640_nms.json"],
  ["layouts/yolo11-pose_dynamic.onnx", "layouts", "yolo11-pose_dynamic.json"],
  ["layouts/yolo26-pose_e2e.onnx", "layouts", "yolo26-pose_e2e.json"],
  ["layouts/yolo26-pose_raw.onnx", "layouts", "yolo26-pose_raw.json"],
];

for (const [model, ...path] of REFERENCES) {
  const file = model.endsWith(".onnx") ? sharedFile("models", "tasks", model) : await pulled(model);
  const isAbsent = file === undefined || isMissing("reference", ...path);
  test.skipIf(isAbsent)(
    `${model} gives the people and points that Ultralytics' package does`,
    async () => {
      const rectangular = model.includes("dynamic");
      await using estimator = await PoseEstimator.load(file!, {
        backend: "cpu",
        rectangular,
      });
      for (const [name, { detections }] of reference(...path)!) {
        const { objects } = await estimator.detect(imagePath(name));
        const { lost, extra } = matched(
          objects,
          detections,
          // Boxes and points within 0.1 px, and scores within 0.001.
          (found, wanted) => {
            const points = found.keypoints.flatMap(({ x, y, score }) => [x, y, 100 * score]);
            const wantedPoints = wanted.keypoints!.flatMap(([x = 0, y = 0, score = 0]) => [x, y, 100 * score]);
            return Math.max(
              largestDifference(found.box, wanted.box!),
              largestDifference(points, wantedPoints),
              100 * Math.abs(found.score - wanted.score),
            );
          },
          0.1,
        );
        expect(Math.max(lost, extra), name).toBeLessThanOrEqual(mostOthers(model, detections.length));
      }
    },
    60_000,
  );
}

describe("mapKeypoints() gives what pointsToSource() gives of the rows without NaN", () => {
  const region = placeRectangle([1920, 1080], { x: 1200, y: -40, width: 800, height: 600 }, [640, 480], "letterbox");
  for (const numbers of [2, 3] as const) {
    for (const isClipped of [true, false]) {
      test(`${numbers} numbers a point, ${isClipped ? "clipped" : "as they are"}`, () => {
        const random = chance(11);
        const count = 5;
        const length = count * numbers;
        const block = createDetectionBlock(9, [{ length }]);
        block.count = 7;
        const points = block.extras[0]!;
        for (let at = 0; at < points.length; at++) points[at] = random() * 2000 - 700;
        for (const [row, lost] of [
          [0, Number.NaN],
          [3, Number.POSITIVE_INFINITY],
          [6, Number.NEGATIVE_INFINITY],
        ] as const) {
          points[row * length + 2 + row] = lost;
        }
        block.sources.set([0, 1, 2, 3, 4, 5, 6]);
        const kept = [1, 2, 4, 5];
        const want = Float32Array.from(kept.flatMap((row) => [...points.subarray(row * length, (row + 1) * length)]));
        const beyond = points.slice(7 * length);
        pointsToSource(want, kept.length * count, region, isClipped ? "clip" : "keep", numbers);
        mapKeypoints(block, { count, numbers, names: [], isClipped }, region);
        expect([block.count, block.dropped]).toEqual([4, 3]);
        expect([...block.sources.subarray(0, 4)]).toEqual(kept);
        expect(points.subarray(0, 4 * length)).toEqual(want);
        expect(points.subarray(7 * length)).toEqual(beyond);
      });
    }
  }
});
