import { expect, test } from "bun:test";
import sharp from "sharp";
import { VideoError } from "../../src/core/errors.ts";
import { type PictureFraming, readPictures } from "../../src/video/picture-stream.ts";

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

function withLengths(pictures: readonly Uint8Array[]): Buffer {
  const parts = pictures.flatMap((picture) => {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(picture.length);
    return [head, picture];
  });
  return Buffer.concat(parts);
}

for (const framing of ["jpeg", "length"] as const) {
  for (const chunk of [1, 7, 1000, 1e6]) {
    test(`readPictures() with ${framing} framing takes pictures apart, in chunks of ${chunk}`, async () => {
      const pictures = await jpegs();
      const bytes = framing === "jpeg" ? Buffer.concat(pictures) : withLengths(pictures);
      const found = await Array.fromAsync(readPictures(inChunks(bytes, chunk), { framing }));
      expect(found.map((one) => Buffer.from(one).toString("base64"))).toEqual(
        pictures.map((one) => one.toString("base64")),
      );
    });
  }
}

test("readPictures() says at which picture a stream is broken, after those before it", async () => {
  const [first, second] = await jpegs();
  const cases: readonly (readonly [PictureFraming, Uint8Array, string])[] = [
    [
      "jpeg",
      Buffer.concat([first!, Buffer.from("no picture")]),
      "picture 1 from standard input as a JPEG begins with ff d8: found 6e6f2070",
    ],
    [
      "jpeg",
      Buffer.concat([first!, second!.subarray(0, 100)]),
      "picture 1 from standard input as the stream ends within it, after 100 bytes",
    ],
    [
      "length",
      Buffer.concat([withLengths([first!]), Buffer.from([0, 0, 0, 0])]),
      "as its length must be from 1 to 268435456: found 0",
    ],
    ["length", Buffer.concat([withLengths([first!]), Buffer.from([255, 255, 255, 255, 1])]), "found 4294967295"],
    ["length", withLengths([first!, second!]).subarray(0, -1), "as the stream ends within it"],
    ["length", Buffer.concat([withLengths([first!]), Buffer.from([9])]), "as the stream ends within it, after 1 bytes"],
  ];
  for (const [framing, bytes, text] of cases) {
    const found: Uint8Array[] = [];
    const read = async (): Promise<void> => {
      for await (const picture of readPictures(inChunks(bytes, 64), { framing })) found.push(picture);
    };
    const error = (await read().catch((reason: unknown) => reason)) as Error;
    expect(error).toBeInstanceOf(VideoError);
    expect(error.message).toContain(text);
    expect(found.length).toBe(1);
  }
  expect(await Array.fromAsync(readPictures(inChunks(new Uint8Array(0), 1), { framing: "jpeg" }))).toEqual([]);
});
