import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import sharp, { type JpegOptions } from "sharp";
import { ImageError } from "../../src/core/errors.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { isDataWhole } from "../../src/image/jpeg-markers.ts";
import { routeJpeg } from "../../src/nvjpeg/jpeg-route.ts";
import { chance } from "../support/chance.ts";
import { paintedJpeg, withExtraneousBytes } from "../support/images.ts";
import { JPEG_FIXTURES, jpegFixture } from "../support/jpegs.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

/** Waves and noise. */
function wavy(width: number, height: number, options: JpegOptions = {}): Promise<Buffer> {
  const random = chance(width);
  const data = Uint8Array.from(
    { length: width * height * 3 },
    (_, at) => (Math.sin((at % (width * 3)) / 50) * Math.cos(at / width / 21) + random() / 4) * 90 + 120,
  );
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg(options)
    .toBuffer();
}

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
      expect(await isDataWhole(await wavy(width, height, options))).toBe(true);
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
    const whole = await wavy(320, 200, options);
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
  const whole = await wavy(64, 64);
  for (let length = 1; length < whole.length - 6; length += 3)
    expect(await isDataWhole(whole.subarray(0, length))).toBe(false);
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(whole.subarray(0, 1 + Math.floor(random() * whole.length)));
    for (let flip = 0; flip < 4; flip++) bytes[Math.floor(random() * bytes.length)] = random() * 256;
    await isDataWhole(bytes);
  }
});
