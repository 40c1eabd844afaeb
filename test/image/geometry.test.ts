import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import {
  FITS,
  place,
  placeCentreCrop,
  placeRectangle,
  placeTile,
  pointsToSource,
  type Region,
  rectangularSize,
} from "../../src/image/geometry.ts";
import { boxesToSource } from "../../src/tasks/detect/host-detect.ts";
import { chance } from "../support/chance.ts";
import { PLACEMENTS } from "./preprocess-goldens.ts";

test("place() agrees with Ultralytics' LetterBox and YOLOX's preproc", () => {
  for (const [sourceWidth, sourceHeight, inputWidth, inputHeight, fit, ...wanted] of PLACEMENTS) {
    const { contentWidth, contentHeight, padX, padY } = place(sourceWidth, sourceHeight, inputWidth, inputHeight, fit);
    expect([contentWidth, contentHeight, padX, padY], `${sourceWidth}x${sourceHeight} ${fit}`).toEqual(wanted);
  }
});

test("place() rounds halves to even", () => {
  expect(place(1280, 721, 640, 640, "letterbox").contentHeight).toBe(360);
  expect(place(1280, 723, 640, 640, "letterbox").contentHeight).toBe(362);
});

test("place() puts the larger part of an odd padding right and below", () => {
  expect(place(640, 427, 640, 640, "letterbox")).toMatchObject({ padX: 0, padY: 106, contentHeight: 427 });
  expect(place(427, 640, 640, 640, "letterbox")).toMatchObject({ padX: 106, padY: 0, contentWidth: 427 });
});

test("place() keeps the image inside the input, whatever the sizes", () => {
  const random = chance(3);
  const side = (): number => Math.floor(8000 ** random());
  for (let round = 0; round < 2000; round++) {
    const [sourceWidth, sourceHeight, inputWidth, inputHeight] = [side(), side(), side(), side()];
    for (const fit of FITS) {
      const placement = place(sourceWidth, sourceHeight, inputWidth, inputHeight, fit);
      const { padX, padY, contentWidth, contentHeight } = placement;
      expect(contentWidth).toBeGreaterThanOrEqual(1);
      expect(contentHeight).toBeGreaterThanOrEqual(1);
      expect(padX + contentWidth).toBeLessThanOrEqual(inputWidth);
      expect(padY + contentHeight).toBeLessThanOrEqual(inputHeight);
      if (fit === "letterbox-top-left") {
        // The ratio before the sizes are truncated, or raised to 1.
        expect(placement.scaleX).toBe(placement.scaleY);
        expect(Math.abs(placement.scaleX * sourceWidth - contentWidth)).toBeLessThan(1 + 1e-9);
        expect(Math.abs(placement.scaleY * sourceHeight - contentHeight)).toBeLessThan(1 + 1e-9);
        continue;
      }
      expect(placement.scaleX * sourceWidth).toBeCloseTo(contentWidth, 6);
      expect(placement.scaleY * sourceHeight).toBeCloseTo(contentHeight, 6);
    }
  }
});

/** Boxes in source pixels as they lie in the input. */
function placed(boxes: readonly number[], { scaleX, scaleY, padX, padY }: Region): Float32Array {
  return Float32Array.from(boxes, (value, at) => (at % 2 === 0 ? value * scaleX + padX : value * scaleY + padY));
}

test("boxesToSource() undoes place() within 1e-3 pixels", () => {
  const random = chance(4);
  let worst = 0;
  for (let round = 0; round < 2000; round++) {
    const sourceWidth = 1 + Math.floor(random() * 2500);
    const sourceHeight = 1 + Math.floor(random() * 2500);
    const fit = FITS[round % 3]!;
    const placement = place(sourceWidth, sourceHeight, 640, 320 + 32 * (round % 11), fit);
    // A side squeezed below a few pixels leaves too few bits of an f32 to come back by.
    if (placement.scaleX < 0.1 || placement.scaleY < 0.1) continue;
    const boxes = Array.from({ length: 8 }, (_, at) => random() * (at % 2 === 0 ? sourceWidth : sourceHeight));
    const found = placed(boxes, placement);
    boxesToSource(found, 2, placement);
    for (const [at, value] of boxes.entries()) worst = Math.max(worst, Math.abs(found[at]! - value));
  }
  expect(worst).toBeLessThan(1e-3);
});

/** Regions of every kind, at places by chance. */
function* regionsByChance(): Generator<Region, void, undefined> {
  const random = chance(5);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let round = 0; round < 400; round++) {
    const source = [200 + below(2000), 200 + below(2000)] as const;
    const rectangle = {
      x: below(source[0]) - 90,
      y: below(source[1]) - 90,
      width: 100 + below(900),
      height: 100 + below(900),
    };
    yield placeRectangle(source, rectangle, [640, 384], FITS[round % 3]!);
    yield placeTile(source, rectangle.x, rectangle.y, [256, 160], round % 2 === 0 ? "reflect" : "replicate");
    yield placeCentreCrop(source, 256, [224, 224 - (round % 2) * 32]);
  }
}

test("pointsToSource() and boxesToSource() undo every kind of region, and clip to what it has of the image", () => {
  const random = chance(6);
  let worst = 0;
  for (const region of regionsByChance()) {
    const { x, y, width, height, scaleX, scaleY, padX, padY, sourceWidth, sourceHeight } = region;
    if (scaleX < 0.1 || scaleY < 0.1) continue;
    const points = Float64Array.from({ length: 8 }, (_, at) =>
      at % 2 === 0 ? x + random() * width : y + random() * height,
    );
    const placed = Float32Array.from(points, (at, axis) =>
      axis % 2 === 0 ? (at - x) * scaleX + padX : (at - y) * scaleY + padY,
    );
    const kept = placed.slice();
    pointsToSource(kept, 4, region, "keep");
    const clipped = placed.slice();
    boxesToSource(clipped, 2, region);
    const low = [Math.max(x, 0), Math.max(y, 0)];
    const high = [Math.min(x + width, sourceWidth), Math.min(y + height, sourceHeight)];
    for (let at = 0; at < 8; at++) {
      worst = Math.max(worst, Math.abs(kept[at]! - points[at]!));
      expect(clipped[at]!).toBe(Math.min(Math.max(kept[at]!, low[at % 2]!), high[at % 2]!));
    }
  }
  expect(worst).toBeLessThan(2e-3);
});

test("placeRectangle() and placeTile() refuse what has nothing of the image", () => {
  for (const [x, y] of [
    [-10, 0],
    [20, 0],
    [0, -10],
    [0, 9],
  ] as const) {
    const call = (): Region => placeRectangle([20, 9], { x, y, width: 10, height: 10 }, [32, 32], "letterbox");
    expect(call).toThrow(`it must hold some of an image of 20x9 pixels, got 10x10 at ${x}, ${y}`);
    expect(() => placeTile([20, 9], x, y, [10, 10], "reflect")).toThrow(ShapeError);
  }
});

test("placeCentreCrop() is torchvision's Resize and CenterCrop", () => {
  // Width, height, short, input; content width and height, columns and rows left out (negative: padded).
  for (const [width, height, short, input, ...wanted] of [
    [500, 375, 256, [224, 224], 341, 256, 58, 16],
    [375, 500, 256, [224, 224], 256, 341, 16, 58],
    [640, 427, 224, [224, 224], 335, 224, 56, 0],
    [224, 224, 224, [224, 224], 224, 224, 0, 0],
    [300, 200, 100, [120, 131], 150, 100, 15, -15],
    [53, 31, 33, [32, 32], 56, 33, 12, 0],
  ] as const) {
    const { contentWidth, contentHeight, padX, padY } = placeCentreCrop([width, height], short, input);
    expect([contentWidth, contentHeight, 0 - padX, 0 - padY]).toEqual([...wanted]);
  }
});

test("placeCentreCrop() rounds as transformers and PaddleClas do", () => {
  // Width, height; content width, columns cut off, of 256 and 224.
  for (const [width, height, rounding, ...wanted] of [
    [1024, 576, "half-even", 455, 116],
    [1024, 576, "floor", 455, 115],
    [1024, 576, "nearest", 455, 115],
    [1280, 759, "half-even", 431, 104],
    [1280, 759, "floor", 431, 103],
    [1280, 759, "nearest", 432, 104],
  ] as const) {
    const { contentWidth, contentHeight, padX } = placeCentreCrop([width, height], 256, [224, 224], rounding);
    expect([rounding, contentWidth, 0 - padX, contentHeight]).toEqual([rounding, ...wanted, 256]);
  }
});

test("boxesToSource() clips to the image and leaves further rows alone", () => {
  const placement = place(1920, 1080, 640, 640, "letterbox");
  const boxes = Float32Array.of(-10, 0, 700, 640, 0, 140, 640, 500, 1, 2, 3, 4);
  boxesToSource(boxes, 2, placement);
  expect([...boxes]).toEqual([0, 0, 1920, 1080, 0, 0, 1920, 1080, 1, 2, 3, 4]);
});

test("rectangularSize() keeps the ratio in multiples of the stride", () => {
  expect(rectangularSize(1920, 1080, { longSide: 640, stride: 32 })).toEqual([640, 384]);
  expect(rectangularSize(1080, 1920, { longSide: 640, stride: 32 })).toEqual([384, 640]);
  expect(rectangularSize(640, 640, { longSide: 640, stride: 32 })).toEqual([640, 640]);
  expect(rectangularSize(1, 1, { longSide: 640, stride: 32 })).toEqual([640, 640]);
  expect(rectangularSize(4000, 1, { longSide: 640, stride: 32 })).toEqual([640, 32]);
  expect(rectangularSize(500, 375, { longSide: 600, stride: 64 })).toEqual([640, 512]);
});

test("rectangularSize() rounds halves to even before it looks for the multiple", () => {
  expect(rectangularSize(1280, 705, { longSide: 640, stride: 32 })).toEqual([640, 352]);
  expect(rectangularSize(1280, 707, { longSide: 640, stride: 32 })).toEqual([640, 384]);
});
