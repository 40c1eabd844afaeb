import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ImageModel } from "../../src/api/image-model.ts";
import type { ImageModelOptions } from "../../src/api/image-model-config.ts";
import type { Image } from "../../src/image/image.ts";
import { decodeImage } from "../../src/image/image-file.ts";
import { isMissing, sharedPath } from "../support/shared.ts";

/** An image as golden.py keeps it. */
interface Summary {
  readonly width: number;
  readonly height: number;
  /** Mean levels of blocks of pixels, row by row, R, G, B. */
  readonly blocks: readonly number[];
  /** x, y, R, G, B. */
  readonly points: readonly (readonly [number, number, number, number, number])[];
}

const golden: { readonly block: number; readonly superResolution: Summary; readonly lowLight: Summary } = JSON.parse(
  readFileSync(join(import.meta.dir, "golden.json"), "utf8"),
);

const MODELS = { superResolution: "i2i_super_resolution_3x_y.onnx", lowLight: "i2i_tbefn_lowlight_480x640.onnx" };
const PHOTO = ["images", "photos", "darknet_dog.jpg"] as const;
const isAbsent = isMissing(...PHOTO) || Object.values(MODELS).some((name) => isMissing("models", name));

function photo(): Promise<Image> {
  return decodeImage(sharedPath(...PHOTO));
}

function load(name: keyof typeof MODELS, options: ImageModelOptions = {}): Promise<ImageModel> {
  return ImageModel.load(sharedPath("models", MODELS[name]), { backend: "cpu", ...options });
}

/** The largest difference of block means, and of single levels. */
function differences(image: Image, want: Summary): { readonly blocks: number; readonly points: number } {
  const { width, data } = image;
  const sums = new Float64Array(want.blocks.length);
  const across = width / golden.block;
  for (let at = 0; at < data.length; at++) {
    const pixel = Math.floor(at / 3);
    const row = Math.floor(pixel / width / golden.block);
    sums[(row * across + Math.floor((pixel % width) / golden.block)) * 3 + (at % 3)]! += data[at]!;
  }
  const area = golden.block ** 2;
  const blocks = Math.max(...want.blocks.map((mean, at) => Math.abs(sums[at]! / area - mean)));
  const levels = want.points.flatMap(([x, y, ...rgb]) =>
    rgb.map((level, channel) => Math.abs(data[(y * width + x) * 3 + channel]! - level)),
  );
  return { blocks, points: Math.max(...levels) };
}

test.skipIf(isAbsent)(
  "super-resolution in 12 tiles is NumPy's of the whole photograph, as ../shared is there",
  async () => {
    await using model = await load("superResolution");
    expect(model.recognition).toMatchObject({ scale: 3, fixedWidth: 224, fixedHeight: 224 });
    const { image, tiles } = await model.transform(await photo());
    expect([image.width, image.height, tiles]).toEqual([2304, 1728, 12]);
    const found = differences(image, golden.superResolution);
    // NumPy does not round Cb and Cr either, nor the weights; JPEG decoders differ by a level here and there.
    expect(found.blocks).toBeLessThan(0.1);
    expect(found.points).toBeLessThanOrEqual(2);
  },
  60_000,
);

test.skipIf(isAbsent)(
  "low light in 4 tiles is NumPy's of the whole photograph, as ../shared is there",
  async () => {
    await using model = await load("lowLight");
    expect(model.recognition).toMatchObject({ scale: 1, fixedWidth: 640, fixedHeight: 480, fixedBatch: 1 });
    const source = await photo();
    const dark = { ...source, data: source.data.map((level) => level >> 2) };
    const { image, tiles } = await model.transform(dark);
    expect(tiles).toBe(4);
    const found = differences(image, golden.lowLight);
    expect(found.blocks).toBeLessThan(0.1);
    expect(found.points).toBeLessThanOrEqual(2);
  },
  60_000,
);

test.skipIf(isAbsent)(
  "no seam is left between tiles that share twice the receptive radius, as ../shared is there",
  async () => {
    const source = await photo();
    const whole: Image = { ...source, width: 300, height: 220 };
    await using narrow = await load("superResolution", { overlap: 10, batch: 2 });
    await using wide = await load("superResolution", { overlap: 96 });
    const [a, b] = [await narrow.transform(whole), await wide.transform(whole)];
    expect(a.tiles).toBe(2);
    expect(b.tiles).toBe(2);
    const differing = a.image.data.reduce((count, level, at) => count + Number(level !== b.image.data[at]), 0);
    expect(differing / a.image.data.length).toBeLessThan(1e-5);
  },
  60_000,
);

test.skipIf(isAbsent)(
  "1x1, 2x3 and 225x1 images become three times as large, as ../shared is there",
  async () => {
    await using model = await load("superResolution");
    const source = await photo();
    for (const [width, height] of [
      [1, 1],
      [2, 3],
      [225, 1],
    ] as const) {
      const { image } = await model.transform({ ...source, width, height });
      expect(image).toMatchObject({ width: width * 3, height: height * 3, pitchBytes: width * 9 });
    }
  },
  60_000,
);
