import { expect, test } from "bun:test";
import { ImageError } from "../../src/core/errors.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { hasTurboJpeg, paint, sharpOf, withOrientation, withoutTurboJpeg } from "../support/images.ts";

const picture = paint(67, 41);
const jpeg = await sharpOf(picture).jpeg().toBuffer();
const FILES: Readonly<Record<string, Buffer>> = {
  JPEG: withOrientation(jpeg, 6),
  "progressive JPEG": await sharpOf(picture).jpeg({ progressive: true, chromaSubsampling: "4:4:4" }).toBuffer(),
  PNG: await sharpOf(picture).png().toBuffer(),
  WebP: await sharpOf(picture).webp().toBuffer(),
  GIF: await sharpOf(picture).gif().toBuffer(),
};
const MUTATIONS = 60;

/** Numbers in [0, 1) that are the same in every run. @see Mulberry32, a 32-bit generator with a Weyl sequence */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A file cut anywhere, with bytes of its header or of the whole changed, or with a piece taken out or doubled. */
function mutate(file: Buffer, random: () => number): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit);
  const kind = below(5);
  if (kind === 0) return Buffer.from(file.subarray(0, below(file.length)));
  const at = below(file.length);
  const length = below(64);
  if (kind === 1) return Buffer.concat([file.subarray(0, at), file.subarray(at + length)]);
  if (kind === 2) return Buffer.concat([file.subarray(0, at + length), file.subarray(at)]);
  const changed = Buffer.from(file);
  const range = kind === 3 ? Math.min(file.length, 200) : file.length;
  for (let count = 1 + below(8); count > 0; count--) changed[below(range)] = below(256);
  return changed;
}

async function fuzz(file: Buffer, seed: number): Promise<{ images: number; errors: number }> {
  const random = randomNumbers(seed);
  using decoder = ImageDecoder.create();
  const ends = { images: 0, errors: 0 };
  for (let round = 0; round < MUTATIONS; round++) {
    const bytes = mutate(file, random);
    try {
      // The limit keeps a header that claims an enormous image from costing seconds.
      const image = await decoder.decode(bytes, "a mutation", { maxPixels: 1e6 });
      expect(image.data.length).toBe(image.width * image.height * 3);
      ends.images += 1;
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      expect(error.message).toStartWith("Cannot decode a mutation: ");
      expect(error.message).toContain("\nHint: ");
      ends.errors += 1;
    }
  }
  return ends;
}

for (const [name, file] of Object.entries(FILES)) {
  test(`ImageDecoder ends with an image or an ImageError for ${MUTATIONS} mutations of a ${name}`, async () => {
    const { images, errors } = await fuzz(file, 20261121);
    expect(images + errors).toBe(MUTATIONS);
    expect(errors).toBeGreaterThan(0);
  });
  if (!name.includes("JPEG") || !hasTurboJpeg) continue;
  test(`ImageDecoder does so for a ${name} through sharp`, async () => {
    const { images, errors } = await withoutTurboJpeg(() => fuzz(file, 20261122));
    expect(images + errors).toBe(MUTATIONS);
  });
}
