import { expect, spyOn, test } from "bun:test";
import { openBackends } from "../../../src/accelerators/accelerator.ts";
import { FrameMemory } from "../../../src/accelerators/tensorrt/frame-memory.ts";
import type { CudaTask, GpuModel } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { GpuSlot } from "../../../src/accelerators/tensorrt/gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import { createTensor, type Tensor, type TensorInfo } from "../../../src/core/tensor.ts";
import { type DeviceMemory, PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { copyToHost } from "../../../src/cuda/copy.ts";
import { Device } from "../../../src/cuda/device.ts";
import { ChangingTable } from "../../../src/cuda/kept-memory.ts";
import { Stream } from "../../../src/cuda/stream.ts";
import { cudaRuntime } from "../../../src/ffi/cuda-runtime.ts";
import { SHAPED_KEY, type Shaping } from "../../../src/heads/shaping-config.ts";
import { place } from "../../../src/image/geometry.ts";
import { bytesPerPixel, type Image, imageOf } from "../../../src/image/image.ts";
import { type Preprocessing, type PreprocessingOptions, YOLO_PREPROCESSING } from "../../../src/image/preprocessing.ts";
import { Preprocessor } from "../../../src/image/preprocessor.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import { DEFAULT_MACHINE_OPTIONS, type Size } from "../../../src/runtime/backend.ts";
import type { TaskModel } from "../../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS } from "../../../src/tasks/detect/detect-task.ts";
import { type NmsOptions, USUAL_SELECTION } from "../../../src/tasks/detect/nms.ts";
import type { SlicePlan } from "../../../src/tasks/image-grid.ts";
import { ObjectTask } from "../../../src/tasks/objects/object-task.ts";
import type { MaskedBlock } from "../../../src/tasks/objects/objects.ts";
import type { MaskSize } from "../../../src/tasks/segment/mask-plan.ts";
import type { TensorFormat } from "../../../src/tensorrt/tensor-info.ts";
import { imagePath } from "../../objects/reference.ts";
import { chance } from "../../support/chance.ts";
import { flatImage } from "../../support/flat-image.ts";
import { isGpuMissing } from "../../support/gpu.ts";
import { blocksOf, masksOf, type SegmentTask, segmentedOnCpu, segmentTask } from "../../support/segmented.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { StandInEngine, standInModel, tensorOf } from "../../support/stand-in-engine.ts";

const gpuTest = test.skipIf(isGpuMissing);

const SIDE = 64;
const ANCHORS = 84;
const SIZE = [SIDE, SIDE] as const;
const IMAGES = { name: "images", dtype: "f32", shape: [2, 3, SIDE, SIDE] } as const;
const ROWS = { name: "output0", dtype: "f32", shape: [2, 4 + 2 + 32, ANCHORS] } as const;
const PROTOTYPES = { name: "output1", dtype: "f32", shape: [2, 32, SIDE / 4, SIDE / 4] } as const;
const MODEL = {
  inputs: [IMAGES],
  outputs: [ROWS, PROTOTYPES],
  metadata: { task: "segment", names: "{0: 'cat', 1: 'dog'}", stride: "32" },
};

const MERGING = { merge: "greedy-nmm", metric: "ios", threshold: 0.5, edges: "drop" } as const;

const ALL: NmsOptions = { threshold: 0.1, iou: 1, maxDetections: 20, classAgnostic: false, classIds: undefined };

/** A row of an image: centre and sides in input pixels, and a score. */
type Row = readonly [cx: number, cy: number, width: number, height: number, score: number];

/** Outputs with rows in each image; what their masks are is left to chance. */
function outputsWith(seed: number, images: readonly (readonly Row[])[]): ReadonlyMap<string, Tensor> {
  const random = chance(seed);
  const rows = tensorOf(ROWS, () => random() * 2 - 1);
  for (let image = 0; image < 2; image++) {
    const put = (channel: number, anchor: number, value: number): void => {
      rows.data[(image * ROWS.shape[1] + channel) * ANCHORS + anchor] = value;
    };
    for (let anchor = 0; anchor < ANCHORS; anchor++) {
      for (const channel of [4, 5]) put(channel, anchor, 0);
      // The middle of the grid's cells comes before others.
      const row = images[image]?.[(anchor + 40) % ANCHORS];
      for (let channel = 0; row !== undefined && channel < 5; channel++) put(channel, anchor, row[channel]!);
    }
  }
  return new Map([
    ["output0", rows],
    ["output1", tensorOf(PROTOTYPES, () => random() * 2 - 1)],
  ]);
}

const SMALL: readonly Row[] = [
  [20, 30, 17, 9, 0.9],
  [50, 22, 30, 20, 0.8],
  [3, 40, 12, 30, 0.7],
  [40, 40, 0.2, 0.2, 0.6],
];

/** So many, each nearly as large as the image. */
const large = (count: number): Row[] =>
  Array.from({ length: count }, (_, at) => [32, 32, 60 - at, 62 - at, 0.95 - at * 0.01]);

interface SegmentingParts {
  readonly slot: GpuSlot<NmsOptions, DetectionBlock>;
  readonly engine: StandInEngine;
  readonly task: SegmentTask;
  readonly size: Size;
  readonly reruns: { readonly count: number };
}

/** A slot on a stand-in for an engine, and what the CPU makes of the same outputs. */
class Segmenting implements Disposable {
  readonly slot: GpuSlot<NmsOptions, DetectionBlock>;
  readonly #parts: SegmentingParts;
  readonly #owned: DisposableStack;
  #outputs: ReadonlyMap<string, Tensor> = new Map();

  private constructor(parts: SegmentingParts, owned: DisposableStack) {
    this.slot = parts.slot;
    this.#parts = parts;
    this.#owned = owned;
  }

  /** On a stand-in for the toy model. */
  static async open(
    maskSize: MaskSize = "image",
    layout: StreamLayoutName = "one",
    formats: Readonly<Record<string, TensorFormat>> = {},
    channels = 3,
    preprocessing: PreprocessingOptions = {},
    slices?: SlicePlan,
  ): Promise<Segmenting> {
    const model = { ...MODEL, inputs: [{ ...IMAGES, shape: [2, channels, SIDE, SIDE] }] };
    const options = { ...DEFAULT_DETECT_TASK_OPTIONS, batch: 2, maskSize, preprocessing, slices };
    const task = await new ObjectTask("segment", options).recognise({
      model,
      source: "a stand-in",
      described: () => Promise.resolve(model),
      rangeOf: () => undefined,
      outputsFor: () => Promise.resolve(MODEL.outputs),
    });
    return Segmenting.of(task, MODEL.outputs, 2, SIZE, layout, formats);
  }

  static async of(
    task: SegmentTask,
    outputs: readonly TensorInfo[],
    batch: number,
    size: Size,
    layout: StreamLayoutName = "one",
    formats: Readonly<Record<string, TensorFormat>> = {},
  ): Promise<Segmenting> {
    using owned = new DisposableStack();
    const device = owned.use(Device.open());
    const engine = owned.use(new StandInEngine(device, outputs, { formats }));
    const model = standInModel(engine, device, task as TaskModel<unknown, unknown, unknown>, batch, owned);
    const part = (await task.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
    const streams = owned.use(new GpuStreams(model.engine, device, layout, 2));
    const cuda = part.load(model, owned);
    const gpu: GpuModel<NmsOptions, DetectionBlock> = { ...model, cuda, streams, trace: undefined };
    const slot = owned.use(new GpuSlot(gpu, streams));
    return new Segmenting({ slot, engine, task, size, reruns: model.reruns }, owned.move());
  }

  get preprocessing(): Preprocessing {
    return this.#parts.task.spec.preprocessing;
  }

  get reruns(): number {
    return this.#parts.reruns.count;
  }

  give(outputs: ReadonlyMap<string, Tensor>): void {
    this.#outputs = outputs;
    this.#parts.engine.give(outputs);
  }

  /** What the CPU makes of the same outputs, image by image. */
  wanted(images: readonly Image[], selection: NmsOptions): Promise<object[]> {
    const { task, size } = this.#parts;
    const [tensor] = this.#outputs.values();
    return segmentedOnCpu(task, this.#outputs, images, size, selection, tensor!.shape[0]!);
  }

  async run(images: readonly Image[], selection: NmsOptions = ALL): Promise<object[]> {
    return blocksOf(await this.slot.run(images, this.#parts.size, selection), images.length);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

for (const layout of ["one", "split"] as const) {
  gpuTest(
    `slices of an image, in several runs of two rows, are the CPU's (${layout}): masks joined, and the input cut from the image`,
    async () => {
      const slices = { size: SIZE, overlap: 0.5, whole: true, ...MERGING };
      using segmenting = await Segmenting.open("image", layout, {}, 3, {}, slices);
      let seed = 1;
      // Eleven views, one, thirteen, and one again.
      for (const [width, height] of [
        [190, 90],
        [64, 64],
        [130, 100],
        [40, 20],
      ] as const) {
        const images = [flatImage(width, height, 9)];
        for (const rows of [[SMALL, SMALL.slice(1)] as const, [large(12), large(12)] as const]) {
          segmenting.give(outputsWith(seed++, rows));
          for (const selection of [ALL, { ...ALL, maxDetections: 3 }]) {
            const got = await segmenting.run(images, selection);
            expect(got).toEqual(await segmenting.wanted(images, selection));
            expect((got[0] as { masks: object[] }).masks.length).toBeGreaterThan(0);
          }
        }
      }
      const random = chance(seed);
      const noise = imageOf(
        Uint8Array.from({ length: 130 * 100 * 3 }, () => random() * 256),
        { width: 130, height: 100 },
      );
      await segmenting.slot.preprocess([noise], SIZE);
      const input = createTensor("f32", IMAGES.shape);
      const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
      for (const [row, region] of segmenting.slot.placements.slice(0, 2).entries()) {
        expect([region.x, region.y, region.width, region.sourceWidth]).toEqual([row * 32, 0, SIDE, 130]);
        preprocessor.run(noise, input, row, region);
      }
      expect((await segmenting.slot.readInput()).data).toEqual(input.data);
    },
  );
}

for (const [maskSize, layout, formats] of [
  ["image", "one", {}],
  // Rows are copied to the host there.
  ["image", "split", {}],
  ["input", "one", {}],
  ["proto", "one", {}],
  ["image", "one", { images: "hwc", output1: "hwc8" }],
] as const) {
  const how = [layout, ...Object.values(formats)].join(", ");
  gpuTest(
    `masks of the size of the ${maskSize} are the CPU's (${how}): other images, outputs and selections each time`,
    async () => {
      using segmenting = await Segmenting.open(maskSize, layout, formats);
      const batches = [
        [flatImage(130, 61, 9), flatImage(40, 77, 9)],
        [flatImage(130, 61, 9), flatImage(40, 77, 9)],
        [flatImage(64, 64, 9)],
        [flatImage(31, 200, 9), flatImage(130, 61, 9)],
      ];
      let seed = 1;
      for (const images of batches) {
        segmenting.give(outputsWith(seed++, [SMALL, SMALL.slice(1)]));
        for (const selection of [ALL, { ...ALL, maxDetections: 2 }]) {
          const got = await segmenting.run(images, selection);
          expect(got).toEqual(await segmenting.wanted(images, selection));
          expect(got.flatMap((block) => (block as { masks: object[] }).masks).length).toBeGreaterThan(0);
        }
      }
      expect(segmenting.reruns).toBe(0);
    },
  );
}

/** The maps that the same model has where it is cut: 8x8, 4x4 and 2x2 cells. */
const LEVELS = [8, 16, 32].map((stride) => {
  const map = (name: string, channels: number): TensorInfo => ({
    name: `${name} ${stride}`,
    dtype: "f32",
    shape: [2, channels, SIDE / stride, SIDE / stride],
  });
  return {
    stride,
    classes: map("classes", 2),
    distances: map("distances", 4 * 4),
    coefficients: map("coefficients", 32),
  };
});
const SHAPING: Shaping = {
  outputs: MODEL.outputs,
  head: "yolo",
  plan: {
    kind: "distance-maps",
    levels: LEVELS.map(({ stride, classes, distances }) => ({
      stride,
      classMap: classes.name,
      distanceMap: distances.name,
    })),
    classes: 2,
    bins: 4,
    order: "NCHW",
    areLogits: true,
    centre: 0.5,
  },
  extras: [
    {
      name: "coefficients",
      output: "",
      order: "maps",
      maps: { levels: LEVELS.map(({ stride, coefficients }) => ({ stride, output: coefficients.name })), rule: "raw" },
      channels: 32,
      first: 0,
      length: 32,
    },
  ],
};

gpuTest("a model that was cut at its maps: masks of coefficients that lie in them are the CPU's", async () => {
  const model = { ...MODEL, metadata: { ...MODEL.metadata, [SHAPED_KEY]: JSON.stringify(SHAPING) } };
  const maps = LEVELS.flatMap(({ classes, distances, coefficients }) => [classes, distances, coefficients]);
  const task = await segmentTask("image", 2).recognise({
    model,
    source: "a stand-in",
    described: () => Promise.resolve(model),
    rangeOf: () => undefined,
    outputsFor: () => Promise.resolve(maps),
  });
  using segmenting = await Segmenting.of(task, [...maps, PROTOTYPES], 2, SIZE);
  const images = [flatImage(130, 61, 9), flatImage(40, 77, 9)];
  for (const seed of [1, 2]) {
    const random = chance(seed);
    const filled = [...maps, PROTOTYPES].map((info) => {
      const value = info.name.startsWith("classes") ? () => random() ** 3 * 9 - 6 : () => random() * 4 - 2;
      return [info.name, tensorOf(info, value)] as const;
    });
    segmenting.give(new Map(filled));
    for (const selection of [ALL, { ...ALL, iou: 0.4, maxDetections: 7 }]) {
      const got = await segmenting.run(images, selection);
      expect(got).toEqual(await segmenting.wanted(images, selection));
      expect(got.flatMap((block) => (block as { masks: object[] }).masks).length).toBeGreaterThan(0);
    }
  }
});

gpuTest("masks that need more room than there is run again, are counted, and run once from then on", async () => {
  using segmenting = await Segmenting.open();
  const images = [flatImage(500, 400, 9), flatImage(301, 200, 9)];
  segmenting.give(outputsWith(3, [SMALL, SMALL]));
  expect(await segmenting.run(images)).toEqual(await segmenting.wanted(images, ALL));
  expect(segmenting.reruns).toBe(0);
  segmenting.give(outputsWith(4, [large(6), SMALL]));
  // The first of these runs again, the second is replayed as a graph.
  for (let round = 0; round < 2; round++) {
    expect(await segmenting.run(images)).toEqual(await segmenting.wanted(images, ALL));
    expect(segmenting.reruns).toBe(1);
  }
  segmenting.give(outputsWith(5, [SMALL, []]));
  expect(await segmenting.run(images)).toEqual(await segmenting.wanted(images, ALL));
  segmenting.give(outputsWith(6, [large(9), large(9)]));
  expect(await segmenting.run(images)).toEqual(await segmenting.wanted(images, ALL));
  expect(segmenting.reruns).toBe(2);
});

gpuTest("masks of slices that need more room than there is run again in the run that they are of", async () => {
  const slices: SlicePlan = { size: [300, 300], overlap: 0.5, whole: true, ...MERGING };
  using segmenting = await Segmenting.open("image", "one", {}, 3, {}, slices);
  const images = [flatImage(500, 400, 9)];
  for (const [rows, reruns] of [
    [SMALL, 0],
    // The first of four runs makes room for all.
    [large(9), 1],
    [large(9), 1],
  ] as const) {
    segmenting.give(outputsWith(8, [rows, rows]));
    expect(await segmenting.run(images)).toEqual(await segmenting.wanted(images, ALL));
    expect(segmenting.reruns).toBe(reruns);
  }
});

gpuTest("stages one by one: post-processing runs again with more rows, and where masks need more room", async () => {
  using segmenting = await Segmenting.open();
  const { slot } = segmenting;
  const images = [flatImage(500, 400, 9), flatImage(64, 64, 9)];
  segmenting.give(outputsWith(7, [large(6), SMALL]));
  await slot.preprocess(images, SIZE);
  await slot.infer();
  for (const selection of [{ ...ALL, maxDetections: 1 }, ALL, { ...ALL, maxDetections: 400 }]) {
    const got = blocksOf(await slot.postprocess(selection), 2);
    expect(got).toEqual(await segmenting.wanted(images, selection));
  }
  expect(segmenting.reruns).toBe(2);
});

gpuTest("masks of one frame stay as they are while the next ones run", async () => {
  using segmenting = await Segmenting.open();
  const images = [flatImage(200, 90, 9)];
  segmenting.give(outputsWith(8, [SMALL, []]));
  const [first] = await segmenting.slot.run(images, SIZE, ALL);
  const { masks } = first as MaskedBlock;
  const kept = Array.from({ length: masks.length }, (_, row) => masks.at(row)!);
  const before = kept.map((mask) => mask.toRle());
  // Nobody has asked for those of the second when the third runs.
  segmenting.give(outputsWith(9, [SMALL, []]));
  const [second] = await segmenting.slot.run(images, SIZE, ALL);
  const later = (second as MaskedBlock).masks;
  const wanted = await segmenting.wanted(images, ALL);
  segmenting.give(outputsWith(10, [SMALL, []]));
  await segmenting.run(images);
  expect(kept.map((mask) => mask.toRle())).toEqual(before);
  expect(later.length).toBeGreaterThan(0);
  expect(wanted).toMatchObject([{ masks: masksOf(later) }]);
});

for (const memory of ["page-locked", "ordinary"] as const) {
  gpuTest(
    `of images in ${memory} memory only the rows that the resize reads are copied, and give the CPU's input`,
    async () => {
      using owned = new DisposableStack();
      const levels = [500, 40_000] as const;
      const opened = new Map<number, Segmenting>();
      for (const channels of [1, 3, 4]) {
        opened.set(channels, owned.use(await Segmenting.open("image", "one", {}, channels, { levels })));
      }
      using device = Device.open();
      using rectangles = spyOn(cudaRuntime(), "cudaMemcpy2DAsync");
      const random = chance(11);
      for (const [width, height, format, planes, channels = 3] of [
        [SIDE * 3, 108, "RGB", 1],
        [SIDE * 3, SIDE * 3, "RGBA", 1],
        [SIDE * 4, 144, "BGR", 1],
        [SIDE * 3, 108, "NV12", 2],
        [SIDE * 6, SIDE * 6, "NV12", 2],
        // Of these most rows are read.
        [SIDE * 2, SIDE, "RGB", 0],
        [100, 99, "NV12", 0],
        [SIDE * 3, 108, "GREY", 1],
        [SIDE * 3, 108, "GREY16", 1],
        [101, 47, "RGBA16", 0],
        [SIDE * 3, 108, "GREY", 1, 1],
        [SIDE * 3, 108, "GREY16", 1, 1],
        [SIDE * 4, 144, "GREY16", 1, 1],
        [101, 47, "GREY16", 0, 1],
        [SIDE * 3, 108, "RGBA16", 1, 1],
        [SIDE * 3, 108, "NV12", 2, 1],
        [SIDE * 3, 108, "RGBA", 1, 4],
        [SIDE * 3, 108, "RGBA16", 1, 4],
        [33, 77, "RGBA16", 0, 4],
      ] as const) {
        const { slot, preprocessing } = opened.get(channels)!;
        const preprocessor = new Preprocessor(preprocessing);
        const pitchBytes = width * (format === "NV12" ? 1 : bytesPerPixel(format)) + 5;
        const byteLength = format === "NV12" ? Math.ceil(pitchBytes * height * 1.6) : pitchBytes * height;
        using pinned = PinnedBuffer.create("u8", [byteLength + 7], device);
        const data = memory === "ordinary" ? new Uint8Array(byteLength + 7).subarray(7) : pinned.data.subarray(7);
        for (let at = 0; at < data.length; at++) data[at] = random() * 256;
        const image = imageOf(data, { width, height, format, pitchBytes });
        rectangles.mockClear();
        // Another image of the batch lies where it does in none of the others.
        const other = imageOf(new Uint8Array(40 * 77 * 4).fill(9), { width: 40, height: 77, format: "RGBA" });
        await slot.preprocess([image, other], SIZE);
        expect(rectangles).toHaveBeenCalledTimes(planes);
        const wanted = createTensor("f32", [1, channels, SIDE, SIDE]);
        preprocessor.run(image, wanted, 0, place(width, height, SIDE, SIDE, "letterbox"));
        const { data: got } = await slot.readInput();
        expect(got.subarray(0, wanted.data.length)).toEqual(wanted.data);
      }
    },
  );
}

gpuTest("a model of four channels refuses an image of three", async () => {
  using segmenting = await Segmenting.open("image", "one", {}, 4);
  for (const [format, bytes] of [
    ["RGB", 3],
    ["GREY16", 2],
  ] as const) {
    const image = imageOf(new Uint8Array(30 * 20 * bytes), { width: 30, height: 20, format });
    await expect(segmenting.slot.preprocess([image], SIZE)).rejects.toThrow(
      `its input has four channels, and the image is ${format}`,
    );
  }
});

gpuTest(
  "images in ordinary memory are staged and copied in bands of a megabyte, and in one where other batches are under way",
  () => {
    using device = Device.open();
    using stream = Stream.create(device);
    using memory = new FrameMemory({ stream }, false);
    using bytes = spyOn(cudaRuntime(), "cudaMemcpyAsync");
    using rectangles = spyOn(cudaRuntime(), "cudaMemcpy2DAsync");
    const random = chance(12);
    const data = Uint8Array.from({ length: 3000 * 900 * 3 }, () => random() * 256);
    const image = imageOf(data, { width: 3000, height: 900 });
    const third = { first: 1, length: 1, stride: 3, count: 300 };
    for (const [rows, turn, copies] of [
      [undefined, "alone", [4, 0]],
      [undefined, "beside", [1, 0]],
      [third, "alone", [0, 2]],
      [third, "ahead", [0, 1]],
    ] as const) {
      bytes.mockClear();
      rectangles.mockClear();
      const { pixels } = memory.upload(image, rows && { pixels: rows, chroma: rows }, turn);
      expect([bytes.mock.calls.length, rectangles.mock.calls.length]).toEqual([...copies]);
      const got = new Uint8Array(9000);
      for (const row of [1, 4, 448, 451, 898]) {
        copyToHost(got, { pointer: pixels + row * 9000, byteLength: 9000 } as DeviceMemory, { stream });
        expect(got).toEqual(data.subarray(row * 9000, row * 9000 + 9000));
      }
    }
  },
);

gpuTest("a table is copied where it has changed since it was copied last, by whomever", () => {
  using device = Device.open();
  using stream = Stream.create(device);
  using table = new ChangingTable(64, device);
  using copies = spyOn(cudaRuntime(), "cudaMemcpyAsync");
  const words = new Int32Array(table.buffer);
  const copied = (): number => {
    copies.mockClear();
    table.update({ stream });
    return copies.mock.calls.length;
  };
  expect([copied(), copied()]).toEqual([1, 0]);
  words[15] = 1;
  expect([copied(), copied()]).toEqual([1, 0]);
  words[15] = 2;
  table.enqueueCopy({ stream });
  words[15] = 1;
  expect([copied(), copied()]).toEqual([1, 0]);
});

const FILE = "yolo11n-seg_640_nms.onnx";
const STREET = "street_1920x1080.jpg";

test.skipIf(isGpuMissing || isMissing("models", "tasks", FILE) || imagePath(STREET) === undefined)(
  `30 objects that ${FILE} finds in a street have the CPU's masks`,
  async () => {
    const options = { ...DEFAULT_MACHINE_OPTIONS, backend: "cpu" };
    using owned = new DisposableStack();
    const [backend] = await openBackends(sharedPath("models", "tasks", FILE), segmentTask("image"), options, [0]);
    owned.defer(() => backend!.close());
    const slot = backend!.createSlot();
    owned.defer(() => slot.close());
    const [outcome] = await slot.decode([{ bytes: await Bun.file(imagePath(STREET)).bytes(), name: STREET }]);
    if (outcome === undefined || !("image" in outcome) || !("data" in outcome.image)) throw new Error("it was decoded");
    const images = [outcome.image];
    await slot.run(images, [640, 640], USUAL_SELECTION);
    const outputs = await slot.readOutputs();
    const infos = [...outputs].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
    using segmenting = await Segmenting.of(backend!.task, infos, 1, [640, 640]);
    segmenting.give(outputs);
    const got = await segmenting.run(images, USUAL_SELECTION);
    expect(got).toEqual(await segmenting.wanted(images, USUAL_SELECTION));
    expect((got[0] as { masks: object[] }).masks.length).toBe(30);
    expect(segmenting.reruns).toBe(1);
  },
);
