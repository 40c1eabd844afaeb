import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Classifier,
  type ClassifierOptions,
  Detector,
  type DetectorOptions,
  type Mask,
  PoseEstimator,
  Segmenter,
} from "../../src/index.ts";

/** What real.py exported, and what the package's own post-processing found. */
interface Expected {
  readonly package: string;
  readonly options: Omit<DetectorOptions, "task">;
  /** x1, y1, x2, y2 in pixels of the image, score, class. */
  readonly rows: readonly (readonly number[])[];
  /** x and y of the points of each row. */
  readonly points?: readonly (readonly (readonly number[])[])[];
  /** The mask of each row: runs by columns, of 0 first. */
  readonly masks?: readonly (readonly number[])[];
  /** Of a classifier: the probability of each class. */
  readonly scores?: readonly number[];
}

/** What is compared of an object. */
interface Found {
  readonly box: readonly number[];
  readonly score: number;
  readonly classId: number;
  readonly keypoints?: readonly { readonly x: number; readonly y: number }[];
  readonly mask?: Mask;
}

const folder = process.env.BUN_TENSORRT_REAL ?? "";
const names = existsSync(folder)
  ? readdirSync(folder)
      .filter((name) => existsSync(join(folder, name, "expected.json")))
      .sort()
  : [];

/** Pixels that a side or a point may be off, how much a score, and what two masks must share. */
const TOLERANCE = 0.5;
const SCORE_TOLERANCE = 0.005;
const MASK_IOU = 0.99;

/** Everything that the image's file holds, of the model as its outputs have it. */
async function found(name: string, { options, points, masks }: Expected): Promise<readonly Found[]> {
  const [model, image] = [join(folder, name, "model.onnx"), join(folder, name, "image.png")];
  const settings = { backend: "cpu", ...options } as const;
  if (points !== undefined || masks !== undefined) {
    await using objects = await (points === undefined ? Segmenter : PoseEstimator).load(model, settings);
    return (await objects.detect(image)).objects as readonly Found[];
  }
  await using detector = await Detector.load(model, { ...settings, task: "detect" });
  return (await detector.detect(image)).detections;
}

/** Area shared of the area of both. */
function maskIou(runs: readonly number[], mask: Mask): number {
  const theirs = runs.flatMap((length, at) => new Array<number>(length).fill(at % 2));
  const own = mask.toRle().counts.flatMap((length, at) => new Array<number>(length).fill(at % 2));
  expect(own.length).toBe(theirs.length);
  const count = (rule: (a: number, b: number) => unknown): number =>
    theirs.reduce((sum, value, at) => sum + (rule(value, own[at]!) ? 1 : 0), 0);
  const either = count((a, b) => a || b);
  return either === 0 ? 1 : count((a, b) => a && b) / either;
}

if (names.length === 0) test.skip("real exports: BUN_TENSORRT_REAL names no folder made by real.py", () => {});

for (const name of names) {
  const expected = JSON.parse(readFileSync(join(folder, name, "expected.json"), "utf8")) as Expected;
  const { package: from, options, rows, points, masks, scores } = expected;
  if (scores !== undefined) {
    test(`${name}, of ${from}: the probabilities of ${scores.length} classes are its own within ${SCORE_TOLERANCE}`, async () => {
      const settings = { backend: "cpu", ...(options as ClassifierOptions) } as const;
      await using classifier = await Classifier.load(join(folder, name, "model.onnx"), settings);
      const { classes } = await classifier.classify(join(folder, name, "image.png"), { top: scores.length });
      expect(classes).toHaveLength(scores.length);
      for (const { classId, score } of classes)
        expect(Math.abs(score - scores[classId]!)).toBeLessThan(SCORE_TOLERANCE);
    }, 120_000);
    continue;
  }
  const what = points === undefined ? (masks === undefined ? "boxes" : "masks") : "boxes with points";
  test(`${name}, of ${from}: ${rows.length} ${what} are those of its own post-processing within ${TOLERANCE} px`, async () => {
    const all = await found(name, expected);
    const taken = new Set<Found>();
    const isNear = (a: number, b: number): boolean => Math.abs(a - b) <= TOLERANCE;
    const missing = rows.filter(([x1, y1, x2, y2, score, classId], row) => {
      const one = all.find(
        (own) =>
          !taken.has(own) &&
          own.classId === classId &&
          Math.abs(own.score - score!) < SCORE_TOLERANCE &&
          [x1!, y1!, x2!, y2!].every((side, at) => isNear(own.box[at]!, side)) &&
          (points?.[row] ?? []).every(
            ([x, y], at) => isNear(own.keypoints![at]!.x, x!) && isNear(own.keypoints![at]!.y, y!),
          ),
      );
      if (one === undefined) return true;
      taken.add(one);
      if (masks !== undefined) expect(maskIou(masks[row]!, one.mask!)).toBeGreaterThanOrEqual(MASK_IOU);
      return false;
    });
    // Of a box in the padding nothing is left, and real.py writes none.
    const more = all.filter((one) => !taken.has(one) && one.box[0]! < one.box[2]! && one.box[1]! < one.box[3]!);
    expect([missing, more]).toEqual([[], []]);
  }, 120_000);
}
