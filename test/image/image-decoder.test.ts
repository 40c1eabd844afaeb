import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import sharp from "sharp";
import { ClosedError, ImageError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { allocate } from "../../src/core/tensor.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import {
  hasPhotos,
  hasTurboJpeg,
  JPEG_PATHS,
  largestDifference,
  PHOTOS,
  paint,
  paintedJpeg,
  sharpOf,
  withExtraneousBytes,
  withHole,
  withOrientation,
  withoutTurboJpeg,
} from "../support/images.ts";

afterEach(() => {
  setLogSink(undefined);
});

/** What both ways say of the same bytes: an image, or the message of an ImageError. */
async function bothWays(
  bytes: Uint8Array,
): Promise<[withTurboJpeg: Uint8Array | string, withSharp: Uint8Array | string]> {
  const decode = async (): Promise<Uint8Array | string> => {
    using decoder = ImageDecoder.create();
    try {
      const { data, width, height } = await decoder.decode(bytes, "a.jpg");
      return Buffer.concat([Buffer.from(`${width}x${height}`), data]);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      return error.message;
    }
  };
  return [await decode(), await withoutTurboJpeg(decode)];
}

/** A PNG of a few bytes whose header claims any size. */
function pngOfSize(width: number, height: number): Buffer {
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  const chunk = (type: string, body: Uint8Array): Buffer => {
    const typed = Buffer.concat([Buffer.from(type, "latin1"), body]);
    const sizes = Buffer.alloc(8);
    sizes.writeUInt32BE(body.length, 0);
    sizes.writeUInt32BE(Bun.hash.crc32(typed), 4);
    return Buffer.concat([sizes.subarray(0, 4), typed, sizes.subarray(4)]);
  };
  const rows = chunk("IDAT", deflateSync(new Uint8Array(64)));
  const signature = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  return Buffer.concat([signature, chunk("IHDR", header), rows, chunk("IEND", new Uint8Array(0))]);
}

for (const [name, through] of JPEG_PATHS) {
  describe.skipIf(name === "libturbojpeg" && !hasTurboJpeg)(`JPEG through ${name}`, () => {
    test("ImageDecoder turns all eight orientations upright and reports the upright size", async () => {
      const expected = await paintedJpeg(37, 21, { chromaSubsampling: "4:4:4" });
      for (let orientation = 1; orientation <= 8; orientation++) {
        const jpeg = withOrientation(expected, orientation);
        const upright = await sharp(jpeg).autoOrient().raw().toBuffer({ resolveWithObject: true });
        await through(async () => {
          using decoder = ImageDecoder.create();
          const image = await decoder.decode(jpeg, "a test");
          expect([image.width, image.height]).toEqual(orientation >= 5 ? [21, 37] : [37, 21]);
          expect([image.sourceWidth, image.sourceHeight]).toEqual([image.width, image.height]);
          expect(image.pitchBytes).toBe(image.width * 3);
          expect(largestDifference(image.data, upright.data)).toBeLessThanOrEqual(2);
        });
      }
    });

    test("ImageDecoder makes RGB of grey and CMYK", async () => {
      const grey = await sharpOf(paint(20, 11)).toColourspace("b-w").jpeg().toBuffer();
      const cmyk = await sharpOf(paint(20, 11)).toColourspace("cmyk").jpeg({ quality: 100 }).toBuffer();
      expect((await sharp(grey).metadata()).channels).toBe(1);
      expect((await sharp(cmyk).metadata()).channels).toBe(4);
      await through(async () => {
        using decoder = ImageDecoder.create();
        const fromGrey = await decoder.decode(grey, "a test");
        for (let at = 0; at < fromGrey.data.length; at += 3) {
          expect(fromGrey.data[at]).toBe(fromGrey.data[at + 1]!);
          expect(fromGrey.data[at]).toBe(fromGrey.data[at + 2]!);
        }
        const fromCmyk = await decoder.decode(cmyk, "a test");
        expect([fromCmyk.width, fromCmyk.height, fromCmyk.data.length]).toEqual([20, 11, 660]);
      });
    });

    test("ImageDecoder refuses images with too many pixels, turned ones included", async () => {
      const jpeg = withOrientation(await paintedJpeg(30, 20), 6);
      await through(async () => {
        using decoder = ImageDecoder.create({
          allocate: () => {
            throw new Error("allocated");
          },
        });
        await expect(decoder.decode(jpeg, "big.jpg", { maxPixels: 599 })).rejects.toThrow(
          /^Cannot decode "big.jpg": it must have at most 599 pixels, got 600 \((20x30|30x20)\)/,
        );
      });
    });

    test("ImageDecoder accepts extraneous bytes", async () => {
      const jpeg = await paintedJpeg(40, 30);
      await through(async () => {
        using decoder = ImageDecoder.create();
        const image = await decoder.decode(withExtraneousBytes(jpeg), "a test");
        expect(largestDifference(image.data, await sharp(jpeg).raw().toBuffer())).toBeLessThanOrEqual(2);
      });
    });

    test("ImageDecoder refuses a JPEG that is cut short anywhere", async () => {
      const jpeg = await paintedJpeg(64, 48);
      const cuts = [4, 20, 300, jpeg.length - 100, jpeg.length - 4].map((length) => jpeg.subarray(0, length));
      await through(async () => {
        using decoder = ImageDecoder.create();
        for (const cut of cuts) {
          await expect(decoder.decode(cut, "a.jpg")).rejects.toThrow(
            /^Cannot decode "a.jpg": the JPEG is cut short \(/,
          );
        }
        await expect(decoder.decode(withHole(jpeg), "a.jpg")).rejects.toThrow(
          /^Cannot decode "a.jpg": the JPEG is damaged \(\d+ bytes\), its data does not fit its pixels\nHint: /,
        );
        await decoder.decode(jpeg, "a.jpg");
      });
    });
  });
}

describe.skipIf(!hasTurboJpeg)("with libturbojpeg", () => {
  test.skipIf(!hasPhotos)("both ways give the same pixels of real photographs (../shared/images)", async () => {
    for (const photo of ["bus.jpg", "pd_vehicle001.jpg", "darknet_dog.jpg"]) {
      const [one, other] = await bothWays(await Bun.file(join(PHOTOS, photo)).bytes());
      expect(largestDifference(one as Uint8Array, other as Uint8Array)).toBeLessThanOrEqual(2);
    }
  });

  test("both ways say the same of damaged files", async () => {
    const jpeg = await paintedJpeg(64, 48);
    for (const bytes of [jpeg.subarray(0, 400), withHole(jpeg), jpeg.subarray(0, 10)]) {
      const [one, other] = await bothWays(bytes);
      expect(one).toBeString();
      expect(one).toBe(other);
    }
  });

  test("ImageDecoder shrinks while decoding where less is asked for, never below it, and reports the source's size", async () => {
    using decoder = ImageDecoder.create();
    const jpeg = withOrientation(await paintedJpeg(403, 201), 6);
    const image = await decoder.decode(jpeg, "a test", { minWidth: 101 });
    expect(image).toMatchObject({ width: 101, height: 202, sourceWidth: 201, sourceHeight: 403, pitchBytes: 303 });
    expect(await decoder.decode(jpeg, "a test", { minWidth: 102 })).toMatchObject({ width: 201, height: 403 });
    expect(await decoder.decode(jpeg, "a test", { minWidth: 1, minHeight: 51 })).toMatchObject({
      width: 26,
      height: 51,
    });
    const whole = await sharp(jpeg).autoOrient().resize(101, 202, { fit: "fill" }).raw().toBuffer();
    const half = await decoder.decode(jpeg, "a test", { minWidth: 101, minHeight: 202 });
    let sum = 0;
    for (let at = 0; at < whole.length; at++) sum += Math.abs(whole[at]! - half.data[at]!);
    expect(sum / whole.length).toBeLessThan(2);
  });

  test("ImageDecoder says where libturbojpeg warns of an image that is whole", async () => {
    const lines: string[] = [];
    setLogSink((level, text) => lines.push(`${level} ${text.split("\n")[0]}`));
    using decoder = ImageDecoder.create();
    await decoder.decode(withExtraneousBytes(await paintedJpeg(40, 30)), "a test");
    expect(lines).toEqual(["warn Decoded a test despite a harmless fault: every pixel is there"]);
  });
});

test.skipIf(!hasTurboJpeg)("ImageDecoder warns of a few images in a row, and not of thousands", async () => {
  const lines: string[] = [];
  setLogSink((level) => lines.push(level));
  using decoder = ImageDecoder.create();
  const cut = (await paintedJpeg(40, 30)).subarray(0, 400);
  const harmless = withExtraneousBytes(await paintedJpeg(40, 30));
  for (let at = 0; at < 20; at++) {
    await expect(decoder.decode(cut, "a test")).rejects.toThrow(ImageError);
    await decoder.decode(harmless, "a test");
  }
  expect(lines.filter((level) => level === "warn")).toHaveLength(10);
});

describe("other formats", () => {
  const picture = paint(37, 21);

  test("ImageDecoder decodes lossless formats to the very pixels", async () => {
    using decoder = ImageDecoder.create();
    const files = {
      png: sharpOf(picture).png(),
      webp: sharpOf(picture).webp({ lossless: true }),
      tiff: sharpOf(picture).tiff({ compression: "lzw" }),
    };
    for (const [name, file] of Object.entries(files)) {
      const image = await decoder.decode(await file.toBuffer(), name);
      expect([image.width, image.height, image.format]).toEqual([37, 21, "RGB"]);
      expect(largestDifference(image.data, picture.data)).toBe(0);
    }
  });

  test("ImageDecoder decodes GIF, AVIF, palette PNG and lossy WebP near to the pixels", async () => {
    using decoder = ImageDecoder.create();
    for (const file of [
      sharpOf(picture).gif(),
      sharpOf(picture).avif({ quality: 90 }),
      sharpOf(picture).png({ palette: true }),
      sharpOf(picture).webp({ quality: 95 }),
    ]) {
      const image = await decoder.decode(await file.toBuffer(), "a test");
      let sum = 0;
      for (let at = 0; at < picture.data.length; at++) sum += Math.abs(image.data[at]! - picture.data[at]!);
      expect(sum / picture.data.length).toBeLessThan(8);
    }
  });

  test("ImageDecoder drops alpha without blending", async () => {
    using decoder = ImageDecoder.create();
    const rgba = Buffer.from([200, 100, 50, 0, 10, 20, 30, 128]);
    const png = await sharp(rgba, { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect([...(await decoder.decode(png, "a test")).data]).toEqual([200, 100, 50, 10, 20, 30]);
  });

  test("ImageDecoder makes 8-bit RGB of 16-bit and grey PNG", async () => {
    using decoder = ImageDecoder.create();
    const levels = Uint16Array.from([0, 0x1234, 0xffff, 0x8000, 0x00ff, 0xff00]);
    const deep = await sharp(levels, { raw: { width: 2, height: 1, channels: 3 } })
      .toColourspace("rgb16")
      .png()
      .toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe("ushort");
    expect([...(await decoder.decode(deep, "a test")).data]).toEqual([0, 0x12, 0xff, 0x80, 0, 0xff]);
    const grey = await sharp(Buffer.from([7, 200]), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace("b-w")
      .png()
      .toBuffer();
    expect([...(await decoder.decode(grey, "a test")).data]).toEqual([7, 7, 7, 200, 200, 200]);
    const grey16 = await sharp(levels, { raw: { width: 6, height: 1, channels: 1 } })
      .toColourspace("grey16")
      .png()
      .toBuffer();
    expect([...(await decoder.decode(grey16, "a test")).data.filter((_, at) => at % 3 === 0)]).toEqual([
      0, 0x12, 0xff, 0x80, 0, 0xff,
    ]);
  });

  test("ImageDecoder ignores colour profiles, as OpenCV does", async () => {
    using decoder = ImageDecoder.create();
    const png = await sharpOf(picture).withIccProfile("p3").png().toBuffer();
    expect((await sharp(png).metadata()).icc).toBeDefined();
    const levels = await sharp(png, { ignoreIcc: true }).raw().toBuffer();
    expect(largestDifference((await decoder.decode(png, "a test")).data, levels)).toBe(0);
  });

  test("ImageDecoder takes the first frame of an animation", async () => {
    using decoder = ImageDecoder.create();
    const frames = Buffer.alloc(8 * 12 * 3);
    frames.fill(255, 0, 8 * 6 * 3);
    for (const file of ["gif", "webp"] as const) {
      const animation = await sharp(frames, { raw: { width: 8, height: 12, channels: 3, pageHeight: 6 } })
        .toFormat(file, { loop: 0, ...(file === "webp" ? { lossless: true } : {}) })
        .toBuffer();
      expect((await sharp(animation).metadata()).pages).toBe(2);
      const image = await decoder.decode(animation, "a test", { maxPixels: 48 });
      expect([image.width, image.height]).toEqual([8, 6]);
      expect(image.data.every((level) => level === 255)).toBe(true);
    }
  });

  test("ImageDecoder applies the EXIF orientation of PNG and WebP", async () => {
    using decoder = ImageDecoder.create();
    for (const format of ["png", "webp"] as const) {
      const file = await sharpOf(picture).withMetadata({ orientation: 8 }).toFormat(format).toBuffer();
      expect(await decoder.decode(file, "a test")).toMatchObject({
        width: 21,
        height: 37,
        sourceWidth: 21,
        sourceHeight: 37,
      });
    }
  });

  test("ImageDecoder refuses too many pixels before it makes them", async () => {
    using decoder = ImageDecoder.create();
    const bomb = pngOfSize(20000, 20000);
    const before = process.memoryUsage.rss();
    await expect(decoder.decode(bomb, "bomb.png")).rejects.toThrow(
      'Cannot decode "bomb.png": it must have at most 268435456 pixels, got 400000000 (20000x20000)',
    );
    expect(process.memoryUsage.rss() - before).toBeLessThan(200e6);
  });

  test("ImageDecoder says of other files what they are", async () => {
    using decoder = ImageDecoder.create();
    const decode = (bytes: Uint8Array) => decoder.decode(bytes, "a.bin");
    await expect(decode(new Uint8Array(0))).rejects.toThrow('Cannot decode "a.bin": it is empty');
    await expect(decode(Buffer.from('{"error":1}'))).rejects.toThrow(
      'it is not an image but 11 bytes that start with 7b 22 65 72 72 6f 72 22 ({"error")',
    );
    await expect(decoder.decode(Buffer.from("\x08\x08\x12\x07"), "yolo.onnx")).rejects.toThrow(
      "it is not an image but 4 bytes that start with 08 08 12 07\nHint: a model is given by --model",
    );
    await expect(decode(Buffer.from("BM0000000000"))).rejects.toThrow(
      "it is BMP, which is not supported\nHint: convert",
    );
    await expect(decode(Buffer.from("\0\0\0\x18ftypisom"))).rejects.toThrow("Hint: read videos and live streams by");
    const png = await sharpOf(picture).png().toBuffer();
    await expect(decode(png.subarray(0, 100))).rejects.toThrow(/the PNG is (cut short|damaged).* \(100 bytes\), /);
  });
});

describe("memory", () => {
  test("ImageDecoder decodes into the same memory, and grows it only", async () => {
    const asked: number[] = [];
    using decoder = ImageDecoder.create({
      allocate: (byteLength) => {
        asked.push(byteLength);
        return allocate("u8", byteLength);
      },
    });
    const large = await decoder.decode(await paintedJpeg(40, 30), "a test");
    const small = await decoder.decode(await sharpOf(paint(10, 10)).png().toBuffer(), "a test");
    expect(small.data.buffer).toBe(large.data.buffer);
    expect(small.data.length).toBe(300);
    await decoder.decode(await paintedJpeg(50, 30), "a test");
    expect(asked).toEqual([3600, 4500]);
  });

  test("ImageDecoder has room to spare for images that become larger by and by, upright and turned", async () => {
    for (const orientation of [1, 6]) {
      using decoder = ImageDecoder.create();
      const buffers = new Set<ArrayBufferLike>();
      for (let width = 100; width < 125; width++) {
        const file = await sharpOf(paint(width, 64)).withMetadata({ orientation }).jpeg().toBuffer();
        const { data } = await decoder.decode(file, "a test");
        expect(data.length).toBe(width * 64 * 3);
        buffers.add(data.buffer);
      }
      // The first has what it needs and no more, as it may be the only one.
      expect([...buffers].map(({ byteLength }) => byteLength)).toEqual([100 * 64 * 3, 101 * 64 * 3 * 1.25]);
    }
  });

  test("ImageDecoder takes one call at a time, and none once closed", async () => {
    const decoder = ImageDecoder.create();
    const jpeg = await paintedJpeg(64, 64);
    const first = decoder.decode(jpeg, "a test");
    await expect(decoder.decode(jpeg, "a test")).rejects.toThrow("one call at a time");
    await first;
    decoder.close();
    await expect(decoder.decode(jpeg, "a test")).rejects.toThrow(ClosedError);
  });

  test("ImageDecoder.close() during a call lets it end", async () => {
    const decoder = ImageDecoder.create();
    const running = decoder.decode(await paintedJpeg(64, 64), "a test");
    decoder.close();
    expect((await running).width).toBe(64);
  });
});
