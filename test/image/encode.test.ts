import { expect, test } from "bun:test";
import sharp from "sharp";
import { ImageError, OptionError, ShapeError } from "../../src/core/errors.ts";
import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";
import { decodeImage, encodeImage } from "../../src/image/image-file.ts";
import { tightRgb } from "../../src/image/nv12.ts";
import { drawDetections } from "../../src/tasks/detect/draw.ts";
import { largestDifference, paint } from "../support/images.ts";

const picture = paint(37, 21);

/** The same image in another order of bytes, its rows further apart. */
function arrange(format: PixelFormat, pitchBytes: number): ReturnType<typeof imageOf> {
  const { width, height, data } = picture;
  const pixel = format === "RGBA" ? 4 : 3;
  const arranged = new Uint8Array(pitchBytes * height).fill(77);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [red = 0, green = 0, blue = 0] = data.subarray((y * width + x) * 3);
      const bytes = format === "BGR" ? [blue, green, red] : [red, green, blue];
      arranged.set(bytes, y * pitchBytes + x * pixel);
    }
  }
  return imageOf(arranged, { width, height, format, pitchBytes });
}

test("tightRgb() gives the memory itself where it is tight RGB, else a copy in that form", () => {
  expect(tightRgb(picture).buffer).toBe(picture.data.buffer);
  for (const format of ["RGB", "BGR", "RGBA"] as const) {
    expect(largestDifference(tightRgb(arrange(format, 160)), picture.data)).toBe(0);
  }
});

test("encodeImage() writes PNG that decodes to the very pixels, from any format and pitch", async () => {
  for (const image of [picture, arrange("BGR", 111), arrange("RGBA", 151), arrange("RGB", 128)]) {
    const png = await encodeImage(image, { format: "png" });
    expect(largestDifference((await decodeImage(png)).data, picture.data)).toBe(0);
  }
});

test("encodeImage() and drawDetections() take pixels without a format and a pitch for tight RGB", async () => {
  const { data, width, height } = imageOf(new Uint8Array(7 * 5 * 3).fill(200), { width: 7, height: 5 });
  const bare = { data, width, height } as Image;
  expect((await decodeImage(await encodeImage(bare, { format: "png" }))).data).toEqual(data);
  expect(Buffer.from((await drawDetections(bare, [])).data)).toEqual(Buffer.from(data));
});

test("encodeImage() writes JPEG and WebP near to the pixels, smaller where quality is lower", async () => {
  for (const format of ["jpeg", "webp"] as const) {
    const fine = await encodeImage(picture, { format, quality: 95 });
    const coarse = await encodeImage(picture, { format, quality: 20 });
    expect((await sharp(fine).metadata()).format).toBe(format);
    expect(coarse.length).toBeLessThan(fine.length);
    const { data } = await decodeImage(fine);
    let sum = 0;
    for (let at = 0; at < data.length; at++) sum += Math.abs(data[at]! - picture.data[at]!);
    expect(sum / data.length).toBeLessThan(6);
  }
  expect((await sharp(await encodeImage(picture)).metadata()).format).toBe("jpeg");
});

test("encodeImage() refuses wrong options, images and sizes", async () => {
  await expect(encodeImage(picture, { format: "bmp" } as object)).rejects.toThrow(OptionError);
  await expect(encodeImage(picture, { quality: 101 })).rejects.toThrow(OptionError);
  await expect(encodeImage({ ...picture, data: picture.data.subarray(1) })).rejects.toThrow(ShapeError);
  const wide = imageOf(new Uint8Array(16384 * 3), { width: 16384, height: 1 });
  await expect(encodeImage(wide, { format: "webp" })).rejects.toThrow(ImageError);
});
