import { describe, expect, test } from "bun:test";
import { KernelLaunch, KernelLibrary } from "../../../src/accelerators/tensorrt/kernels.ts";
import { allocate, packVectors, type Tensor } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { fill } from "../../../src/cuda/copy.ts";
import { place, placeRectangle, type Region } from "../../../src/image/geometry.ts";
import type { RowExtra } from "../../../src/model/rows.ts";
import { DETECTION_HEADER_WORDS, detectionWords } from "../../../src/tasks/detect/device-batch.ts";
import { MaskReader, MaskTable, maskLaunch } from "../../../src/tasks/segment/cuda-segment.ts";
import { type Mask, wordsOf } from "../../../src/tasks/segment/mask.ts";
import { type MaskSize, planOf, ruleOf } from "../../../src/tasks/segment/mask-plan.ts";
import { ProtoMasks } from "../../../src/tasks/segment/proto-masks.ts";
import { chance } from "../../support/chance.ts";
import { Gpu, isGpuMissing, isOnCpu } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

/** One image of a batch: where it lies in the input, and boxes in its pixels. */
interface MaskedImage {
  readonly region: Region;
  readonly boxes: readonly (readonly [x1: number, y1: number, x2: number, y2: number])[];
}

interface MaskCase {
  readonly images: readonly MaskedImage[];
  /** Size of the prototypes in cells. */
  readonly width: number;
  readonly height: number;
  readonly channels?: number;
  readonly dtype?: "f32" | "f16";
  /** Channels of the prototypes that lie side by side. */
  readonly vector?: number;
  readonly order?: RowExtra["order"];
  /** Coefficients were gathered, row by row, as those that lie in maps are. */
  readonly isGathered?: boolean;
  readonly size?: MaskSize;
  readonly blocks?: number;
  /** Images of the tensors, where the last ones only fill the batch. */
  readonly batch?: number;
  /** Words of room; as many as are needed where it is not said. */
  readonly capacity?: number;
  /** A row whose coefficients are all such. */
  readonly odd?: readonly [row: number, value: number];
}

/** What came of a case on the device, and what the CPU makes of the same tensors. */
interface Made {
  readonly needed: number;
  readonly masks: Mask[][] | undefined;
  readonly wanted: readonly (readonly Mask[])[];
  /** Everything that was written. */
  readonly memory: Uint8Array<ArrayBuffer>;
}

const POISON = 0xa5;

function tensorOf(dtype: "f32" | "f16", shape: readonly number[], value: () => number): Tensor<"f32" | "f16"> {
  const data = allocate(
    dtype,
    shape.reduce((product, dim) => product * dim, 1),
  );
  for (let at = 0; at < data.length; at++) data[at] = value();
  return { dtype, shape, data };
}

/** Words that masks take, each from a multiple of 32 on. */
function roomFor(masks: readonly (readonly Mask[])[]): number {
  return masks.flat().reduce((words, { bits }) => words + Math.ceil(bits.length / 32) * 32, 0);
}

function make(gpu: Gpu, library: KernelLibrary, example: MaskCase): Made {
  const { images, width, height, channels = 5, dtype = "f32", order = "channel-major", size = "image", odd } = example;
  const { batch = images.length, blocks = 3, vector = 1 } = example;
  const rows = Math.max(1, ...images.map(({ boxes }) => boxes.length));
  const random = chance(rows * 31 + width);
  const signed = (): number => random() * 2 - 1;
  // Channels before and behind those that count, and more sources than rows.
  const all = channels + 7;
  const sources = rows + 9;
  const isPlanar = order === "channel-major";
  const isFlat = order === "flat";
  const shape = isFlat ? [sources * batch, all] : isPlanar ? [batch, all, sources] : [batch, sources, all];
  const extra: RowExtra = { name: "coefficients", output: "output0", order, channels: all, first: 6, length: channels };
  const output = tensorOf(dtype, shape, signed);
  const prototypes = tensorOf(dtype, [batch, channels, height, width], signed);
  const sourceOf = (row: number): number => (row * 7 + 3) % sources;
  const at = (image: number, source: number, channel: number): number => {
    if (isFlat) return source * all + channel;
    return image * all * sources + (isPlanar ? channel * sources + source : source * all + channel);
  };
  if (odd !== undefined) {
    for (let channel = 0; channel < channels; channel++) output.data[at(0, sourceOf(odd[0]), 6 + channel)] = odd[1];
  }

  const maker = new ProtoMasks();
  const words = detectionWords(rows);
  const detections = new Int32Array(batch * words);
  const floats = new Float32Array(detections.buffer);
  const kept = new Float32Array(batch * rows * 4);
  const gathered = new Float32Array(batch * rows * channels);
  const table = allocate("u8", MaskTable.byteLength(batch));
  const packed = new MaskTable(table.buffer);
  packed.setImages(images.length);
  const plans = images.map(({ region }) => planOf({ width, height }, region, size, ruleOf("ultralytics", size)));
  const wanted = images.map(({ region, boxes }, image) => {
    packed.setPlan(image, plans[image]!, [width, height]);
    const start = image * words;
    detections[start] = boxes.length;
    const coefficients = new Float32Array(boxes.length * channels);
    for (const [row, box] of boxes.entries()) {
      const source = sourceOf(row);
      detections[start + DETECTION_HEADER_WORDS + rows * 6 + row] = source;
      // The others are in the way of who reads the wrong ones.
      (size === "image" ? floats : kept).set(
        box,
        size === "image" ? start + DETECTION_HEADER_WORDS + row * 4 : (image * rows + row) * 4,
      );
      for (let channel = 0; channel < channels; channel++) {
        coefficients[row * channels + channel] = output.data[at(image, source, 6 + channel)]!;
      }
    }
    gathered.set(coefficients, image * rows * channels);
    const length = channels * height * width;
    const data = Float32Array.from(prototypes.data.subarray(image * length, (image + 1) * length));
    const objects = { count: boxes.length, coefficients, boxes: Float32Array.from(boxes.flat()) };
    return maker.finish({ data, channels, width, height }, objects, region, size);
  });

  const capacity = example.capacity ?? roomFor(wanted);
  const memory = gpu.own(
    DeviceBuffer.create("u8", [MaskReader.byteLength(batch, rows, capacity)], { stream: gpu.stream }),
  );
  fill(memory, POISON, { stream: gpu.stream });
  packed.setMemory(memory, capacity);
  const upload = (data: Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): DeviceBuffer =>
    data instanceof Int32Array
      ? gpu.upload({ dtype: "i32", shape: [data.length], data })
      : gpu.upload({ dtype: "f32", shape: [data.length], data });
  const stored = gpu.own(DeviceBuffer.create(dtype, prototypes.shape, { stream: gpu.stream }, vector));
  const inVectors = allocate(dtype, stored.length);
  packVectors(inVectors, prototypes, vector);
  // What fills the last vector counts for nothing.
  const counts = allocate(dtype, stored.length);
  packVectors(counts, { ...prototypes, data: allocate(dtype, prototypes.data.length).fill(1) }, vector);
  for (let at = 0; at < counts.length; at++) if (counts[at] === 0) inVectors[at] = Number.NaN;
  gpu.refill(stored, inVectors);
  const launch = maskLaunch({ masks: { output: "protos", rule: "ultralytics" }, extras: [extra] }, size, {
    outputs: new Map([
      ["output0", gpu.upload(output)],
      ["protos", stored],
    ]),
    batch,
    rows,
    detections: upload(detections),
    kept: upload(kept),
    table: gpu.upload({ dtype: "u8", shape: [table.length], data: table }),
    blocks,
    coefficients: example.isGathered ? upload(gathered) : undefined,
  });
  new KernelLaunch(library, launch).enqueue({ stream: gpu.stream });
  const written = gpu.download(memory);
  const reader = new MaskReader(written.buffer, batch, rows);
  const { needed } = reader;
  const masks =
    needed > reader.capacity
      ? undefined
      : images.map(({ boxes }, image) => {
          const read = reader.read(image, boxes.length, plans[image]!);
          return Array.from(boxes, (_, row) => read.at(row)!);
        });
  return { needed, masks, wanted, memory: written };
}

function run(example: MaskCase): Made {
  using gpu = new Gpu();
  return make(gpu, gpu.own(KernelLibrary.create(gpu.device)), example);
}

/** Every mask of a case is the CPU's; how many pixels they have in all. */
function compare(example: MaskCase): number {
  const { masks, wanted, needed } = run(example);
  expect(needed).toBe(roomFor(wanted));
  expect(masks!.map((image) => image.map(({ bounds }) => bounds))).toEqual(
    wanted.map((image) => image.map(({ bounds }) => bounds)),
  );
  let pixels = 0;
  for (const [image, found] of masks!.entries()) {
    for (const [row, mask] of found.entries()) {
      const want = wanted[image]![row]!;
      pixels += want.area;
      expect([image, row, mask.width, mask.height]).toEqual([image, row, want.width, want.height]);
      if (Buffer.compare(Buffer.from(mask.bits.slice().buffer), Buffer.from(want.bits.slice().buffer)) !== 0) {
        const first = mask.bits.findIndex((word, at) => word !== want.bits[at]);
        const line = Math.floor(first / wordsOf(want.bounds.width));
        expect.unreachable(`image ${image}, row ${row}: word ${first}, in line ${line}, is another`);
      }
    }
  }
  return pixels;
}

const at = (width: number, height: number, side = 64): Region => place(width, height, side, side, "letterbox");

/** Boxes at all edges, on pixels and between them, partly and wholly outside, without area and inside out. */
function edgeBoxes(width: number, height: number): MaskedImage["boxes"] {
  return [
    [0, 0, width, height],
    [0, 0, width / 2 + 0.3, height / 3],
    [width * 0.4, height * 0.7, width, height],
    [width - 1, 0, width, height],
    [0, height - 1, width, height],
    [-10.5, -3, width * 0.3, height * 0.2],
    [width * 0.8, height * 0.9, width + 12, height + 0.5],
    [width * 0.2 + 0.1, height * 0.2 + 0.1, width * 0.2 + 0.2, height * 0.2 + 0.2],
    [width + 1, 0, width + 9, height],
    [5, 5, 5, 9],
    [9, 9, 3, 3],
    [width * 0.25, height * 0.25, width * 0.75, height * 0.75],
  ];
}

const edges = (width: number, height: number, side?: number): MaskedImage => ({
  region: at(width, height, side),
  boxes: edgeBoxes(width, height),
});

/** What a case is about; those that take long on a CPU are smaller there. */
const CASES: Readonly<Record<string, MaskCase>> = {
  "padding of whole cells": { images: [edges(96, 54)], width: 16, height: 16 },
  "padding that is not: a grid twice as large": { images: [edges(128, 92)], width: 16, height: 16 },
  "a grid four times as large": { images: [edges(97, 55)], width: 16, height: 16 },
  "an image smaller than the grid": { images: [edges(33, 19)], width: 16, height: 16 },
  "one far smaller than the input": { images: [edges(9, 7, 640)], width: 160, height: 160, channels: 2 },
  "one pixel": {
    images: [{ region: at(1, 1), boxes: Array.from({ length: 9 }, (_, row) => [row * 0.11, 0, 1, 1] as const) }],
    width: 16,
    height: 16,
  },
  "one row of pixels": { images: [edges(200, 1)], width: 16, height: 16 },
  "one column of pixels": { images: [edges(1, 300)], width: 16, height: 16 },
  "prototypes of f16": { images: [edges(97, 55)], width: 16, height: 16, dtype: "f16", channels: 32 },
  "prototypes of f16 as kHWC8, whole images and a part of the last vector": {
    images: [edges(97, 55), edges(70, 70)],
    width: 15,
    height: 13,
    dtype: "f16",
    channels: 29,
    vector: 32,
  },
  "prototypes of f16 as kCHW16": {
    images: [edges(97, 55)],
    width: 16,
    height: 16,
    dtype: "f16",
    channels: 21,
    vector: 16,
  },
  "prototypes of f16 as kCHW4": {
    images: [edges(97, 55)],
    width: 16,
    height: 16,
    dtype: "f16",
    channels: 6,
    vector: 4,
  },
  "prototypes of f32 as kHWC": { images: [edges(97, 55)], width: 16, height: 16, channels: 5, vector: 5 },
  "prototypes of f32 as kCHW32": { images: [edges(97, 55)], width: 16, height: 16, channels: 37, vector: 32 },
  "coefficients in rows": { images: [edges(70, 70)], width: 16, height: 16, order: "anchor-major" },
  "coefficients of all images in one": { images: [edges(70, 70)], width: 16, height: 16, order: "flat" },
  "coefficients that were gathered": {
    images: [edges(70, 70), edges(70, 70)],
    width: 16,
    height: 16,
    isGathered: true,
  },
  "prototypes that do not divide the input": { images: [edges(97, 55)], width: 15, height: 13 },
  "a part of an image": {
    images: [
      {
        region: placeRectangle([300, 200], { x: 40, y: -10, width: 90, height: 61 }, [64, 64], "letterbox"),
        boxes: [
          [40, 0, 130, 51],
          [60.5, 10, 80, 30],
        ],
      },
    ],
    width: 16,
    height: 16,
  },
  "an image that was shrunk while it was decoded": {
    images: [
      {
        region: { ...at(97, 55), sourceWidth: 387, sourceHeight: 219, width: 387, height: 219 },
        boxes: edgeBoxes(387, 219).slice(0, 3),
      },
    ],
    width: 16,
    height: 16,
    blocks: 11,
  },
  "wider than a tile": {
    images: [
      {
        region: at(1403, 20, 640),
        boxes: [
          [3, 0, 1400.5, 20],
          [100, 4, 1300, 9],
        ],
      },
    ],
    width: 160,
    height: 160,
    channels: 2,
    blocks: 5,
  },
  "masks of the input's size": { images: [edges(64, 64)], width: 16, height: 16, size: "input" },
  "masks as the model gives them": { images: [edges(64, 64)], width: 16, height: 16, size: "proto" },
  infinities: { images: [edges(60, 40)], width: 16, height: 16, odd: [0, Number.POSITIVE_INFINITY] },
  "a batch, with an image without rows and one that only fills it": {
    images: [edges(96, 54), { region: at(50, 50), boxes: [] }, edges(33, 77), edges(97, 55)],
    batch: 5,
    width: 16,
    height: 16,
    blocks: 7,
  },
};

describe("masks are the CPU's to the bit", () => {
  for (const [name, example] of Object.entries(CASES)) {
    gpuTest(name, () => {
      expect(compare(example)).toBeGreaterThan(0);
    });
  }
  if (isGpuMissing) test.skip("every case", () => {});
});

gpuTest("a row of infinities and NaN has no pixel, and its neighbours are as they were", () => {
  const { masks } = run({ images: [edges(60, 40)], width: 16, height: 16, odd: [0, Number.NaN] });
  expect(masks![0]!.map(({ isEmpty }) => isEmpty)).toEqual(masks![0]!.map(({ area }) => area === 0));
  expect(masks![0]![0]!.isEmpty).toBe(true);
  expect(masks![0]![11]!.isEmpty).toBe(false);
});

gpuTest("no row makes no mask, and the header says that none is needed", () => {
  const { needed, masks, memory } = run({ images: [{ region: at(96, 54), boxes: [] }], width: 16, height: 16 });
  expect([needed, masks]).toEqual([0, [[]]]);
  expect(new Set(memory.subarray(16))).toEqual(new Set([POISON]));
});

gpuTest("more rows than threads: 300, and the last of a second image behind them", () => {
  const random = chance(9);
  const boxes = Array.from({ length: 300 }, () => {
    const [x, y] = [random() * 90, random() * 50];
    return [x, y, x + random() * 9, y + random() * 7] as const;
  });
  compare({
    images: [
      { region: at(96, 54), boxes },
      { region: at(54, 96), boxes: boxes.slice(0, 260) },
    ],
    width: 16,
    height: 16,
    blocks: isOnCpu ? 2 : 500,
  });
});

gpuTest("what does not fit is not written, and the header says how much is needed", () => {
  const example: MaskCase = { images: [edges(97, 55), edges(60, 40)], width: 16, height: 16 };
  const whole = run(example);
  const needed = roomFor(whole.wanted);
  expect(run({ ...example, capacity: needed }).masks).toEqual(whole.masks!);
  for (const capacity of [needed - 1, 40, 1]) {
    const { needed: told, masks, memory } = run({ ...example, capacity });
    expect([told, masks]).toEqual([needed, undefined]);
    // Nothing is written behind a mask that does not fit.
    const words = new Uint32Array(memory.buffer, memory.length - capacity * 4);
    const fitting = whole.wanted.flat().reduce((end, { bits }) => {
      const next = end + Math.ceil(bits.length / 32) * 32;
      return next > capacity ? end : next;
    }, 0);
    expect(new Set(words.subarray(fitting))).toEqual(new Set([0xa5a5a5a5]));
  }
});

gpuTest("masks are the same whatever the number of blocks", () => {
  const example: MaskCase = { images: [edges(197, 133)], width: 16, height: 16 };
  const [one, ...others] = [1, 2, 64].map((blocks) => run({ ...example, blocks }).masks!);
  for (const other of others) expect(other).toEqual(one!);
});

test.skipIf(isGpuMissing || isOnCpu)("no kernel of masks spills registers", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  for (const dtype of ["f32", "f16"]) expect(library.kernel("mask", `write_masks_${dtype}`).localBytes).toBe(0);
});
