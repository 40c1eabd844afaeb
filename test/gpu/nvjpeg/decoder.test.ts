import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import sharp from "sharp";
import { ClosedError, ImageError } from "../../../src/core/errors.ts";
import { ledger } from "../../../src/core/resource.ts";
import { ImageDecoder } from "../../../src/image/image-decoder.ts";
import { JpegSurface, NvJpegDecoder } from "../../../src/nvjpeg/nvjpeg-decoder.ts";
import { chance } from "../../support/chance.ts";
import { Gpu, leastLost, SLOW_TEST_MS, times } from "../../support/gpu.ts";
import { paint, paintedJpeg, sharpOf, withExtraneousBytes, withHole, withOrientation } from "../../support/images.ts";
import { JPEG_FIXTURES, jpegFixture, withFrame } from "../../support/jpegs.ts";
import { differenceFromCpu, isNvJpegMissing, JpegRig } from "../../support/nvjpeg.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

setDefaultTimeout(SLOW_TEST_MS);

/** What the CPU's decoder says against a file. */
async function refusalOfCpu(bytes: Uint8Array): Promise<string> {
  using decoder = ImageDecoder.create();
  return decoder.decode(bytes, "image 0").then(
    () => "",
    (error: Error) => error.message,
  );
}

/** Waves and noise. */
async function noisy(width: number, height: number, seed: number): Promise<Buffer> {
  const random = chance(seed);
  const data = Uint8Array.from(
    { length: width * height * 3 },
    (_, at) => 128 + 40 * Math.sin(at / 900) + random() * 40,
  );
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer();
}

describe.skipIf(isNvJpegMissing)("NvJpegDecoder", () => {
  for (const backend of ["auto", "hybrid"] as const) {
    test(`${backend}: images of every size and sampling are the CPU's, or a level off`, async () => {
      using rig = await JpegRig.create({ backend });
      const files = JPEG_FIXTURES.map((name) => jpegFixture(name));
      for (const [width, height] of [
        [1, 1],
        [2, 3],
        [17, 33],
        [640, 3],
        [3, 640],
        [333, 250],
        [1920, 1080],
      ] as const) {
        for (const chromaSubsampling of ["4:2:0", "4:4:4"] as const) {
          files.push(await paintedJpeg(width, height, { chromaSubsampling }));
        }
      }
      const images = await Promise.all(files.map((bytes, index) => rig.decode(bytes, index)));
      for (const [index, image] of images.entries()) {
        const { max, mean } = await differenceFromCpu(rig, image, files[index]!);
        const most = rig.decoder.backend === "hardware" ? 1 : 3;
        expect(max, `file ${index}, ${image.width}x${image.height}`).toBeLessThanOrEqual(most);
        expect(mean).toBeLessThan(0.3);
      }
      const { gpu, cpu, failed, refusals } = rig.decoder.counts;
      // 1x1, 2x3 and 3x640 in 4:2:0.
      expect(refusals).toEqual({ sampling: 1, CMYK: 1, arithmetic: 1, narrow: 3 });
      expect({ gpu, cpu, failed }).toEqual({ gpu: files.length - 6, cpu: 6, failed: 0 });
    });
  }

  test.skipIf(isMissing("images/photos"))("real photographs in one batch are the CPU's", async () => {
    using rig = await JpegRig.create();
    const names = readdirSync(sharedPath("images/photos")).filter((name) => name.endsWith(".jpg"));
    const files = names.map((name) => readFileSync(sharedPath("images/photos", name)));
    const images = await Promise.all(files.map((bytes, index) => rig.decode(bytes, index)));
    for (const [index, image] of images.entries()) {
      const { max, mean } = await differenceFromCpu(rig, image, files[index]!);
      expect(max, names[index]).toBeLessThanOrEqual(rig.decoder.backend === "hardware" ? 2 : 3);
      expect(mean, names[index]).toBeLessThan(0.3);
    }
    expect(rig.decoder.counts).toMatchObject({ failed: 0, refusals: {} });
  });

  test("EXIF orientations come out upright, beside others in a batch", async () => {
    using rig = await JpegRig.create();
    const plain = await paintedJpeg(67, 45);
    const files = [1, 2, 3, 4, 5, 6, 7, 8].map((orientation) => withOrientation(plain, orientation));
    const images = await Promise.all(files.map((bytes, index) => rig.decode(bytes, index)));
    for (const [index, image] of images.entries()) {
      expect([image.width, image.height]).toEqual(index < 4 ? [67, 45] : [45, 67]);
      expect((await differenceFromCpu(rig, image, files[index]!)).max).toBeLessThanOrEqual(3);
    }
    expect(rig.decoder.counts.cpu).toBe(0);
  });

  test("what nvJPEG does not do goes to the CPU, and the counts say why", async () => {
    using rig = await JpegRig.create();
    const png = await sharpOf(paint(33, 17)).png().toBuffer();
    const image = await rig.decode(png);
    expect(await differenceFromCpu(rig, image, png)).toEqual({ max: 0, mean: 0 });
    await rig.decode(jpegFixture("cmyk"));
    await rig.decode(withExtraneousBytes(await paintedJpeg(64, 64)));
    const progressive = await paintedJpeg(333, 250, { progressive: true });
    expect((await differenceFromCpu(rig, await rig.decode(progressive), progressive)).max).toBeLessThanOrEqual(3);
    await expect(rig.decode(withFrame(await paintedJpeg(64, 64), { precision: 12, marker: 0xc1 }))).rejects.toThrow(
      ImageError,
    );
    const { gpu, cpu, failed, refusals } = rig.decoder.counts;
    expect({ gpu, cpu, failed }).toEqual({ gpu: 0, cpu: 4, failed: 1 });
    // Bytes that belong to no pixel are for libjpeg to judge.
    expect(refusals).toEqual({ "no JPEG": 1, CMYK: 1, "damaged data": 1, progressive: 1, "12-bit": 1 });
  });

  test("a file that is cut short, damaged or garbage fails alone, in the CPU's words", async () => {
    using rig = await JpegRig.create();
    const whole = await noisy(640, 480, 1);
    const faulty = [
      whole.subarray(0, Math.floor(whole.length * 0.5)),
      withHole(whole),
      Buffer.concat([whole.subarray(0, 20_000), whole.subarray(21_000)]),
      Buffer.from(whole).fill(0, 20_000, 24_096),
      Buffer.from("no image at all"),
      new Uint8Array(),
      whole.subarray(0, 300),
    ];
    for (const bad of faulty) {
      const files: Uint8Array[] = Array.from({ length: 9 }, (_, index) => (index === 4 ? bad : whole));
      const settled = await Promise.allSettled(files.map((bytes, index) => rig.decode(bytes, index)));
      for (const [index, result] of settled.entries()) {
        if (index !== 4) {
          if (result.status === "rejected") throw result.reason;
          expect((await differenceFromCpu(rig, result.value, whole)).max).toBeLessThanOrEqual(3);
          continue;
        }
        if (result.status === "fulfilled") throw new Error(`${bad.length} bytes were decoded`);
        expect(result.reason).toBeInstanceOf(ImageError);
        expect(result.reason.message.replace("image 4", "image 0")).toBe(await refusalOfCpu(bad));
      }
    }
    expect(rig.decoder.counts).toMatchObject({ failed: faulty.length, refusals: { "damaged data": 3, "no JPEG": 2 } });
  });

  test("a file whose header lies is refused alone, whatever the engines make of it", async () => {
    using rig = await JpegRig.create();
    const whole = await noisy(320, 240, 2);
    const random = chance(9);
    for (let round = 0; round < 40; round++) {
      const bad = Buffer.from(whole);
      for (let flip = 0; flip < 3; flip++) bad[20 + Math.floor(random() * 580)] = Math.floor(random() * 256);
      const settled = await Promise.allSettled([whole, bad, whole].map((bytes, index) => rig.decode(bytes, index)));
      for (const index of [0, 2]) {
        const result = settled[index]!;
        if (result.status === "rejected") throw result.reason;
        expect((await differenceFromCpu(rig, result.value, whole)).max).toBeLessThanOrEqual(3);
      }
      if (settled[1]!.status === "rejected") expect(settled[1]!.reason).toBeInstanceOf(ImageError);
    }
  });

  test("an image that ends in one colour is not taken for a damaged one", async () => {
    using rig = await JpegRig.create();
    const random = chance(3);
    const data = Uint8Array.from({ length: 200 * 120 * 3 }, (_, at) => (at < 200 * 60 * 3 ? random() * 256 : 17));
    const barred = await sharp(data, { raw: { width: 200, height: 120, channels: 3 } })
      .jpeg()
      .toBuffer();
    expect((await differenceFromCpu(rig, await rig.decode(barred), barred)).max).toBeLessThanOrEqual(3);
    expect(rig.decoder.counts).toMatchObject({ cpu: 0, refusals: {} });
  });

  test("check: false trusts the data, whatever the engines leave where it ends", async () => {
    using rig = await JpegRig.create({ check: false, batch: 2, lanes: 1 });
    const whole = await noisy(640, 480, 1);
    const files = [whole, withHole(whole), whole, whole, whole];
    const images = await Promise.all(files.map((bytes, index) => rig.decode(bytes, index)));
    expect(images.map(({ width }) => width)).toEqual([640, 640, 640, 640, 640]);
    expect(rig.decoder.counts).toEqual({ gpu: 5, cpu: 0, failed: 0, refusals: {} });
    expect((await differenceFromCpu(rig, images[4]!, whole)).max).toBeLessThanOrEqual(3);
  });

  test("images over the limit are refused before any memory is taken", async () => {
    using rig = await JpegRig.create();
    const bytes = await paintedJpeg(100, 50);
    const refused = rig.decoder.decode(bytes, rig.surface(0), { maxPixels: 4999 });
    await expect(refused).rejects.toThrow("it must have at most 4999 pixels, got 5000 (100x50)");
  });

  test("500 batches of mixed sizes leave memory as it was", async () => {
    using rig = await JpegRig.create();
    const files = await Promise.all([
      ...[64, 333, 640, 1000].map((width) => noisy(width, 200, width)),
      paintedJpeg(800, 600, { progressive: true }),
      paintedJpeg(31, 77),
      jpegFixture("cmyk"),
      withOrientation(await paintedJpeg(300, 200), 6),
    ]);
    const round = async (): Promise<void> => {
      await Promise.all(files.map((bytes, index) => rig.decode(bytes, index)));
    };
    for (let warm = 0; warm < times(60); warm++) await round();
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    const lost = await leastLost(rig.gpu.device, 2 ** 22, async () => {
      for (let batch = 0; batch < times(500); batch++) await round();
      Bun.gc(true);
    });
    expect(lost).toBeLessThanOrEqual(2 ** 22);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
    expect(rig.decoder.counts.failed).toBe(0);
  });

  test("close() while images are under way lets them end, and refuses the next", async () => {
    using gpu = new Gpu();
    const decoder = await NvJpegDecoder.create(gpu.device);
    const surfaces = Array.from({ length: 20 }, () => JpegSurface.create(gpu.device));
    const bytes = await noisy(640, 480, 4);
    const images = surfaces.map((surface) => decoder.decode(bytes, surface));
    expect(() => surfaces[0]!.close()).toThrow("an image is being decoded into it");
    await expect(decoder.decode(bytes, surfaces[0]!)).rejects.toThrow("takes one image at a time");
    decoder.close();
    await expect(decoder.decode(bytes, surfaces[0]!)).rejects.toThrow(ClosedError);
    expect(await Promise.all(images.map(async (image) => (await image).width))).toEqual(Array(20).fill(640));
    for (const surface of surfaces) surface.close();
    expect(ledger.labels().filter((label) => /Jpeg/.test(label))).toEqual([]);
  });
});
