import { describe, expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { sourceIndex } from "../../src/image/geometry.ts";
import { type TileRules, tileGrid } from "../../src/tasks/image-grid.ts";

const RULES: TileRules = {
  fixedWidth: undefined,
  fixedHeight: undefined,
  smallest: [32, 32],
  largest: [64, 48],
  multiple: 1,
  overlap: 10,
};

/** How often each pixel of an image is kept, and whether each comes from within its tile. */
function coverage(width: number, height: number, rules: TileRules): { counts: Uint8Array; isInside: boolean } {
  const { size, tiles } = tileGrid(width, height, rules);
  const counts = new Uint8Array(width * height);
  let isInside = true;
  for (const { x, y, left, top, right, bottom } of tiles) {
    isInside &&= left >= x && top >= y && right <= x + size[0] && bottom <= y + size[1];
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) counts[row * width + column]! += 1;
    }
  }
  return { counts, isInside };
}

describe.each([1, 8])("with multiples of %d", (multiple) => {
  for (const overlap of [0, 1, 7, 10, 33, undefined]) {
    test(`tileGrid() keeps every pixel of exactly one tile, overlap ${overlap}`, () => {
      const rules = { ...RULES, multiple, overlap };
      for (const [width, height] of [
        [1, 1],
        [31, 33],
        [64, 48],
        [65, 49],
        [127, 95],
        [333, 211],
      ] as const) {
        for (const fixed of [{}, { fixedWidth: 64, fixedHeight: 48 }]) {
          const { counts, isInside } = coverage(width, height, { ...rules, ...fixed });
          expect(counts.every((count) => count === 1)).toBe(true);
          expect(isInside).toBe(true);
        }
      }
    });
  }
});

test("tileGrid() gives a model that takes any size the whole image, and tiles of one size beyond its limit", () => {
  expect(tileGrid(40, 33, RULES)).toEqual({
    size: [40, 33],
    tiles: [{ x: 0, y: 0, left: 0, top: 0, right: 40, bottom: 33 }],
  });
  expect(tileGrid(1, 1, RULES).size).toEqual([32, 32]);
  const { size, tiles } = tileGrid(100, 48, RULES);
  expect(size).toEqual([64, 48]);
  // Starts at 0 and 36, so 28 pixels are shared: the cut is in their middle, and the last tile ends with the image.
  expect(tiles.map(({ x, left, right }) => [x, left, right])).toEqual([
    [0, 0, 50],
    [36, 50, 100],
  ]);
});

test("tileGrid() shares at least the overlap, and places tiles at multiples", () => {
  for (const overlap of [8, 13, 24]) {
    for (let width = 65; width < 400; width += 7) {
      const { tiles } = tileGrid(width, 48, { ...RULES, multiple: 8, overlap });
      for (const [at, { x, left, right }] of tiles.entries()) {
        expect(x % 8).toBe(0);
        if (at > 0) expect(left - x).toBeGreaterThanOrEqual(Math.floor(overlap / 2));
        if (at < tiles.length - 1) expect(x + 64 - right).toBeGreaterThanOrEqual(Math.floor(overlap / 2));
      }
    }
  }
});

test("tileGrid() rounds a whole image up to the multiple", () => {
  expect(tileGrid(33, 41, { ...RULES, multiple: 16 }).size).toEqual([48, 48]);
});

test("tileGrid() refuses an overlap that leaves nothing of a tile", () => {
  const call = (): unknown => tileGrid(100, 48, { ...RULES, overlap: 64 });
  expect(call).toThrow(ShapeError);
  expect(call).toThrow(
    "Cannot cut the image into tiles: `overlap` must be at most 63 pixels for tiles of 64, got 64\nHint: lower `overlap`, or raise `tile`",
  );
  expect(tileGrid(64, 48, { ...RULES, overlap: 64 }).tiles.length).toBe(1);
});

test("sourceIndex() repeats the last pixel, or mirrors the image at it", () => {
  const at = [-5, -2, -1, 0, 2, 3, 4, 7];
  expect(at.map((place) => sourceIndex(place, 3, "replicate"))).toEqual([0, 0, 0, 0, 2, 2, 2, 2]);
  expect(at.map((place) => sourceIndex(place, 3, "reflect"))).toEqual([1, 2, 1, 0, 2, 1, 0, 1]);
  expect(at.map((place) => sourceIndex(place, 1, "reflect"))).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
});
