import { describe, expect, test } from "bun:test";
import { KernelLaunch, KernelLibrary } from "../../../src/accelerators/tensorrt/kernels.ts";
import {
  type DeviceImage,
  IMAGE_BYTES,
  ImageTable,
  preprocessLaunch,
  valueTable,
} from "../../../src/accelerators/tensorrt/preprocess.ts";
import { allocate, createTensor, packVectors } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { FITS, place, placeCentreCrop, placeRectangle, placeTile, type Region } from "../../../src/image/geometry.ts";
import type { Image } from "../../../src/image/image.ts";
import {
  channelsOf,
  IMAGENET_MEAN,
  IMAGENET_STD,
  type Preprocessing,
  RESIZES,
} from "../../../src/image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../../../src/image/preprocessor.ts";
import { bytesOf, deviceImage, type NoiseArena, noiseArena } from "../../support/device-images.ts";
import { Gpu, isGpuMissing, isOnCpu, SLOW_TEST_MS } from "../../support/gpu.ts";

/** On the CPU, where a thread takes its time, the large ones are smaller. */
const SIZES: readonly (readonly [width: number, height: number])[] = [
  [1, 1],
  [2, 3],
  [33, 17],
  [101, 77],
  ...(isOnCpu
    ? ([
        [17, 203],
        [301, 31],
      ] as const)
    : ([
        [64, 640],
        [640, 64],
        [1920, 1080],
      ] as const)),
];

const INPUTS: readonly (readonly [width: number, height: number])[] = [
  [37, 19],
  ...(isOnCpu
    ? []
    : ([
        [32, 32],
        [640, 384],
      ] as const)),
];

/** Made once for each size of the input: noise takes its time. */
const arenas = new Map<number, NoiseArena>();

function arenaFor(width: number): NoiseArena {
  const known = arenas.get(width) ?? noiseArena(SIZES, width);
  arenas.set(width, known);
  return known;
}

/** Formats that kernels for so many channels read: those of three get samples of 16 bits rounded. */
function isRead(format: DeviceImage["format"], channels: 1 | 3 | 4): boolean {
  return channels === 1 || (channels === 3 ? !(format === "GREY16" || format === "RGBA16") : format.startsWith("RGBA"));
}

/** Where a GPU's tensor differs from the CPU's, at most ten places. */
function differences(got: InputTensor["data"], want: InputTensor["data"], shape: readonly number[]): string[] {
  const found: string[] = [];
  const [, second = 1, third = 1, fourth = 1] = shape;
  for (let at = 0; at < want.length && found.length < 10; at++) {
    if (got[at] === want[at]) continue;
    const rest = [Math.floor(at / (second * third * fourth)), Math.floor(at / (third * fourth)) % second];
    const place = [...rest, Math.floor(at / fourth) % third, at % fourth];
    found.push(`[${place.join(", ")}]: ${got[at]} instead of ${want[at]}`);
  }
  return found;
}

/**
 * The whole image, and a region of another kind for each image in turn: inside it, from an odd pixel on, of one pixel, partly
 * outside, larger than the image, in the middle, and tiles that go on beyond it.
 */
function regionsOf(
  { width, height }: Image,
  turn: number,
  input: readonly [number, number],
  { fit, resize }: Preprocessing,
): Region[] {
  const source = [width, height] as const;
  const half = { width: Math.ceil(width / 2), height: Math.ceil(height / 2) };
  const odd = { x: Math.min(1, width - 1), y: Math.min(1, height - 1) };
  const rectangles = [
    { x: odd.x, y: odd.y, width: Math.max(1, half.width - 1), height: Math.max(1, half.height - 1) },
    { x: width - 1, y: height - 1, width: 1, height: 1 },
    { x: width - half.width, y: -half.height + 1, width: half.width + 3, height: half.height + 5 },
    { x: -7, y: -9, width: width + 20, height: height + 11 },
  ];
  const tile = (edge: "replicate" | "reflect"): Region =>
    placeTile(source, Math.max(width - 20, -5), Math.max(height - 5, -3), input, edge);
  return [
    place(width, height, input[0], input[1], fit),
    placeRectangle(source, rectangles[turn % 4]!, input, fit),
    turn % 3 === 0 || resize !== "bilinear"
      ? placeCentreCrop(source, 20 + turn, input)
      : tile(turn % 3 === 1 ? "replicate" : "reflect"),
  ];
}

function compare(
  gpu: Gpu,
  library: KernelLibrary,
  preprocessing: Preprocessing,
  size: readonly [number, number],
  vector = 1,
): void {
  const [width, height] = size;
  const arena = arenaFor(width);
  const channels = channelsOf(preprocessing);
  const rows = arena.images
    .filter(({ format }) => isRead(format, channels))
    .flatMap((image, index) => regionsOf(image.image, index, size, preprocessing).map((region) => ({ image, region })));
  const batch = rows.length;
  const shape = preprocessing.layout === "NCHW" ? [batch, channels, height, width] : [batch, height, width, channels];
  const cpu = new Preprocessor(preprocessing);
  const want = createTensor(preprocessing.dtype, shape);
  const { stream } = gpu;
  const arenaOf = new Map(
    arena.images.map((image) => {
      const [start, data] = bytesOf(image, arena);
      return [image, gpu.upload({ dtype: "u8", shape: [data.length], data }).pointer - start];
    }),
  );
  const words = allocate("u8", batch * IMAGE_BYTES);
  const table = new ImageTable(words.buffer, 0, batch);
  for (const [index, { image, region }] of rows.entries()) {
    cpu.run(image.image, want, index, region);
    table.set(index, deviceImage(image, arenaOf.get(image)!), region, preprocessing);
  }
  using output = DeviceBuffer.create(preprocessing.dtype, shape, { stream }, vector);
  const images = gpu.upload({ dtype: "u8", shape: [words.length], data: words });
  const values = valueTable(preprocessing);
  const levels = gpu.upload({ dtype: "f32", shape: [values.length], data: values });
  const launch = new KernelLaunch(library, preprocessLaunch(preprocessing, { output, images, table: levels }));
  launch.enqueue({ stream });
  const packed = allocate(preprocessing.dtype, output.length);
  packVectors(packed, want, vector);
  expect(differences(gpu.download(output), packed, vector === 1 ? shape : [1, 1, 1, vector])).toEqual([]);
}

describe.each([...RESIZES, "bicubic", "lanczos"] as const)("%s", (resize) => {
  const isLobed = resize === "bicubic" || resize === "lanczos";
  // The arithmetic but for the weights is antialias'.
  describe.each(isLobed ? (["f32"] as const) : (["f32", "f16", "u8"] as const))("%s", (dtype) => {
    describe.each(isLobed ? (["NCHW"] as const) : (["NCHW", "NHWC"] as const))("%s", (layout) => {
      for (const fit of isLobed ? (["letterbox"] as const) : FITS) {
        test.skipIf(isGpuMissing)(
          `${fit}: regions of images of every format and size in one launch are the CPU's to the bit`,
          () => {
            using gpu = new Gpu();
            const library = gpu.own(KernelLibrary.create(gpu.device));
            for (const colour of ["RGB", "BGR", "luma"] as const) {
              // Luma is a single kernel: bilinear, whichever way the output lies.
              if (colour === "luma" && (resize !== "bilinear" || fit !== "letterbox")) continue;
              const normalised = {
                scale: 1 / 255,
                mean: IMAGENET_MEAN,
                std: IMAGENET_STD,
                pad: [114, 0.5, 7] as const,
              };
              const plain = { scale: 1, mean: [0, 0, 0], std: [1, 1, 1], pad: [114, 114, 114] } as const;
              const values = dtype === "u8" ? plain : normalised;
              for (const size of INPUTS) compare(gpu, library, { fit, resize, colour, layout, dtype, ...values }, size);
            }
          },
          SLOW_TEST_MS,
        );
      }
    });
  });
});

/** Of TensorRT's formats, and of a dtype that has each: kCHW2, kHWC, kCHW4, kHWC8, kCHW16, kCHW32. */
const VECTORS: readonly (readonly [dtype: "f32" | "f16" | "u8", vector: number])[] = [
  ["f16", 2],
  ["f32", 3],
  ["u8", 3],
  ["f16", 4],
  ["f16", 8],
  ["f16", 16],
  ["f32", 32],
];

describe.each(["bilinear", "antialias", "bicubic"] as const)("%s", (resize) => {
  test.skipIf(isGpuMissing)(
    "vectors of every length hold the CPU's bits, and 0 where three channels or one do not fill them",
    () => {
      using gpu = new Gpu();
      const library = gpu.own(KernelLibrary.create(gpu.device));
      const base = { fit: "letterbox", resize, layout: "NCHW", scale: 1, mean: [0, 0, 0], std: [1, 1, 1] } as const;
      for (const [dtype, vector] of VECTORS) {
        // What stores them is the same for all.
        if (resize !== "bilinear" && vector !== 2 && vector !== 8) continue;
        for (const colour of ["RGB", "luma"] as const) {
          if (colour === "luma" && (resize !== "bilinear" || vector === 3)) continue;
          compare(gpu, library, { ...base, colour, dtype, pad: [114, 7, 9] }, [37, 19], vector);
        }
      }
    },
    SLOW_TEST_MS,
  );
});

describe.each(["bilinear", "antialias", "bicubic", "lanczos"] as const)("%s", (resize) => {
  for (const [colour, dtypes] of [
    ["luma", ["f16", "u8"]],
    ["RGBA", ["f32", "u8"]],
    ["BGRA", ["f16"]],
  ] as const) {
    // The weights are the same for all.
    if ((resize === "bicubic" && colour !== "luma") || (resize === "lanczos" && colour !== "RGBA")) continue;
    test.skipIf(isGpuMissing)(
      `${colour}: images of 8 bits and of 16 in one launch are the CPU's to the bit, whatever the dtype and the vectors`,
      () => {
        using gpu = new Gpu();
        const library = gpu.own(KernelLibrary.create(gpu.device));
        const isLobed = resize === "bicubic" || resize === "lanczos";
        for (const dtype of isLobed ? dtypes.slice(0, 1) : dtypes) {
          const mean = [0.1, 0.5, 0.25] as const;
          const normalised = {
            scale: 1 / 255,
            mean,
            std: [0.2, 0.25, 0.3],
            fourth: { mean: 0.4, std: 0.5, pad: 3 },
          } as const;
          // Some of the values are cut.
          const plain = {
            scale: 1.5,
            mean: [20, 0, -10],
            std: [1, 1, 1],
            fourth: { mean: 9, std: 1.2, pad: 250 },
          } as const;
          const values = { ...(dtype === "u8" ? plain : normalised), pad: [114, 7, 9] } as const;
          const base = { fit: "letterbox", resize, colour, dtype, ...values, levels: [100, 60_000] } as const;
          for (const size of INPUTS) compare(gpu, library, { ...base, layout: "NHWC" }, size);
          const vectors = dtype === "f32" ? [1, 32] : dtype === "u8" ? [1] : [1, 2, 8, 16];
          for (const vector of isLobed ? [1] : vectors) {
            compare(gpu, library, { ...base, layout: "NCHW" }, [37, 19], vector);
          }
        }
      },
      SLOW_TEST_MS,
    );
  }
});

test.skipIf(isGpuMissing || isOnCpu)("no pre-processing kernel spills registers", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  for (const module of ["preprocess", "preprocess_antialias", "preprocess_lobed"] as const) {
    for (const name of ["f32", "f16", "u8"]) {
      const kernel = library.kernel(module, `${module}_${name}`);
      console.log(`${kernel.name}: ${kernel.registers} registers`);
      expect(kernel.localBytes).toBe(0);
    }
  }
  for (const dtype of ["f32", "f16", "u8"]) {
    for (const [module, name] of [
      ["preprocess", `preprocess_${dtype}_luma`],
      ["preprocess", `preprocess_${dtype}_four`],
      ["preprocess_channels", `preprocess_channels_${dtype}`],
    ] as const) {
      expect(library.kernel(module, name).localBytes).toBe(0);
    }
  }
});
