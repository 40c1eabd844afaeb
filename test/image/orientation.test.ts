import { expect, test } from "bun:test";
import sharp from "sharp";
import { ShapeError } from "../../src/core/errors.ts";
import { type Orientation, orient } from "../../src/image/exif.ts";
import { imageOf } from "../../src/image/image.ts";
import { paint, sharpOf } from "../support/images.ts";

const SIZES = [
  [1, 1],
  [1, 7],
  [7, 1],
  [33, 31],
  [64, 65],
  [130, 97],
] as const;

test("orient() turns all eight orientations as sharp does, at odd sizes", async () => {
  for (const [width, height] of SIZES) {
    const image = paint(width, height);
    const png = await sharpOf(image).png().toBuffer();
    for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8] as Orientation[]) {
      const tagged = await sharp(png).withMetadata({ orientation }).png().toBuffer();
      const expected = await sharp(tagged).autoOrient().raw().toBuffer({ resolveWithObject: true });
      const upright = await orient(image, orientation, new Uint8Array(width * height * 3));
      expect([upright.width, upright.height]).toEqual([expected.info.width, expected.info.height]);
      expect(Buffer.compare(upright.data, expected.data)).toBe(0);
    }
  }
});

test("orient() reads rows that lie further apart than they are long", async () => {
  const { data, width, height } = paint(37, 11);
  const pitchBytes = width * 3 + 13;
  const spaced = new Uint8Array(pitchBytes * height).fill(99);
  for (let y = 0; y < height; y++) spaced.set(data.subarray(y * width * 3, (y + 1) * width * 3), y * pitchBytes);
  const tight = await orient(paint(37, 11), 7, new Uint8Array(data.length));
  const apart = await orient(imageOf(spaced, { width, height, pitchBytes }), 7, new Uint8Array(data.length));
  expect(apart).toEqual(tight);
});

test("orient() serves other work between the slices of a large image", async () => {
  const image = imageOf(new Uint8Array(2048 * 2048 * 3), { width: 2048, height: 2048 });
  let turns = 0;
  const ticker = setInterval(() => turns++, 0);
  await orient(image, 6, new Uint8Array(image.data.length));
  clearInterval(ticker);
  expect(turns).toBeGreaterThan(0);
});

test("orient() refuses a destination that is too short", async () => {
  await expect(orient(paint(4, 3), 6, new Uint8Array(35))).rejects.toThrow(ShapeError);
});
