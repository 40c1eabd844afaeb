import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Rectangle } from "../../src/image/geometry.ts";
import { createDetectionBlock, type DetectionBlock } from "../../src/model/rows.ts";
import { type MergeRules, type SliceMerge, type SliceMetric, slicesOf } from "../../src/tasks/image-grid.ts";
import { rotatedEnvelope } from "../../src/tasks/obb/rotated.ts";
import { giveMasks, type MaskedBlock } from "../../src/tasks/objects/objects.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import { SliceMerger } from "../../src/tasks/slices/slice-merge.ts";
import { sharedFile } from "../support/shared.ts";

type Row = readonly [x1: number, y1: number, x2: number, y2: number, score: number, classId: number];

interface Golden {
  readonly width: number;
  readonly height: number;
  readonly grids: readonly {
    readonly image: readonly [number, number];
    readonly size: readonly [number, number];
    readonly overlap: number;
    readonly slices: readonly (readonly number[])[];
  }[];
  readonly cases: readonly {
    readonly rows: readonly Row[];
    readonly merged: Readonly<Record<string, readonly Row[]>>;
  }[];
}

/** `test/fixtures/tasks/slices.py` made it with SAHI. */
const golden: Golden = JSON.parse(readFileSync(join(import.meta.dir, "../fixtures/tasks/slices.json"), "utf8"));

function blockOf(rows: readonly Row[], x = 0, y = 0): DetectionBlock {
  const block = createDetectionBlock(rows.length);
  rows.forEach(([x1, y1, x2, y2, score, classId], row) => {
    block.boxes.set([x1 + x, y1 + y, x2 + x, y2 + y], row * 4);
    block.scores[row] = score;
    block.classIds[row] = classId;
  });
  block.count = rows.length;
  return block;
}

function rowsOf({ count, boxes, scores, classIds }: DetectionBlock): Row[] {
  const rows = Array.from({ length: count }, (_, row): Row => {
    const [x1, y1, x2, y2] = boxes.subarray(row * 4, row * 4 + 4);
    return [x1!, y1!, x2!, y2!, scores[row]!, classIds[row]!];
  });
  return sorted(rows);
}

function sorted(rows: readonly Row[]): Row[] {
  const digits = (value: number): number => Math.round(value * 100);
  return rows.toSorted((a, b) => {
    const side = [4, 0, 1, 2, 3].find((at) => digits(a[at]!) !== digits(b[at]!)) ?? 0;
    return side === 4 ? b[4] - a[4] : a[side]! - b[side]!;
  });
}

/** True if two lists have the same rows, to a hundredth of a pixel. */
function expectSame(name: string, got: readonly Row[], want: readonly Row[]): void {
  expect([name, got.length]).toEqual([name, want.length]);
  const ordered = sorted(want);
  for (const [at, row] of got.entries()) {
    const worst = Math.max(...row.map((value, column) => Math.abs(value - ordered[at]![column]!)));
    expect([name, at, row, ordered[at], worst < 0.01]).toEqual([name, at, row, ordered[at], true]);
  }
}

const USUAL: MergeRules = { merge: "greedy-nmm", metric: "ios", threshold: 0.5, edges: "keep" };
const MOST = { maxDetections: 10_000, classAgnostic: false };

test("slices lie where SAHI's do, and the whole image comes last", () => {
  for (const { image, size, overlap, slices } of golden.grids) {
    const found = slicesOf(image, { size, overlap, whole: false });
    expect(found.map(({ x, y, width, height }) => [x, y, x + width, y + height])).toEqual(
      slices.map((slice) => [...slice]),
    );
    const [width, height] = image;
    const seen = slicesOf(image, { size, overlap, whole: true });
    expect(seen.slice(slices.length)).toEqual(slices.length > 1 ? [{ x: 0, y: 0, width, height }] : []);
  }
});

test("boxes that overlap merge as in SAHI, by every rule and metric, ties and chains included", () => {
  const merger = new SliceMerger(undefined, false);
  const { width, height } = golden;
  const image = { width, height, views: [{ x: 0, y: 0, width, height }] };
  for (const [at, { rows, merged }] of golden.cases.entries()) {
    for (const [name, want] of Object.entries(merged)) {
      const [merge, metric] = name.split(" ") as [SliceMerge, SliceMetric];
      const selection = { ...MOST, classAgnostic: name.endsWith("agnostic") };
      const block = merger.merge(image, [blockOf(rows)], { ...USUAL, merge, metric }, selection);
      expectSame(`${at}: ${name}`, rowsOf(block), want);
    }
  }
});

for (const picture of ["street_1920x1080", "pd_street", "pd_vehicle001", "mn_street"]) {
  const file = sharedFile("reference", "slicing", `${picture}.json`);
  test.skipIf(file === undefined)(`${picture}: what slices and the whole image found merges as in SAHI`, () => {
    const { width, height, sahi } = JSON.parse(readFileSync(file!, "utf8"));
    const views: Rectangle[] = slicesOf([width, height], { size: [512, 512], overlap: 0.2, whole: true });
    expect(views.slice(0, -1).map((view) => [view.x, view.y, view.x + view.width, view.y + view.height])).toEqual(
      sahi.slices,
    );
    const blocks = views.map(({ x, y }, at) => blockOf(sahi.perSlice[at] ?? sahi.whole, x, y));
    const merger = new SliceMerger(undefined, false);
    const names = Object.keys(sahi.merged);
    expect(names.length).toBe(12);
    for (const name of names) {
      const [how, metric, classes] = name.split("_") as [string, string, string];
      const merge = how.toLowerCase().replace("greedynmm", "greedy-nmm") as SliceMerge;
      const rules = { ...USUAL, merge, metric: metric.toLowerCase() as SliceMetric };
      const selection = { ...MOST, classAgnostic: classes === "agnostic" };
      expectSame(name, rowsOf(merger.merge({ width, height, views }, blocks, rules, selection)), sahi.merged[name]);
    }
  });
}

/** Two slices of an image of 190x100 that share 10 columns, and the whole of it. */
const SEEN = { width: 190, height: 100, views: slicesOf([190, 100], { size: [100, 100], overlap: 0.1, whole: true }) };

test("a box that an inner edge has cut is dropped where another view has it whole, and only there", () => {
  const whole: Row = [60, 20, 140, 60, 0.6, 0];
  const cut: Row = [61, 20, 100, 60, 0.9, 0];
  const lone: Row = [91, 70, 130, 95, 0.8, 0];
  const inFront: Row = [80, 30, 99, 45, 0.7, 0];
  const blocks = [blockOf([cut, inFront]), blockOf([lone]), blockOf([whole])];
  const merger = new SliceMerger(undefined, false);
  const merge = (edges: MergeRules["edges"]): Row[] =>
    rowsOf(merger.merge(SEEN, blocks, { ...USUAL, merge: "nms", metric: "iou", edges }, MOST));
  expectSame("keep", merge("keep"), [cut, lone, inFront, whole]);
  // What the whole image has there is wider than what stands in front of it.
  expectSame("drop", merge("drop"), [lone, inFront, whole]);
});

test("the masks of merged rows are the pixels that belong to any", () => {
  const bitmapOf = ({ x, y, width, height }: Rectangle): Uint8Array<ArrayBuffer> => {
    const bitmap = new Uint8Array(SEEN.width * SEEN.height);
    for (let row = y; row < y + height; row++) bitmap.fill(1, row * SEEN.width + x, row * SEEN.width + x + width);
    return bitmap;
  };
  const parts = [
    { x: 3, y: 20, width: 70, height: 30 },
    { x: 40, y: 18, width: 101, height: 31 },
    { x: 5, y: 25, width: 40, height: 60 },
  ];
  const bitmaps = parts.map(bitmapOf);
  const blocks = parts.map(({ x, y, width, height }, at) => {
    const block = blockOf([[x, y, x + width, y + height, 0.9 - at / 10, 0]]);
    giveMasks(block, [Mask.fromBitmap(bitmaps[at]!, SEEN.width, SEEN.height)]);
    return block;
  });
  const merger = new SliceMerger(undefined, false);
  const merged = merger.merge(SEEN, blocks, { ...USUAL, threshold: 0.2 }, MOST) as MaskedBlock;
  expect(rowsOf(merged).map((row) => row.slice(0, 4))).toEqual([[3, 18, 141, 85]]);
  const mask = merged.masks.at(0)!;
  expect(mask.toBitmap()).toEqual(bitmaps[0]!.map((pixel, at) => pixel | bitmaps[1]![at]! | bitmaps[2]![at]!));
  expect(mask.bounds).toEqual({ x: 3, y: 18, width: 138, height: 67 });
  const kept = merger.merge(SEEN, blocks, { ...USUAL, merge: "nms", threshold: 0.2 }, MOST) as MaskedBlock;
  expect(kept.masks.at(0)!.toBitmap()).toEqual(bitmaps[0]!);
});

test("oriented boxes merge by the area that they share, into one at the angle of the best", () => {
  const angle = Math.PI / 6;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const extras = [{ length: 4 }, { length: 1 }];
  const oriented = (boxes: readonly (readonly number[])[]): DetectionBlock => {
    const block = createDetectionBlock(boxes.length, extras);
    boxes.forEach(([cx, cy, w, h, r], row) => {
      block.extras[0]!.set([cx!, cy!, w!, h!], row * 4);
      block.extras[1]![row] = r!;
      rotatedEnvelope([cx!, cy!, w!, h!, r!], 0, block.boxes, row * 4);
      block.scores[row] = 0.9 - row / 10;
    });
    block.count = boxes.length;
    return block;
  };
  // The second goes on along the first; the third crosses them, so that only the boxes around them overlap.
  const first = [60, 50, 40, 10, angle];
  const second = [60 + 16 * cos, 50 + 16 * sin, 40, 10, angle];
  const across = [66, 28, 40, 4, angle - Math.PI / 2];
  const blocks = [oriented([first]), oriented([second, across]), oriented([])];
  const merger = new SliceMerger(extras, true);
  const merged = merger.merge(SEEN, blocks, USUAL, MOST);
  expect(merged.count).toBe(2);
  const want = [60 + 8 * cos, 50 + 8 * sin, 56, 10];
  for (const [side, value] of want.entries()) expect(merged.extras[0]![side]!).toBeCloseTo(value, 3);
  expect(merged.extras[1]![0]!).toBeCloseTo(angle, 6);
  const envelope = rotatedEnvelope([...want, angle]);
  for (const [side, value] of envelope.entries()) expect(merged.boxes[side]!).toBeCloseTo(value, 3);
});
