import { describe, expect, test } from "bun:test";
import sharp from "sharp";
import { ClosedError, ImageError, LibraryLoadError, ShapeError } from "../../src/core/errors.ts";
import { JpegDecoder, type JpegScale, jpegScale } from "../../src/image/jpeg-decoder.ts";
import {
  hasTurboJpeg,
  largestDifference,
  paint,
  paintedJpeg,
  sharpOf,
  withExtraneousBytes,
  withHole,
  withOrientation,
  withoutTurboJpeg,
} from "../support/images.ts";

test("jpegScale() takes the largest scale that leaves enough, and rounds sides up", () => {
  expect(jpegScale(1920, 1080, 640, 360)).toBe(2);
  expect(jpegScale(1920, 1080, 960, 540)).toBe(2);
  expect(jpegScale(1920, 1080, 961, 540)).toBe(1);
  expect(jpegScale(1920, 1080, 1, 1)).toBe(8);
  expect(jpegScale(1921, 1081, 241, 136)).toBe(8);
  expect(jpegScale(1920, 1080, 640, 640)).toBe(1);
  expect(jpegScale(1920, 1080, 640, 640, "either")).toBe(2);
  expect(jpegScale(1080, 1920, 640, 640, "either")).toBe(2);
  expect(jpegScale(100, 100, 1000, 1000)).toBe(1);
});

test("JpegDecoder.create() names what is missing without libturbojpeg", async () => {
  await withoutTurboJpeg(async () => expect(() => JpegDecoder.create()).toThrow(LibraryLoadError));
});

describe.skipIf(!hasTurboJpeg)("with libturbojpeg", () => {
  test("readHeader() after a file that ends within its tables reads the next one", async () => {
    const jpeg = await paintedJpeg(64, 48);
    using decoder = JpegDecoder.create();
    for (let length = 180; length < 270; length += 10) {
      expect(() => decoder.readHeader(jpeg.subarray(0, length), "cut")).toThrow(ImageError);
      expect(decoder.readHeader(jpeg, "whole")).toMatchObject({ width: 64, height: 48 });
    }
  });

  test("a file without tables of its own, or without an image, gives what it gives alone, whatever came before", async () => {
    const image = paint(40, 24);
    const whole = await sharpOf(image).jpeg({ optimiseCoding: false }).toBuffer();
    const before = await sharpOf(paint(64, 48)).jpeg({ quality: 20, optimiseCoding: true }).toBuffer();
    const without = (marker: number): Buffer => {
      const parts = [whole.subarray(0, 2)];
      let at = 2;
      for (let end = at; whole[at + 1] !== 0xda; at = end) {
        end = at + 2 + whole.readUInt16BE(at + 2);
        if (whole[at + 1] !== marker) parts.push(whole.subarray(at, end));
      }
      return Buffer.concat([...parts, whole.subarray(at)]);
    };
    using decoder = JpegDecoder.create();
    const decode = async (jpeg: Uint8Array): Promise<readonly [string, Uint8Array]> => {
      const header = decoder.readHeader(jpeg, "a test");
      const pixels = new Uint8Array(header.width * header.height * 3);
      return [(await decoder.decode(jpeg, header, pixels)).outcome, pixels];
    };
    const [, wanted] = await decode(whole);
    await decode(before);
    // Those of Motion JPEG are the usual ones.
    expect(await decode(without(0xc4))).toEqual(["whole", wanted]);
    await decode(before);
    expect((await decode(without(0xdb)))[0]).toBe("failed");
    await decode(before);
    // Comment, quantisation, and no frame.
    expect(() => decoder.readHeader(whole.subarray(0, 20), "cut")).toThrow(ImageError);
  });

  test("JpegDecoder.readHeader() reports the stored size, the orientation and the colours", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = withOrientation(await paintedJpeg(33, 17), 6);
    expect(decoder.readHeader(jpeg, "a test")).toMatchObject({
      width: 33,
      height: 17,
      orientation: 6,
      isCmyk: false,
      isProgressive: false,
    });
    const cmyk = await sharpOf(paint(9, 9)).toColourspace("cmyk").jpeg().toBuffer();
    const header = decoder.readHeader(cmyk, "a test");
    expect(header.isCmyk).toBe(true);
    expect((await decoder.decode(cmyk, header, new Uint8Array(999))).outcome).toBe("failed");
  });

  test("JpegDecoder.readHeader() refuses what is no JPEG", () => {
    using decoder = JpegDecoder.create();
    expect(() => decoder.readHeader(new Uint8Array(0), "a.jpg")).toThrow('Cannot decode "a.jpg": it is empty');
    expect(() => decoder.readHeader(Buffer.from("hello, world"), "a.jpg")).toThrow(ImageError);
    expect(() => decoder.readHeader(Buffer.from([0xff, 0xd8, 0xff, 0xe0]), "a.jpg")).toThrow(ImageError);
  });

  test("JpegDecoder.decode() writes the pixels sharp gives, at odd sizes and subsamplings", async () => {
    using decoder = JpegDecoder.create();
    for (const [width, height] of [
      [1, 1],
      [7, 5],
      [17, 33],
      [100, 37],
    ] as const) {
      for (const options of [{ chromaSubsampling: "4:4:4" }, { chromaSubsampling: "4:2:0" }, { progressive: true }]) {
        const jpeg = await paintedJpeg(width, height, options);
        const memory = new Uint8Array(width * height * 3);
        const { image } = await decoder.decode(jpeg, decoder.readHeader(jpeg, "a test"), memory);
        expect(image.data).toBe(memory);
        expect(largestDifference(memory, await sharp(jpeg).raw().toBuffer())).toBeLessThanOrEqual(2);
      }
    }
  });

  test("JpegDecoder.decode() shrinks to 1/2, 1/4 and 1/8, sides rounded up, to what averaging gives", async () => {
    using decoder = JpegDecoder.create();
    const width = 203;
    const height = 101;
    const jpeg = await paintedJpeg(width, height, { chromaSubsampling: "4:4:4", quality: 100 });
    const header = decoder.readHeader(jpeg, "a test");
    const whole = await sharp(jpeg).raw().toBuffer();
    for (const scale of [2, 4, 8] as JpegScale[]) {
      const memory = new Uint8Array(whole.length);
      const { image } = await decoder.decode(jpeg, header, memory, scale);
      expect([image.width, image.height]).toEqual([Math.ceil(width / scale), Math.ceil(height / scale)]);
      for (const [x, y] of [
        [1, 1],
        [Math.floor(60 / scale), Math.floor(80 / scale)],
        [Math.floor(180 / scale), Math.floor(20 / scale)],
      ] as const) {
        for (let channel = 0; channel < 3; channel++) {
          let sum = 0;
          for (let dy = 0; dy < scale; dy++) {
            for (let dx = 0; dx < scale; dx++) sum += whole[((y * scale + dy) * width + x * scale + dx) * 3 + channel]!;
          }
          const level = image.data[(y * image.width + x) * 3 + channel]!;
          expect(Math.abs(level - sum / scale ** 2)).toBeLessThan(4);
        }
      }
    }
  });

  test("JpegDecoder.decode() refuses a destination that is too short", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = await paintedJpeg(8, 8);
    const header = decoder.readHeader(jpeg, "a test");
    const decoded = decoder.decode(jpeg, header, new Uint8Array(191));
    await expect(decoded).rejects.toThrow(ShapeError);
    await decoder.decode(jpeg, header, new Uint8Array(192));
  });

  test("JpegDecoder takes one call at a time", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = await paintedJpeg(64, 64);
    const header = decoder.readHeader(jpeg, "a test");
    const memory = new Uint8Array(64 * 64 * 3);
    const first = decoder.decode(jpeg, header, memory);
    expect(decoder.isBusy).toBe(true);
    expect(() => decoder.readHeader(jpeg, "a test")).toThrow("one call at a time");
    await expect(decoder.decode(jpeg, header, memory)).rejects.toThrow("one call at a time");
    await first;
    expect(decoder.isBusy).toBe(false);
  });

  test("JpegDecoder.close() during a call lets it end, and refuses the next", async () => {
    const decoder = JpegDecoder.create();
    const jpeg = await paintedJpeg(300, 200);
    const header = decoder.readHeader(jpeg, "a test");
    const running = decoder.decode(jpeg, header, new Uint8Array(300 * 200 * 3));
    decoder.close();
    decoder.close();
    const { image } = await running;
    expect(largestDifference(image.data, await sharp(jpeg).raw().toBuffer())).toBeLessThanOrEqual(2);
    expect(() => decoder.readHeader(jpeg, "a test")).toThrow(ClosedError);
    await expect(decoder.decode(jpeg, header, image.data)).rejects.toThrow(ClosedError);
  });

  test("JpegDecoder.decode() leaves the JS thread free", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = await paintedJpeg(3000, 2000);
    const header = decoder.readHeader(jpeg, "a test");
    let turns = 0;
    const ticker = setInterval(() => turns++, 1);
    await decoder.decode(jpeg, header, new Uint8Array(3000 * 2000 * 3));
    clearInterval(ticker);
    expect(turns).toBeGreaterThan(1);
  });

  test("JpegDecoder.decode() keeps small arrays in place while the collector runs", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = await sharpOf(paint(2, 2)).jpeg({ quality: 60 }).toBuffer();
    const expected = await sharp(jpeg).raw().toBuffer();
    expect(jpeg.length).toBeLessThan(1000);
    for (let round = 0; round < 300; round++) {
      const bytes = new Uint8Array(jpeg);
      const memory = new Uint8Array(12);
      const decoded = decoder.decode(bytes, decoder.readHeader(bytes, "a test"), memory);
      if (round % 50 === 0) Bun.gc(true);
      await decoded;
      if (Buffer.compare(memory, expected) !== 0) expect([...memory]).toEqual([...expected]);
    }
  });

  test("JpegDecoder.decode() tells of an image that is cut short or damaged, and works on", async () => {
    using decoder = JpegDecoder.create();
    const jpeg = await paintedJpeg(200, 150);
    const memory = new Uint8Array(200 * 150 * 3);
    const outcome = async (bytes: Uint8Array): Promise<string> =>
      (await decoder.decode(bytes, decoder.readHeader(bytes, "a.jpg"), memory)).outcome;
    for (const length of [Math.floor(jpeg.length / 2), Math.floor(jpeg.length * 0.9), jpeg.length - 2]) {
      expect(await outcome(jpeg.subarray(0, length))).toBe("warned");
    }
    expect(await outcome(withHole(jpeg))).toBe("warned");
    expect(await outcome(withExtraneousBytes(jpeg))).toBe("warned");
    expect(await outcome(jpeg)).toBe("whole");
    expect(Buffer.compare(memory, await sharp(jpeg).raw().toBuffer())).toBe(0);
  });
});
