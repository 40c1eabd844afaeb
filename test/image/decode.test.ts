import { expect, test } from "bun:test";
import { ImageError, OptionError, ShapeError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { imageOf } from "../../src/image/image.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { chance } from "../support/chance.ts";
import { bareTiff } from "../support/hostile.ts";
import { hasTurboJpeg, largestDifference, paint, paintedJpeg, sharpOf } from "../support/images.ts";

test("decodeImage() decodes files of any kind into memory of their own", async () => {
  const picture = paint(13, 5);
  const png = await sharpOf(picture).png().toBuffer();
  const first = await decodeImage(png);
  const second = await decodeImage(new Blob([png]));
  expect(first).toMatchObject({
    width: 13,
    height: 5,
    pitchBytes: 39,
    format: "RGB",
    sourceWidth: 13,
    sourceHeight: 5,
  });
  expect(largestDifference(first.data, picture.data)).toBe(0);
  expect(first.data.length).toBe(13 * 5 * 3);
  expect(second.data.buffer).not.toBe(first.data.buffer);
});

test("decodeImage() passes raw frames through: RGB, BGR and RGBA of any pitch", async () => {
  for (const format of ["RGB", "BGR", "RGBA"] as const) {
    const data = new Uint8Array(40 * 4);
    const image = await decodeImage(imageOf(data, { width: 7, height: 4, pitchBytes: 40, format }));
    expect(image).toMatchObject({ width: 7, height: 4, pitchBytes: 40, format, sourceWidth: 7, sourceHeight: 4 });
    expect(image.data).toBe(data);
  }
});

test("decodeImage() checks raw frames", async () => {
  const short = { width: 4, height: 4, pitchBytes: 12, format: "RGB", data: new Uint8Array(47) } as const;
  await expect(decodeImage(short)).rejects.toThrow(ShapeError);
  await expect(decodeImage({ ...short, pitchBytes: 11 })).rejects.toThrow(ShapeError);
});

test.skipIf(!hasTurboJpeg)("decodeImage() shrinks where less is asked for (libturbojpeg)", async () => {
  const jpeg = await paintedJpeg(160, 80);
  expect(await decodeImage(jpeg, { minWidth: 40, minHeight: 20 })).toMatchObject({
    width: 40,
    height: 20,
    sourceWidth: 160,
  });
});

test("decodeImage() refuses more pixels than allowed", async () => {
  await expect(decodeImage(await paintedJpeg(160, 80), { maxPixels: 12799 })).rejects.toThrow(
    "Cannot decode bytes: it must have at most 12799 pixels, got 12800 (160x80)\nHint: raise maxPixels",
  );
});

test("decodeImage() names the source in its errors", async () => {
  const failed = decodeImage(new File(["no image"], "notes.txt"));
  await expect(failed).rejects.toThrow('Cannot decode "notes.txt": it is not an image');
  expect(await failed.catch((error: ImageError) => error.source)).toBe("notes.txt");
  await expect(decodeImage("")).rejects.toThrow(ImageError);
});

test("decodeImage() refuses options that are unknown or out of range", async () => {
  const jpeg = await paintedJpeg(2, 2);
  await expect(decodeImage(jpeg, { minwidth: 4 } as object)).rejects.toThrow('Did you mean "minWidth"?');
  for (const wrong of [{ maxPixels: 0 }, { minWidth: 1.5 }, { minHeight: -1 }, { timeoutMs: 0 }]) {
    await expect(decodeImage(jpeg, wrong)).rejects.toThrow(OptionError);
  }
});

/** Behind the header, ten tags and the offset of no further directory. */
const PIXELS_AT = 8 + 2 + 10 * 12 + 4;

/** A TIFF of 2 x 1 grey pixels, all zeros. @param format SampleFormat: 1 unsigned, 2 signed, 3 float */
function greyTiff(bits: number, format: number): Uint8Array {
  const head = bareTiff([
    [256, 2],
    [257, 1],
    [258, bits],
    [259, 1],
    [262, 1],
    [273, PIXELS_AT],
    [277, 1],
    [278, 1],
    [279, bits / 4],
    [339, format],
  ]);
  return Buffer.concat([head, Buffer.alloc(bits / 4)]);
}

test("decodeImage() refuses samples whose black and white nobody knows: float, signed and 32-bit TIFF", async () => {
  for (const bits of [8, 16]) expect(await decodeImage(greyTiff(bits, 1))).toMatchObject({ width: 2, height: 1 });
  for (const [bits, format, type] of [
    [32, 3, "float"],
    [32, 1, "uint"],
    [16, 2, "short"],
    [8, 2, "char"],
  ] as const) {
    const decoded = decodeImage(greyTiff(bits, format));
    await expect(decoded).rejects.toThrow(`8 or 16 bits from 0 on, got ${type}\nHint: convert it`);
    await expect(decoded).rejects.toThrow(ImageError);
  }
});

test("decodeImage() refuses damaged GIFs; damaged: take gives what libvips makes of them, marked", async () => {
  setLogSink(() => {});
  const random = chance(4);
  for (const options of [{}, { interlace: true }, { colours: 4 }]) {
    const whole = await sharpOf(paint(160, 90)).gif(options).toBuffer();
    const { data } = await decodeImage(whole);
    let [refused, taken] = [0, 0];
    for (let round = 0; round < 30; round++) {
      const file = Buffer.from(whole);
      const at = Math.floor(whole.length * (0.5 + random() * 0.4));
      file[at]! ^= 1 << Math.floor(random() * 8);
      if (round % 2 === 0) file.fill(0, at, at + 16);
      const image = await decodeImage(file).catch((error: Error) => error.message);
      if (typeof image !== "string") {
        // One colour in the place of another, and nothing else.
        const wrong = image.data.filter((level, index) => Math.abs(level - data[index]!) > 20).length;
        expect(wrong).toBeLessThan(data.length / 20);
        continue;
      }
      refused += 1;
      expect(image).toContain("the GIF is damaged");
      // Where libvips cannot go on at all, there is nothing to take.
      const rest = await decodeImage(file, { damaged: "take" }).catch((error: Error) => error.message);
      if (typeof rest === "string") continue;
      taken += 1;
      expect(image).toContain('damaged: "take"');
      expect(rest).toMatchObject({ width: 160, height: 90, damage: "its data does not fit its pixels" });
    }
    expect(refused).toBeGreaterThan(15);
    expect(taken).toBeGreaterThan(5);
  }
  setLogSink(undefined);
});

test("decodeImage() refuses files of every kind that are cut short, and PNGs with a bit that is another", async () => {
  const image = sharpOf(paint(160, 90));
  for (const kind of ["png", "webp", "gif", "avif", "tiff"] as const) {
    const whole = await image.clone().toFormat(kind).toBuffer();
    for (const share of [0.3, 0.6, 0.95]) {
      await expect(decodeImage(whole.subarray(0, Math.floor(whole.length * share)))).rejects.toThrow(ImageError);
    }
    if (kind !== "png") continue;
    for (let at = 60; at < whole.length - 20; at += 97) {
      const file = Buffer.from(whole);
      file[at]! ^= 4;
      await expect(decodeImage(file)).rejects.toThrow(ImageError);
    }
  }
});
