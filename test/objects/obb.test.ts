import { expect, test } from "bun:test";
import { openedSession } from "../../src/accelerators/opened-model.ts";
import { Detector } from "../../src/api/detector.ts";
import { Model } from "../../src/api/model.ts";
import { OrientedDetector } from "../../src/api/object-model.ts";
import { setLogSink } from "../../src/core/log.ts";
import { imageOf } from "../../src/image/image.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, type DetectTaskOptions } from "../../src/tasks/detect/detect-task.ts";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { formsFor } from "../../src/tasks/objects/object-forms.ts";
import { ObjectTask } from "../../src/tasks/objects/object-task.ts";
import type { Point } from "../../src/tasks/objects/objects.ts";
import { type FixedModelOptions, finalRows, fixedModel, rawGrid } from "../support/fixed-model.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { imagePath, largestDifference, matched, mostOthers, reference } from "./reference.ts";

const METADATA = { task: "obb", names: "{0: 'ship', 1: 'quay'}", stride: "32", imgsz: "[32, 32]" };

/** Twice as wide as high: half as large in the input, below 8 rows of padding. */
const WIDE = imageOf(new Uint8Array(64 * 32 * 3), { width: 64, height: 32 });

/** Turned by 30°, and beside it by as much and a whole turn. */
const TURNED = Math.PI / 6;

/** Three of class 0, each like the one before and unlike the others; one of class 1 in the first one's place; one too faint. */
const RAW = rawGrid(7, [
  [1, [16, 16, 12, 4, 0.9, 0.1, TURNED]],
  [2, [16.6, 16.35, 12, 4, 0.8, 0.1, TURNED + 2 * Math.PI]],
  [3, [17.2, 16.7, 12, 4, 0.7, 0.1, TURNED - Math.PI]],
  [4, [16, 16, 12, 4, 0.1, 0.6, TURNED]],
  [5, [8, 12, 6, 6, 0.2, 0.1, 0]],
]);
const FINAL = finalRows(7, [
  [16, 16, 12, 4, 0.9, 0, TURNED],
  [16, 16, 12, 4, 0.6, 1, TURNED + Math.PI],
  [8, 12, 6, 6, 0.2, 0, 0],
]);

/** Corners of the first box in the image, one after the other. */
const CORNERS: readonly Point[] = [
  [12, 4],
  [12, -4],
  [-12, -4],
  [-12, 4],
].map(([along = 0, across = 0]) => [
  32 + along * Math.cos(TURNED) - across * Math.sin(TURNED),
  16 + along * Math.sin(TURNED) + across * Math.cos(TURNED),
]);

/** How far the corners of two boxes are apart at most, whichever of them comes first. */
function apart(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number {
  const starts = [0, 1, 2, 3].map((start) =>
    a.reduce((most, [x = 0, y = 0], at) => {
      const [toX = 0, toY = 0] = b[(at + start) % 4]!;
      return Math.max(most, Math.hypot(x - toX, y - toY));
    }, 0),
  );
  return Math.min(...starts);
}

const cases: readonly (readonly [name: string, model: Uint8Array, options?: FixedModelOptions])[] = [
  ["before NMS", fixedModel([RAW], { metadata: METADATA })],
  ["of a dynamic size", fixedModel([RAW], { metadata: METADATA, side: "side" })],
  ["in f16", fixedModel([RAW], { metadata: METADATA, dtype: "f16" })],
  ["with NMS inside", fixedModel([FINAL], { metadata: { ...METADATA, args: "{'nms': True}" } })],
  ["end to end", fixedModel([FINAL], { metadata: { ...METADATA, end2end: "True" } })],
];

for (const [name, model] of cases) {
  test(`a model of oriented boxes ${name} gives corners and angles in the pixels of the image`, async () => {
    await using detector = await Model.load(model, { backend: "cpu" });
    if (detector.task !== "obb") throw new Error(`it was loaded as ${detector.task}`);
    expect(detector).toBeInstanceOf(OrientedDetector);
    const { task, objects } = await detector.detect(WIDE);
    expect([task, objects.map(({ label }) => label)]).toEqual(["obb", ["ship", "quay"]]);
    const [{ score, box, corners, angle, xywhr }] = objects as [(typeof objects)[0]];
    expect(score).toBeCloseTo(0.9, 3);
    expect(apart(corners, CORNERS)).toBeLessThan(0.05);
    expect(angle).toBeCloseTo(TURNED, 3);
    expect(largestDifference(xywhr, [32, 16, 24, 8, TURNED])).toBeLessThan(0.01);
    const [xs, ys] = [CORNERS.map(([x]) => x), CORNERS.map(([, y]) => y)];
    expect(largestDifference(box, [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)])).toBeLessThan(
      0.05,
    );
    // Turns of half a circle are of no account.
    expect(objects[1]!.angle).toBeCloseTo(TURNED, 2);
  });
}

test("of three boxes in a row the last one goes as well: one that was suppressed suppresses", async () => {
  await using detector = await OrientedDetector.load(cases[0]![1], { backend: "cpu" });
  const scores = async (options: object): Promise<number[]> =>
    (await detector.detect(WIDE, options)).objects.map(({ score }) => Number(score.toFixed(1)));
  expect(await scores({})).toEqual([0.9, 0.6]);
  // The last one is like the second, 0.93, and less so like the first, 0.86.
  expect(await scores({ iou: 0.9 })).toEqual([0.9, 0.6]);
  expect(await scores({ iou: 1 })).toEqual([0.9, 0.8, 0.7, 0.6]);
  expect(await scores({ classAgnostic: true })).toEqual([0.9]);
  expect(await scores({ classes: ["quay"] })).toEqual([0.6]);
  expect(await scores({ threshold: 0.15, maxDetections: 2 })).toEqual([0.9, 0.6]);
  expect(await scores({ threshold: 0.15 })).toEqual([0.9, 0.6, 0.2]);
});

test("rotatedNms greedy keeps the last one of three: what is suppressed suppresses nothing", async () => {
  const model = cases[0]![1];
  await using detector = await OrientedDetector.load(model, { backend: "cpu", rotatedNms: "greedy" });
  const { objects } = await detector.detect(WIDE, { iou: 0.9 });
  expect(objects.map(({ score }) => Number(score.toFixed(1)))).toEqual([0.9, 0.7, 0.6]);
  await expect(OrientedDetector.load(model, { rotatedNms: "all" } as object)).rejects.toThrow("any, greedy");
  const lines: string[] = [];
  const former = setLogSink((_level, text) => void lines.push(text));
  try {
    await using final = await OrientedDetector.load(cases[4]![1], { backend: "cpu", rotatedNms: "greedy" });
    expect(final.recognition.needsNms).toBe(false);
  } finally {
    setLogSink(former);
  }
  expect(lines.join()).toContain("Ignoring `rotatedNms`: the model");
  // On a GPU there is only the other.
  await using session = await Session.fromBytes(model, "the model");
  const check = (options: Partial<DetectTaskOptions>): Promise<void> =>
    new ObjectTask("obb", { ...DEFAULT_DETECT_TASK_OPTIONS, ...options }).check(
      openedSession(session, "the model", undefined),
    );
  await check({ rotatedNms: "any" });
  await expect(check({ rotatedNms: "greedy" })).rejects.toThrow('`rotatedNms: "greedy"` does not run on a GPU');
});

test("MMRotate's export gives corners by its labels, and says what it assumes of the image", async () => {
  const model = fixedModel([
    {
      name: "dets",
      shape: [1, 4, 6],
      // Angles of le135 and of le90 for the same box, and padding as mmdeploy writes it.
      values: [
        ...[16, 8, 12, 4, TURNED, 0.9],
        ...[16, 8, 4, 12, TURNED - Math.PI / 2, 0.8],
        ...[16, 8, 12, 4, 0, 0.1],
        ...[0, 0, 0, 0, 0, 0],
      ],
    },
    { name: "labels", shape: [1, 4], values: [3, 0, 1, -1], dtype: "i64" },
  ]);
  const lines: string[] = [];
  const former = setLogSink((_level, text) => void lines.push(text));
  try {
    await using detector = await Model.load(model, { backend: "cpu" });
    if (detector.task !== "obb") throw new Error(`it was loaded as ${detector.task}`);
    expect(detector.recognition).toMatchObject({ head: "mmrotate", needsNms: false });
    const { preprocessing } = detector.recognition;
    const mean = [123.675, 116.28, 103.53];
    expect(preprocessing).toMatchObject({ fit: "letterbox-top-left", colour: "RGB", scale: 1, mean, pad: mean });
    const { objects } = await detector.detect(WIDE);
    // COCO's names would be wrong ones.
    expect(objects).toMatchObject([
      { label: "class 3", classId: 3, score: expect.closeTo(0.9, 5) },
      { label: "class 0", classId: 0 },
    ]);
    for (const { corners } of objects) expect(apart(corners, CORNERS)).toBeLessThan(0.01);
  } finally {
    setLogSink(former);
  }
  expect(lines.join()).toContain("RGB with ImageNet's mean and deviation, as most of MMRotate; for RTMDet-R give");
  await expect(Detector.load(model, { backend: "cpu" })).rejects.toThrow("load it with `OrientedDetector`");
  await using boxes = await Detector.load(model, { backend: "cpu", task: "detect" });
  const [{ box }] = (await boxes.detect(WIDE)).detections as [Detection];
  const [xs, ys] = [CORNERS.map(([x]) => x), CORNERS.map(([, y]) => y)];
  // The upright box around it.
  const envelope = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  expect(largestDifference(box, envelope)).toBeLessThan(0.01);
});

test("corners beyond the edge stay there, and an angle that is no number is dropped and counted", async () => {
  const rows = finalRows(7, [
    [16, 16, 40, 4, 0.9, 0, TURNED],
    [16, 16, 12, 4, 0.8, 0, Number.NaN],
  ]);
  for (const metadata of [
    { ...METADATA, end2end: "True" },
    { ...METADATA, args: "{'nms': True}" },
  ]) {
    await using detector = await OrientedDetector.load(fixedModel([rows], { metadata }), { backend: "cpu" });
    const { objects, dropped } = await detector.detect(WIDE);
    expect([objects.length, dropped]).toEqual([1, 1]);
    expect(Math.max(...objects[0]!.corners.map(([x]) => x))).toBeGreaterThan(64);
    expect(objects[0]!.box[2]).toBeGreaterThan(64);
  }
});

test("angles beyond a turn may be degrees, which is reported where the model is sure", async () => {
  const metadata = { ...METADATA, end2end: "True" };
  const reported = async (angle: number, score = 0.9): Promise<string[]> => {
    const lines: string[] = [];
    const former = setLogSink((_level, text) => void lines.push(text));
    try {
      const rows = finalRows(7, [[16, 16, 12, 4, score, 0, angle]]);
      const options = { backend: "cpu", threshold: 0.1 } as const;
      await using detector = await OrientedDetector.load(fixedModel([rows], { metadata }), options);
      const [object] = (await detector.detect(WIDE)).objects;
      expect(Math.cos(2 * (object!.angle - angle))).toBeCloseTo(1, 4);
      return lines.filter((line) => line.includes("Implausible"));
    } finally {
      setLogSink(former);
    }
  };
  const found = "angles of an image are further than a whole turn, up to";
  expect(await reported(57.29578)).toEqual([expect.stringContaining(`${found} 57.3, and may be degrees`)]);
  expect(await reported(-20)).toEqual([expect.stringContaining(`${found} -20, and may be degrees`)]);
  // Nearly a turn is none, and what one is not sure of tells nothing.
  expect(await reported(6.2)).toEqual([]);
  expect(await reported(20, 0.15)).toEqual([]);
});

test("a model of oriented boxes is no detector, and one without metadata needs the caller's word", async () => {
  const model = cases[0]![1];
  const refusal = Detector.load(model, { backend: "cpu" });
  await expect(refusal).rejects.toThrow(
    /its task is "obb"\nHint: load it with `OrientedDetector`, or give `task: "detect"`/,
  );
  const bare = fixedModel([RAW]);
  await using guessed = await Model.load(bare, { backend: "cpu" });
  expect(guessed.task).toBe("detect");
  await using asked = await OrientedDetector.load(bare, { backend: "cpu" });
  expect((await asked.detect(WIDE)).objects).toMatchObject([{ label: "class 0" }, { label: "class 1" }]);
  const stretched = OrientedDetector.load(model, { backend: "cpu", preprocessing: { fit: "stretch" } });
  await expect(stretched).rejects.toThrow("stretched images turn its boxes into other shapes");
});

test("a result as JSON, table, label file, COCO's results and drawing", async () => {
  await using detector = await OrientedDetector.load(cases[0]![1], { backend: "cpu", classes: ["ship"] });
  const result = await detector.detect(WIDE);
  const forms = formsFor("obb");
  const corners = result.objects[0]!.corners.map(([x, y]) => [expect.closeTo(x, 3), expect.closeTo(y, 3)]);
  expect(forms.json(result)).toMatchObject({
    task: "obb",
    objects: [{ label: "ship", score: 0.9, corners, angle: expect.closeTo(TURNED, 5) }],
  });
  expect(forms.rows(result)[0]!.at(-1)).toBe("30.0°");
  const numbers = forms.yolo(result).trim().split(" ").map(Number);
  expect(numbers).toEqual([
    0,
    ...result.objects[0]!.corners.flatMap(([x, y]) => [expect.closeTo(x / 64, 5), expect.closeTo(y / 32, 5)]),
    0.9,
  ]);
  expect(forms.coco(result, 7, (id) => id)).toMatchObject([
    { image_id: 7, category_id: 0, segmentation: [corners.flat()] },
  ]);
  const large = imageOf(new Uint8Array(640 * 320 * 3), { width: 640, height: 320 });
  const { data } = await forms.draw(large, await detector.detect(large));
  // Or one of its neighbours.
  const isDrawn = (x: number, y: number): boolean =>
    [-641, -640, -639, -1, 0, 1, 639, 640, 641].some((step) => data[(y * 640 + x + step) * 3]! > 0);
  const [[x1, y1], [x2, y2]] = CORNERS as [Point, Point];
  expect(isDrawn(Math.round((x1 + x2) * 5), Math.round((y1 + y2) * 5))).toBe(true);
  // The corner of the upright box around it.
  expect(isDrawn(Math.round(10 * Math.max(x1, x2)) - 2, Math.round(10 * Math.min(CORNERS[2]![1], y2)) + 2)).toBe(false);
});

const REFERENCES: readonly (readonly [model: string, ...reference: string[]])[] = [
  ["yolo11n-obb-coco_640.onnx", "yolo11n-obb-coco_640.json"],
  ["yolo11n-obb-coco_640.onnx", "rotated", "yolo11n-obb-coco_640.json"],
  ["layouts/yolo11-obb_dynamic.onnx", "layouts", "yolo11-obb_dynamic.json"],
  ["layouts/yolo11-obb_nms.onnx", "layouts", "yolo11-obb_nms.json"],
  ["layouts/yolo26-obb_e2e.onnx", "layouts", "yolo26-obb_e2e.json"],
  ["layouts/yolo26-obb_raw.onnx", "layouts", "yolo26-obb_raw.json"],
];

for (const [model, ...path] of REFERENCES) {
  const isAbsent = isMissing("models", "tasks", model) || isMissing("reference", ...path);
  test.skipIf(isAbsent)(
    `${model} gives the boxes of Ultralytics' package in ${path.join("/")}`,
    async () => {
      const options = { backend: "cpu", rectangular: model.includes("dynamic") } as const;
      await using detector = await OrientedDetector.load(sharedPath("models", "tasks", model), options);
      for (const [name, { detections }] of reference(...path)!) {
        const { objects } = await detector.detect(imagePath(name));
        const distance = (found: (typeof objects)[0], wanted: (typeof detections)[0]): number =>
          Math.max(apart(found.corners, wanted.corners!), 200 * Math.abs(found.score - wanted.score));
        // Corners within 0.2 px, and scores within 0.001.
        const { lost, extra } = matched(objects, detections, distance, 0.2);
        expect(Math.max(lost, extra), name).toBeLessThanOrEqual(mostOthers(model, detections.length));
      }
    },
    60_000,
  );
}
