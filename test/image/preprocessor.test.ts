import { expect, test } from "bun:test";
import { ArgumentError, ShapeError } from "../../src/core/errors.ts";
import { createTensor } from "../../src/core/tensor.ts";
import { FITS, type Region } from "../../src/image/geometry.ts";
import { bytesPerPixel, type Image, imageOf, type PackedFormat, type PackedImage } from "../../src/image/image.ts";
import { levelValue, type Preprocessing, RESIZES, YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import { chance } from "../support/chance.ts";
import { wavy } from "../support/images.ts";
import { GOLDENS, goldenValues, patternImage } from "./preprocess-goldens.ts";

/** Levels as they are, [1, height, width, 3]. */
const LEVELS: Preprocessing = { ...YOLO_PREPROCESSING, layout: "NHWC", dtype: "u8", scale: 1, pad: [114, 100, 7] };

function inputFor({ dtype, layout }: Preprocessing, width: number, height: number, count = 1): InputTensor {
  return createTensor(dtype, layout === "NCHW" ? [count, 3, height, width] : [count, height, width, 3]);
}

function preprocessed(image: Image, preprocessing: Preprocessing, width: number, height: number): InputTensor {
  const preprocessor = new Preprocessor(preprocessing);
  const input = inputFor(preprocessing, width, height);
  preprocessor.run(image, input, 0, preprocessor.place(image, width, height));
  return input;
}

/** Position in a tensor of one image. */
function element({ layout }: Preprocessing, width: number, height: number, x: number, y: number, c: number): number {
  return layout === "NCHW" ? (c * height + y) * width + x : (y * width + x) * 3 + c;
}

/** The level in double precision and without rounding, by the definition of bilinear interpolation. */
function exactLevel(image: PackedImage, placement: Region, x: number, y: number, c: number): number {
  const position = (at: number, source: number, content: number): number =>
    Math.min(Math.max(((at + 0.5) * source) / content - 0.5, 0), source - 1);
  const sx = position(x - placement.padX, image.width, placement.contentWidth);
  const sy = position(y - placement.padY, image.height, placement.contentHeight);
  const left = Math.floor(sx);
  const top = Math.floor(sy);
  const right = Math.min(left + 1, image.width - 1);
  const bottom = Math.min(top + 1, image.height - 1);
  const at = (px: number, py: number): number =>
    image.data[py * image.pitchBytes + px * bytesPerPixel(image.format) + c]!;
  const upper = at(left, top) + (at(right, top) - at(left, top)) * (sx - left);
  const lower = at(left, bottom) + (at(right, bottom) - at(left, bottom)) * (sx - left);
  return upper + (lower - upper) * (sy - top);
}

function isContent(placement: Region, x: number, y: number): boolean {
  const { padX, padY, contentWidth, contentHeight } = placement;
  return x >= padX && x < padX + contentWidth && y >= padY && y < padY + contentHeight;
}

test("Preprocessor.run() equals OpenCV, and Pillow with antialias, on every pixel", () => {
  const faults: string[] = [];
  const inputs = new Map<string, InputTensor>();
  for (const golden of GOLDENS) {
    const { source, format, gapBytes, preprocessing } = golden;
    const [width, height] = golden.input;
    // Of a whole frame there are several crops.
    const key = JSON.stringify([source, format, gapBytes, golden.input, preprocessing]);
    const input =
      inputs.get(key) ?? preprocessed(patternImage(...source, format, gapBytes), preprocessing, width, height);
    inputs.set(key, input);
    const { data } = input;
    const wanted = goldenValues(golden);
    const [left, top, cropWidth, cropHeight] = golden.crop ?? [0, 0, width, height];
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < cropHeight; y++) {
        for (let x = 0; x < cropWidth; x++) {
          const found = data[element(preprocessing, width, height, left + x, top + y, c)]!;
          const expected = wanted[element(preprocessing, cropWidth, cropHeight, x, y, c)]!;
          if (found === expected) continue;
          const { fit, resize, dtype, layout } = preprocessing;
          faults.push(
            `${source} ${format} ${fit} ${resize} ${dtype} ${layout} at ${x} ${y} ${c}: ${found}, not ${expected}`,
          );
        }
      }
    }
  }
  expect(faults.slice(0, 10)).toEqual([]);
});

test("Preprocessor.run() is near the exact interpolation, over sizes by chance", () => {
  const random = chance(1);
  const side = (limit: number): number => Math.floor(limit ** random()) + (random() < 0.1 ? 1 : 0);
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!;
  let worst = 0;
  let padding = 0;
  for (let round = 0; round < 150; round++) {
    const format = pick<PackedFormat>(["RGB", "BGR", "RGBA"]);
    const colour = pick<Preprocessing["colour"]>(["RGB", "BGR"]);
    const preprocessing = { ...LEVELS, fit: pick(FITS), colour };
    const [width, height] = [side(90), side(90)];
    const image = patternImage(side(200), side(200), format, Math.floor(random() * 9));
    image.data.forEach((_, at) => {
      image.data[at] = random() < 0.5 ? random() * 256 : random() < 0.5 ? 0 : 255;
    });
    const placement = new Preprocessor(preprocessing).place(image, width, height);
    const { data } = preprocessed(image, preprocessing, width, height);
    for (let c = 0; c < 3; c++) {
      const channel = (format === "BGR") === (colour === "BGR") ? c : 2 - c;
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const level = data[(y * width + x) * 3 + c]!;
          if (!isContent(placement, x, y)) padding += Number(level !== preprocessing.pad[c]);
          else worst = Math.max(worst, Math.abs(level - exactLevel(image, placement, x, y, channel)));
        }
      }
    }
  }
  expect(padding).toBe(0);
  // Half a level of rounding, two sums cut to quarters of a level and, on each axis, a weight that is up to 1/4096 off.
  expect(worst).toBeLessThan(0.5 + 2 / 4 + 2 * (255 / 4096));
});

test("Preprocessor.run() gives each dtype and layout the values of the same levels", () => {
  const image = patternImage(37, 23, "RGB", 1);
  const numbers = { scale: 1 / 255, mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] } as const;
  for (const fit of FITS) {
    const levels = preprocessed(image, { ...LEVELS, fit }, 29, 31).data;
    for (const dtype of ["f32", "f16", "u8"] as const) {
      for (const layout of ["NCHW", "NHWC"] as const) {
        const preprocessing: Preprocessing = { ...LEVELS, ...(dtype === "u8" ? {} : numbers), fit, dtype, layout };
        const found = preprocessed(image, preprocessing, 29, 31).data;
        const wanted = found.slice();
        for (let c = 0; c < 3; c++) {
          for (let y = 0; y < 31; y++) {
            for (let x = 0; x < 29; x++) {
              const level = levels[(y * 29 + x) * 3 + c]!;
              wanted[element(preprocessing, 29, 31, x, y, c)] = levelValue(preprocessing, c, level);
            }
          }
        }
        expect(found).toEqual(wanted);
      }
    }
  }
});

test("levelValue() is what NumPy has for level / 255 in f32", () => {
  for (let level = 0; level < 256; level++) {
    expect(levelValue(YOLO_PREPROCESSING, 0, level)).toBe(Math.fround(level / 255));
  }
});

test("levelValue() cuts u8 values to 0–255 and rounds halves to even", () => {
  const halves: Preprocessing = { ...LEVELS, scale: 0.5, mean: [0, 10, -300], std: [1, 1, 1] };
  expect([1, 3, 5].map((level) => levelValue(halves, 0, level))).toEqual([0, 2, 2]);
  expect(levelValue(halves, 1, 4)).toBe(0);
  expect(levelValue(halves, 2, 4)).toBe(255);
});

test("Preprocessor.run() leaves nothing of the image before in a reused tensor, and other rows alone", () => {
  for (const layout of ["NCHW", "NHWC"] as const) {
    for (const dtype of ["f32", "f16", "u8"] as const) {
      const preprocessing: Preprocessing = { ...LEVELS, dtype, layout };
      const preprocessor = new Preprocessor(preprocessing);
      const batch = inputFor(preprocessing, 20, 20, 3);
      batch.data.fill(9);
      for (const [width, height] of [
        [40, 40],
        [10, 30],
        [33, 7],
      ] as const) {
        const image = patternImage(width, height, "RGB", 0);
        preprocessor.run(image, batch, 1, preprocessor.place(image, 20, 20));
        const alone = preprocessed(image, preprocessing, 20, 20);
        expect(batch.data.slice(1200, 2400)).toEqual(alone.data);
      }
      expect(batch.data.subarray(0, 1200).every((value) => value === 9)).toBe(true);
      expect(batch.data.subarray(2400).every((value) => value === 9)).toBe(true);
    }
  }
});

test("Preprocessor.run() leaves padding that lies where it lay, and writes it where it does not", () => {
  for (const layout of ["NCHW", "NHWC"] as const) {
    for (const dtype of ["f32", "f16", "u8"] as const) {
      const preprocessing: Preprocessing = { ...LEVELS, dtype, layout };
      const preprocessor = new Preprocessor(preprocessing);
      const batch = inputFor(preprocessing, 20, 20, 3);
      const row = batch.data.subarray(1200, 2400);
      let padded: Region | undefined;
      // The third has another size and the place of the second.
      for (const [width, height] of [
        [40, 40],
        [33, 7],
        [66, 14],
        [10, 30],
        [10, 30],
        [7, 33],
        // A row or a column more on one side alone: of odd padding the larger part is below and right.
        [20, 6],
        [20, 5],
        [6, 20],
        [5, 20],
        [33, 7],
      ] as const) {
        const image = patternImage(width, height, "RGB", 0);
        const placement = preprocessor.place(image, 20, 20);
        preprocessor.run(image, batch, 1, placement, padded);
        expect(row).toEqual(preprocessed(image, preprocessing, 20, 20).data);
        padded = placement;
      }
      const { data: wanted } = preprocessed(patternImage(66, 14, "RGB", 0), preprocessing, 20, 20);
      row.fill(9);
      preprocessor.run(
        patternImage(66, 14, "RGB", 0),
        batch,
        1,
        preprocessor.place(patternImage(66, 14, "RGB", 0), 20, 20),
        padded,
      );
      const { padY, contentHeight } = padded!;
      for (let c = 0; c < 3; c++) {
        for (let y = 0; y < 20; y++) {
          const at = element(preprocessing, 20, 20, 10, y, c);
          expect(row[at]).toBe(y >= padY && y < padY + contentHeight ? wanted[at]! : 9);
        }
      }
    }
  }
});

test("Preprocessor.run() goes by each image's own size, pitch and format, however many sizes take turns", () => {
  for (const resize of RESIZES) {
    const preprocessing = { ...LEVELS, resize };
    const preprocessor = new Preprocessor(preprocessing);
    const input = inputFor(LEVELS, 16, 16);
    for (let round = 0; round < 3; round++) {
      for (let size = 1; size <= 12; size++) {
        const format = (["RGB", "BGR", "RGBA"] as const)[(size + round) % 3]!;
        const image = patternImage(size * 2, 13 - size, format, round);
        preprocessor.run(image, input, 0, preprocessor.place(image, 16, 16));
        expect(input.data).toEqual(preprocessed(image, preprocessing, 16, 16).data);
      }
    }
  }
});

test("Preprocessor.place() gives a steady stream the same object", () => {
  const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
  const image = patternImage(19, 11, "RGB", 0);
  const placement = preprocessor.place(image, 32, 32);
  preprocessor.run(image, inputFor(YOLO_PREPROCESSING, 32, 32), 0, placement);
  expect(preprocessor.place(image, 32, 32)).toBe(placement);
  expect(preprocessor.place(image, 32, 64)).not.toBe(placement);
  expect(preprocessor.place(patternImage(11, 19, "RGB", 0), 32, 32).contentHeight).toBe(32);
});

test("Preprocessor.run() takes a Buffer and a view into a larger array", () => {
  const { data } = patternImage(6, 5, "RGB", 0);
  const inside = new Uint8Array(200);
  inside.set(data, 50);
  const wanted = preprocessed(imageOf(data, { width: 6, height: 5 }), LEVELS, 8, 8).data;
  for (const bytes of [Buffer.from(data), inside.subarray(50, 50 + data.length)]) {
    expect(preprocessed(imageOf(bytes, { width: 6, height: 5 }), LEVELS, 8, 8).data).toEqual(wanted);
  }
});

test("Preprocessor.run() refuses a tensor of another shape or dtype, and an image of another size", () => {
  const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
  const image = patternImage(8, 8, "RGB", 0);
  const placement = preprocessor.place(image, 32, 64);
  const run = (input: InputTensor, index = 0, picture = image): (() => void) => {
    return () => preprocessor.run(picture, input, index, placement);
  };
  expect(run(createTensor("f32", [1, 3, 32, 64]))).toThrow(ShapeError);
  expect(run(createTensor("f32", [1, 64, 32, 3]))).toThrow("got f32 [1, 64, 32, 3]");
  expect(run(createTensor("f32", [3, 64, 32]))).toThrow("f32 [?, 3, 64, 32] with a row 0");
  expect(run(createTensor("f16", [1, 3, 64, 32]))).toThrow("got f16");
  expect(run(createTensor("f32", [2, 3, 64, 32]), 2)).toThrow("with a row 2");
  expect(run(createTensor("f32", [2, 3, 64, 32]), -1)).toThrow("with a row -1");
  const other = patternImage(9, 8, "RGB", 0);
  expect(run(createTensor("f32", [1, 3, 64, 32]), 0, other)).toThrow("8x8 as it was placed, got 9x8");
});

test("Preprocessor refuses numbers that give no finite values", () => {
  expect(() => new Preprocessor({ ...YOLO_PREPROCESSING, std: [1, 0, 1] })).toThrow("std 1 0 1");
  expect(() => new Preprocessor({ ...YOLO_PREPROCESSING, scale: Number.NaN })).toThrow(ArgumentError);
  expect(() => new Preprocessor({ ...YOLO_PREPROCESSING, dtype: "f16", scale: 1000 })).toThrow("finite in f16");
});

/** SHA-256 of what Pillow 12.3.0 makes of `wavy` by `resize((W, H), Image.BICUBIC)`: source and target sizes. */
const BICUBIC: readonly (readonly [w: number, h: number, W: number, H: number, sha256: string])[] = [
  [1, 1, 3, 2, "cb45702efbe5a4eefba6e7b3aca480806318fde1cf2075de4e4a308c5c9cca0a"],
  [2, 3, 5, 7, "f3aa4b5651dd502dda886906863e99832e2b47427fef3942c55b9b5259924f31"],
  [7, 5, 3, 4, "e5e4885e8aa3f2b611d8007fd6e2e92e504fbfe6a89e47010bd70279ee766786"],
  [31, 17, 8, 8, "c0f9ddf0dbd91083c76978834c9e119b79ec2340df9724988a7faae9af0b4ce2"],
  [33, 64, 64, 33, "c6560f95be1124c35fc7ce40af9193e407899dd7dbc4494536c64c991f0516f0"],
  [100, 700, 40, 30, "761f9617e579739c263df4d0bdcf554d62a742ed44406d009b19e95416d32b0e"],
  [640, 37, 64, 64, "507f4e74030ccb74a7fbe2db2486611f2b8c9a68d3524384bc680cb347d1857e"],
  [5, 301, 4, 11, "0cdd8cc45e7006167fb482e38448536f1ac555b75629a86682f8828a6a060bec"],
  [9, 9, 9, 9, "2f38e9c304dc1614dbd4a0090774b85a40e2f80206952ced85e3befe19afd0ca"],
  [400, 300, 96, 72, "52c790bc82ddc9fcdcc7a1e4777448e3f0d4be5ea6cc3314c7ea4b9bdf864805"],
];

/** The same by `Image.LANCZOS`. */
const LANCZOS: typeof BICUBIC = [
  [1, 1, 3, 2, "cb45702efbe5a4eefba6e7b3aca480806318fde1cf2075de4e4a308c5c9cca0a"],
  [2, 3, 5, 7, "00981a52ac3ace4fcad45029c18522bdae7d9a547df75adcc0348ffdcd75ac00"],
  [7, 5, 3, 4, "b8e26fd6907c53b32a75ac0de3567245a7d1a6e91fe0099b709f977bac4aa2f9"],
  [31, 17, 8, 8, "2aebd82116704352b7deb64871dd0d150855f8773047bf1f1bc3ba704e0912dc"],
  [33, 64, 64, 33, "5eb4eaa2392ebce5ea63f63f87a004bf0a0499aa39aa52392534706243d80443"],
  [100, 700, 40, 30, "8d897f6b254c36d1f0950b08610f77f75b15e10687e31cb9f480e283bc397c34"],
  [640, 37, 64, 64, "b640017908d88b986924d1fa1c5c473bb9e259a78e245bdbdb9cf8bfa07e4c49"],
  [5, 301, 4, 11, "a0637c5c2b3c53ab584811a1ec00c33746fe197b005905fbdfd8d5dfb15c44c7"],
  [9, 9, 9, 9, "2f38e9c304dc1614dbd4a0090774b85a40e2f80206952ced85e3befe19afd0ca"],
  [400, 300, 96, 72, "9a99aeeeecafc4ecfa88197571d08ed4521c646d0215ad7b3db9dcf8e5544a39"],
];

test.each([
  ["bicubic", BICUBIC],
  ["lanczos", LANCZOS],
] as const)("Preprocessor.run() with %s equals Pillow on every pixel", (resize, goldens) => {
  for (const [width, height, toWidth, toHeight, sha256] of goldens) {
    const preprocessing = { ...LEVELS, fit: "stretch", resize } as const;
    const { data } = preprocessed(wavy(width, height), preprocessing, toWidth, toHeight);
    const found = new Bun.CryptoHasher("sha256").update(data as Uint8Array).digest("hex");
    expect([width, height, toWidth, toHeight, found]).toEqual([width, height, toWidth, toHeight, sha256]);
  }
});

/** CRC-32 of what OpenCV 5.0.0 makes of `wavy` by `cv2.resize(…, (W, H), interpolation=cv2.INTER_LANCZOS4)`. */
const LANCZOS4: readonly (readonly [w: number, h: number, W: number, H: number, crc32: string])[] = [
  [1, 1, 3, 2, "76a4fca8"],
  [2, 3, 5, 7, "0884053c"],
  [7, 5, 3, 4, "32d8a1fb"],
  [31, 17, 8, 8, "de1e63f6"],
  [33, 64, 64, 33, "1c167dd6"],
  [100, 700, 40, 30, "7d7784cc"],
  [640, 37, 64, 64, "cf81aee7"],
  [5, 301, 4, 11, "258ed595"],
  [9, 9, 9, 9, "80e2303f"],
  [400, 300, 96, 72, "8e321109"],
  [13, 11, 101, 57, "7413551c"],
  [201, 133, 67, 399, "1916c403"],
];

test.each(LANCZOS4)("Preprocessor.run() with lanczos4 of %ix%i to %ix%i equals OpenCV on every pixel", (...golden) => {
  const [width, height, toWidth, toHeight, crc32] = golden;
  const preprocessing = { ...LEVELS, fit: "stretch", resize: "lanczos4" } as const;
  const { data } = preprocessed(wavy(width, height), preprocessing, toWidth, toHeight);
  expect(
    Bun.hash
      .crc32(data as Uint8Array)
      .toString(16)
      .padStart(8, "0"),
  ).toBe(crc32);
});
