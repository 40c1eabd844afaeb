import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Detection, Detector, type DetectorOptions } from "../../src/index.ts";

/** What real.py exported, and what the package's own post-processing found. */
interface Expected {
  readonly package: string;
  readonly options: DetectorOptions;
  /** x1, y1, x2, y2 in pixels of the image, score, class. */
  readonly rows: readonly (readonly number[])[];
}

const folder = process.env.BUN_TENSORRT_REAL ?? "";
const names = existsSync(folder) ? readdirSync(folder).sort() : [];

/** Pixels that a side may be off, and how much a score. */
const TOLERANCE = 0.5;
const SCORE_TOLERANCE = 0.005;

if (names.length === 0) test.skip("real exports: BUN_TENSORRT_REAL names no folder made by real.py", () => {});

for (const name of names) {
  const {
    package: from,
    options,
    rows,
  } = JSON.parse(readFileSync(join(folder, name, "expected.json"), "utf8")) as Expected;
  test(`${name}, of ${from}: ${rows.length} boxes are those of its own post-processing within ${TOLERANCE} px`, async () => {
    await using detector = await Detector.load(join(folder, name, "model.onnx"), {
      backend: "cpu",
      task: "detect",
      ...options,
    });
    const { detections: found } = await detector.detect(join(folder, name, "image.png"));
    const taken = new Set<Detection>();
    const missing = rows.filter(([x1, y1, x2, y2, score, classId]) => {
      const one = found.find(
        (own) =>
          !taken.has(own) &&
          own.classId === classId &&
          Math.abs(own.score - score!) < SCORE_TOLERANCE &&
          [x1!, y1!, x2!, y2!].every((side, at) => Math.abs(own.box[at]! - side) <= TOLERANCE),
      );
      if (one !== undefined) taken.add(one);
      return one === undefined;
    });
    // Of a box in the padding nothing is left, and real.py writes none.
    const more = found.filter((one) => !taken.has(one) && one.box[0] < one.box[2] && one.box[1] < one.box[3]);
    expect([missing, more]).toEqual([[], []]);
  }, 120_000);
}
