import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import sharp from "sharp";
import { DecodeStalledError, DecodeTimeoutError, ImageError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { assertLongEnough, DecodeGate } from "../../src/image/decode-limits.ts";
import { firstTiffPage, readTiffBlocks } from "../../src/image/exif.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { bareTiff, blurredSvg, flatWebp, manyScans, pagedTiff, stripTiff, tiledTiff } from "../support/hostile.ts";
import { hasTurboJpeg, paint, paintedJpeg, sharpOf, withoutTurboJpeg } from "../support/images.ts";

setDefaultTimeout(120_000);

afterEach(() => setLogSink(undefined));

const HOSTILE: Readonly<Record<string, readonly [file: Buffer, reason: string]>> = {
  "an SVG with a large blur": [blurredSvg(), "it is SVG, and vector images are not asked for\nHint: set vectors"],
  "an SVG behind a comment": [blurredSvg("<!-- a photograph -->"), "it is SVG"],
  "an SVG behind XML and a long comment": [
    blurredSvg(`<?xml version="1.0"?><!-- ${"-x".repeat(999)} -->`),
    "it is SVG",
  ],
  "a JPEG of 6.9 kB with 70 scans": [manyScans(8000, 70), "got 8000x8000 pixels in 70 scans"],
  "a JPEG of 9.7 kB with 300 scans": [manyScans(4000, 300), "got 4000x4000 pixels in 300 scans"],
  "a WebP of 34 bytes": [flatWebp(16383, 16383), "got 16383x16383 pixels\nHint: save it as JPEG or PNG"],
  "a TIFF of one large strip": [stripTiff(16384, 16384), "a strip or tile of 16384x16384 pixels, 1 bytes each"],
  "a TIFF of one large tile": [tiledTiff(32768), "a strip or tile of 32768x32768 pixels, 1 bytes each"],
};

for (const [name, [file, reason]] of Object.entries(HOSTILE)) {
  test(`decodeImage() refuses ${name} within a second`, async () => {
    for (const through of [<T>(work: () => Promise<T>) => work(), withoutTurboJpeg]) {
      const started = performance.now();
      const memory = process.memoryUsage.rss();
      const error = await through(() => decodeImage(file)).catch((thrown: Error) => thrown);
      expect(error).toBeInstanceOf(ImageError);
      expect((error as Error).message).toContain(reason);
      expect(performance.now() - started).toBeLessThan(1000);
      expect(process.memoryUsage.rss() - memory).toBeLessThan(200e6);
    }
  });
}

test("the small WebP is one: a smaller one is decoded", async () => {
  expect(await decodeImage(flatWebp(700, 500))).toMatchObject({ width: 700, height: 500 });
});

test("decodeImage() renders SVG where vectors are asked for", async () => {
  const svg = Buffer.from('<!-- 1 --><svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>');
  await expect(decodeImage(svg)).rejects.toThrow("it is SVG");
  expect(await decodeImage(svg, { vectors: true })).toMatchObject({ width: 4, height: 3 });
});

test("programs of our own have no loader of libvips but those of what is decoded; labels are drawn", async () => {
  const script = `
    import sharp from "sharp";
    import { decodeImage } from "./src/image/image-file.ts";
    import { drawDetections } from "./src/tasks/detect/draw.ts";
    import { imageOf } from "./src/image/image.ts";
    import { confineSharp } from "./src/image/sharp.ts";
    confineSharp();
    const said = [];
    const told = (work) => work.then((value) => said.push(value), (error) => said.push(error.message.split("\\n")[0]));
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>');
    const image = imageOf(new Uint8Array(8 * 8 * 3), { width: 8, height: 8 });
    for (const format of ["jpeg", "png", "webp", "gif", "avif", "tiff"]) {
      const file = await sharp(image.data, { raw: { width: 8, height: 8, channels: 3 } }).toFormat(format).toBuffer();
      said.push((await decodeImage(file)).width);
    }
    await told(decodeImage(svg));
    await told(sharp(svg).metadata().then(({ format }) => format));
    await told(decodeImage(svg, { vectors: true }).then(({ width }) => width));
    await told(drawDetections(image, [{ label: "人", classId: 0, score: 1, box: [1, 1, 6, 6] }]).then(({ width }) => width));
    await told(sharp(svg).metadata().then(({ format }) => format));
    console.log(JSON.stringify(said));
  `;
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: join(import.meta.dir, "../.."), stderr: "inherit" });
  expect(JSON.parse(await new Response(child.stdout).text())).toEqual([
    ...[8, 8, 8, 8, 8, 8],
    "Cannot decode bytes: it is SVG, and vector images are not asked for",
    "Input buffer contains unsupported image format",
    ...[4, 8],
    "Input buffer contains unsupported image format",
  ]);
});

test("flat images of real files pass: 100 million pixels as JPEG, PNG and TIFF, 4K as WebP", async () => {
  const flat = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: "white" }, limitInputPixels: false });
  // The sizes of the files are what is looked at: a strip of a hundredth of the pixels, as short by as much.
  for (const format of ["jpeg", "png", "tiff"] as const) {
    const { length } = await flat(10_000, 100).toFormat(format).toBuffer();
    expect([format, 1e8 < 2 ** 24 + length * 100 * 4096]).toEqual([format, true]);
  }
  assertLongEnough("a test", flatWebp(4096, 4096).length, 4096 * 4096, "4096x4096 pixels");
});

test("decodeImage() takes progressive JPEGs of all scans that encoders write, flat ones as well", async () => {
  const flat = sharp({ create: { width: 1200, height: 800, channels: 3, background: "white" } });
  expect(await decodeImage(await flat.jpeg({ progressive: true, mozjpeg: true }).toBuffer())).toMatchObject({
    width: 1200,
  });
  expect(await decodeImage(await paintedJpeg(640, 480, { progressive: true }))).toMatchObject({ width: 640 });
});

test("decodeImage() measures scans by maxPixels as well", async () => {
  const jpeg = manyScans(64, 60);
  await expect(decodeImage(jpeg, { maxPixels: 4096 })).rejects.toThrow(
    "its scans must have at most 65536 pixels together, got 60 of 64x64",
  );
});

test("readTiffBlocks() reads strips and tiles of both byte orders and forms, and takes any bytes", async () => {
  const strips = await sharpOf(paint(640, 300)).tiff({ compression: "lzw" }).toBuffer();
  expect(readTiffBlocks(strips)).toEqual([{ width: 640, height: expect.any(Number), pixelBytes: 3 }]);
  const tiles = await sharpOf(paint(640, 300))
    .tiff({ tile: true, tileWidth: 256, tileHeight: 128, compression: "lzw" })
    .toBuffer();
  expect(readTiffBlocks(tiles)).toEqual([{ width: 256, height: 128, pixelBytes: 3 }]);
  const big = await sharpOf(paint(64, 30)).tiff({ bigtiff: true }).toBuffer();
  expect(big.toString("latin1", 0, 3)).toBe("II+");
  expect(readTiffBlocks(big)).toEqual([{ width: 64, height: expect.any(Number), pixelBytes: 3 }]);
  for (let length = 0; length < strips.length; length += 97) readTiffBlocks(strips.subarray(0, length));
  expect(readTiffBlocks(bareTiff([[256, 7]]))).toEqual([{ width: 7, height: 0, pixelBytes: 1 }]);
});

test("decodeImage() takes the first page of a TIFF without counting the others", async () => {
  const started = performance.now();
  expect(await decodeImage(pagedTiff(50_000))).toMatchObject({ width: 4, height: 4 });
  expect(performance.now() - started).toBeLessThan(1000);
  const one = await sharpOf(paint(6, 5)).tiff().toBuffer();
  expect(firstTiffPage(one)).toBe(one);
  expect(firstTiffPage(pagedTiff(3)).length).toBe(pagedTiff(3).length);
  for (let length = 0; length < 200; length++) firstTiffPage(pagedTiff(3).subarray(0, length));
});

/** A promise, and what settles it. */
function pending(): { readonly promise: Promise<string>; readonly resolve: (value: string) => void } {
  const { promise, resolve } = Promise.withResolvers<string>();
  return { promise, resolve };
}

describe("DecodeGate", () => {
  const none = (): void => {};

  test("lets as many run as there are places, the others in order", async () => {
    const gate = new DecodeGate(2);
    const works = [pending(), pending(), pending()];
    const begun: number[] = [];
    const runs = works.map((work, index) => {
      const begin = (): Promise<string> => {
        begun.push(index);
        return work.promise;
      };
      return gate.run(begin, "a test", 1000, none);
    });
    expect([begun, gate.load]).toEqual([[0, 1], { running: 2, waiting: 1, overdue: 0, places: 2 }]);
    works[1]!.resolve("second");
    expect(await runs[1]).toBe("second");
    expect(begun).toEqual([0, 1, 2]);
    works[0]!.resolve("first");
    works[2]!.resolve("third");
    expect(await Promise.all(runs)).toEqual(["first", "second", "third"]);
    expect(gate.load).toEqual({ running: 0, waiting: 0, overdue: 0, places: 2 });
  });

  test("tells who waits for work that takes too long, counts it, and goes on once it has ended", async () => {
    const gate = new DecodeGate(1);
    const hung = pending();
    let ended: Promise<unknown> | undefined;
    const run = gate.run(
      () => hung.promise,
      "a.jpg",
      20,
      (end) => (ended = end),
    );
    const waiting = gate.run(() => Promise.resolve("late"), "b.jpg", 20, none).catch((error: Error) => error);
    await expect(run).rejects.toThrow(
      'Cannot decode "a.jpg": decoding must end within 20 ms, and has not\nHint: raise',
    );
    expect(gate.load).toEqual({ running: 1, waiting: 0, overdue: 1, places: 1 });
    // Counted from when it began.
    expect(gate.stalledMs).toBeGreaterThanOrEqual(20);
    expect(await waiting).toBeInstanceOf(DecodeStalledError);
    await expect(gate.run(() => Promise.resolve("no"), "c.jpg", 20, none)).rejects.toThrow("all 1 places are held");
    hung.resolve("at last");
    expect(await ended).toBe("at last");
    expect(await gate.run(() => Promise.resolve("again"), "d.jpg", 20, none)).toBe("again");
    expect(gate.stalledMs).toBe(0);
    expect(gate.load).toEqual({ running: 0, waiting: 0, overdue: 0, places: 1 });
  });
});

test("decodeImage() gives up what takes longer than decodeTimeoutMs, and goes on", async () => {
  const jpeg = await paintedJpeg(2000, 2000);
  await expect(decodeImage(jpeg, { decodeTimeoutMs: 1 })).rejects.toThrow(DecodeTimeoutError);
  expect(await decodeImage(jpeg)).toMatchObject({ width: 2000 });
});

for (const orientation of [1, 6]) {
  test.skipIf(!hasTurboJpeg)(
    `ImageDecoder leaves memory to a decode that is overdue, orientation ${orientation}`,
    async () => {
      const given: Uint8Array[] = [];
      const abandoned: Promise<unknown>[] = [];
      using decoder = ImageDecoder.create({
        allocate: (byteLength) => {
          given.push(new Uint8Array(new ArrayBuffer(byteLength)));
          return given.at(-1)!;
        },
        abandon: (ended) => abandoned.push(ended),
      });
      const slow = await sharpOf(paint(2000, 2000)).withMetadata({ orientation }).jpeg().toBuffer();
      await expect(decoder.decode(slow, "slow.jpg", { decodeTimeoutMs: 1 })).rejects.toThrow(DecodeTimeoutError);
      const image = await decoder.decode(await paintedJpeg(640, 480), "good.jpg");
      const copy = Buffer.from(image.data);
      expect(abandoned).toHaveLength(1);
      await abandoned[0];
      expect([given.length, image.data.buffer === given[1]?.buffer]).toEqual([2, true]);
      expect(Buffer.compare(copy, image.data)).toBe(0);
    },
  );
}

test("of decoded images libvips keeps nothing, and its limits stay as they were", async () => {
  const limits = { memory: 40, files: 10, items: 90 };
  const former = sharp.cache();
  sharp.cache(limits);
  try {
    const square = sharp({ create: { width: 64, height: 64, channels: 4, background: "red" } });
    for (const format of ["gif", "avif", "webp", "png"] as const) {
      await decodeImage(await square.clone().toFormat(format).toBuffer());
      const { memory, files, items } = sharp.cache();
      expect({ format, kept: items.current, memory: memory.max, files: files.max, items: items.max }).toEqual({
        format,
        kept: 0,
        ...limits,
      });
    }
  } finally {
    const { memory, files, items } = former;
    sharp.cache({ memory: memory.max, files: files.max, items: items.max });
  }
});
