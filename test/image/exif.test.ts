import { expect, test } from "bun:test";
import sharp from "sharp";
import { swapsSides } from "../../src/image/exif.ts";
import { readJpegMarkers } from "../../src/image/jpeg-markers.ts";
import { paintedJpeg, withOrientation, withSegment } from "../support/images.ts";

const plain = await paintedJpeg(9, 5);

test("readJpegMarkers() reads all orientations, in both byte orders and the types that sharp reads", async () => {
  for (const endian of ["little", "big"] as const) {
    for (const type of [1, 3, 4]) {
      for (let orientation = 1; orientation <= 8; orientation++) {
        const jpeg = withOrientation(plain, orientation, { endian, type });
        expect(readJpegMarkers(jpeg).orientation as number).toBe(orientation);
        expect((await sharp(jpeg).metadata()).orientation).toBe(orientation);
      }
    }
  }
});

test("readJpegMarkers() takes orientation 1 where there is none, or no valid one", () => {
  expect(readJpegMarkers(plain).orientation).toBe(1);
  for (const invalid of [0, 9, 255]) expect(readJpegMarkers(withOrientation(plain, invalid)).orientation).toBe(1);
  expect(readJpegMarkers(withOrientation(plain, 6, { type: 2 })).orientation).toBe(1);
  expect(readJpegMarkers(withSegment(plain, 0xe1, Buffer.from("http://ns.adobe.com/xap/1.0/\0"))).orientation).toBe(1);
  expect(
    readJpegMarkers(withSegment(plain, 0xe1, Buffer.from("Exif\0\0II*\0\xff\xff\xff\xff", "latin1"))).orientation,
  ).toBe(1);
  expect(readJpegMarkers(withSegment(plain, 0xe1, Buffer.from("Exif\0\0", "latin1"))).orientation).toBe(1);
});

test("readJpegMarkers() takes the first EXIF block and skips other segments and fill bytes", () => {
  const twice = withSegment(withOrientation(withOrientation(plain, 3), 6), 0xfe, Buffer.from("a comment"));
  expect(readJpegMarkers(twice).orientation).toBe(6);
  const filled = Buffer.concat([twice.subarray(0, 2), Buffer.alloc(5, 0xff), twice.subarray(2)]);
  expect(readJpegMarkers(filled).orientation).toBe(6);
});

test("readJpegMarkers() finds the first scan and tells progressive files", async () => {
  const { scanOffset, isProgressive } = readJpegMarkers(plain);
  expect([...plain.subarray(scanOffset, scanOffset + 2)]).toEqual([0xff, 0xda]);
  expect(isProgressive).toBe(false);
  expect(readJpegMarkers(await paintedJpeg(9, 5, { progressive: true })).isProgressive).toBe(true);
});

test("readJpegMarkers() never fails on a file that ends anywhere", () => {
  const whole = withOrientation(plain, 8);
  for (let length = 0; length <= whole.length; length++) {
    const { orientation, scanOffset } = readJpegMarkers(whole.subarray(0, length));
    expect(orientation === 1 || orientation === 8).toBe(true);
    expect(scanOffset).toBeLessThanOrEqual(length);
  }
});

test("swapsSides() holds for the four orientations that lie on their side", () => {
  expect(([1, 2, 3, 4, 5, 6, 7, 8] as const).map(swapsSides)).toEqual([
    false,
    false,
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
});
