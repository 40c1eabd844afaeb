import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import sharp from "sharp";
import { ImageError } from "../../src/core/errors.ts";
import type { PackedImage } from "../../src/image/image.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { isDataWhole } from "../../src/image/jpeg-markers.ts";
import { routeJpeg } from "../../src/nvjpeg/jpeg-route.ts";
import { chance } from "../support/chance.ts";
import { hasTurboJpeg, paintedJpeg, wavyJpeg, withExtraneousBytes, withoutTurboJpeg } from "../support/images.ts";
import { JPEG_FIXTURES, jpegFixture, withoutSegment } from "../support/jpegs.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

/** Files with a part gone, zeroed, or written over. */
function damaged(whole: Buffer, random: () => number, round: number): Buffer {
  const at = 700 + Math.floor(random() * (whole.length - 1500));
  const copy = Buffer.from(whole);
  switch (round % 5) {
    case 0:
      copy[at]! ^= 1 << Math.floor(random() * 8);
      return copy;
    case 1:
      return copy.fill(0, at, at + 512);
    case 2:
      for (let byte = 0; byte < 64; byte++) copy[at + byte] = random() * 255;
      return copy;
    case 3:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(-2)]);
    default:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + 700)]);
  }
}

test("isDataWhole() holds for whole files of every size, sampling and table", async () => {
  for (const name of JPEG_FIXTURES) {
    const isBaseline = name !== "cmyk" && name !== "arithmetic";
    expect([name, await isDataWhole(jpegFixture(name))]).toEqual([name, isBaseline]);
  }
  for (const [width, height] of [
    [1, 1],
    [2, 3],
    [17, 33],
    [640, 3],
    [3, 640],
    [333, 250],
  ] as const) {
    for (const options of [{}, { chromaSubsampling: "4:4:4" }, { optimizeCoding: false }, { quality: 100 }]) {
      expect(await isDataWhole(await paintedJpeg(width, height, options))).toBe(true);
      expect(await isDataWhole(await wavyJpeg(width, height, options))).toBe(true);
    }
  }
  expect(await isDataWhole(withExtraneousBytes(await paintedJpeg(64, 64)))).toBe(false);
});

test.skipIf(isMissing("images/photos"))("isDataWhole() holds for real photographs", async () => {
  for (const folder of ["images/photos", "images/coco_val2017"]) {
    for (const name of readdirSync(sharedPath(folder))) {
      const bytes = readFileSync(sharedPath(folder, name));
      const { refusal, byteLength } = routeJpeg(bytes);
      if (refusal === undefined) expect([name, await isDataWhole(bytes.subarray(0, byteLength))]).toEqual([name, true]);
    }
  }
});

test("isDataWhole() lets nothing through that libjpeg refuses", async () => {
  using decoder = ImageDecoder.create();
  const random = chance(11);
  for (const options of [{}, { optimizeCoding: false }, { chromaSubsampling: "4:4:4" }]) {
    const whole = await wavyJpeg(320, 200, options);
    let refused = 0;
    for (let round = 0; round < 100; round++) {
      const bytes = damaged(whole, random, round);
      try {
        await decoder.decode(bytes, "damaged");
      } catch (error) {
        expect(error).toBeInstanceOf(ImageError);
        refused += 1;
        expect(await isDataWhole(bytes)).toBe(false);
      }
    }
    expect(refused).toBeGreaterThan(30);
  }
});

test("isDataWhole() sees a restart marker that is gone, and another's data in its place", async () => {
  const whole = jpegFixture("restart");
  const markers: number[] = [];
  for (let at = 0; at + 1 < whole.length; at++) {
    if (whole[at] === 0xff && whole[at + 1]! >= 0xd0 && whole[at + 1]! <= 0xd7) markers.push(at);
  }
  expect(markers.length).toBeGreaterThan(3);
  const [first = 0, second = 0] = markers;
  expect(await isDataWhole(Buffer.concat([whole.subarray(0, first), whole.subarray(first + 2)]))).toBe(false);
  expect(await isDataWhole(Buffer.concat([whole.subarray(0, first), whole.subarray(second)]))).toBe(false);
});

test("isDataWhole() takes any bytes, cut anywhere, without reading beyond them", async () => {
  const random = chance(5);
  const whole = await wavyJpeg(64, 64);
  for (let length = 1; length < whole.length - 6; length += 3)
    expect(await isDataWhole(whole.subarray(0, length))).toBe(false);
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(whole.subarray(0, 1 + Math.floor(random() * whole.length)));
    for (let flip = 0; flip < 4; flip++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
    await isDataWhole(bytes);
  }
});

/** A grey JPEG of 8x8 blocks side by side, each of one level: what their DC values add to the one before. */
function flatBlocks(step: number, differences: readonly number[]): Buffer {
  const codes = differences.map((difference) => {
    const size = difference === 0 ? 0 : Math.floor(Math.log2(Math.abs(difference))) + 1;
    const value = difference < 0 ? difference + 2 ** size - 1 : difference;
    // Four bits say how many follow; 0 is the end of the block, the only code of the other table.
    const valueBits = size === 0 ? "" : value.toString(2).padStart(size, "0");
    return `${size.toString(2).padStart(4, "0")}${valueBits}0`;
  });
  const bits = codes.join("");
  const bytes = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1").match(/.{8}/g)!;
  const data = bytes.flatMap((byte) => (byte === "11111111" ? [255, 0] : [Number.parseInt(byte, 2)]));
  const sizes = Array.from({ length: 12 }, (_, size) => size);
  return Buffer.from([
    ...[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0, ...new Array<number>(64).fill(step)],
    ...[0xff, 0xc0, 0, 11, 8, 0, 8, 0, differences.length * 8, 1, 1, 0x11, 0],
    ...[0xff, 0xc4, 0, 31, 0, 0, 0, 0, 12, ...new Array<number>(12).fill(0), ...sizes],
    ...[0xff, 0xc4, 0, 20, 0x10, 1, ...new Array<number>(15).fill(0), 0],
    ...[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, ...data, 0xff, 0xd9],
  ]);
}

test("isDataWhole() refuses DC values that no samples have, and none that an encoder may round to", async () => {
  for (const step of [1, 2, 16, 40, 255]) {
    const white = Math.ceil(1024 / step);
    for (const differences of [[white], [-white], [-white, 2 * white - 1, -2 * white + 2, 0]]) {
      expect([step, differences, await isDataWhole(flatBlocks(step, differences))]).toEqual([step, differences, true]);
    }
    const beyond = Math.floor(1088 / step) + 3;
    for (const differences of [[beyond], [-beyond], [white, 0, beyond - white, -white]]) {
      expect([step, differences, await isDataWhole(flatBlocks(step, differences))]).toEqual([step, differences, false]);
    }
  }
});

test("a JPEG without tables of its own, and one with filled up restart markers, are whole", async () => {
  const painted = await paintedJpeg(64, 64);
  const restart = jpegFixture("restart");
  const at = restart.findIndex((byte, index) => byte === 0xff && restart[index + 1] === 0xd0);
  const filled = Buffer.concat([restart.subarray(0, at), Buffer.from([0xff, 0xff]), restart.subarray(at)]);
  expect(await isDataWhole(filled)).toBe(true);
  // As the frames of MJPEG come: the tables are those that all know.
  const tabled = await paintedJpeg(64, 64, { optimizeCoding: false });
  let bare = tabled;
  for (let table = 0; table < 4; table++) bare = withoutSegment(bare, 0xc4);
  expect(painted.length).toBeLessThan(tabled.length);
  if (hasTurboJpeg) expect((await decodeImage(bare)).data).toEqual((await decodeImage(tabled)).data);
});

/** Rows that are off by more than 20 levels in the mean. */
function ruinedRows(image: PackedImage, whole: PackedImage): number {
  const bytes = whole.width * 3;
  let ruined = 0;
  for (let row = 0; row < whole.height; row++) {
    let sum = 0;
    for (let at = row * bytes; at < (row + 1) * bytes; at++) sum += Math.abs(image.data[at]! - whole.data[at]!);
    if (sum > 20 * bytes) ruined += 1;
  }
  return ruined;
}

// What is left is a file like any other: its codes make as many blocks as the image has, of levels that all samples have.
test.skipIf(isMissing("images/photos"))(
  "of damaged photographs that are ruined hardly any is taken",
  async () => {
    const jpeg = await sharp(sharedPath("images/photos/bus.jpg")).jpeg({ quality: 92 }).toBuffer();
    const whole = await decodeImage(jpeg);
    for (const through of [<T>(work: () => Promise<T>) => work(), withoutTurboJpeg]) {
      const random = chance(30);
      let [taken, ruined] = [0, 0];
      await through(async () => {
        for (let round = 0; round < 100; round++) {
          const copy = Buffer.from(jpeg);
          const at = 2000 + Math.floor(random() * (jpeg.length - 5000));
          copy.fill(0, at, at + [1, 2, 8, 40, 512][round % 5]!);
          const image = await decodeImage(copy).catch((error: unknown) => expect(error).toBeInstanceOf(ImageError));
          if (typeof image !== "object") continue;
          taken += 1;
          if (ruinedRows(image, whole) > 0) ruined += 1;
        }
      });
      expect(taken).toBeGreaterThan(5);
      expect(taken).toBeLessThan(40);
      expect(ruined).toBeLessThan(5);
    }
  },
  60_000,
);
