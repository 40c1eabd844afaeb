/**
 * @module Post-processing kernels: GPU time of decoding and selection on the output of a YOLOv8 head, by how many
 * candidates reach the threshold: of the dense output, and of the maps of its last convolutions, row-major and channels last.
 *
 * Usage: `bun bench/gpu/postprocess.bench.ts`
 */

import { KernelLaunch, KernelLibrary } from "../../src/accelerators/tensorrt/kernels.ts";
import { allocate, type DType, packVectors, type Tensor, vectorVolume } from "../../src/core/tensor.ts";
import { DeviceBuffer, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice, fill } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import type { DensePlan, DistanceMapsPlan } from "../../src/heads/plans.ts";
import { place } from "../../src/image/geometry.ts";
import { mapTables, postprocessLaunches, postprocessSizes } from "../../src/tasks/detect/cuda-postprocess.ts";
import { NmsOptionsTable } from "../../src/tasks/detect/device-batch.ts";
import { GpuTimer } from "./gpu-timer.ts";

const ANCHORS = 8400;
const CLASSES = 80;
const CHANNELS = 4 + CLASSES;
const ROWS = 300;
const INPUT = { inputWidth: 640, inputHeight: 640 };
const PLAN: DensePlan = {
  kind: "dense",
  output: "output0",
  order: "channel-major",
  channels: CHANNELS,
  classes: CLASSES,
  classChannel: 4,
  score: "class",
  boxUnit: "pixels",
};

const BINS = 16;
const LEVELS = [8, 16, 32].map((stride) => ({
  stride,
  classMap: `classes ${stride}`,
  distanceMap: `distances ${stride}`,
}));
const MAPS: DistanceMapsPlan = {
  kind: "distance-maps",
  levels: LEVELS,
  classes: CLASSES,
  bins: BINS,
  order: "NCHW",
  areLogits: true,
  centre: 0.5,
};

const random = (at: number): number => ((Math.imul(at + 1, 2_654_435_761) >>> 8) & 0xffff) / 0x10000;

/** The same of the maps: logits of the scores, and distances of about two cells. */
function headMaps(dtype: "f32" | "f16", batch: number, passing: number): ReadonlyMap<string, Tensor<"f32" | "f16">> {
  const maps = new Map<string, Tensor<"f32" | "f16">>();
  let first = 0;
  for (const { stride, classMap, distanceMap } of LEVELS) {
    const side = 640 / stride;
    const cells = side * side;
    const scores = allocate(dtype, batch * CLASSES * cells).fill(-7);
    for (let image = 0; image < batch; image++) {
      for (let cell = 0; cell < cells && first + cell < passing; cell++) {
        const channel = Math.floor((first + cell) / 10) % CLASSES;
        const score = 0.3 + random(first + cell) * 0.6;
        scores[(image * CLASSES + channel) * cells + cell] = Math.log(score / (1 - score));
      }
    }
    const distances = allocate(dtype, batch * 4 * BINS * cells);
    for (let at = 0; at < distances.length; at++) distances[at] = random(at) * 2 - (Math.floor(at / cells) % BINS);
    maps.set(classMap, { dtype, shape: [batch, CLASSES, side, side], data: scores });
    maps.set(distanceMap, { dtype, shape: [batch, 4 * BINS, side, side], data: distances });
    first += cells;
  }
  return maps;
}

/** A head's output in which a number of anchors pass 0.25, in groups of about 10 around one object each. */
function headOutput(dtype: "f32" | "f16", batch: number, passing: number): ReturnType<typeof allocate<"f32" | "f16">> {
  const output = allocate(dtype, batch * CHANNELS * ANCHORS);
  for (let image = 0; image < batch; image++) {
    const start = image * CHANNELS * ANCHORS;
    for (let anchor = 0; anchor < ANCHORS; anchor++) {
      const group = Math.floor(anchor / 10);
      output[start + anchor] = random(group) * 600 + random(anchor) * 4;
      output[start + ANCHORS + anchor] = random(group + 7) * 600 + random(anchor + 9) * 4;
      output[start + 2 * ANCHORS + anchor] = 60;
      output[start + 3 * ANCHORS + anchor] = 40;
      if (anchor < passing) output[start + (4 + (group % CLASSES)) * ANCHORS + anchor] = 0.3 + random(anchor) * 0.6;
    }
  }
  return output;
}

using device = Device.open();
using library = KernelLibrary.create(device);
using timer = new GpuTimer(device);
const { stream } = timer;
const on = { stream };
console.log(`${device.name}; 8,400 cells of ${CLASSES} classes, threshold 0.25, IoU 0.7, at most ${ROWS} rows`);
console.log("dense: [N, 84, 8400]; maps: classes and 4 x 16 bins of three strides, one launch; x8: channels last");
console.log("cold: L2 flushed, median of 101; warm: mean of 200 in a graph");
console.log("outputs  dtype  batch  candidates   decode cold    warm   select cold    warm   JS µs");

/** Channels side by side of a map: as row-major, or as kHWC8. */
const vectorOf = (layout: string, channels: number): number => (layout === "x8" ? Math.ceil(channels / 8) * 8 : 1);

for (const [layout, dtype, batch, passing] of [
  ["dense", "f32", 1, 0],
  ["dense", "f32", 1, 60],
  ["dense", "f32", 1, 300],
  ["dense", "f32", 1, 1000],
  ["dense", "f32", 1, ANCHORS],
  ["dense", "f16", 1, 60],
  ["maps", "f16", 1, 0],
  ["maps", "f16", 1, 60],
  ["maps", "f16", 1, 1000],
  ["x8", "f16", 1, 0],
  ["x8", "f16", 1, 60],
  ["x8", "f16", 1, 1000],
  ["maps", "f32", 1, 60],
  ["dense", "f32", 8, 60],
  ["dense", "f16", 8, 60],
  ["maps", "f16", 8, 60],
  ["x8", "f16", 8, 60],
  ["dense", "f32", 8, ANCHORS],
] as const) {
  using stack = new DisposableStack();
  const make = (type: DType, shape: readonly number[], vector = 1): DeviceBuffer =>
    stack.use(DeviceBuffer.create(type, shape, on, vector));
  const outputs = new Map<string, DeviceBuffer>();
  if (layout === "dense") {
    const output = make(dtype, [batch, CHANNELS, ANCHORS]);
    copyToDevice(output, headOutput(dtype, batch, passing), on);
    outputs.set("output0", output);
  } else {
    for (const [name, map] of headMaps(dtype, batch, passing)) {
      const vector = vectorOf(layout, map.shape[1]!);
      const packed = allocate(dtype, vectorVolume(map.shape, vector));
      packVectors(packed, map, vector);
      const output = make(dtype, map.shape, vector);
      copyToDevice(output, packed, on);
      outputs.set(name, output);
    }
  }
  const recognition = { plan: layout === "dense" ? PLAN : MAPS, needsNms: true };
  const input = { batch, ...INPUT };
  const sizes = postprocessSizes(recognition, outputs, input, ROWS);
  const bytes = allocate("u8", NmsOptionsTable.byteLength(batch));
  const packed = new NmsOptionsTable(bytes.buffer, 0, batch);
  packed.setSelection({ threshold: 0.25, iou: 0.7, maxDetections: ROWS, classAgnostic: false, classIds: undefined });
  for (let index = 0; index < batch; index++) packed.setRegion(index, place(1920, 1080, 640, 640, "letterbox"));
  const table = make("u8", [bytes.length]);
  copyToDevice(table, bytes, on);
  const counters = make("u8", [sizes.counters]);
  fill(counters, 0, on);
  const host = stack.use(PinnedBuffer.create("u8", [sizes.host], device, { use: "mapped" }));
  const memory = {
    keys: make("u8", [sizes.keys]),
    boxes: make("u8", [sizes.boxes]),
    classes: make("u8", [sizes.classes]),
    counters,
    kept: make("u8", [sizes.kept]),
    detections: make("u8", [sizes.detections]),
    host: host.mapped,
    table,
    ...(sizes.tables > 0 && { tables: make("u8", [sizes.tables]) }),
  };
  if (memory.tables !== undefined) copyToDevice(memory.tables, mapTables(recognition, outputs, input), on);
  const launches = postprocessLaunches(recognition, outputs, input, memory, ROWS).map(
    (spec) => new KernelLaunch(library, spec),
  );
  const both = timer.measure(() => {
    launches[0]!.enqueue(on);
    launches[1]!.enqueue(on);
  });
  // Alone, the decoder would append without end and the selection find nothing: the counters are reset in between.
  const decode = timer.measure(() => {
    fill(counters, 0, on);
    launches[0]!.enqueue(on);
  });
  fill(counters, 0, on);
  const reset = timer.measure(() => fill(counters, 0, on));
  const decodeCold = decode.cold - reset.cold;
  const decodeWarm = decode.warm - reset.warm;
  console.log(
    [
      layout.padEnd(7),
      dtype.padEnd(5),
      String(batch).padStart(5),
      String(passing).padStart(10),
      decodeCold.toFixed(1).padStart(12),
      decodeWarm.toFixed(1).padStart(6),
      (both.cold - decodeCold).toFixed(1).padStart(12),
      (both.warm - decodeWarm).toFixed(1).padStart(6),
      both.enqueue.toFixed(1).padStart(6),
    ].join("  "),
  );
}
