import { expect, test } from "bun:test";
import sharp from "sharp";
import { VideoError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { type ImageFraming, readImages } from "../../src/video/image-stream.ts";

/** The bytes in chunks of a length. */
async function* inChunks(bytes: Uint8Array, byteLength: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += byteLength) yield bytes.subarray(at, at + byteLength);
}

async function jpegs(): Promise<Buffer[]> {
  const made = [
    [1, 1],
    [33, 17],
    [200, 150],
  ].map(([width, height]) =>
    sharp({ create: { width: width!, height: height!, channels: 3, background: "tan" } })
      .jpeg()
      .toBuffer(),
  );
  const noise = sharp(crypto.getRandomValues(new Uint8Array(120 * 90 * 3)), {
    raw: { width: 120, height: 90, channels: 3 },
  });
  // A comment that looks like the end of the file, as a thumbnail would.
  const [first, ...others] = await Promise.all([...made, noise.jpeg({ progressive: true, quality: 95 }).toBuffer()]);
  const trap = Buffer.from([0xff, 0xfe, 0, 6, 0xff, 0xd9, 0xff, 0xd8]);
  return [Buffer.concat([first!.subarray(0, 2), trap, first!.subarray(2)]), ...others];
}

function withLengths(images: readonly Uint8Array[]): Buffer {
  const parts = images.flatMap((image) => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(image.length);
    return [head, image];
  });
  return Buffer.concat(parts);
}

for (const framing of ["jpeg", "length"] as const) {
  for (const chunk of [1, 7, 1000, 1e6]) {
    test(`readImages() with ${framing} framing takes images apart, in chunks of ${chunk}`, async () => {
      const images = await jpegs();
      const bytes = framing === "jpeg" ? Buffer.concat(images) : withLengths(images);
      const found = await Array.fromAsync(readImages(inChunks(bytes, chunk), { framing }));
      expect(found.map((one) => Buffer.from(one).toString("base64"))).toEqual(
        images.map((one) => one.toString("base64")),
      );
    });
  }
}

test("readImages() says at which image a stream is broken, after those before it", async () => {
  const [first, second] = await jpegs();
  const cases: readonly (readonly [ImageFraming, Uint8Array, string])[] = [
    [
      "jpeg",
      Buffer.concat([first!, second!.subarray(0, 100)]),
      "image 1 from standard input: the stream ends within it, after 100 bytes",
    ],
    [
      "length",
      Buffer.concat([withLengths([first!]), Buffer.from([0, 0, 0, 0])]),
      "its length must be from 1 to 268435456, got 0",
    ],
    ["length", Buffer.concat([withLengths([first!]), Buffer.from([255, 255, 255, 255, 1])]), "got 4294967295"],
    ["length", withLengths([first!, second!]).subarray(0, -1), "the stream ends within it"],
    ["length", Buffer.concat([withLengths([first!]), Buffer.from([9])]), "the stream ends within it, after 1 bytes"],
  ];
  for (const [framing, bytes, text] of cases) {
    const found: Uint8Array[] = [];
    const read = async (): Promise<void> => {
      for await (const image of readImages(inChunks(bytes, 64), { framing })) found.push(image);
    };
    const error = (await read().catch((reason: unknown) => reason)) as Error;
    expect(error).toBeInstanceOf(VideoError);
    expect(error.message).toContain(text);
    expect(found.length).toBe(1);
  }
  expect(await Array.fromAsync(readImages(inChunks(new Uint8Array(0), 1), { framing: "jpeg" }))).toEqual([]);
});

/** Read from chunks of a length, with what the log was told. */
async function readLogged(
  parts: readonly Uint8Array[],
  chunk: number,
): Promise<{ readonly found: Buffer[]; readonly warnings: string[] }> {
  const warnings: string[] = [];
  setLogSink((level, text) => level === "warn" && warnings.push(text));
  try {
    const bytes = Buffer.concat(parts);
    const found = await Array.fromAsync(readImages(inChunks(bytes, chunk), { framing: "jpeg" }));
    return { found: found.map((one) => Buffer.from(one)), warnings };
  } finally {
    setLogSink(undefined);
  }
}

for (const chunk of [1, 3, 1000, 1e6]) {
  test(`readImages() begins an image at each start marker, in chunks of ${chunk}`, async () => {
    const [, b, c, d] = await jpegs();
    const endless = d!.subarray(0, -2);
    const half = d!.subarray(0, d!.length / 2);
    // Cut within the segment of a table.
    const head = b!.subarray(0, 60);
    for (const images of [
      [b!, endless, c!, d!],
      [b!, half, c!, d!],
      [c!, head, b!, d!],
      [c!, b!, endless],
    ]) {
      const { found, warnings } = await readLogged(images, chunk);
      expect(found).toEqual(images.map((one) => Buffer.from(one)));
      expect(warnings).toEqual([]);
    }
  });

  test(`readImages() skips what lies between images, and counts it, in chunks of ${chunk}`, async () => {
    const [, b, c] = await jpegs();
    for (const [gap, skipped] of [
      [Buffer.alloc(7), 7],
      [Buffer.from("\r\n"), 2],
      [Buffer.from([0xff, 0xd9]), 2],
      [Buffer.from("--frame\r\nContent-Type: image/jpeg\r\n\r\n"), 37],
    ] as const) {
      const { found, warnings } = await readLogged([gap, b!, gap, c!, gap], chunk);
      expect(found).toEqual([b!, c!]);
      expect(warnings.length).toBe(2);
      expect(warnings[0]).toContain(`standard input: skipped ${skipped} bytes before a JPEG`);
      expect(warnings[1]).toBe(`standard input: skipped ${3 * skipped} bytes between JPEGs in all`);
    }
  });
}

/** A file of several images, as phones write them: an index in the first one (CIPA DC-007). */
function mpo(first: Buffer, second: Buffer, isLittle: boolean): Buffer {
  const index = Buffer.alloc(4 + 8 + 2 + 12 + 4 + 32);
  const u16 = (at: number, value: number): unknown =>
    isLittle ? index.writeUInt16LE(value, at) : index.writeUInt16BE(value, at);
  const u32 = (at: number, value: number): unknown =>
    isLittle ? index.writeUInt32LE(value, at) : index.writeUInt32BE(value, at);
  index.write("MPF\0");
  index.write(isLittle ? "II" : "MM", 4);
  u16(6, 42);
  u32(8, 8);
  u16(12, 1);
  u16(14, 0xb002);
  u16(16, 7);
  u32(18, 32);
  u32(22, 26);
  const firstLength = first.length + 4 + index.length;
  u32(34, firstLength);
  u32(50, second.length);
  u32(54, firstLength - 10);
  const segment = Buffer.from([0xff, 0xe2, 0, index.length + 2]);
  return Buffer.concat([first.subarray(0, 2), segment, index, first.subarray(2)]);
}

test("readImages() takes a phone's file of two images for its first one", async () => {
  const [, b, c, d] = await jpegs();
  for (const isLittle of [true, false]) {
    const first = mpo(c!, d!, isLittle);
    for (const chunk of [1, 1e6]) {
      const { found, warnings } = await readLogged([first, d!, b!, first, d!], chunk);
      expect(found).toEqual([first, b!, first]);
      expect(warnings).toEqual([]);
      // Its second image has gone: what follows is another.
      expect((await readLogged([first, b!, d!], chunk)).found).toEqual([first, b!, d!]);
    }
  }
});

test("readImages() refuses a stream without a JPEG", async () => {
  for (const bytes of [Buffer.from("no image"), new Uint8Array(100_000)]) {
    const read = Array.fromAsync(readImages(inChunks(bytes, 4096), { framing: "jpeg" }));
    await expect(read).rejects.toThrow(
      /^Cannot read image 0 from standard input: none of its \d+ bytes begin a JPEG \(ff d8 ff\), and the first are (6e6f2069|00000000)\n/,
    );
  }
});
