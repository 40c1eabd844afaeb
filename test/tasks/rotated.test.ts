import { expect, test } from "bun:test";
import { pointsToSource, type Region } from "../../src/image/geometry.ts";
import { type NmsOptions, USUAL_SELECTION } from "../../src/tasks/detect/nms.ts";
import {
  probiou,
  type RotatedCandidates,
  RotatedSelector,
  rotatedCorners,
  rotatedEnvelope,
  rotatedIou,
} from "../../src/tasks/obb/rotated.ts";
import goldens from "../fixtures/tasks/rotated.json";
import { mostOthers } from "../objects/reference.ts";
import { chance } from "../support/chance.ts";
import { isMissingModel, type ReferenceModel, type ReferenceObject, runReference } from "./reference-models.ts";

/** Every pair of the goldens' boxes, with its index. */
function* pairs(): Generator<readonly [a: number, b: number, index: number]> {
  const count = goldens.boxes.length / 5;
  for (let a = 0; a < count; a++) for (let b = 0; b < count; b++) yield [a * 5, b * 5, a * count + b];
}

test("probiou is NumPy's in f32", () => {
  for (const [a, b, index] of pairs()) {
    // A last digit of a sine shows where boxes are the same: the root is steep there.
    const off = probiou(goldens.boxes, goldens.boxes, a, b) - goldens.probiou[index]!;
    expect(Math.abs(off)).toBeLessThan(goldens.probiou[index]! > 0.99 ? 3e-4 : 2e-6);
  }
});

test("probiou: the same box gives nearly 1, a square's angle does not count", () => {
  expect(probiou([5, 5, 10, 4, 0.3], [5, 5, 10, 4, 0.3])).toBeCloseTo(0.9997, 3);
  expect(probiou([5, 5, 8, 8, 0], [5, 5, 8, 8, 0.7])).toBeCloseTo(0.9997, 3);
  expect(probiou([5, 5, 8, 8, 0], [500, 5, 8, 8, 0])).toBe(0);
});

test("rotatedIou is OpenCV's", () => {
  for (const [a, b, index] of pairs()) {
    expect(rotatedIou(goldens.boxes, goldens.boxes, a, b)).toBeCloseTo(goldens.iou[index]!, 3);
  }
});

test("rotatedIou: upright boxes, turned ones, those without area, far from the origin", () => {
  expect(rotatedIou([5, 5, 10, 10, 0], [10, 5, 10, 10, 0])).toBeCloseTo(1 / 3, 12);
  expect(rotatedIou([5, 5, 10, 4, 0], [5, 5, 4, 10, Math.PI / 2])).toBeCloseTo(1, 12);
  expect(rotatedIou([0, 0, 2, 2, 0], [0, 0, 2, 2, Math.PI / 4])).toBeCloseTo(Math.SQRT1_2, 12);
  expect(rotatedIou([5, 5, 10, 10, 0], [5, 5, 2, 2, 1])).toBeCloseTo(0.04, 12);
  expect(rotatedIou([5, 5, 10, 10, 0], [15, 5, 10, 10, 0])).toBe(0);
  expect(rotatedIou([5, 5, 10, 0, 0], [5, 5, 10, 10, 0])).toBe(0);
  expect(rotatedIou([5, 5, 10, 10, 0], [5, 5, 10, Number.NaN, 0])).toBe(0);
  const far = 2 ** 40;
  expect(rotatedIou([far, far, 2, 2, 0], [far, far, 2, 2, Math.PI / 4])).toBeCloseTo(Math.SQRT1_2, 12);
});

test("rotatedIou is what a grid of points counts", () => {
  const random = chance(11);
  const isInside = (x: number, y: number, [cx = 0, cy = 0, w = 0, h = 0, angle = 0]: readonly number[]) => {
    const along = (x - cx) * Math.cos(angle) + (y - cy) * Math.sin(angle);
    const across = (y - cy) * Math.cos(angle) - (x - cx) * Math.sin(angle);
    return Math.abs(along) < w / 2 && Math.abs(across) < h / 2;
  };
  for (let round = 0; round < 20; round++) {
    const [a = [], b = []] = [0, 1].map(() => [
      random() * 0.3 - 0.15,
      random() * 0.3 - 0.15,
      0.3 + random() * 0.5,
      0.3 + random() * 0.5,
      random() * 7 - 3,
    ]);
    let shared = 0;
    let either = 0;
    for (let x = -1; x < 1; x += 0.01) {
      for (let y = -1; y < 1; y += 0.01) {
        const [inA, inB] = [isInside(x, y, a), isInside(x, y, b)];
        if (inA && inB) shared += 1;
        if (inA || inB) either += 1;
      }
    }
    expect(Math.abs(rotatedIou(a, b) - shared / either)).toBeLessThan(0.02);
    expect(rotatedIou(b, a)).toBeCloseTo(rotatedIou(a, b), 12);
  }
});

test("rotatedCorners and rotatedEnvelope of a box turned by 90°, within columns", () => {
  const boxes = Float32Array.of(9, 9, 9, 9, 9, 10, 20, 6, 2, Math.PI / 2);
  const corners = rotatedCorners(boxes, 5, new Float32Array(10), 1);
  const wanted = [0, 9, 23, 11, 23, 11, 17, 9, 17, 0];
  for (const [at, value] of wanted.entries()) expect(corners[at]!).toBeCloseTo(value, 5);
  const envelope = rotatedEnvelope(boxes, 5);
  for (const [at, value] of [9, 17, 11, 23].entries()) expect(envelope[at]!).toBeCloseTo(value, 5);
});

function kept(candidates: RotatedCandidates, options: Partial<NmsOptions>, suppression?: "any" | "greedy"): number[] {
  const selector = new RotatedSelector();
  return take(selector, selector.select(candidates, { ...USUAL_SELECTION, threshold: 0, ...options }, suppression));
}

function take(selector: RotatedSelector, count: number): number[] {
  return [...selector.kept.subarray(0, count)];
}

const MANY: RotatedCandidates = {
  count: goldens.scores.length,
  boxes: Float32Array.from(goldens.many),
  scores: Float32Array.from(goldens.scores),
  classIds: Int32Array.from(goldens.classes),
};

test("RotatedSelector keeps what Ultralytics' rule keeps, and what greedy NMS does", () => {
  expect(kept(MANY, {})).toEqual(goldens.any);
  expect(kept(MANY, {}, "greedy")).toEqual(goldens.greedy);
  expect(goldens.greedy.length).toBeGreaterThan(goldens.any.length);
});

test("RotatedSelector: of a chain the suppressed one suppresses too, but for greedy", () => {
  const chain = {
    count: 3,
    boxes: Float32Array.of(0, 0, 20, 8, 0.4, 2.8, 1.2, 20, 8, 0.4, 5.6, 2.4, 20, 8, 0.4),
    scores: Float32Array.of(0.9, 0.8, 0.7),
    classIds: new Int32Array(3),
  };
  expect(kept(chain, {})).toEqual([0]);
  expect(kept(chain, {}, "greedy")).toEqual([0, 2]);
  expect(kept({ ...chain, classIds: Int32Array.of(0, 1, 2) }, {})).toEqual([0, 1, 2]);
  expect(kept({ ...chain, classIds: Int32Array.of(0, 1, 2) }, { classAgnostic: true })).toEqual([0]);
});

test("RotatedSelector: threshold, classes and the most that are kept; equal scores by row", () => {
  const apart = {
    count: 5,
    boxes: Float32Array.from({ length: 25 }, (_, at) => (at % 5 === 0 ? at * 100 : 10)),
    scores: Float32Array.of(0.5, 0.9, 0.1, 0.5, 0.7),
    classIds: Int32Array.of(0, 1, 2, 0, 1),
  };
  expect(kept(apart, {})).toEqual([1, 4, 0, 3, 2]);
  expect(kept(apart, { threshold: 0.5 })).toEqual([1, 4, 0, 3]);
  expect(kept(apart, { classIds: new Set([0, 2]) })).toEqual([0, 3, 2]);
  expect(kept(apart, { maxDetections: 2 })).toEqual([1, 4]);
  const selector = new RotatedSelector();
  for (const count of [5, 1, 5]) {
    const selection = { ...USUAL_SELECTION, threshold: 0 };
    expect(take(selector, selector.select({ ...apart, count }, selection))).toEqual(
      [1, 4, 0, 3, 2].filter((row) => row < count),
    );
  }
});

interface ObbModel extends ReferenceModel {
  /** 0 for rows that are final: cx, cy, w, h, score, class, angle. */
  readonly classes: number;
}

const MODELS: readonly ObbModel[] = [
  { model: "yolo11n-obb-coco_640", reference: "yolo11n-obb-coco_640", size: 640, classes: 80, images: 9 },
  { model: "yolo11n-obb-coco_640", reference: "rotated/yolo11n-obb-coco_640", size: 640, classes: 80 },
  { model: "layouts/yolo11-obb_nms", reference: "layouts/yolo11-obb_nms", size: 160, classes: 0 },
  { model: "layouts/yolo26-obb_e2e", reference: "layouts/yolo26-obb_e2e", size: 160, classes: 0 },
  { model: "layouts/yolo26-obb_raw", reference: "layouts/yolo26-obb_raw", size: 160, classes: 3 },
  {
    model: "layouts/yolo11-obb_dynamic",
    reference: "layouts/yolo11-obb_dynamic",
    size: 160,
    classes: 3,
    isRectangular: true,
  },
];

/** The rows as candidates. */
function candidatesOf(rows: Float32Array, rowLength: number, classes: number): RotatedCandidates {
  const count = rows.length / rowLength;
  const boxes = new Float32Array(count * 5);
  const scores = new Float32Array(count);
  const classIds = new Int32Array(count);
  for (let row = 0; row < count; row++) {
    const numbers = rows.subarray(row * rowLength, (row + 1) * rowLength);
    boxes.set(numbers.subarray(0, 4), row * 5);
    boxes[row * 5 + 4] = numbers[rowLength - 1]!;
    const of = numbers.subarray(4, 4 + classes);
    scores[row] = classes === 0 ? numbers[4]! : Math.max(...of);
    classIds[row] = classes === 0 ? numbers[5]! : of.indexOf(scores[row]!);
  }
  return { count, boxes, scores, classIds };
}

/** A box of the input in pixels of the image: not clipped. */
function toSource(box: Float32Array, region: Region): Float32Array {
  const mapped = box.slice();
  pointsToSource(mapped, 1, region, "keep");
  mapped[2]! /= region.scaleX;
  mapped[3]! /= region.scaleY;
  return mapped;
}

/** How far each corner of one lies from the nearest of the other at most. */
function cornersOff(box: Float32Array, { corners }: ReferenceObject): number {
  const own = rotatedCorners(box);
  const off = corners!.map(([x, y]) =>
    Math.min(...[0, 2, 4, 6].map((at) => Math.hypot(own[at]! - x, own[at + 1]! - y))),
  );
  return Math.max(...off);
}

for (const model of MODELS) {
  test.skipIf(isMissingModel(model))(
    `${model.reference}: oriented boxes are Ultralytics'`,
    async () => {
      for await (const { name, want, rows, rowLength, region } of runReference(model)) {
        const candidates = candidatesOf(rows, rowLength, model.classes);
        const selector = new RotatedSelector();
        const iou = model.classes === 0 ? 1 : USUAL_SELECTION.iou;
        const count = selector.select(candidates, { ...USUAL_SELECTION, iou });
        const found = take(selector, count).map((row) => ({
          box: toSource(candidates.boxes.subarray(row * 5, row * 5 + 5), region),
          score: candidates.scores[row]!,
          classId: candidates.classIds[row]!,
        }));
        let others = 0;
        for (const object of want.detections) {
          const match = found.find(
            ({ box, score, classId }) =>
              classId === object.classId && Math.abs(score - object.score) < 0.001 && cornersOff(box, object) < 0.2,
          );
          if (match === undefined) others += 1;
          else {
            const envelope = rotatedEnvelope(match.box);
            const off = envelope.map((side, at) => Math.abs(side - object.envelope![at]!));
            expect(Math.max(...off)).toBeLessThan(0.2);
          }
        }
        const missing = Math.abs(found.length - want.detections.length);
        const allowed = mostOthers(model.model, want.detections.length);
        expect(Math.max(others, missing), name).toBeLessThanOrEqual(allowed);
      }
    },
    120_000,
  );
}
