import { expect, test } from "bun:test";
import { ShapeError } from "../../src/core/errors.ts";
import { createTensor } from "../../src/core/tensor.ts";
import {
  FITS,
  place,
  placeCentreCrop,
  placeRectangle,
  placeTile,
  type Rectangle,
  type Region,
  sourceIndex,
} from "../../src/image/geometry.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { type Preprocessing, RESIZES, YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import { chance } from "../support/chance.ts";
import { nv12Pair } from "../support/nv12-images.ts";
import { patternImage } from "./preprocess-goldens.ts";

/** Levels as they are, [1, height, width, 3]. */
const LEVELS: Preprocessing = { ...YOLO_PREPROCESSING, layout: "NHWC", dtype: "u8", scale: 1, pad: [114, 100, 7] };

function run(
  image: Image,
  preprocessing: Preprocessing,
  region: Region,
  preprocessor = new Preprocessor(preprocessing),
) {
  const { inputWidth, inputHeight } = region;
  const channels = preprocessing.colour === "luma" ? 1 : 3;
  const isPlanar = preprocessing.layout === "NCHW";
  const shape = isPlanar ? [2, channels, inputHeight, inputWidth] : [2, inputHeight, inputWidth, channels];
  const input: InputTensor = createTensor(preprocessing.dtype, shape);
  input.data.fill(9);
  preprocessor.run(image, input, 1, region);
  const half = input.data.length / 2;
  expect(input.data.subarray(0, half).every((value) => value === 9)).toBe(true);
  return input.data.subarray(half);
}

/** An image twice: as it is, and in RGB. NV12 has rows with gaps. */
function pictures(width: number, height: number): readonly (readonly [image: Image, rgb: Image])[] {
  const rgb = patternImage(width, height, "RGB", 5);
  const rgba = patternImage(width, height, "RGBA", 2);
  const opaque = imageOf(
    Uint8Array.from({ length: width * height * 3 }, (_, at) => {
      const pixel = Math.floor(at / 3);
      return rgba.data[Math.floor(pixel / width) * rgba.pitchBytes + (pixel % width) * 4 + (at % 3)]!;
    }),
    { width, height },
  );
  const { nv12, rgb: converted } = nv12Pair(width, height, { gap: 3, chromaGap: 4, between: 1 });
  return [
    [rgb, rgb],
    [rgba, opaque],
    [nv12, converted],
  ];
}

/** What a rectangle shows, as an image of its own: pixels beyond the edges are those that `edge` names. */
function cut(image: Image, { x, y, width, height }: Rectangle, edge: "replicate" | "reflect" = "replicate"): Image {
  const data = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from =
        sourceIndex(y + row, image.height, edge) * image.pitchBytes + sourceIndex(x + column, image.width, edge) * 3;
      data.set(image.data.subarray(from, from + 3), (row * width + column) * 3);
    }
  }
  return imageOf(data, { width, height });
}

const INSIDE: readonly Rectangle[] = [
  { x: 0, y: 0, width: 37, height: 23 },
  { x: 5, y: 3, width: 21, height: 13 },
  { x: 36, y: 22, width: 1, height: 1 },
  { x: 17, y: 0, width: 20, height: 23 },
  { x: 7, y: 9, width: 2, height: 14 },
  { x: 1, y: 2, width: 33, height: 3 },
];

test("a crop is what its pixels give as an image of their own, to the bit", () => {
  for (const resize of [...RESIZES, "lanczos4"] as const) {
    for (const [image, rgb] of pictures(37, 23)) {
      for (const fit of FITS) {
        for (const input of [
          [32, 20],
          [11, 7],
          [63, 69],
          [33, 33],
        ] as const) {
          const preprocessing = { ...LEVELS, resize, fit };
          const preprocessor = new Preprocessor(preprocessing);
          for (const rectangle of INSIDE) {
            const crop = cut(rgb, rectangle);
            const region = placeRectangle([37, 23], rectangle, input, fit);
            const found = run(image, preprocessing, region, preprocessor);
            expect(found).toEqual(run(crop, preprocessing, place(crop.width, crop.height, input[0], input[1], fit)));
          }
        }
      }
    }
  }
});

test("tiles go on beyond the edges as they are told, to the bit, one after the other", () => {
  const size = [16, 12] as const;
  for (const [image, rgb] of pictures(37, 23)) {
    for (const edge of ["replicate", "reflect"] as const) {
      for (const layout of ["NCHW", "NHWC"] as const) {
        const preprocessing: Preprocessing = { ...YOLO_PREPROCESSING, layout };
        const preprocessor = new Preprocessor(preprocessing);
        for (const [x, y] of [
          [0, 0],
          [13, 5],
          [31, 5],
          [4, 17],
          [-7, -11],
          [36, 22],
          [-15, 3],
          [21, 11],
          [3, 1],
        ] as const) {
          const region = placeTile([37, 23], x, y, size, edge);
          const found = run(image, preprocessing, region, preprocessor);
          const tile = cut(rgb, { x, y, width: 16, height: 12 }, edge);
          expect(found).toEqual(run(tile, preprocessing, place(16, 12, 16, 12, "stretch")));
        }
      }
    }
  }
  const tiny = patternImage(1, 2, "BGR", 1);
  const mirrored = run(tiny, LEVELS, placeTile([1, 2], -1, -3, [3, 6], "reflect"));
  expect(mirrored).toEqual(
    run(
      cut(tiny, { x: -1, y: -3, width: 3, height: 6 }, "reflect"),
      { ...LEVELS, colour: "BGR" },
      place(3, 6, 3, 6, "stretch"),
    ),
  );
});

/** The level by the definition of bilinear interpolation between pixels of the image that the rectangle holds. */
function exactLevel(image: Image, region: Region, x: number, y: number, c: number): number | undefined {
  const centreX = region.x + (x - region.padX + 0.5) / (region.contentWidth / region.width);
  const centreY = region.y + (y - region.padY + 0.5) / (region.contentHeight / region.height);
  const isContent =
    x >= region.padX &&
    x < region.padX + region.contentWidth &&
    y >= region.padY &&
    y < region.padY + region.contentHeight &&
    centreX >= 0 &&
    centreX < image.width &&
    centreY >= 0 &&
    centreY < image.height;
  if (!isContent) return undefined;
  const low = [Math.max(region.x, 0), Math.max(region.y, 0)] as const;
  const high = [
    Math.min(region.x + region.width, image.width) - 1,
    Math.min(region.y + region.height, image.height) - 1,
  ] as const;
  const clampX = (at: number): number => Math.min(Math.max(at, low[0]), high[0]);
  const clampY = (at: number): number => Math.min(Math.max(at, low[1]), high[1]);
  const [left, top] = [Math.floor(centreX - 0.5), Math.floor(centreY - 0.5)];
  const at = (px: number, py: number): number => image.data[clampY(py) * image.pitchBytes + clampX(px) * 3 + c]!;
  const across = centreX - 0.5 - left;
  const upper = at(left, top) + (at(left + 1, top) - at(left, top)) * across;
  const lower = at(left, top + 1) + (at(left + 1, top + 1) - at(left, top + 1)) * across;
  return upper + (lower - upper) * (centreY - 0.5 - top);
}

test("what lies beyond the image is padded, wherever the region lies", () => {
  const random = chance(11);
  const below = (limit: number): number => Math.floor(random() * limit);
  let worst = 0;
  let padding = 0;
  let wrong = 0;
  let picture = 0;
  for (let round = 0; round < 200; round++) {
    const [width, height] = [1 + below(30), 1 + below(30)];
    const rectangle = {
      x: below(width + 20) - 20,
      y: below(height + 20) - 20,
      width: 1 + below(50),
      height: 1 + below(50),
    };
    const input = [1 + below(40), 1 + below(40)] as const;
    const fit = FITS[round % 3]!;
    const { x, y } = rectangle;
    const isOutside = x >= width || y >= height || x + rectangle.width <= 0 || y + rectangle.height <= 0;
    if (isOutside) {
      expect(() => placeRectangle([width, height], rectangle, input, fit)).toThrow(ShapeError);
      continue;
    }
    const region = placeRectangle([width, height], rectangle, input, fit);
    for (const [image, rgb] of pictures(width, height)) {
      const found = run(image, { ...LEVELS, fit }, region);
      // Where nothing shrinks, and where it does: the filter differs, what is padded does not.
      const smooth = run(image, { ...LEVELS, fit, resize: "antialias" }, region);
      for (let at = 0; at < found.length; at++) {
        const [column, row, c] = [Math.floor(at / 3) % input[0], Math.floor(at / 3 / input[0]), at % 3];
        const level = exactLevel(rgb, region, column, row, c);
        if (level === undefined) {
          padding += 1;
          wrong += Number(found[at] !== LEVELS.pad[c] || smooth[at] !== LEVELS.pad[c]);
        } else {
          picture += 1;
          worst = Math.max(worst, Math.abs(level - found[at]!));
        }
      }
    }
  }
  expect([padding > 10_000, picture > 10_000, wrong]).toEqual([true, true, 0]);
  expect(worst).toBeLessThan(0.5 + 2 / 4 + 2 * (255 / 4096));
});

test("a region that hardly touches the image may be all padding", () => {
  const image = patternImage(10, 10, "RGB", 0);
  const region = placeRectangle([10, 10], { x: 9, y: 0, width: 100, height: 10 }, [4, 4], "stretch");
  expect([region.left, region.top, region.right, region.bottom]).toEqual([0, 0, 0, 0]);
  for (const resize of RESIZES) {
    const found = run(image, { ...LEVELS, resize }, region);
    expect([...found]).toEqual(Array.from({ length: 48 }, (_, at) => LEVELS.pad[at % 3]!));
  }
});

test("antialias weighs only what the image has: a grey image stays grey up to its edges", () => {
  const image = imageOf(new Uint8Array(31 * 17 * 3).fill(77), { width: 31, height: 17 });
  const region = placeRectangle([31, 17], { x: -20, y: -9, width: 90, height: 60 }, [23, 19], "letterbox");
  const found = run(image, { ...LEVELS, resize: "antialias", pad: [5, 5, 5] }, region);
  expect([...new Set(found)].sort()).toEqual([5, 77]);
});

test("a centre crop is cut out of the whole resized image, to the bit, or padded", () => {
  for (const resize of [...RESIZES, "lanczos4"] as const) {
    for (const [width, height] of [
      [37, 23],
      [23, 37],
      [40, 40],
      [7, 300],
    ] as const) {
      for (const [image, rgb] of pictures(width, height)) {
        for (const [short, input] of [
          [16, [16, 16]],
          [19, [16, 14]],
          [12, [32, 21]],
        ] as const) {
          const region = placeCentreCrop([width, height], short, input);
          const { contentWidth, contentHeight, padX, padY } = region;
          const whole = run(rgb, { ...LEVELS, resize }, place(width, height, contentWidth, contentHeight, "stretch"));
          const found = run(image, { ...LEVELS, resize }, region);
          for (let at = 0; at < found.length; at++) {
            const [x, y] = [(Math.floor(at / 3) % input[0]) - padX, Math.floor(at / 3 / input[0]) - padY];
            const isContent = x >= 0 && x < contentWidth && y >= 0 && y < contentHeight;
            const level = isContent ? whole[(y * contentWidth + x) * 3 + (at % 3)] : LEVELS.pad[at % 3];
            if (found[at] !== level) throw new Error(`${resize} ${width}x${height} ${short} ${input}: ${x} ${y}`);
          }
        }
      }
    }
  }
});

test("luma is that of the levels, in every dtype and layout", () => {
  for (const [image, rgb] of [...pictures(37, 23), [patternImage(37, 23, "BGR", 1), undefined] as const]) {
    const region = placeRectangle([37, 23], { x: 3, y: -2, width: 40, height: 20 }, [32, 20], "letterbox");
    const levels = run(rgb ?? image, LEVELS, region);
    for (const dtype of ["f32", "f16", "u8"] as const) {
      for (const layout of ["NCHW", "NHWC"] as const) {
        const numbers = dtype === "u8" ? { scale: 1, mean: [0, 0, 0] as const } : { mean: [0.25, 0, 0] as const };
        const preprocessing: Preprocessing = {
          ...YOLO_PREPROCESSING,
          ...numbers,
          dtype,
          layout,
          colour: "luma",
          pad: [9, 9, 9],
        };
        const found = run(image, preprocessing, region);
        expect(found.length).toBe(32 * 20);
        const { scale, mean } = preprocessing;
        for (let at = 0; at < found.length; at++) {
          const [x, y] = [at % 32, Math.floor(at / 32)];
          const isImageFile = x >= region.left && x < region.right && y >= region.top && y < region.bottom;
          const [r, g, b] = levels.subarray(at * 3, at * 3 + 3);
          const luma = isImageFile ? (r! * 19595 + g! * 38470 + b! * 7471) / 65536 : 9;
          const near = dtype === "u8" ? 0.5 : dtype === "f16" ? 5e-4 : 1e-6;
          expect(Math.abs(found[at]! - (luma * scale - mean[0]))).toBeLessThanOrEqual(near + 1e-9);
        }
      }
    }
  }
});

test("luma of pixels as they are is that of their levels to the bit, in every dtype", () => {
  const regions = [
    placeTile([37, 23], 3, 2, [30, 20], "reflect"),
    placeTile([37, 23], 5, -2, [40, 30], "reflect"),
    placeTile([37, 23], -3, 4, [64, 24], "replicate"),
    placeRectangle([37, 23], { x: 7, y: 2, width: 40, height: 20 }, [40, 20], "stretch"),
  ];
  for (const [image, rgb] of [...pictures(37, 23), [patternImage(37, 23, "BGR", 1), undefined] as const]) {
    for (const region of regions) {
      const levels = run(rgb ?? image, { ...LEVELS, pad: [9, 9, 9] }, region);
      for (const dtype of ["f32", "f16", "u8"] as const) {
        const scale = dtype === "u8" ? 0.75 : 1 / 255;
        const preprocessing: Preprocessing = {
          ...YOLO_PREPROCESSING,
          scale,
          mean: [0.25, 0, 0],
          std: [0.5, 1, 1],
          dtype,
          colour: "luma",
          pad: [9, 9, 9],
        };
        const slope = Math.fround(scale / 0.5 / 65536);
        const expected =
          dtype === "u8" ? new Uint8ClampedArray(levels.length / 3) : new Float32Array(levels.length / 3);
        for (let at = 0; at < expected.length; at++) {
          const [r, g, b] = levels.subarray(at * 3, at * 3 + 3);
          const value = Math.fround(Math.fround((r! * 19595 + g! * 38470 + b! * 7471) * slope) - 0.5);
          expected[at] = dtype === "f16" ? Math.f16round(value) : value;
        }
        expect([...run(image, preprocessing, region)]).toEqual([...expected]);
      }
    }
  }
});

test("pixels beyond the edges cannot be resized with antialias", () => {
  const region = placeTile([8, 8], 0, 0, [16, 16], "reflect");
  const preprocessing = { ...LEVELS, resize: "antialias" } as const;
  expect(() => run(patternImage(8, 8, "RGB", 0), preprocessing, region)).toThrow(
    'its edge must be "pad", got "reflect"',
  );
});
