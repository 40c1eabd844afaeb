import { expect, test } from "bun:test";
import { FITS, type Placement, place, rectangularSize, unplaceBoxes } from "../../src/image/geometry.ts";
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

test("place() keeps the picture inside the input, whatever the sizes", () => {
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
function placed(boxes: readonly number[], { scaleX, scaleY, padX, padY }: Placement): Float32Array {
  return Float32Array.from(boxes, (value, at) => (at % 2 === 0 ? value * scaleX + padX : value * scaleY + padY));
}

test("unplaceBoxes() undoes place() within 1e-3 pixels", () => {
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
    unplaceBoxes(found, 2, placement);
    for (const [at, value] of boxes.entries()) worst = Math.max(worst, Math.abs(found[at]! - value));
  }
  expect(worst).toBeLessThan(1e-3);
});

test("unplaceBoxes() clips to the picture and leaves further rows alone", () => {
  const placement = place(1920, 1080, 640, 640, "letterbox");
  const boxes = Float32Array.of(-10, 0, 700, 640, 0, 140, 640, 500, 1, 2, 3, 4);
  unplaceBoxes(boxes, 2, placement);
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
