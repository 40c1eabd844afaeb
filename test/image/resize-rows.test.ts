import { describe, expect, test } from "bun:test";
import { type Fit, place, placeRectangle, placeTile } from "../../src/image/geometry.ts";
import {
  type RowTarget,
  resizeRow,
  storeBlend,
  storeMeans,
  storePoints,
  touchRow,
} from "../../src/image/resize-rows.ts";
import {
  antialiasTaps,
  bilinearTaps,
  FILTER_BITS,
  HALF_WEIGHT,
  isHalfSampling,
  pointStride,
  type RegionAxis,
  regionAxes,
  rowsRead,
} from "../../src/image/resize-taps.ts";
import { chance } from "../support/chance.ts";

/** An axis whose pixels are all there and all wanted. */
function wholeAxis(source: number, target: number): RegionAxis {
  return { source, target, from: 0, to: target, low: 0, high: source };
}

test("storeMeans() equals resizing and blending to the bit, at even ratios", () => {
  const random = chance(20261121);
  const table = Float32Array.from({ length: 768 }, (_, at) => at * 0.37);
  for (const [ratio, width, pixelBytes, step] of [
    [2, 33, 3, 1],
    [2, 1, 4, 3],
    [4, 17, 4, 1],
    [6, 5, 3, 3],
  ] as const) {
    const sourceWidth = width * ratio;
    const pitchBytes = sourceWidth * pixelBytes + 5;
    const source = Uint8Array.from({ length: 7 + pitchBytes * 2 }, () => random() * 256);
    const columns = bilinearTaps(wholeAxis(sourceWidth, width), "columns", pixelBytes);
    expect(isHalfSampling(columns)).toBe(true);
    const outputs = [0, 1].map(() => new Float32Array(width * 3 + 2));
    const [target, wanted] = outputs.map(
      (output): RowTarget =>
        step === 1
          ? { output, first: 1, second: 1 + width, third: 1 + 2 * width, step, touched: 0, table }
          : { output, first: 3, second: 2, third: 1, step, touched: 0, table },
    );
    const [near, far] = [new Int32Array(width * 3), new Int32Array(width * 3)];
    resizeRow(source, 7, columns, near);
    resizeRow(source, 7 + pitchBytes, columns, far);
    storeBlend(near, far, HALF_WEIGHT, wanted!);
    storeMeans(source, 7, 7 + pitchBytes, columns, target!);
    expect(outputs[0]).toEqual(outputs[1]!);
  }
});

test("storePoints() equals resizing and blending to the bit, at odd ratios, and writes nothing beside them", () => {
  const random = chance(20261122);
  const table = Float32Array.from({ length: 768 }, (_, at) => at * 0.37);
  for (const ratio of [1, 3, 5]) {
    for (const width of [1, 2, 3, 4, 5, 7, 8, 33]) {
      for (const [pixelBytes, step] of [
        [3, 1],
        [4, 1],
        [3, 3],
        [4, 3],
      ] as const) {
        const sourceWidth = width * ratio;
        const source = Uint8Array.from({ length: 7 + sourceWidth * pixelBytes }, () => random() * 256);
        const columns = bilinearTaps(wholeAxis(sourceWidth, width), "columns", pixelBytes);
        const stride = pointStride(columns);
        expect(stride).toBe(width === 1 ? 0 : ratio * pixelBytes);
        const outputs = [0, 1].map(() => new Float32Array(width * 3 + 2).fill(-1));
        const [target, wanted] = outputs.map(
          (output): RowTarget =>
            step === 1
              ? { output, first: 1 + 2 * width, second: 1 + width, third: 1, step, touched: 0, table }
              : { output, first: 3, second: 2, third: 1, step, touched: 0, table },
        );
        const row = new Int32Array(width * 3);
        resizeRow(source, 7, columns, row);
        storeBlend(row, row, 0, wanted!);
        storePoints(source, 7 + columns[0]!, stride!, width, target!);
        expect(outputs[0]).toEqual(outputs[1]!);
      }
    }
  }
});

test("pointStride() is of equal lengths and odd whole ratios alone", () => {
  const stride = (source: number, target: number): number | undefined =>
    pointStride(bilinearTaps(wholeAxis(source, target), "columns", 3));
  for (const [source, target, wanted] of [
    [640, 640, 3],
    [1920, 640, 9],
    [3200, 640, 15],
    [1, 5, 0],
    [1, 1, 0],
    [3, 1, 0],
    [1280, 640, undefined],
    [1919, 640, undefined],
    [1921, 640, undefined],
    [640, 1920, undefined],
    [2, 1, undefined],
  ] as const) {
    expect(stride(source, target), `${source} to ${target}`).toBe(wanted);
  }
  expect(pointStride(Int32Array.of(0, 0, 0, 3, 3, 0, 9, 9, 0))).toBeUndefined();
});

test("touchRow() reads a byte of each 64 of the row and none behind it", () => {
  const source = new Uint8Array(300).fill(0xff);
  source.fill(0, 10, 10 + 129);
  for (const [at, bit] of [
    [10, 1],
    [74, 2],
    [138, 4],
  ] as const)
    source[at] = bit;
  expect(touchRow(source, 10, 129)).toBe(7);
  expect(touchRow(source, 10, 128)).toBe(3);
  expect(touchRow(source, 300, 0)).toBe(0);
});

test("isHalfSampling() is true for even whole ratios alone", () => {
  const isHalf = (source: number, target: number): boolean =>
    isHalfSampling(bilinearTaps(wholeAxis(source, target), "columns", 1));
  for (const [source, target] of [
    [1280, 640],
    [3840, 640],
    [2560, 640],
    [2, 1],
  ] as const) {
    expect(isHalf(source, target)).toBe(true);
  }
  for (const [source, target] of [
    [640, 640],
    [1920, 640],
    [1279, 640],
    [640, 1280],
    [1, 1],
  ] as const) {
    expect(isHalf(source, target)).toBe(false);
  }
});

test("antialiasTaps() covers what a triangle filter reaches, inside the source, with weights that come to one", () => {
  const side = (at: number): number => 1 + ((at * 7919) % 97);
  const faults: string[] = [];
  for (let round = 0; round < 300; round++) {
    const [source, target] = [side(round), side(round * 3 + 5)];
    const { first, count, weights } = antialiasTaps(wholeAxis(source, target));
    const reach = Math.max(source / target, 1);
    for (let d = 0; d < target; d++) {
      const shares = Array.from({ length: source }, (_, x) =>
        Math.max(1 - Math.abs(x + 0.5 - ((d + 0.5) * source) / target) / reach, 0),
      );
      const sum = shares.reduce((a, b) => a + b);
      let total = 0;
      for (let x = 0; x < source; x++) {
        const tap = x - first[d]!;
        const weight = tap >= 0 && tap < count ? weights[d * count + tap]! : 0;
        total += weight;
        if (Math.abs(weight - (shares[x]! / sum) * (1 << FILTER_BITS)) > 0.5001)
          faults.push(`${source} ${target} ${d}`);
      }
      const isInside = first[d]! >= 0 && first[d]! + count <= source;
      const isOrdered = d === 0 || first[d]! >= first[d - 1]!;
      if (!isInside || !isOrdered) faults.push(`${source} ${target} ${d}: ${first[d]}`);
      if (Math.abs(total - (1 << FILTER_BITS)) > count / 2) faults.push(`${source} ${target} ${d}: ${total}`);
    }
  }
  expect(faults).toEqual([]);
  expect(antialiasTaps(wholeAxis(640, 640))).toMatchObject({ count: 1 });
  expect(antialiasTaps(wholeAxis(1920, 640)).count).toBe(5);
  expect(antialiasTaps(wholeAxis(65_535, 1)).weights.length).toBe(65_535);
});

describe("rowsRead()", () => {
  const at = (source: readonly [number, number], input: readonly [number, number], fit: Fit = "letterbox") =>
    rowsRead(place(...source, ...input, fit));

  test("every row of odd ratios, two of even ones, and with U, V those that serve them", () => {
    expect(at([1920, 1080], [640, 640])).toEqual({
      pixels: { first: 1, length: 1, stride: 3, count: 360 },
      // Rows 0, 2, 3, 5, 6, …: not one run after the other.
      chroma: { first: 0, length: 540, stride: 540, count: 1 },
    });
    expect(at([2560, 1440], [640, 640])).toEqual({
      pixels: { first: 1, length: 2, stride: 4, count: 360 },
      chroma: { first: 0, length: 720, stride: 720, count: 1 },
    });
    expect(at([3840, 2160], [640, 640])).toEqual({
      pixels: { first: 2, length: 2, stride: 6, count: 360 },
      chroma: { first: 1, length: 1, stride: 3, count: 360 },
    });
    expect(at([6400, 6400], [640, 640], "stretch")?.pixels).toEqual({ first: 4, length: 2, stride: 10, count: 640 });
  });

  test("undefined where most rows are read, at ratios between whole numbers, and for tiles", () => {
    for (const source of [
      [640, 480],
      [1280, 720],
      [1366, 768],
      [2048, 1536],
      [2592, 1944],
      [100, 50],
    ] as const) {
      expect(at(source, [640, 640])).toBeUndefined();
    }
    expect(rowsRead(placeTile([1920, 1080], 0, 0, [640, 640], "reflect"))).toBeUndefined();
  });

  test("are the rows of the taps, whatever the region", () => {
    const random = chance(5);
    let found = 0;
    for (let round = 0; round < 300; round++) {
      const ratio = 1 + Math.floor(random() * 9);
      const [width, height] = [8 + Math.floor(random() * 40), 2 + Math.floor(random() * 40)];
      const region = placeRectangle(
        [width * ratio, height * ratio + (random() < 0.3 ? 1 : 0)],
        { x: 0, y: Math.floor(random() * 3) - 1, width: width * ratio, height: height * ratio },
        [width, height],
        "letterbox",
      );
      const read = rowsRead(region)?.pixels;
      if (read === undefined) continue;
      found += 1;
      const rows = Array.from({ length: read.count * read.length }, (_, row) => {
        return read.first + Math.floor(row / read.length) * read.stride + (row % read.length);
      });
      const taps = bilinearTaps(regionAxes(region)[1], "rows", 1);
      const wanted = new Set<number>();
      for (let tap = 0; tap < taps.length; tap += 3) {
        wanted.add(taps[tap]! + region.y);
        if (taps[tap + 2] !== 0) wanted.add(taps[tap + 1]! + region.y);
      }
      expect(rows).toEqual([...wanted].sort((a, b) => a - b));
      expect(rows.at(-1)!).toBeLessThan(region.sourceHeight);
    }
    expect(found).toBeGreaterThan(100);
  });
});
