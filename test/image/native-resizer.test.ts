import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { createTensor } from "../../src/core/tensor.ts";
import { shim } from "../../src/ffi/shim.ts";
import { SHIM_CONSTANTS } from "../../src/ffi/shim-symbols.ts";
import { FITS, place, placeCentreCrop, placeRectangle, placeTile, type Region } from "../../src/image/geometry.ts";
import {
  byteLengthOf,
  type Image,
  imageOf,
  type PixelFormat,
  type YuvRange,
  type YuvStandard,
} from "../../src/image/image.ts";
import { bestResizeInstructions, type ResizeInstructions } from "../../src/image/preprocess-plan.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing, YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import { chance } from "../support/chance.ts";
import { nv12Pair } from "../support/nv12-images.ts";

const BEST = bestResizeInstructions();

/** Those that this machine has: none without a shim, one more where the processor has vectors. */
const SETS = [...new Set<ResizeInstructions>(BEST === "none" ? [] : ["plain", BEST])];

/** Scale, mean and deviation as models have them, and such that no line gives. */
const RANGES: readonly Pick<Preprocessing, "scale" | "mean" | "std">[] = [
  { scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] },
  { scale: 1, mean: [0, 0, 0], std: [1, 1, 1] },
  { scale: 1 / 255, mean: IMAGENET_MEAN, std: IMAGENET_STD },
  { scale: 1, mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] },
  { scale: 1, mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395] },
  { scale: -0.7, mean: [-300, 3e4, 0], std: [1, 0.9, 0.1] },
];

const YUV_STANDARDS: readonly YuvStandard[] = ["BT.601", "BT.709"];
const YUV_RANGES: readonly YuvRange[] = ["limited", "full"];

type Random = () => number;

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)]!;
}

/** Small ones often: 1, and fewer pixels than a vector has. */
function side(random: Random, limit: number): number {
  return Math.max(1, Math.floor(limit ** random()));
}

/** NV12 has gaps, and ends with its last pixel too. */
function noise(random: Random, width: number, height: number, format: PixelFormat): Image {
  if (format === "NV12") {
    const standard = { yuvStandard: pick(random, YUV_STANDARDS), yuvRange: pick(random, YUV_RANGES) };
    const gaps = { gap: pick(random, [0, 3]), chromaGap: pick(random, [0, 1, 4]), between: pick(random, [0, 5]) };
    const { nv12 } = nv12Pair(width, height, { ...gaps, ...standard });
    return { ...nv12, data: nv12.data.subarray(0, byteLengthOf(nv12)) };
  }
  const pitchBytes = width * (format === "RGBA" ? 4 : 3) + pick(random, [0, 0, 1, 7, 64]);
  const before = pick(random, [0, 3, 16]);
  const pixels = new Uint8Array(before + pitchBytes * height);
  for (let at = 0; at < pixels.length; at++) pixels[at] = random() < 0.6 ? random() * 256 : random() < 0.5 ? 0 : 255;
  // It ends with its last pixel: no gap follows.
  const end = before + pitchBytes * (height - 1) + width * (format === "RGBA" ? 4 : 3);
  return imageOf(pixels.subarray(before, end), { width, height, pitchBytes, format });
}

/** A whole image, a part of it, one that reaches beyond it, a crop of its middle, or a tile. */
function regionIn(random: Random, { width, height }: Image): Region {
  const input = [side(random, 150), side(random, 100)] as const;
  const from = (length: number): number => Math.floor((random() * 1.6 - 0.4) * length);
  const kind = pick(random, ["whole", "whole", "part", "beyond", "crop", "tile"]);
  if (kind === "part") {
    const [x, y] = [Math.floor(random() * width), Math.floor(random() * height)];
    const part = { x, y, width: side(random, width - x), height: side(random, height - y) };
    return placeRectangle([width, height], part, input, pick(random, FITS));
  }
  if (kind === "beyond") {
    const [x, y] = [Math.min(from(width), width - 1), Math.min(from(height), height - 1)];
    const least = [Math.max(1, 1 - x), Math.max(1, 1 - y)] as const;
    const part = { x, y, width: least[0] + side(random, width), height: least[1] + side(random, height) };
    return placeRectangle([width, height], part, input, pick(random, FITS));
  }
  if (kind === "crop") return placeCentreCrop([width, height], side(random, 90), input);
  if (kind === "tile") {
    const [x, y] = [Math.min(Math.max(from(width), 1 - input[0]), width - 1), Math.floor(random() * height)];
    return placeTile([width, height], x, y, input, pick(random, ["replicate", "reflect"]));
  }
  return place(width, height, ...input, pick(random, FITS));
}

/** The bytes of a batch of two whose second row was written. */
function written(preprocessor: Preprocessor, image: Image, region: Region, { dtype, layout }: Preprocessing) {
  const { inputWidth, inputHeight } = region;
  const shape = layout === "NCHW" ? [3, 3, inputHeight, inputWidth] : [3, inputHeight, inputWidth, 3];
  const input: InputTensor = createTensor(dtype, shape);
  input.data.fill(77);
  preprocessor.run(image, input, 1, region);
  return Buffer.from(input.data.buffer);
}

test("the shim's pre-processing equals the reference to the bit, by each set of instructions, and writes nothing else", () => {
  const random = chance(20261130);
  const faults: string[] = [];
  for (let round = 0; round < 900; round++) {
    const image = noise(
      random,
      side(random, 300),
      side(random, 200),
      pick<PixelFormat>(random, ["RGB", "BGR", "RGBA", "NV12"]),
    );
    const preprocessing: Preprocessing = {
      ...YOLO_PREPROCESSING,
      ...pick(random, RANGES),
      colour: pick(random, ["RGB", "BGR"]),
      dtype: pick(random, ["f32", "f16", "u8"]),
      layout: pick(random, ["NCHW", "NCHW", "NHWC"]),
    };
    const region = regionIn(random, image);
    const wanted = written(new Preprocessor(preprocessing, "none"), image, region, preprocessing);
    for (const set of SETS) {
      if (written(new Preprocessor(preprocessing, set), image, region, preprocessing).equals(wanted)) continue;
      const { format, width, height } = image;
      const { dtype, layout, colour, scale } = preprocessing;
      faults.push(
        `${round} ${set}: ${format} ${width}x${height}, ${dtype} ${layout} ${colour} ${scale}, ${JSON.stringify(region)}`,
      );
    }
  }
  expect(faults).toEqual([]);
}, 60_000);

test("sizes of cameras and screens, and one plan for many images", () => {
  const random = chance(7);
  for (const [width, height] of [
    [1280, 72],
    [1366, 77],
    [1920, 108],
    [3840, 96],
  ] as const) {
    const sets = (["none", ...SETS] as const).map((set) => new Preprocessor(YOLO_PREPROCESSING, set));
    for (const format of ["RGB", "BGR", "NV12"] as const) {
      const image = noise(random, width, height, format);
      const [wanted, ...found] = sets.map((one) => written(one, image, one.place(image, 640, 640), YOLO_PREPROCESSING));
      for (const bytes of found) expect(bytes.equals(wanted!), `${width}x${height} ${format}`).toBe(true);
    }
  }
});

test("an image with too few pixels is refused before any is read", () => {
  const image = { width: 8, height: 8, pitchBytes: 24, format: "RGB", data: new Uint8Array(8 * 24 - 1) } as const;
  const region = place(8, 8, 8, 8, "stretch");
  const input = createTensor("f32", [1, 3, 8, 8]);
  for (const set of SETS) {
    const preprocessor = new Preprocessor(YOLO_PREPROCESSING, set);
    expect(() => preprocessor.run(image, input, 0, region)).toThrow("it must have 192 bytes of pixels, got 191");
    expect(() => preprocessor.run(image, input, 0, region)).toThrow(ShapeError);
  }
});

test.skipIf(BEST === "none")("bt_resize() refuses instructions that the processor lacks", () => {
  const native = shim();
  const { BT_BAD_CALL, BT_RESIZE_AVX2, BT_RESIZE_NEON } = SHIM_CONSTANTS;
  const absent = process.arch === "arm64" ? BT_RESIZE_AVX2 : BT_RESIZE_NEON;
  const some = new Float64Array(new ArrayBuffer(8192));
  expect(native.bt_resize(absent, some, some, 8192, 0, some, some, some, some, some, 0, some)).toBe(BT_BAD_CALL);
  expect(native.bt_resize(0, null, some, 8192, 0, some, some, some, some, some, 0, some)).toBe(BT_BAD_CALL);
  expect(native.bt_resize_scratch(0, 3)).toBe(BT_BAD_CALL);
});
