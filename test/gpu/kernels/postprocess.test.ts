import { describe, expect, test } from "bun:test";
import { KernelLaunch, KernelLibrary } from "../../../src/accelerators/tensorrt/kernels.ts";
import { ModelError } from "../../../src/core/errors.ts";
import { allocate } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { fill } from "../../../src/cuda/copy.ts";
import { Graph } from "../../../src/cuda/stream.ts";
import type { ObjectSpec } from "../../../src/heads/object-reading.ts";
import type { DensePlan } from "../../../src/heads/plans.ts";
import { yolo, yoloEndToEnd } from "../../../src/heads/yolo.ts";
import { place, placeRectangle, type Region } from "../../../src/image/geometry.ts";
import { YOLO_PREPROCESSING } from "../../../src/image/preprocessing.ts";
import { createDetectionBlock, type DetectionBlock } from "../../../src/model/rows.ts";
import {
  cudaObb,
  mapTables,
  postprocessLaunches,
  postprocessSizes,
} from "../../../src/tasks/detect/cuda-postprocess.ts";
import { type CudaObjects, DetectionReader, NmsOptionsTable } from "../../../src/tasks/detect/device-batch.ts";
import type { HostDetect } from "../../../src/tasks/detect/host-detect.ts";
import type { NmsOptions } from "../../../src/tasks/detect/nms.ts";
import { PlausibilityGuard } from "../../../src/tasks/detect/plausibility.ts";
import { HostObb } from "../../../src/tasks/objects/object-task.ts";
import { type DecodeCase, decodeCases, manyCandidates, SIX_COLUMNS } from "../../support/decode-cases.ts";
import { decodedOnCpu, differenceOf } from "../../support/decoded.ts";
import { Gpu, isGpuMissing, isOnCpu, isSanitized } from "../../support/gpu.ts";
import { mapCases, orientedMapCases } from "../../support/map-cases.ts";
import { type OrientedCase, type OrientedCrowd, orientedCase } from "../../support/oriented-cases.ts";

const gpuTest = test.skipIf(isGpuMissing);

/** On the CPU, where a thread takes its time, all is smaller. */
const ROWS = isOnCpu ? 67 : 300;

const USUAL: NmsOptions = { threshold: 0.25, iou: 0.5, maxDetections: ROWS, classAgnostic: false, classIds: undefined };

const SELECTIONS: readonly NmsOptions[] = [
  USUAL,
  { ...USUAL, classAgnostic: true, iou: 0.3 },
  { ...USUAL, threshold: 0.6, classIds: new Set([0, 2, 5, 33]) },
  { ...USUAL, maxDetections: 5 },
  { ...USUAL, threshold: 0.001, iou: 0.7 },
];

/** Post-processing of one batch, set up once and run for one selection after another. */
class Postprocess {
  readonly #gpu: Gpu;
  readonly #example: DecodeCase;
  readonly #rows: number;
  readonly #objects: CudaObjects;
  readonly #table: NmsOptionsTable;
  readonly #tableBytes: Uint8Array<ArrayBuffer>;
  readonly #tableMemory: DeviceBuffer<"u8">;
  readonly #detections: DeviceBuffer<"u8">;
  readonly #host: DeviceBuffer<"u8">;
  readonly launches: readonly KernelLaunch[];
  readonly placements: readonly Region[];

  constructor(gpu: Gpu, library: KernelLibrary, example: DecodeCase, rows: number, objects: CudaObjects = {}) {
    const { batch, inputWidth, inputHeight, outputs } = example;
    this.#gpu = gpu;
    this.#example = example;
    this.#rows = rows;
    this.#objects = objects;
    const memory = new Map(
      [...outputs].map(([name, tensor]) => [name, gpu.upload(tensor, example.vectors?.get(name))]),
    );
    const sizes = postprocessSizes(example, memory, example, rows);
    const bytes = (length: number): DeviceBuffer<"u8"> =>
      gpu.own(DeviceBuffer.create("u8", [length], { stream: gpu.stream }));
    this.#tableBytes = allocate("u8", NmsOptionsTable.byteLength(batch));
    this.#table = new NmsOptionsTable(this.#tableBytes.buffer, 0, batch);
    // The second is a slice of its image, and partly outside it.
    this.placements = Array.from({ length: batch }, (_, index) => {
      const source = [500 + index * 333, 400 + index * 97] as const;
      const slice = { x: 300, y: -50, width: 640, height: 500 };
      if (index === 1) return placeRectangle(source, slice, [inputWidth, inputHeight], "letterbox");
      return place(source[0], source[1], inputWidth, inputHeight, "letterbox");
    });
    for (const [index, placement] of this.placements.entries()) this.#table.setRegion(index, placement);
    this.#tableMemory = bytes(this.#tableBytes.length);
    this.#detections = bytes(sizes.detections);
    this.#host = bytes(sizes.host);
    const counters = bytes(sizes.counters);
    const chosen = bytes(sizes.chosen);
    fill(counters, 0, { stream: gpu.stream });
    fill(chosen, 0, { stream: gpu.stream });
    // Rows past the last one keep what they held.
    fill(this.#detections, 0, { stream: gpu.stream });
    fill(this.#host, 0, { stream: gpu.stream });
    const buffers = {
      keys: bytes(sizes.keys),
      boxes: bytes(sizes.boxes),
      classes: bytes(sizes.classes),
      counters,
      kept: bytes(sizes.kept),
      detections: this.#detections,
      host: this.#host,
      table: this.#tableMemory,
      ...(objects.choose && { chosen }),
      ...(sizes.oriented > 0 && { oriented: bytes(sizes.oriented) }),
      ...(sizes.tables > 0 && { tables: this.#copied(mapTables(example, memory, example)) }),
    };
    const specs = postprocessLaunches(example, memory, example, buffers, rows, objects.choose);
    this.launches = specs.map((spec) => new KernelLaunch(library, spec));
  }

  #copied(data: Uint8Array<ArrayBuffer>): DeviceBuffer {
    return this.#gpu.upload({ dtype: "u8", shape: [data.length], data });
  }

  /** Copy a selection to the device. */
  select(selection: NmsOptions): void {
    this.#table.setSelection(selection);
    this.#gpu.refill(this.#tableMemory, this.#tableBytes);
  }

  enqueue(): void {
    for (const launch of this.launches) launch.enqueue({ stream: this.#gpu.stream });
  }

  read(): DetectionBlock[] {
    const copied = this.#gpu.download(this.#host);
    // What comes after it on the device finds the same.
    const blocks = this.#gpu.download(this.#detections);
    expect(copied.subarray(0, blocks.length)).toEqual(blocks);
    const reader = new DetectionReader(copied.buffer, this.#rows, this.placements.length, this.#example.extras);
    return this.placements.map((placement, index) => {
      const block = createDetectionBlock(this.#rows, this.#example.extras);
      reader.read(index, block, { head: this.#example.name, plan: this.#example.plan });
      this.#objects.mapRows?.(block, placement);
      return block;
    });
  }
}

/** @returns rows that there were */
function compare(example: DecodeCase, selections: readonly NmsOptions[], rows: number): number {
  let compared = 0;
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  const postprocess = new Postprocess(gpu, library, example, rows);
  for (const selection of selections) {
    postprocess.select(selection);
    // Twice: the first run must leave the counters as it found them.
    postprocess.enqueue();
    postprocess.enqueue();
    for (const [index, got] of postprocess.read().entries()) {
      const want = decodedOnCpu(example, index, selection, postprocess.placements[index]!);
      expect(differenceOf(got, want), `image ${index}, threshold ${selection.threshold}`).toBeUndefined();
      compared += want.count;
    }
  }
  return compared;
}

describe("detections are the CPU's to the bit", () => {
  for (const example of isGpuMissing ? [] : decodeCases(isOnCpu ? 331 : 8400)) {
    gpuTest(example.name, () => void compare(example, SELECTIONS, ROWS));
  }
  for (const example of isGpuMissing ? [] : mapCases(isOnCpu ? 96 : 640)) {
    const selections = SELECTIONS.filter((_, at) => !isOnCpu || at % 2 === 0);
    gpuTest(example.name, () => expect(compare(example, selections, ROWS)).toBeGreaterThan(0));
  }
  if (isGpuMissing) test.skip("every plan", () => {});

  for (const kind of ["different", "equal", "crowded"] as const) {
    const name = "far more candidates than are sorted at once";
    const selection = { ...USUAL, threshold: 0.0001 };
    const rows = isOnCpu ? 1203 : 3000;
    const many = { ...selection, maxDetections: rows };
    const few = manyCandidates({ anchors: isOnCpu ? 2503 : 9000, kind });
    gpuTest(`${name}: ${few.name}`, () => void compare(few, [selection], ROWS));
    const all = manyCandidates({ anchors: isOnCpu ? 4007 : 40_000, kind });
    gpuTest(`${name}: ${all.name}`, () => void compare(all, [many], rows));
    gpuTest(`${name}: ${all.name} without NMS`, () => void compare({ ...all, needsNms: false }, [many], rows));
  }
});

/** What the CPU makes of a batch of a task of objects, image by image. */
function objectsOnCpu(
  host: HostDetect,
  { outputs, batch, inputWidth, inputHeight }: DecodeCase,
  placements: readonly Region[],
  selection: NmsOptions,
): readonly DetectionBlock[] {
  host.begin([], [inputWidth, inputHeight]);
  for (let index = 0; index < batch; index++) {
    host.placements[index] = placements[index]!;
    const tensors = { outputs, fill: () => {}, lend: () => ({ dtype: "f32", shape: [0], data: new Float32Array(0) }) };
    host.finish(tensors as unknown as Parameters<HostDetect["finish"]>[0], index, index, selection);
  }
  return host.end();
}

describe("oriented boxes are the CPU's to the bit", () => {
  const most = isOnCpu ? 331 : 8400;
  const crowds: readonly OrientedCrowd[] = [
    { boxes: 1, classes: 1, places: 1, images: 1 },
    { boxes: 33, classes: 3, places: 3 },
    { boxes: most, classes: 15, places: 12, images: 3 },
    { boxes: most, classes: 1, places: 30, dtype: "f16" },
    // Far more than a tile, and of one place: nearly all are suppressed, or nearly none at an IoU of 1.
    { boxes: isOnCpu ? 1031 : 4133, classes: 1, places: 1, images: 1, isOdd: false },
    { boxes: 70, classes: 15, places: 9, images: 3, isFinal: true },
    { boxes: 70, classes: 15, places: 9, images: 2, isFinal: true, dtype: "f16" },
    // More than enter NMS.
    ...(isOnCpu ? [] : [{ boxes: 40_000, classes: 90, places: 400, images: 1 }]),
  ];
  const examples = [...crowds.map(orientedCase), ...(isGpuMissing ? [] : (orientedMapCases() as OrientedCase[]))];
  for (const example of examples) {
    gpuTest(example.name, () => {
      using gpu = new Gpu();
      const library = gpu.own(KernelLibrary.create(gpu.device));
      const postprocess = new Postprocess(gpu, library, example, ROWS, cudaObb(example));
      const spec = {
        ...example,
        head: example.needsNms ? yolo.name : yoloEndToEnd.name,
        preprocessing: YOLO_PREPROCESSING,
        sizeInputs: [],
        labels: [],
      };
      const host = new HostObb(spec as unknown as ObjectSpec, new PlausibilityGuard("the model"));
      const every = [...SELECTIONS, { ...USUAL, iou: 1 }, { ...USUAL, iou: 0 }, { ...USUAL, threshold: 1 }];
      // Under a sanitizer one of so many boxes takes as long as all of the others.
      const selections = isSanitized && example.name.includes("40000") ? SELECTIONS.slice(-1) : every;
      for (const selection of selections) {
        postprocess.select(selection);
        // Twice: the first run must leave the counters as it found them.
        postprocess.enqueue();
        postprocess.enqueue();
        const wanted = objectsOnCpu(host, example, postprocess.placements, selection);
        for (const [index, got] of postprocess.read().entries()) {
          const said = `image ${index}, threshold ${selection.threshold}, IoU ${selection.iou}`;
          expect(differenceOf(got, wanted[index]!), said).toBeUndefined();
        }
      }
    });
  }
});

gpuTest("of more oriented boxes than enter NMS the best ones do", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  const example = orientedCase({ boxes: 300, classes: 2, places: 4 });
  const most = 10;
  const objects = cudaObb(example);
  const limited: CudaObjects = {
    ...objects,
    choose(outputs, lists, batch) {
      const launch = objects.choose!(outputs, lists, batch);
      return { ...launch, values: { ...launch.values, max_candidates: most } };
    },
  };
  const [all, few] = [objects, limited].map((of) => {
    const postprocess = new Postprocess(gpu, library, example, ROWS, of);
    // Nothing is suppressed.
    postprocess.select({ ...USUAL, iou: 1 });
    postprocess.enqueue();
    return postprocess.read();
  });
  for (const [index, block] of few!.entries()) {
    expect(block.count).toBe(most);
    expect([...block.sources.subarray(0, most)]).toEqual([...all![index]!.sources.subarray(0, most)]);
  }
});

gpuTest("post-processing is captured into a graph, and takes another selection without a new capture", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  const example = decodeCases()[0]!;
  const postprocess = new Postprocess(gpu, library, example, ROWS);
  using graph = Graph.capture("post-processing", () => postprocess.enqueue(), { stream: gpu.stream });
  expect(graph.nodeCount()).toBe(2 + (example.extras?.length ?? 0));
  using exec = graph.instantiate();
  for (const selection of SELECTIONS) {
    postprocess.select(selection);
    exec.launch({ stream: gpu.stream });
    for (const [index, got] of postprocess.read().entries()) {
      const want = decodedOnCpu(example, index, selection, postprocess.placements[index]!);
      expect(differenceOf(got, want)).toBeUndefined();
    }
  }
});

gpuTest("a class id that is no whole number, and a score that is no probability, are refused by name", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  const rowsOf = (score: number, classId: number): DecodeCase => ({
    name: "made-up",
    plan: SIX_COLUMNS,
    outputs: new Map([
      ["rows", { dtype: "f32", shape: [1, 1, 6], data: Float32Array.of(1, 2, 30, 40, score, classId) }],
    ]),
    batch: 1,
    inputWidth: 64,
    inputHeight: 64,
    needsNms: false,
  });
  const read = (example: DecodeCase, threshold = USUAL.threshold): DetectionBlock[] => {
    const postprocess = new Postprocess(gpu, library, example, 16);
    postprocess.select({ ...USUAL, threshold, maxDetections: 16 });
    postprocess.enqueue();
    return postprocess.read();
  };
  expect(read(rowsOf(0.5, 3))[0]!.count).toBe(1);
  expect(() => read(rowsOf(0.5, 1.5))).toThrow(ModelError);
  expect(() => read(rowsOf(0.5, 1.5))).toThrow("class ids are whole numbers from 0 on, got 1.5");
  // A row that does not pass shows it as well: two classes are no score and class.
  expect(() => read(rowsOf(0.05, 0.5))).toThrow("class ids are whole numbers from 0 on, got 0.5");
  expect(read(rowsOf(0.05, -1))[0]!.count).toBe(0);
  expect(() => read(rowsOf(0.9, -1))).toThrow("from 0 on, got -1\nHint: rows that only fill an output up have score 0");
  expect(() => read(rowsOf(7, 1))).toThrow("scores are from 0 to 1, got 7");
  const partsOf = (score: number, classId: number): DecodeCase => ({
    ...rowsOf(score, classId),
    plan: {
      kind: "parts",
      boxes: { output: "rows", width: 6, first: 0 },
      scores: { output: "rows", width: 6, first: 4 },
      classes: { output: "rows", width: 6, first: 5 },
    },
  });
  expect(read(partsOf(0, -1), 0)[0]!.count).toBe(0);
  // Parts that were taken for each other: an object of class 0 has score 0 then.
  expect(() => read(partsOf(0, 0.875))).toThrow("class ids are whole numbers from 0 on, got 0.875");
  expect(read(partsOf(0, 3))[0]!.count).toBe(0);
  expect(read(partsOf(0, -7.5))[0]!.count).toBe(0);
  const gridOf = (...cell: number[]): DecodeCase => {
    const data = new Float32Array(84 * 6);
    data.set(cell);
    return {
      ...rowsOf(0, 0),
      plan: { kind: "grid", output: "grid", classes: 1, strides: [8, 16, 32] },
      outputs: new Map([["grid", { dtype: "f32", shape: [1, 84, 6], data }]]),
    };
  };
  expect(read(gridOf(0.5, 0.5, 9, 1, 0.9, 0.9))[0]!.count).toBe(1);
  for (const [at, value] of [12, 10, 60, 30].entries()) {
    const cell = [0.5, 0.5, 1, 1, 0.9, 0.9];
    cell[(at + 2) % 4] = value;
    expect(() => read(gridOf(...cell))).toThrow(
      `logarithms of sizes, which are small, got ${value}\nHint: the model was`,
    );
  }
  const mapsOf = (score: number, areLogits: boolean): DecodeCase => {
    const data = new Float32Array(64).fill(score);
    const map = (channels: number) =>
      ({ dtype: "f32", shape: [1, channels, 4, 4], data: new Float32Array(channels * 16) }) as const;
    const levels = [{ stride: 16, classMap: "classes", distanceMap: "distances" }];
    return {
      ...rowsOf(0, 0),
      plan: { kind: "distance-maps", levels, classes: 4, bins: 2, order: "NCHW", areLogits, centre: 0.5 },
      outputs: new Map([
        ["classes", { ...map(4), data }],
        ["distances", map(8)],
      ]),
    };
  };
  expect(read(mapsOf(-0.5, true))[0]!.count).toBe(16);
  expect(() => read(mapsOf(0.5, true))).toThrow("no score lies below 0, as logits of an image without objects do");
  expect(read(mapsOf(0.5, false))[0]!.count).toBe(16);
  expect(() => read(mapsOf(-4, false))).toThrow("its scores are no probabilities, got -4\nHint: the sigmoid");
  expect(() => read(mapsOf(4, false))).toThrow("its scores are no probabilities, got 4\nHint: the sigmoid");
  // Two blocks of rows or more: what one sees is of all.
  const denseOf = (
    order: "channel-major" | "anchor-major",
    dtype: "f32" | "f16",
    low: readonly number[],
  ): DecodeCase => {
    const [rows, channels] = [70, 9];
    const data = allocate(dtype, rows * channels).fill(0.125);
    const isPlanes = order === "channel-major";
    for (const classId of low) data[isPlanes ? (4 + classId) * rows + 66 : 66 * channels + 4 + classId] = -0.25;
    const shape = isPlanes ? [1, channels, rows] : [1, rows, channels];
    const plan = { kind: "dense", output: "o", channels, classes: 5, classChannel: 4, boxUnit: "pixels" } as const;
    return {
      ...rowsOf(0, 0),
      plan: { ...plan, order, score: "class" },
      outputs: new Map([["o", { dtype, shape, data }]]),
    };
  };
  for (const order of ["channel-major", "anchor-major"] as const) {
    for (const dtype of ["f32", "f16"] as const) {
      expect(read(denseOf(order, dtype, []))[0]!.count).toBe(0);
      expect(() => read(denseOf(order, dtype, [4]))).toThrow(
        /channel 8 goes below 0, and no probability does\nHint: .*`--task obb`/,
      );
      expect(() => read(denseOf(order, dtype, [1, 4]))).toThrow(
        /channel 5 goes below 0.*\nHint: .*coefficients of masks/,
      );
    }
  }
  // Rows that are called as YOLOv6's have 1 for objectness, to within rounding; a NaN is dropped as anywhere.
  const onesOf = (dtype: "f32" | "f16", objectness: number): DecodeCase => {
    const { outputs, plan, ...rest } = denseOf("anchor-major", dtype, []);
    const { data, shape } = outputs.get("o")!;
    for (let row = 0; row < 70; row++) data[row * 9 + 4] = row === 66 ? objectness : 1;
    const ones = {
      ...(plan as DensePlan),
      classes: 4,
      classChannel: 5,
      score: "product",
      isObjectnessOne: true,
    } as const;
    return { ...rest, plan: ones, outputs: new Map([["o", { dtype, shape, data }]]) };
  };
  for (const dtype of ["f32", "f16"] as const) {
    for (const near of [1, 0.995, 1.005, Number.NaN]) expect(read(onesOf(dtype, near))[0]!.count).toBe(0);
    for (const other of [0, 0.5, 1.5]) {
      expect(() => read(onesOf(dtype, other))).toThrow(
        /channel 4 is another number, and YOLOv6.* writes 1 there\nHint: .*`head: "yolo-transposed"`.*`head: "yolox"`/,
      );
    }
    const row = [8, 8, 4, 4, 1, 0.1, 0.9, 0, 0];
    const kept = onesOf(dtype, 1);
    row.forEach((value, at) => {
      kept.outputs.get("o")!.data[66 * 9 + at] = value;
    });
    expect(read(kept, 0.5)[0]).toMatchObject({ count: 1 });
  }
  const queriesOf = (activation: "sigmoid" | "softmax", value: number, first = value): DecodeCase => {
    const [rows, classes] = [70, 7];
    const logits = new Float32Array(rows * classes).fill(value);
    logits[66 * classes + 3] = first;
    const boxes = new Float32Array(rows * 4).fill(0.5);
    return {
      ...rowsOf(0, 0),
      plan: { kind: "queries", logits: "l", boxes: "b", classes, activation },
      outputs: new Map([
        ["l", { dtype: "f32", shape: [1, rows, classes], data: logits }],
        ["b", { dtype: "f32", shape: [1, rows, 4], data: boxes }],
      ]),
    };
  };
  for (const activation of ["sigmoid", "softmax"] as const) {
    expect(() => read(queriesOf(activation, 0.5))).toThrow("as logits: all lie from 0 to 1, as probabilities do");
    expect(() => read(queriesOf(activation, 0, 0.5))).toThrow("all lie from 0 to 1");
    for (const other of [1.5, -0.5, Number.NaN]) read(queriesOf(activation, 0.5, other), 0.99);
    read(queriesOf(activation, 0), 0.99);
  }
});
