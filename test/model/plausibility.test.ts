import { afterEach, beforeEach, expect, test } from "bun:test";
import { setLogSink } from "../../src/core/log.ts";
import { place } from "../../src/image/geometry.ts";
import { Candidates, createDetectionBlock, type DetectionBlock } from "../../src/model/rows.ts";
import type { OpenedModel } from "../../src/runtime/task.ts";
import {
  DEFAULT_DETECT_TASK_OPTIONS,
  DetectTask,
  type RecognisedDetector,
} from "../../src/tasks/detect/detect-task.ts";
import { Selector, USUAL_SELECTION } from "../../src/tasks/detect/nms.ts";
import { PlausibilityGuard } from "../../src/tasks/detect/plausibility.ts";

/** Rows of YOLOv5, three a cell, which no other head has. */
const yolov5 = {
  kind: "dense",
  output: "output0",
  order: "anchor-major",
  channels: 85,
  classes: 80,
  classChannel: 5,
  score: "product",
  boxUnit: "pixels",
} as const;

const PLACEMENT = place(200, 100, 64, 64, "letterbox");

let lines: string[] = [];
let former: ReturnType<typeof setLogSink>;

beforeEach(() => {
  lines = [];
  former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
});

afterEach(() => {
  setLogSink(former);
});

/** Rows of x1, y1, x2, y2 and a score, in pixels of an image of 200x100. */
function blockOf(rows: readonly (readonly [...box: number[], score: number])[]): DetectionBlock {
  const block = createDetectionBlock(8);
  for (const [row, values] of rows.entries()) {
    block.boxes.set(values.slice(0, 4), row * 4);
    block.scores[row] = values[4]!;
  }
  block.count = rows.length;
  // What the image before had.
  block.implausible = 99;
  return block;
}

function check(rows: Parameters<typeof blockOf>[0], guard = new PlausibilityGuard("a.onnx")): number {
  const block = blockOf(rows);
  guard.check(block, PLACEMENT, USUAL_SELECTION);
  return block.implausible;
}

test("PlausibilityGuard passes what may be right: nothing, objects, classes of one object, filling rows, a box in the padding", () => {
  expect(check([])).toBe(0);
  expect(
    check([
      [1, 2, 30, 40, 1],
      [5, 5, 9, 9, 0.3],
    ]),
  ).toBe(0);
  // f16 rounds so.
  expect(check([[1, 2, 30, 40, 1.0005]])).toBe(0);
  expect(
    check([
      [1, 2, 30, 40, 0.9],
      [1, 2, 30, 40, 0.8],
      [1, 2, 30, 40, 0.7],
    ]),
  ).toBe(0);
  expect(
    check([
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
    ]),
  ).toBe(0);
  // Two of one box and score, and one of the whole image.
  expect(
    check([
      [1, 2, 30, 40, 0.9],
      [1, 2, 30, 40, 0.9],
    ]),
  ).toBe(0);
  expect(check([[0, 0, 200, 100, 0.9]])).toBe(0);
  expect(lines).toEqual([]);
  // Counted, but one of two is no reason to doubt the model.
  expect(
    check([
      [1, 2, 30, 40, 0.9],
      [50, 0, 60, 0, 0.5],
    ]),
  ).toBe(1);
  expect(lines).toEqual([]);
});

test("PlausibilityGuard counts scores above 1, boxes outside the image and rows that are all alike, and reports the first", () => {
  const hint = expect.stringContaining("`bunx bun-tensorrt inspect` shows what is assumed, and how to say otherwise");
  expect(
    check([
      [1, 2, 30, 40, 1.04],
      [5, 5, 9, 9, 0.3],
    ]),
  ).toBe(1);
  expect(lines.pop()).toEqual(hint);
  expect(
    check([
      [200, 2, 200, 40, 0.9],
      [5, 100, 9, 100, 0.8],
      [200, 100, 200, 100, 0.7],
      [1, 1, 9, 9, 0.6],
    ]),
  ).toBe(3);
  expect(lines.pop()).toStartWith(
    "warn: Implausible detections of a.onnx: 3 of 4 boxes of an image lie outside it; the head or the pre-processing may be another",
  );
  expect(
    check([
      [1, 2, 30, 40, 0.9],
      [1, 2, 30, 40, 0.9],
      [1, 2, 30, 40, 0.9],
    ]),
  ).toBe(3);
  expect(lines.pop()).toContain("all 3 boxes of an image are alike");
  // The whole image, whatever the scores.
  expect(
    check([
      [0, 0, 200, 100, 0.9],
      [0, 0, 200, 100, 0.8],
      [0, 0, 200, 100, 0.7],
    ]),
  ).toBe(3);
  expect(lines.pop()).toContain("all 3 boxes of an image are alike");
});

test("PlausibilityGuard reports boxes that are inside out beside others, on the way from the rows", () => {
  const guard = new PlausibilityGuard("a.onnx");
  const selection = { ...USUAL_SELECTION, threshold: 0.1 };
  const read = (rows: readonly number[][]): number => {
    const candidates = new Candidates();
    for (const [at, [x1, y1, x2, y2, score]] of rows.entries()) candidates.push(x1!, y1!, x2!, y2!, score!, 0, at);
    const block = createDetectionBlock(selection.maxDetections);
    new Selector().select(candidates, selection, { needsNms: false, head: "qualcomm" }, block);
    guard.check(block, PLACEMENT, selection);
    return block.count;
  };
  const wide = [10, 10, 60, 50, 0.9];
  // Of what it is not sure, and of rows without area, as fill models up, nothing is said.
  expect(read([wide, [60, 10, 10, 50, 0.15], [20, 20, 20, 20, 0.9]])).toBe(1);
  expect(lines).toEqual([]);
  expect(read([wide, [60, 10, 10, 50, 0.3]])).toBe(1);
  expect(lines).toEqual([
    "warn: Implausible detections of a.onnx: further boxes of an image are inside out: their right or lower side comes before the " +
      "other; the head or the pre-processing may be another: `bunx bun-tensorrt inspect` shows what is assumed, and how to say otherwise",
  ]);
  expect(read([wide, [60, 10, 10, 50, 0.3]])).toBe(1);
  expect(lines).toHaveLength(1);
});

test("PlausibilityGuard reports once a model, and goes on counting", () => {
  const guard = new PlausibilityGuard("a.onnx");
  expect(check([[1, 2, 30, 40, 1.04]], guard)).toBe(1);
  expect(check([[1, 2, 30, 40, 1.04]], guard)).toBe(1);
  expect(check([[1, 2, 30, 40, 0.9]], guard)).toBe(0);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("1 of 1 scores of an image are above 1, up to 1.0");
});

test("PlausibilityGuard reports a class without a name once, and refuses it where the names were assumed", () => {
  const rows = (classId: number): DetectionBlock => {
    const block = blockOf([[1, 2, 30, 40, 0.9]]);
    block.classIds[0] = classId;
    return block;
  };
  const given = new PlausibilityGuard("a.onnx", { labels: ["cat", "dog", "cow"] });
  for (const classId of [2, 3, 4]) given.check(rows(classId), PLACEMENT, USUAL_SELECTION);
  expect(lines).toEqual([
    "warn: Unnamed class of a.onnx: class 3 is beyond the 3 names; give one for each class by `labels`",
  ]);
  // A model that names none calls all by their numbers.
  new PlausibilityGuard("a.onnx", { labels: [] }).check(rows(7), PLACEMENT, USUAL_SELECTION);
  const assumed = new PlausibilityGuard("a.onnx", { labels: ["person", "car"], assumedNames: "COCO's" });
  assumed.check(rows(1), PLACEMENT, USUAL_SELECTION);
  expect(() => assumed.check(rows(2), PLACEMENT, USUAL_SELECTION)).toThrow(
    "Cannot name what a.onnx found: class 2 is beyond the 2 names that were assumed\nHint: it was trained on other classes: give",
  );
  expect(lines).toHaveLength(1);
});

test("no objects in the first image of a model whose rows may be another head's are reported once, with these heads", () => {
  const spec = {
    labels: [],
    plan: { kind: "grid", output: "output0", classes: 80, strides: [8, 16, 32] },
    alternatives: ["yolo-transposed", "libreyolo", "yolox-decoded"],
  } as const;
  const look = (
    rows: Parameters<typeof blockOf>[0],
    selection: Partial<typeof USUAL_SELECTION> = {},
    placed = PLACEMENT,
  ) => {
    lines = [];
    const guard = new PlausibilityGuard("a.onnx", spec);
    // Black images that slots are warmed up with have none anyway, and are not the first one.
    guard.check(blockOf([]), placed, { ...USUAL_SELECTION, isMadeUp: true });
    guard.check(blockOf(rows), placed, { ...USUAL_SELECTION, ...selection });
    guard.check(blockOf([]), PLACEMENT, USUAL_SELECTION);
    return lines.join("\n");
  };
  expect(look([])).toBe(
    "warn: No objects in the first image of a.onnx, and nothing but its shapes tells its head: if there are some, name the head by " +
      '`head: "yolo-transposed"` (`--head yolo-transposed`), or "yolox-decoded"',
  );
  expect(look([[1, 2, 30, 40, 0.9]])).toBe("");
  expect(look([], { threshold: 0.9 })).toBe("");
  expect(look([], { classIds: new Set([3]) })).toBe("");
  expect(look([], {}, { ...PLACEMENT, width: 64 })).toBe("");
  new PlausibilityGuard("a.onnx", { labels: [], plan: yolov5, alternatives: spec.alternatives }).check(
    blockOf([]),
    PLACEMENT,
    USUAL_SELECTION,
  );
  expect(lines).toEqual([]);
});

test("what was reported of a model is not reported again of the engine that takes the place of its first one", async () => {
  const model = {
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 640, 640] }],
    outputs: [{ name: "output", dtype: "f32", shape: [1, 8400, 85] }],
    metadata: {},
  } as const;
  const task = new DetectTask(DEFAULT_DETECT_TASK_OPTIONS);
  const reportsOf = async (engine: Pick<OpenedModel, "former">) => {
    lines = [];
    const recognised = await task.recognise({
      model,
      source: "a.onnx",
      described: () => Promise.resolve(model),
      rangeOf: () => undefined,
      outputsFor: () => Promise.resolve(model.outputs),
      ...engine,
    });
    (recognised as RecognisedDetector).guard.check(blockOf([]), PLACEMENT, USUAL_SELECTION);
    (recognised as RecognisedDetector).guard.check(blockOf([[1, 2, 30, 40, 1.5]]), PLACEMENT, USUAL_SELECTION);
    return { recognised, reports: lines.map((line) => line.split(" ", 3).join(" ")) };
  };
  const first = await reportsOf({});
  expect(first.reports).toEqual(["warn: No objects", "warn: Implausible detections"]);
  expect((await reportsOf({ former: first.recognised })).reports).toEqual([]);
  expect((await reportsOf({})).reports).toEqual(first.reports);
});
