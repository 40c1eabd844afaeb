import { expect, test } from "bun:test";
import { ModelError } from "../../src/core/errors.ts";
import { Candidates, createDetectionBlock, type DetectionBlock } from "../../src/model/rows.ts";
import { MAX_CANDIDATES, type NmsOptions, ScoreOrder, Selector } from "../../src/tasks/detect/nms.ts";
import { uniform } from "./described-tensor.ts";

const NMS = { needsNms: true, head: "yolo" };
const FINAL = { needsNms: false, head: "rtdetr" };
const ALL: NmsOptions = {
  threshold: 0,
  iou: 0.5,
  maxDetections: 300,
  classAgnostic: false,
  classIds: undefined,
};

type Row = readonly [x1: number, y1: number, x2: number, y2: number, score: number, classId: number];

function candidatesOf(rows: readonly Row[]): Candidates {
  const candidates = new Candidates();
  for (const [at, row] of rows.entries()) candidates.push(...row, at);
  return candidates;
}

function rowsOf(block: DetectionBlock): number[][] {
  return Array.from({ length: block.count }, (_, row) => [
    ...block.boxes.subarray(row * 4, row * 4 + 4),
    block.scores[row]!,
    block.classIds[row]!,
  ]);
}

function select(rows: readonly Row[], selection: Partial<NmsOptions> = {}, recognition = NMS): number[][] {
  const block = createDetectionBlock(selection.maxDetections ?? 300);
  new Selector().select(candidatesOf(rows), { ...ALL, ...selection }, recognition, block);
  return rowsOf(block);
}

/** Greedy NMS as its definition says, over all pairs, in f32 by way of typed arrays. */
function naive(candidates: Candidates, selection: NmsOptions): number[][] {
  const { count, boxes, scores, classIds } = candidates;
  const f32 = (value: number): number => new Float32Array([value])[0]!;
  const at = (row: number, axis: number): number => boxes[row * 4 + axis]!;
  const area = (row: number): number => f32(f32(at(row, 2) - at(row, 0)) * f32(at(row, 3) - at(row, 1)));
  const overlap = (a: number, b: number): boolean => {
    const width = f32(Math.min(at(a, 2), at(b, 2)) - Math.max(at(a, 0), at(b, 0)));
    const height = f32(Math.min(at(a, 3), at(b, 3)) - Math.max(at(a, 1), at(b, 1)));
    if (width <= 0 || height <= 0) return false;
    const inter = f32(width * height);
    return inter > f32(f32(selection.iou) * f32(f32(area(a) + area(b)) - inter));
  };
  const order = Array.from({ length: count }, (_, row) => row)
    .filter((row) => scores[row]! >= f32(selection.threshold))
    .filter((row) => selection.classIds?.has(classIds[row]!) ?? true)
    .sort((a, b) => scores[b]! - scores[a]! || a - b);
  const alive = new Set(order);
  const kept: number[] = [];
  for (const row of order) {
    if (!alive.has(row)) continue;
    kept.push(row);
    for (const other of order) {
      const together = selection.classAgnostic || classIds[row] === classIds[other];
      if (other !== row && alive.has(other) && order.indexOf(other) > order.indexOf(row) && together) {
        if (overlap(row, other)) alive.delete(other);
      }
    }
  }
  return kept
    .slice(0, selection.maxDetections)
    .map((row) => [0, 1, 2, 3].map((axis) => at(row, axis)).concat(scores[row]!, classIds[row]!));
}

test("Selector keeps what greedy NMS over all pairs keeps, ties, classes, limits and all", () => {
  const selector = new Selector();
  for (let round = 0; round < 60; round++) {
    const next = uniform(round + 1);
    const candidates = new Candidates(4);
    const size = round % 10 === 0 ? 400 : 40;
    for (let row = 0; row < size; row++) {
      // Coarse numbers, so that equal scores, equal boxes and overlaps of exactly the threshold do occur.
      const [x, y] = [Math.floor(next() * 12) * 4, Math.floor(next() * 12) * 4];
      const [width, height] = [4 + Math.floor(next() * 6) * 4, 4 + Math.floor(next() * 6) * 4];
      const jitter = round % 2 === 0 ? 0 : next();
      const score = Math.floor(next() * 16) / 16;
      const classId = Math.floor(next() * 3) + (next() < 0.2 ? 1024 : 0);
      candidates.push(x + jitter, y, x + width, y + height, score, classId, candidates.count * 3 + 1);
    }
    const selection: NmsOptions = {
      threshold: (round % 4) / 8,
      iou: [0.5, 1 / 3, 0.65, 0, 1][round % 5]!,
      maxDetections: round % 7 === 0 ? 5 : 300,
      classAgnostic: round % 4 === 1,
      classIds: round % 6 === 5 ? new Set([1, 2]) : undefined,
    };
    const block = createDetectionBlock(300);
    selector.select(candidates, selection, NMS, block);
    expect(rowsOf(block)).toEqual(naive(candidates, selection));
    const sources = [...block.sources.subarray(0, block.count)];
    expect(new Set(sources).size).toBe(block.count);
    expect(sources.map((source) => candidates.scores[(source - 1) / 3]!)).toEqual([
      ...block.scores.subarray(0, block.count),
    ]);
    expect(sources.map((source) => candidates.boxes[((source - 1) / 3) * 4]!)).toEqual(
      sources.map((_, row) => block.boxes[row * 4]!),
    );
  }
});

test("an overlap of exactly the threshold does not suppress, one just over it does", () => {
  const better: Row = [0, 0, 4, 4, 0.9, 0];
  // Intersection 8, union 16.
  expect(select([better, [0, 2, 4, 4, 0.8, 0]], { iou: 0.5 }).length).toBe(2);
  expect(select([better, [0, 1.999, 4, 4, 0.8, 0]], { iou: 0.5 }).length).toBe(1);
  expect(select([better, [4, 0, 8, 4, 0.8, 0]], { iou: 0 }).length).toBe(2);
  expect(select([better, [3.9, 0, 8, 4, 0.8, 0]], { iou: 0 }).length).toBe(1);
  expect(select([better, [0, 0, 4, 4, 0.8, 0]], { iou: 1 }).length).toBe(2);
});

test("equal scores: the candidate pushed first wins", () => {
  const first: Row = [0, 0, 4, 4, 0.5, 0];
  const second: Row = [0, 0, 4, 5, 0.5, 0];
  expect(select([first, second])).toEqual([[...first]]);
  expect(select([second, first])).toEqual([[...second]]);
});

test("a suppressed box does not suppress", () => {
  const rows: Row[] = [
    [0, 0, 10, 10, 0.9, 0],
    [0, 3, 10, 13, 0.8, 0],
    [0, 6, 10, 16, 0.7, 0],
  ];
  expect(select(rows, { iou: 0.5 }).map((row) => row[4])).toEqual([0.9, 0.7].map(Math.fround));
});

test("classes keep apart unless the selection is class-agnostic", () => {
  const rows: Row[] = [
    [0, 0, 4, 4, 0.75, 3],
    [0, 0, 4, 4, 0.5, 1027],
  ];
  // 1027 falls into the bucket of 3.
  expect(select(rows).length).toBe(2);
  expect(select(rows, { classAgnostic: true })).toEqual([[...rows[0]!]]);
});

test("classes that were not asked for neither stay nor suppress", () => {
  const rows: Row[] = [
    [0, 0, 4, 4, 0.75, 3],
    [0, 0, 4, 4, 0.5, 5],
  ];
  expect(select(rows, { classAgnostic: true, classIds: new Set([5]) })).toEqual([[...rows[1]!]]);
  expect(select(rows, { classIds: new Set([9]) })).toEqual([]);
});

test("rows that are final are only ordered, filtered and counted", () => {
  const rows: Row[] = [
    [0, 0, 4, 4, 0.5, 1],
    [0, 0, 4, 4, 0.75, 1],
    [0, 0, 4, 4, 0.5, 2],
    [0, 0, 4, 4, 0.25, 1],
  ];
  expect(select(rows, { threshold: 0.5 }, FINAL)).toEqual([rows[1], rows[0], rows[2]].map((row) => [...row!]));
  expect(select(rows, { maxDetections: 1 }, FINAL)).toEqual([[...rows[1]!]]);
});

test("the block tells what was dropped, is emptied, and must have room", () => {
  const block = createDetectionBlock(2);
  const selector = new Selector();
  const candidates = candidatesOf([
    [0, 0, 4, 4, 0.5, 1],
    [0, 0, 4, 4, Number.NaN, 1],
  ]);
  selector.select(candidates, { ...ALL, maxDetections: 2 }, NMS, block);
  expect([block.count, block.dropped]).toEqual([1, 1]);
  selector.select(new Candidates(), { ...ALL, maxDetections: 2 }, NMS, block);
  expect([block.count, block.dropped]).toEqual([0, 0]);
  expect(() => selector.select(candidates, ALL, NMS, block)).toThrow(
    "Cannot select detections: the block must have room for 300: it has 2",
  );
});

test("a score that is no probability is refused, with the head's name", () => {
  expect(() => select([[0, 0, 4, 4, 321.5, 0]])).toThrow(ModelError);
  expect(() => select([[0, 0, 4, 4, 321.5, 0]])).toThrow('as head "yolo": scores are from 0 to 1, got 321.5');
  // Quantised outputs round to a little more than 1.
  expect(select([[0, 0, 4, 4, 1.004, 0]]).length).toBe(1);
});

test("only the best candidates enter NMS", () => {
  const candidates = new Candidates();
  // All alike but the worst, which stands apart: it would be kept if it entered.
  for (let row = 0; row < MAX_CANDIDATES; row++) candidates.push(0, 0, 4, 4, 0.5, 0, row);
  candidates.push(100, 100, 104, 104, 0.25, 0, MAX_CANDIDATES);
  const block = createDetectionBlock(300);
  new Selector().select(candidates, ALL, NMS, block);
  expect(rowsOf(block)).toEqual([[0, 0, 4, 4, 0.5, 0]]);
});

test("ScoreOrder sorts by score, then by row, for few and many rows", () => {
  for (const count of [0, 1, 2, 47, 48, 49, 5000]) {
    const next = uniform(count + 9);
    const candidates = new Candidates(1);
    const special = [0, -0, 1, -1, 1e-45, -1e-45, 1e-38, 0.5, 0.50000006];
    for (let row = 0; row < count; row++) {
      const score = next() < 0.3 ? special[Math.floor(next() * special.length)]! : Math.fround(next() * 2 - 0.5);
      candidates.push(0, 0, 1, 1, score, 0, 0);
    }
    const order = new ScoreOrder();
    order.begin(candidates);
    for (let row = 0; row < count; row++) order.add(row, candidates.scores[row]!);
    order.sort();
    const rows = Array.from({ length: count }, (_, row) => row);
    const expected = rows.sort((a, b) => candidates.scores[b]! - candidates.scores[a]! || a - b);
    expect([...order.rows.subarray(0, order.count)]).toEqual(expected);
  }
});
