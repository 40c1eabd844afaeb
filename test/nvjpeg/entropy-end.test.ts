import { expect, test } from "bun:test";
import sharp, { type JpegOptions } from "sharp";
import { ImageError } from "../../src/core/errors.ts";
import { endOfJpeg, readJpegMarkers } from "../../src/image/jpeg-markers.ts";
import { PictureDecoder } from "../../src/image/picture-decoder.ts";
import { endsFlat } from "../../src/nvjpeg/entropy-end.ts";
import { chance } from "../support/chance.ts";
import { JPEG_FIXTURES, jpegFixture } from "../support/jpegs.ts";
import { paintedJpeg, withHole } from "../support/pictures.ts";

function isFlat(bytes: Uint8Array): boolean {
  const markers = readJpegMarkers(bytes);
  return endsFlat(bytes, markers, endOfJpeg(bytes, markers.scanOffset));
}

/** Noise above, one colour below. */
function barred(options: JpegOptions): Promise<Buffer> {
  const random = chance(3);
  const data = Uint8Array.from({ length: 200 * 120 * 3 }, (_, at) => (at < 200 * 60 * 3 ? random() * 256 : 17));
  return sharp(data, { raw: { width: 200, height: 120, channels: 3 } })
    .jpeg(options)
    .toBuffer();
}

test("endsFlat() finds the bars that a file really ends in, with tables of its own and the standard's", async () => {
  for (const chromaSubsampling of ["4:2:0", "4:4:4"]) {
    for (const optimizeCoding of [true, false]) {
      expect(isFlat(await barred({ chromaSubsampling, optimizeCoding }))).toBe(true);
    }
  }
});

test("endsFlat() finds none where the pixels go on to the end, and none in what was cut out", async () => {
  for (const name of JPEG_FIXTURES) if (name !== "cmyk") expect(isFlat(jpegFixture(name))).toBe(false);
  for (const quality of [30, 90]) {
    const whole = await paintedJpeg(640, 480, { quality });
    expect(isFlat(whole)).toBe(false);
    for (let share = 0.2; share < 1; share += 0.01) {
      const cut = Buffer.concat([whole.subarray(0, Math.floor(whole.length * share)), whole.subarray(-2)]);
      if (readJpegMarkers(cut).scanOffset < cut.length) expect(isFlat(cut)).toBe(false);
    }
  }
  expect(isFlat(withHole(await barred({})))).toBe(false);
});

/** What is seen of the last unit of 4:2:0 has one colour, but for its first row and column: as jpeg_inspect sees it. */
function tailIsFlat(data: Uint8Array, width: number, height: number): boolean {
  const last = data.subarray(data.length - 3);
  for (let y = height - Math.max(1, (height - 1) % 16); y < height; y++) {
    for (let x = width - Math.max(1, (width - 1) % 16); x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        if (data[(y * width + x) * 3 + channel] !== last[channel]) return false;
      }
    }
  }
  return true;
}

test("a file that libjpeg finds damaged ends in one colour that the data does not account for", async () => {
  const random = chance(11);
  const level = (x: number, y: number): number => (Math.sin(x / 50) * Math.cos(y / 7) + random() / 4) * 90 + 120;
  const data = Uint8Array.from({ length: 320 * 200 * 3 }, (_, at) => level(at % 960, at / 960));
  const whole = await sharp(data, { raw: { width: 320, height: 200, channels: 3 } })
    .jpeg()
    .toBuffer();
  using decoder = PictureDecoder.create();
  const isSeen = async (bytes: Buffer): Promise<boolean> => {
    const pixels = await sharp(bytes, { failOn: "none" }).raw().toBuffer();
    return tailIsFlat(pixels, 320, 200) && !isFlat(bytes);
  };
  for (let share = 0.1; share < 0.98; share += 0.04) {
    expect(await isSeen(Buffer.concat([whole.subarray(0, Math.floor(whole.length * share)), whole.subarray(-2)]))).toBe(
      true,
    );
  }
  // Where something else stands in for a part of the data, libjpeg mostly runs out of it long before the last unit.
  let refused = 0;
  let seen = 0;
  for (let round = 0; round < 60; round++) {
    const bytes = Buffer.from(whole);
    const at = 700 + Math.floor(random() * (whole.length - 1400));
    bytes.fill(round % 2 === 0 ? 0 : Math.floor(random() * 255), at, at + 700);
    try {
      await decoder.decode(bytes, "damaged");
    } catch (error) {
      expect(error).toBeInstanceOf(ImageError);
      refused += 1;
      if (await isSeen(bytes)) seen += 1;
    }
  }
  expect(refused).toBeGreaterThan(20);
  expect(seen / refused).toBeGreaterThan(0.75);
});
