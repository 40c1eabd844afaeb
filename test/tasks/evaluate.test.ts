import { expect, test } from "bun:test";
import {
  type AnnotatedObject,
  AveragePrecision,
  MEASURES,
  type Measure,
} from "../../src/tasks/evaluate/average-precision.ts";
import { polygonMask } from "../../src/tasks/evaluate/dataset.ts";
import goldens from "../fixtures/tasks/evaluate.json";

const [WIDTH, HEIGHT, IMAGES, CLASSES] = [320, 240, 24, 4];

/** An object with all that any measure looks at, as an annotation and as what a model finds. */
interface Made {
  readonly sides: readonly [x: number, y: number, width: number, height: number];
  readonly classId: number;
  readonly turn: number;
  readonly numbers: readonly number[];
  readonly score: number;
  readonly isCrowd: boolean;
}

/** The objects of evaluate.py: the same numbers in the same order. */
function* madeImages(): Generator<{ readonly truths: readonly Made[]; readonly found: readonly Made[] }> {
  let state = 15;
  const pick = (count: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % count;
  };
  for (let image = 1; image <= IMAGES; image++) {
    const truths: Made[] = [];
    const found: Made[] = [];
    for (let left = pick(8); left > 0; left--) {
      const most = [30, 100, 200][pick(3)]!;
      const [width, height] = [4 + pick(most), 4 + pick(most)];
      const sides = [pick(WIDTH - width), pick(HEIGHT - height), width, height] as const;
      const [classId, turn, isHidden] = [pick(CLASSES - 1), pick(7), pick(8) === 0];
      const points = Array.from({ length: 17 }, () => [
        sides[0] + pick(width + 1),
        sides[1] + pick(height + 1),
        pick(3),
      ]);
      const numbers = isHidden ? new Array<number>(51).fill(0) : points.flat();
      const truth: Made = { sides, classId, turn, numbers, score: 1, isCrowd: pick(10) === 0 };
      truths.push(truth);
      for (let copies = pick(4); copies > 0; copies--) {
        const [x, y, w, h] = sides.map((side) => side + pick(9) - 4) as [number, number, number, number];
        const moved = [Math.max(x, 0), Math.max(y, 0), Math.max(w, 1), Math.max(h, 1)] as const;
        const [otherClass, otherTurn] = [pick(6) === 0 ? pick(CLASSES - 1) : classId, turn + pick(2)];
        const reach = 1 + pick(8);
        const spread = numbers.map((number) => number + pick(2 * reach + 1) - reach);
        const one = { sides: moved, classId: otherClass, turn: otherTurn, numbers: spread, isCrowd: false };
        found.push({ ...one, score: pick(50) / 50 });
      }
      // A crowd in the place of an object.
      if (pick(5) === 0) truths.push({ ...truth, isCrowd: true });
    }
    for (let left = image === 3 ? 130 : pick(6); left > 0; left--) {
      const [width, height] = [4 + pick(100), 4 + pick(100)];
      const sides = [pick(WIDTH - width), pick(HEIGHT - height), width, height] as const;
      const [classId, turn] = [image === 3 ? 0 : pick(CLASSES - 1), pick(7)];
      const numbers = Array.from({ length: 17 }, () => [pick(WIDTH), pick(HEIGHT), 1]).flat();
      found.push({ sides, classId, turn, numbers, score: pick(50) / 50, isCrowd: false });
    }
    yield { truths, found };
  }
}

function maskOf([x, y, w, h]: Made["sides"]): ReturnType<typeof polygonMask> {
  const [a, b, c, d] = [x + w / 4, x + (3 * w) / 4, y + h / 4, y + (3 * h) / 4];
  return polygonMask([[a, y, b, y, x + w, c, x + w, d, b, y + h, a, y + h, x, d, x, c]], WIDTH, HEIGHT);
}

function xywhrOf([x, y, w, h]: Made["sides"], turn: number): readonly number[] {
  return [x + w / 2, y + h / 2, w, h, turn / 5];
}

function annotated({ sides, classId, turn, numbers, isCrowd }: Made): AnnotatedObject {
  const area = (sides[2] * sides[3] * 3) / 4;
  return { classId, isCrowd, area, box: sides, mask: maskOf(sides), keypoints: numbers, xywhr: xywhrOf(sides, turn) };
}

function detected({ sides, classId, turn, numbers, score }: Made) {
  const [x, y, w, h] = sides;
  const keypoints = Array.from({ length: 17 }, (_, at) => ({ x: numbers[at * 3]!, y: numbers[at * 3 + 1]! }));
  return { classId, score, box: [x, y, x + w, y + h], mask: maskOf(sides), keypoints, xywhr: xywhrOf(sides, turn) };
}

const images = [...madeImages()].map(({ truths, found }) => ({
  truths: truths.map(annotated),
  found: found.map(detected),
}));

test("the objects are those of evaluate.py", () => {
  const count = (some: readonly (readonly unknown[])[]): number => some.flat().length;
  expect([count(images.map(({ truths }) => truths)), count(images.map(({ found }) => found))]).toEqual(goldens.counts);
});

const CASES = [
  ["boxes", MEASURES.detect.box, goldens.bbox],
  ["masks", MEASURES.segment.mask, goldens.segm],
  ["key points", MEASURES.pose.keypoints, goldens.keypoints],
  ["oriented boxes", MEASURES.obb.obb, goldens.obb],
] as const;

test.each(CASES)("%s have the figures of pycocotools, overall and by class", (_, measure, { names, stats }) => {
  type Found = ReturnType<typeof detected>;
  const labels = Array.from({ length: CLASSES }, (_, at) => `class ${at + 1}`);
  const scorer = new AveragePrecision(measure as unknown as Measure<Found, AnnotatedObject>, labels);
  for (const { found, truths } of images) scorer.add(found, truths);
  const report = scorer.report();
  // Class 4 has no object.
  expect(report.classes.map(({ label }) => label)).toEqual(labels.slice(0, 3));
  for (const [name, wanted] of Object.entries(stats)) {
    const metrics = name === "all" ? report : report.classes.find(({ label }) => label === `class ${name}`);
    if (metrics === undefined) expect(wanted.every((value) => value === -1)).toBe(true);
    else for (const [at, metric] of names.entries()) expect(metrics[metric]).toBeCloseTo(wanted[at]!, 6);
  }
});

test("polygons cover the pixels that they cover in pycocotools", () => {
  const made = goldens.polygons.map(({ size: [height, width], polygons }) => polygonMask(polygons, width!, height!));
  expect(made.map((mask) => mask.toRle({ compressed: true }).counts)).toEqual(
    goldens.polygons.map(({ counts }) => counts),
  );
});
