/**
 * @module Pre-processing kernels: GPU time and the bytes a second they reach, beside a copy on the device of as many.
 *
 * Usage: `bun bench/gpu/preprocess.bench.ts`
 */

import { KernelLaunch, KernelLibrary } from "../../src/accelerators/tensorrt/kernels.ts";
import {
  type DeviceImage,
  IMAGE_BYTES,
  ImageTable,
  preprocessLaunch,
  valueTable,
} from "../../src/accelerators/tensorrt/preprocess.ts";
import { allocate, type DType } from "../../src/core/tensor.ts";
import { DeviceBuffer } from "../../src/cuda/buffers.ts";
import { copyOnDevice, copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { place } from "../../src/image/geometry.ts";
import { yuvCoefficients } from "../../src/image/image.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { GpuTimer } from "./gpu-timer.ts";

interface Case {
  readonly source: readonly [width: number, height: number];
  readonly format: DeviceImage["format"];
  readonly dtype: Preprocessing["dtype"];
  readonly layout: Preprocessing["layout"];
  readonly batch: number;
  /** Channels of the input that lie side by side, default 1: 8 for kHWC8. */
  readonly vector?: number;
  /** Default `"bilinear"`. */
  readonly resize?: Preprocessing["resize"];
}

const SIDE = 640;
const NAME_WIDTH = 48;
const HD = [1920, 1080] as const;

const CASES: readonly Case[] = [
  { source: HD, format: "RGB", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: HD, format: "RGB", dtype: "f16", layout: "NCHW", batch: 1 },
  { source: HD, format: "RGB", dtype: "f32", layout: "NHWC", batch: 1 },
  { source: HD, format: "RGB", dtype: "f16", layout: "NHWC", batch: 1 },
  { source: HD, format: "RGB", dtype: "f16", layout: "NCHW", batch: 1, vector: 8 },
  { source: HD, format: "RGBA", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: HD, format: "NV12", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: [1280, 720], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: [810, 1080], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: [640, 480], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: [320, 240], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1 },
  { source: HD, format: "RGB", dtype: "f32", layout: "NCHW", batch: 8 },
  { source: HD, format: "RGB", dtype: "f16", layout: "NCHW", batch: 8 },
  { source: HD, format: "RGB", dtype: "f16", layout: "NCHW", batch: 8, vector: 8 },
  { source: HD, format: "NV12", dtype: "f32", layout: "NCHW", batch: 8 },
  { source: HD, format: "P016", dtype: "f32", layout: "NCHW", batch: 8 },
  { source: HD, format: "NV12", dtype: "f16", layout: "NCHW", batch: 8, vector: 8 },
  { source: HD, format: "RGB", dtype: "f32", layout: "NCHW", batch: 1, resize: "antialias" },
  { source: HD, format: "RGBA", dtype: "f32", layout: "NCHW", batch: 1, resize: "antialias" },
  { source: HD, format: "NV12", dtype: "f32", layout: "NCHW", batch: 1, resize: "antialias" },
  { source: [640, 480], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1, resize: "antialias" },
  { source: [320, 240], format: "RGB", dtype: "f32", layout: "NCHW", batch: 1, resize: "antialias" },
  { source: HD, format: "RGB", dtype: "f32", layout: "NCHW", batch: 8, resize: "antialias" },
];

const BYTES: Readonly<Record<DeviceImage["format"], number>> = {
  RGB: 3,
  BGR: 3,
  RGBA: 4,
  NV12: 1.5,
  P016: 3,
  GREY: 1,
  GREY16: 2,
  RGBA16: 8,
};

function measure(library: KernelLibrary, timer: GpuTimer, example: Case): string {
  const { source, format, dtype, layout, batch, vector = 1, resize = "bilinear" } = example;
  const { stream } = timer;
  const [width, height] = source;
  using stack = new DisposableStack();
  const make = <T extends DType>(type: T, shape: number[], inVectorsOf = 1): DeviceBuffer<T> =>
    stack.use(DeviceBuffer.create(type, shape, { stream }, inVectorsOf));
  const preprocessing: Preprocessing = { ...YOLO_PREPROCESSING, resize, dtype, layout };
  const output = make(dtype, layout === "NCHW" ? [batch, 3, SIDE, SIDE] : [batch, SIDE, SIDE, 3], vector);
  const sourceBytes = width * height * BYTES[format];
  const pixels = make("u8", [batch, sourceBytes]);
  const noise = allocate("u8", batch * sourceBytes);
  for (let at = 0; at < noise.length; at++) noise[at] = (at * 2_654_435_761) >>> 24;
  copyToDevice(pixels, noise, { stream });
  const words = allocate("u8", batch * IMAGE_BYTES);
  const table = new ImageTable(words.buffer, 0, batch);
  const placement = place(width, height, SIDE, SIDE, "letterbox");
  for (let index = 0; index < batch; index++) {
    const address = pixels.view([sourceBytes], index * sourceBytes).pointer;
    const isPlanar = format === "NV12" || format === "P016";
    const pitchBytes = width * (isPlanar ? BYTES[format] / 1.5 : BYTES[format]);
    const image = { width, height, pixels: address, pitchBytes };
    const chroma = pixels.view([1], index * sourceBytes + pitchBytes * height).pointer;
    const coefficients = yuvCoefficients("BT.709", "limited");
    table.set(
      index,
      isPlanar ? { ...image, format, chroma, chromaPitchBytes: pitchBytes, coefficients } : { ...image, format },
      placement,
      preprocessing,
    );
  }
  const images = make("u8", [words.length]);
  copyToDevice(images, words, { stream });
  const values = valueTable(preprocessing);
  const levels = make("f32", [values.length]);
  copyToDevice(levels, values, { stream });
  const launch = new KernelLaunch(library, preprocessLaunch(preprocessing, { output, images, table: levels }));
  const on = { stream };
  const times = timer.measure(() => launch.enqueue(on));
  // Each byte of the source is read once and each of the output written once; a copy does both with each of its own.
  const bytes = batch * sourceBytes + output.byteLength;
  const half = Math.floor(bytes / 2);
  const from = make("u8", [half]);
  const to = make("u8", [half]);
  const copy = timer.measure(() => copyOnDevice(to, from, on));
  const rate = (microseconds: number): string => (bytes / microseconds / 1000).toFixed(0).padStart(6);
  const form = vector === 1 ? layout : `vectors of ${vector}`;
  const name = `${batch} x ${width}x${height} ${format} to ${dtype} ${form}${resize === "bilinear" ? "" : ", antialias"}`;
  return [
    name.padEnd(NAME_WIDTH),
    times.cold.toFixed(1).padStart(8),
    rate(times.cold),
    copy.cold.toFixed(1).padStart(8),
    rate(copy.cold),
    `${((copy.cold / times.cold) * 100).toFixed(0)} %`.padStart(7),
    times.warm.toFixed(1).padStart(8),
    rate(times.warm),
    times.enqueue.toFixed(1).padStart(8),
  ].join("  ");
}

using device = Device.open();
using library = KernelLibrary.create(device);
using timer = new GpuTimer(device);
console.log(`${device.name}; input ${SIDE}x${SIDE}, letterbox`);
console.log("cold: L2 flushed, median of 101; warm: mean of 200 in a graph; copy: as many bytes on the device, cold");
console.log(
  `${"".padEnd(NAME_WIDTH)}  ${"cold µs".padStart(8)}  ${"GB/s".padStart(6)}  ${"copy µs".padStart(8)}  ${"GB/s".padStart(6)}  ` +
    `${"of copy".padStart(7)}  ${"warm µs".padStart(8)}  ${"GB/s".padStart(6)}  ${"JS µs".padStart(8)}`,
);
for (const example of CASES) console.log(measure(library, timer, example));
