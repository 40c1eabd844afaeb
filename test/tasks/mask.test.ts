import { describe, expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import { Mask } from "../../src/tasks/segment/mask.ts";
import type { Polygon } from "../../src/tasks/segment/mask-forms.ts";
import goldens from "../fixtures/tasks/masks.json";
import { chance } from "../support/chance.ts";

/** A golden's image size and run lengths. */
function rleOf({ size: [height, width], counts }: { readonly size: readonly number[]; readonly counts: string }) {
  return { size: [height!, width!], counts } as const;
}

function randomBitmap(width: number, height: number, share: number, random: () => number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: width * height }, () => (random() < share ? 1 : 0));
}

/** Run lengths, counted pixel by pixel. */
function countRuns(bitmap: Uint8Array, width: number, height: number): number[] {
  const runs = [0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (bitmap[y * width + x] !== (runs.length - 1) % 2) runs.push(0);
      runs[runs.length - 1]! += 1;
    }
  }
  return runs;
}

/** Parts of which all pixels share edges, as sorted lists of pixels. */
function partsOf(bitmap: Uint8Array, width: number, height: number): string[] {
  const seen = new Set<number>();
  const parts: string[] = [];
  for (let start = 0; start < bitmap.length; start++) {
    if (bitmap[start] === 0 || seen.has(start)) continue;
    const part = [start];
    seen.add(start);
    for (const at of part) {
      const x = at % width;
      const y = Math.floor(at / width);
      for (const [nextX, nextY] of [
        [x - 1, y],
        [x + 1, y],
        [x, y - 1],
        [x, y + 1],
      ] as const) {
        const next = nextY * width + nextX;
        if (nextX < 0 || nextX >= width || nextY < 0 || nextY >= height || bitmap[next] === 0 || seen.has(next))
          continue;
        seen.add(next);
        part.push(next);
      }
    }
    parts.push(part.sort((a, b) => a - b).join());
  }
  return parts.sort();
}

/** True if a point lies inside a ring, by the edges on its left. */
function holds(ring: readonly number[], x: number, y: number): boolean {
  let isInside = false;
  for (let at = 0; at < ring.length; at += 2) {
    const nextY = ring[(at + 3) % ring.length]!;
    if (ring[at + 1]! > y !== nextY > y && ring[at]! < x) isInside = !isInside;
  }
  return isInside;
}

/** The pixels of a polygon: those whose centre lies in its outer ring and in none of its holes. */
function pixelsOf({ outer, holes }: Polygon, width: number, height: number): string {
  const pixels = Array.from({ length: width * height }, (_, at) => at);
  return pixels
    .filter((at) => {
      const x = (at % width) + 0.5;
      const y = Math.floor(at / width) + 0.5;
      return holds(outer, x, y) && !holes.some((hole) => holds(hole, x, y));
    })
    .join();
}

/** Positive for rings that run down on the left and up on the right. */
function areaOf(ring: readonly number[]): number {
  let doubled = 0;
  for (let at = 0; at < ring.length; at += 2) {
    doubled += ring[(at + 2) % ring.length]! * ring[at + 1]! - ring[at]! * ring[(at + 3) % ring.length]!;
  }
  return doubled / 2;
}

/** Rings are closed by edges along x and y in turn, and come to no corner twice. */
function expectSimple(ring: readonly number[]): void {
  const corners = new Set<string>();
  for (let at = 0; at < ring.length; at += 2) {
    const sameX = ring[at] === ring[(at + 2) % ring.length];
    const sameY = ring[at + 1] === ring[(at + 3) % ring.length];
    const wasSameX = ring[at] === ring[(at + ring.length - 2) % ring.length];
    expect(sameX).not.toBe(sameY);
    expect(sameX).not.toBe(wasSameX);
    corners.add(`${ring[at]},${ring[at + 1]}`);
  }
  expect(corners.size).toBe(ring.length / 2);
}

function expectEdges(mask: Mask): void {
  const { width, height } = mask;
  const polygons = mask.toPolygons({ kind: "edges" });
  for (const { outer, holes } of polygons) {
    expectSimple(outer);
    expect(areaOf(outer)).toBeGreaterThan(0);
    for (const hole of holes) {
      expectSimple(hole);
      expect(areaOf(hole)).toBeLessThan(0);
    }
  }
  expect(polygons.map((polygon) => pixelsOf(polygon, width, height)).sort()).toEqual(
    partsOf(mask.toBitmap(), width, height),
  );
}

describe("Mask equals pycocotools and OpenCV", () => {
  for (const golden of goldens.cases) {
    test(golden.name, () => {
      const rle = rleOf(golden);
      const [height, width] = rle.size;
      const mask = Mask.fromRle(rle);
      expect(mask.toRle({ compressed: true })).toEqual(rle);
      expect(mask.area).toBe(golden.area);
      expect(mask.toRle().counts).toEqual(countRuns(mask.toBitmap(), width, height));
      expect(mask.iou(Mask.fromRle({ size: rle.size, counts: golden.other }))).toBe(golden.iou);
      const contours = mask.toPolygons({ kind: "opencv" });
      expect(contours.map(({ outer }) => outer)).toEqual(golden.contours);
      expect(contours.every(({ holes }) => holes.length === 0)).toBe(true);
      if (width * height < 10_000) expectEdges(mask);
    });
  }
});

test("Mask: what is made of a bitmap gives it back, by list, string and bits, whatever its size", () => {
  const random = chance(7);
  for (let round = 0; round < 300; round++) {
    const width = 1 + Math.floor(random() * 100);
    const height = 1 + Math.floor(random() * 40);
    const bitmap = randomBitmap(width, height, random() ** 2, random);
    const mask = Mask.fromBitmap(bitmap, width, height);
    expect(mask.toBitmap()).toEqual(bitmap);
    expect(mask.area).toBe(bitmap.reduce((sum, pixel) => sum + pixel, 0));
    const rle = mask.toRle();
    expect(rle).toEqual({ size: [height, width], counts: countRuns(bitmap, width, height) });
    for (const again of [Mask.fromRle(rle), Mask.fromRle(mask.toRle({ compressed: true }))]) {
      expect(again.bounds).toEqual(mask.bounds);
      expect(again.bits).toEqual(mask.bits);
    }
  }
});

test("Mask: IoU is that of the bitmaps, wherever their bounds lie", () => {
  const random = chance(8);
  for (let round = 0; round < 200; round++) {
    const [width, height] = [130, 20];
    const [a = Uint8Array.of(), b = Uint8Array.of()] = [0, 1].map(() => {
      const left = Math.floor(random() * 100);
      const right = left + 1 + Math.floor(random() * (width - left - 1));
      return randomBitmap(width, height, 0.5, random).map((pixel, at) =>
        at % width >= left && at % width < right ? pixel : 0,
      );
    }) as [Uint8Array, Uint8Array];
    const shared = a.filter((pixel, at) => pixel === 1 && b[at] === 1).length;
    const either = a.filter((pixel, at) => pixel === 1 || b[at] === 1).length;
    const [first, second] = [Mask.fromBitmap(a, width, height), Mask.fromBitmap(b, width, height)];
    expect(first.iou(second)).toBe(either === 0 ? 0 : shared / either);
    expect(second.iou(first)).toBe(first.iou(second));
  }
});

test("Mask: edges of random bitmaps are simple rings around their parts", () => {
  const random = chance(9);
  for (let round = 0; round < 60; round++) {
    const width = 1 + Math.floor(random() * 20);
    const height = 1 + Math.floor(random() * 20);
    expectEdges(Mask.fromBitmap(randomBitmap(width, height, 0.2 + 0.7 * random(), random), width, height));
  }
});

test("Mask: bits of any bounds keep their place in the image", () => {
  const bounds = { x: 60, y: 3, width: 33, height: 2 };
  const mask = new Mask({ width: 100, height: 9, bounds, bits: Uint32Array.of(1, 1, 0x8000_0000, 0) });
  expect(mask.toRle().counts).toEqual([60 * 9 + 3, 1, 31 * 9, 1, 7, 1, 7 * 9 + 5]);
  expect(mask.toPolygons({ kind: "opencv" }).map(({ outer }) => outer)).toEqual([
    [92, 3, 91, 4],
    [60, 3],
  ]);
  expect(mask.toPolygons({ kind: "edges" }).map(({ outer }) => outer)).toEqual([
    [60, 3, 60, 4, 61, 4, 61, 3],
    [92, 3, 92, 4, 93, 4, 93, 3],
    [91, 4, 91, 5, 92, 5, 92, 4],
  ]);
});

test("Mask: runs longer than 2^31 pixels", () => {
  const rle = { size: [70_000, 70_000], counts: [70_000 * 69_999, 3, 69_997] } as const;
  const mask = Mask.fromRle(rle);
  expect(mask.bounds).toEqual({ x: 69_999, y: 0, width: 1, height: 3 });
  expect(mask.toRle()).toEqual({ size: [70_000, 70_000], counts: [...rle.counts] });
  expect(Mask.fromRle(mask.toRle({ compressed: true })).toRle()).toEqual(mask.toRle());
});

describe("Mask refuses", () => {
  const bounds = { x: 0, y: 0, width: 2, height: 2 };
  const cases: [string, () => unknown, string][] = [
    ["runs that are too short", () => Mask.fromRle({ size: [2, 2], counts: [3] }), "have 4 pixels, got 3"],
    ["runs that are too long", () => Mask.fromRle({ size: [2, 2], counts: [1, 9] }), "have 4 pixels, got 10"],
    ["negative runs", () => Mask.fromRle({ size: [2, 2], counts: [5, -1] }), "have 4 pixels, got NaN"],
    ["strange characters", () => Mask.fromRle({ size: [2, 2], counts: "1~" }), 'character 1 of its string is "~"'],
    ["half a number", () => Mask.fromRle({ size: [2, 2], counts: "1T" }), "ends within a number"],
    ["a bitmap of another size", () => Mask.fromBitmap([1, 1, 1], 2, 2), "2x2 has 4 pixels, got 3"],
    ["bounds outside", () => new Mask({ width: 2, height: 1, bounds, bits: new Uint32Array(2) }), "of 2x1"],
    ["too few bits", () => new Mask({ width: 2, height: 2, bounds, bits: new Uint32Array(1) }), "got 1 words"],
    ["no kind of polygon", () => Mask.fromBitmap([1], 1, 1).toPolygons({} as never), '"edges", got undefined'],
    ["another size", () => Mask.fromBitmap([1], 1, 1).iou(Mask.fromBitmap([1, 1], 2, 1)), "1x1 and 2x1"],
  ];
  for (const [name, make, text] of cases) {
    test(name, () => {
      expect(make).toThrow(ArgumentError);
      expect(make).toThrow(text);
    });
  }
});
