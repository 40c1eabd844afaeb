import { expect, test } from "bun:test";
import { ImageError, OptionError, ShapeError } from "../../src/core/errors.ts";
import { decodeImage } from "../../src/image/decode.ts";
import { imageOf } from "../../src/image/image.ts";
import { hasTurboJpeg, largestDifference, paint, paintedJpeg, sharpOf } from "../support/pictures.ts";

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
    "Cannot decode bytes as it must have at most 12799 pixels: 160x80 is 12800\nHint: raise maxPixels",
  );
});

test("decodeImage() names the source in its errors", async () => {
  const failed = decodeImage(new File(["no picture"], "notes.txt"));
  await expect(failed).rejects.toThrow('Cannot decode "notes.txt" as it is not a picture');
  expect(await failed.catch((error: ImageError) => error.source)).toBe("notes.txt");
  await expect(decodeImage("")).rejects.toThrow(ImageError);
});

test("decodeImage() refuses options that are unknown or out of range", async () => {
  const jpeg = await paintedJpeg(2, 2);
  await expect(decodeImage(jpeg, { minwidth: 4 } as object)).rejects.toThrow('Hint: did you mean "minWidth"?');
  for (const wrong of [{ maxPixels: 0 }, { minWidth: 1.5 }, { minHeight: -1 }, { timeoutMs: 0 }]) {
    await expect(decodeImage(jpeg, wrong)).rejects.toThrow(OptionError);
  }
});
