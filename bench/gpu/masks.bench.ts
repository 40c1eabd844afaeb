/**
 * @module Masks: what they cost a frame on the GPU: latencies with and without them by the number of objects, the memory they
 * take, and the kernel by itself, beside what is asked for.
 *
 * Usage: `bun bench/gpu/masks.bench.ts [model.onnx|PLAN] [image]`; by default yolo11n-seg_640_nms and the street of `../shared`
 */

import { engineOptions } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { KernelLaunch, KernelLibrary } from "../../src/accelerators/tensorrt/kernels.ts";
import { readModelFile } from "../../src/accelerators/tensorrt/model-file.ts";
import { Detector } from "../../src/api/detector.ts";
import { Segmenter } from "../../src/api/object-model.ts";
import { findEntry } from "../../src/catalogue/catalogue.ts";
import { pull } from "../../src/catalogue/pull.ts";
import { CatalogueError } from "../../src/core/errors.ts";
import { allocate } from "../../src/core/tensor.ts";
import { DeviceBuffer, type DeviceMemory, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { place } from "../../src/image/geometry.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { DEFAULT_DETECT_TASK_OPTIONS } from "../../src/tasks/detect/detect-task.ts";
import { DETECTION_HEADER_WORDS, detectionWords } from "../../src/tasks/detect/device-batch.ts";
import { ObjectTask } from "../../src/tasks/objects/object-task.ts";
import type { ObjectsOf } from "../../src/tasks/objects/objects.ts";
import { MaskReader, MaskTable, maskLaunch } from "../../src/tasks/segment/cuda-segment.ts";
import { planOf, ruleOf } from "../../src/tasks/segment/mask-plan.ts";
import type { Timing } from "../../src/tasks/task-result.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { findImage, sharedFile } from "../subject.ts";
import { pageLocked } from "../support/page-locked.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, summarise } from "../support/samples.ts";
import { EngineRun, gpuTimes } from "./engine-runs.ts";
import { GpuTimer } from "./gpu-timer.ts";

const ROUNDS = 10;
const FRAMES = 300;

/** What is asked for, in milliseconds. */
const MOST_BEYOND_ENGINE_MS = 0.12;
const MOST_BEYOND_NONE_MS = 0.15;

/** Page-locked memory that kernels write in, which is where masks go. */
const mapped: PinnedBuffer[] = [];
const { create } = PinnedBuffer;
PinnedBuffer.create = (dtype, shape, device, options) => {
  const buffer = create.call(PinnedBuffer, dtype, shape, device, options);
  if (options?.use === "mapped") mapped.push(buffer);
  return buffer as ReturnType<typeof create<typeof dtype>>;
};

function mappedBytes(): number {
  return mapped.reduce((bytes, buffer) => bytes + (buffer.closed ? 0 : buffer.byteLength), 0);
}

/** Four of an image, each half as large, for twice as many objects and more. */
function fourOf({ data, width, height }: Image): Image {
  const pixels = new Uint8Array(width * height * 3);
  const [halfWidth, halfHeight] = [width >> 1, height >> 1];
  for (let y = 0; y < halfHeight * 2; y++) {
    for (let x = 0; x < halfWidth * 2; x++) {
      const from = ((y % halfHeight) * 2 * width + (x % halfWidth) * 2) * 3;
      pixels.set(data.subarray(from, from + 3), (y * width + x) * 3);
    }
  }
  return imageOf(pixels, { width, height });
}

/** A kind of frame, and what its samples are: of all of it, and of its stages. */
interface Way {
  readonly name: string;
  readonly run: () => Promise<{ readonly timing: Timing }>;
  readonly samples: number[];
  readonly infer: number[];
  readonly postprocess: number[];
}

/** A result whose masks have all been asked for. */
async function taken(found: Promise<ObjectsOf<"segment">>): Promise<ObjectsOf<"segment">> {
  const result = await found;
  for (const { mask } of result.objects) if (mask.bits.length === 0) throw new Error("a mask has no pixel");
  return result;
}

const text = (value: number): string => value.toFixed(4).padStart(8);

async function frames(plan: string, image: Image): Promise<void> {
  using owned = new DisposableStack();
  const device = owned.use(Device.open(0));
  const common = { backend: "gpu", inFlight: 1, streams: "one" } as const;
  await using segmenter = await Segmenter.load(plan, common);
  await using detector = await Detector.load(plan, { ...common, task: "detect" });
  const one = pageLocked(image, owned);
  const four = pageLocked(fourOf(image), owned);
  const none = { threshold: 0.9999 };
  const few = { threshold: 0.2, maxDetections: 30 };
  const many = { threshold: 0.01, maxDetections: 50 };
  const cases = [
    ["0 objects", one, none],
    ["30 objects", one, few],
    ["50 objects", four, many],
  ] as const;
  const ways: Way[] = cases.flatMap(([name, frame, options]) => [
    { name: `boxes, ${name}`, run: () => detector.detect(frame, options), samples: [], infer: [], postprocess: [] },
    { name: `masks, ${name}`, run: () => segmenter.detect(frame, options), samples: [], infer: [], postprocess: [] },
    // Masks are copied out when they are asked for.
    {
      name: `  and taken, ${name}`,
      run: () => taken(segmenter.detect(frame, options)),
      samples: [],
      infer: [],
      postprocess: [],
    },
  ]);
  console.log("memory for masks: page-locked, beside the sum of the boxes' areas / 8, and 2 x that + 64 KiB");
  for (const [name, frame, options] of cases) {
    const { objects } = await segmenter.detect(frame, options);
    const area = objects.reduce((sum, { box: [x1, y1, x2, y2] }) => sum + ((x2 - x1) * (y2 - y1)) / 8, 0);
    const handed = objects.reduce((sum, { mask }) => sum + mask.bits.byteLength, 0);
    const most = 2 * area + 65_536;
    const verdict = mappedBytes() <= most ? "kept" : "NOT KEPT";
    console.log(
      `  ${name}: ${objects.length} found; ${mappedBytes()} B of ${Math.round(area)} B, at most ${Math.round(most)} B: ${verdict};` +
        ` handed out ${handed} B; run again ${segmenter.backend.reruns} times so far`,
    );
  }
  for (const way of ways) for (let at = 0; at < 200; at++) await way.run();
  const contestants = ways.map(({ run, samples, infer, postprocess }) => ({
    async run() {
      for (let at = 0; at < FRAMES; at++) {
        const started = performance.now();
        const { timing } = await run();
        samples.push(performance.now() - started);
        infer.push(timing.infer);
        postprocess.push(timing.postprocess);
      }
    },
  }));
  await inRounds(contestants, ROUNDS);

  using runtime = await Runtime.create({ device });
  using engine = await runtime.deserialize(await Bun.file(plan).bytes(), { source: plan });
  const shape = engine.inputs[0]!.shape.map((dim, axis) => (dim > 0 ? dim : axis === 0 ? 1 : 640));
  using stream = Stream.create(device);
  using run = await EngineRun.create(device, engine, { shape, stream });
  run.times("graph", 200);
  const engineMs = medianOf(run.times("graph", 2000));
  using target = DeviceBuffer.create("u8", [one.data.length], { device });
  const pinned = PinnedBuffer.owning(one.data)!;
  const copyMs = medianOf(
    gpuTimes(device, stream, { warmUp: 20, count: 2000 }, () => copyToDevice(target, pinned, { stream })),
  );
  const base = engineMs + copyMs;
  console.log(`\nms of ${ways[0]!.samples.length} frames each; engine ${text(engineMs)} (graph), copy ${text(copyMs)}`);
  console.log("                              p50       p99   p50 beyond engine + copy   infer p50   postprocess p50");
  for (const { name, samples, infer, postprocess } of ways) {
    const { p50, p99 } = summarise(samples);
    const stages = `${text(medianOf(infer)).padStart(27)}  ${text(medianOf(postprocess)).padStart(16)}`;
    console.log(`  ${name.padEnd(24)} ${text(p50)}  ${text(p99)}   ${text(p50 - base)}${stages}`);
  }
  const p50 = new Map(ways.map(({ name, samples }) => [name, medianOf(samples)]));
  const beyond = p50.get("masks, 30 objects")! - base;
  const more = p50.get("masks, 50 objects")! - p50.get("masks, 0 objects")!;
  const verdict = (value: number, most: number): string =>
    `${text(value)} ms, at most ${most}: ${value <= most ? "kept" : "NOT KEPT"}`;
  console.log(`\n30 objects beyond engine + copy: ${verdict(beyond, MOST_BEYOND_ENGINE_MS)}`);
  console.log(`50 objects beyond none:          ${verdict(more, MOST_BEYOND_NONE_MS)}`);
}

/** The kernel by itself, into mapped host memory and into device memory, by the blocks of a multiprocessor. */
function kernel(): void {
  using owned = new DisposableStack();
  const device = owned.use(Device.open(0));
  const library = owned.use(KernelLibrary.create(device));
  const timer = owned.use(new GpuTimer(device));
  const { stream } = timer;
  const on = { stream };
  const [rows, channels, anchors, side] = [300, 32, 8400, 160];
  const random = (at: number): number => ((Math.imul(at + 1, 2_654_435_761) >>> 8) & 0xffff) / 0x10000;
  const upload = (
    data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>,
  ): DeviceMemory => {
    const buffer = owned.use(DeviceBuffer.create("u8", [data.byteLength], on));
    copyToDevice(buffer, data, on);
    return buffer;
  };
  const noise = (count: number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: count }, (_, at) => random(at) * 2 - 1);
  const typed = (memory: DeviceMemory, shape: readonly number[]) =>
    ({
      dtype: "f32",
      shape,
      pointer: memory.pointer,
      byteLength: memory.byteLength,
      length: memory.byteLength / 4,
    }) as const;
  const outputs = new Map([
    ["output0", typed(upload(noise((4 + 80 + channels) * anchors)), [1, 4 + 80 + channels, anchors])],
    ["output1", typed(upload(noise(channels * side * side)), [1, channels, side, side])],
  ]);
  const spec = {
    masks: { output: "output1", rule: "ultralytics" },
    extras: [
      {
        name: "coefficients",
        output: "output0",
        order: "channel-major",
        channels: 4 + 80 + channels,
        first: 84,
        length: channels,
      },
    ],
  } as const;
  const plan = planOf(
    { width: side, height: side },
    place(1920, 1080, 640, 640, "letterbox"),
    "image",
    ruleOf("ultralytics", "image"),
  );
  console.log(
    "\nmicroseconds of the kernel, warm in a graph and after the L2 was flushed, masks of 250x250 pixels of 1920x1080",
  );
  console.log("objects  KiB      blocks   mapped    cold   device    cold");
  for (const count of [0, 1, 30, 50, 300]) {
    const detections = new Int32Array(detectionWords(rows));
    const boxes = new Float32Array(detections.buffer);
    detections[0] = count;
    for (let row = 0; row < count; row++) {
      const [x, y] = [random(row) * 1600, random(row + 500) * 800];
      boxes.set([x, y, x + 250, y + 250], DETECTION_HEADER_WORDS + row * 4);
      detections[DETECTION_HEADER_WORDS + rows * 6 + row] = (row * 101) % anchors;
    }
    const capacity = 9 * 251 * Math.max(1, count) + 32 * count;
    const bytes = MaskReader.byteLength(1, rows, capacity);
    using host = PinnedBuffer.create("u8", [bytes], device, { use: "mapped" });
    using local = DeviceBuffer.create("u8", [bytes], { device });
    const given = upload(detections);
    const timesOf = (memory: DeviceMemory, perMultiprocessor: number): string => {
      const table = allocate("u8", MaskTable.byteLength(1));
      const packed = new MaskTable(table.buffer);
      packed.setMemory(memory, capacity);
      packed.setImages(1);
      packed.setPlan(0, plan, [side, side]);
      const launch = new KernelLaunch(
        library,
        maskLaunch(spec, "image", {
          outputs,
          batch: 1,
          rows,
          detections: given,
          kept: given,
          table: upload(table),
          blocks: device.multiprocessorCount * perMultiprocessor,
        }),
      );
      const { warm, cold } = timer.measure(() => launch.enqueue(on));
      return `${warm.toFixed(1).padStart(7)} ${cold.toFixed(1).padStart(7)}`;
    };
    for (const blocks of [1, 2, 4, 8]) {
      const size = (bytes / 1024).toFixed(0);
      console.log(
        [
          String(count).padStart(7),
          size.padStart(5),
          String(blocks).padStart(9),
          timesOf(host.mapped, blocks),
          timesOf(local, blocks),
        ].join("  "),
      );
    }
  }
}

/** The plan of a model, built where there is none yet. */
async function planFor(path: string): Promise<string> {
  using device = Device.open(0);
  const file = await readModelFile(path);
  const task = new ObjectTask("segment", DEFAULT_DETECT_TASK_OPTIONS);
  const options = engineOptions(file, task, { precision: "fp16" });
  return (await new EngineCache().obtain(file.bytes, options, { device, source: file.source })).path;
}

async function usualModel(): Promise<string> {
  try {
    return await pull(findEntry("yolo11n-seg")!);
  } catch (error) {
    const file = sharedFile("models/tasks/yolo11n-seg_640_nms.onnx");
    if (!(error instanceof CatalogueError) || file === undefined) throw error;
    return file;
  }
}

const [named, picture] = process.argv.slice(2);
const model = named ?? (await usualModel());
console.log(model);
kernel();
{
  const { image } = await findImage({ image: picture });
  await frames(model.endsWith(".plan") ? model : await planFor(model), image);
}
