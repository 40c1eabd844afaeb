import { describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FrameMemory } from "../../../src/accelerators/tensorrt/frame-memory.ts";
import type { CudaTask } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { GpuSlot } from "../../../src/accelerators/tensorrt/gpu-slot.ts";
import { GpuStreams } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import type { DeviceImage } from "../../../src/accelerators/tensorrt/preprocess.ts";
import { createTensor, type DType, type Tensor, type TensorInfo, viewOf, volume } from "../../../src/core/tensor.ts";
import { PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { Device } from "../../../src/cuda/device.ts";
import type { Head } from "../../../src/heads/head.ts";
import { isHostPlan } from "../../../src/heads/host-plan.ts";
import { ownHeads } from "../../../src/heads/own-head.ts";
import { headNamed } from "../../../src/heads/registry.ts";
import { rfDetr } from "../../../src/heads/rf-detr.ts";
import { yolo, yoloEndToEnd, yoloTransposed } from "../../../src/heads/yolo.ts";
import { bytesPerPixel, type Image, imageOf } from "../../../src/image/image.ts";
import type { InputTensor, Preprocessor } from "../../../src/image/preprocessor.ts";
import type { ModelInfo } from "../../../src/model/model-info.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import type { HostTensors, OpenedModel, Task, TaskModel } from "../../../src/runtime/task.ts";
import type { BestClasses, ClassifyTaskOptions } from "../../../src/tasks/classify/classifier-recognition.ts";
import { ClassifyTask } from "../../../src/tasks/classify/classify-task.ts";
import { DEPTH } from "../../../src/tasks/depth/depth-task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../../src/tasks/detect/detect-task.ts";
import { type NmsOptions, USUAL_SELECTION } from "../../../src/tasks/detect/nms.ts";
import { ImageMemory } from "../../../src/tasks/image/image-memory.ts";
import type { MadeImage } from "../../../src/tasks/image/image-recognition.ts";
import { ImageTask } from "../../../src/tasks/image/image-task.ts";
import { MapTask } from "../../../src/tasks/image/map-task.ts";
import { ObjectTask } from "../../../src/tasks/objects/object-task.ts";
import type { MaskedBlock } from "../../../src/tasks/objects/objects.ts";
import { personImages } from "../../../src/tasks/pose/person-image.ts";
import { TopDownTask, type TopDownTaskOptions } from "../../../src/tasks/pose/top-down.ts";
import { SEMANTIC } from "../../../src/tasks/semantic/semantic-task.ts";
import type { TensorFormat } from "../../../src/tensorrt/tensor-info.ts";
import { describedTensor, type TensorDescription } from "../../model/described-tensor.ts";
import { chance } from "../../support/chance.ts";
import { differenceOf } from "../../support/decoded.ts";
import { isGpuMissing, SLOW_TEST_MS } from "../../support/gpu.ts";
import { passed } from "../../support/moved-head.ts";
import { nv12Pair } from "../../support/nv12-images.ts";
import { orientedCase } from "../../support/oriented-cases.ts";
import { StandInEngine, standInModel } from "../../support/stand-in-engine.ts";

const gpuTest = test.skipIf(isGpuMissing);

/** A case of test/model/golden.jsonl, as far as it is read here. */
interface GoldenCase extends Pick<ModelInfo, "inputs"> {
  readonly name: string;
  readonly head: string;
  readonly labels: readonly string[] | null;
  readonly anchors?: string;
  readonly outputs: readonly TensorDescription[];
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly threshold: number;
  readonly task?: string;
}

const random = chance(17);

/** Larger than the input, smaller, and of its size. */
const IMAGES = [
  [91, 60],
  [13, 40],
  [32, 32],
].map(([width = 0, height = 0]) =>
  imageOf(
    Uint8Array.from({ length: width * height * 3 }, () => random() * 256),
    { width, height },
  ),
);
const BATCH = IMAGES.length;
const SIDE = 32;

function tensor(dtype: "f32" | "f16", shape: readonly number[], value: (at: number) => number): Tensor {
  const made = createTensor(dtype, shape);
  for (let at = 0; at < made.data.length; at++) made.data[at] = value(at);
  return made;
}

/** What a model says, by the names of its outputs. */
type Said = Readonly<Record<string, Tensor>>;

/** A model of one input that says this of some images, three unless there are more, as an accelerator opens it. */
function opened(said: Said, metadata: Readonly<Record<string, string>>, batch = BATCH, side = SIDE): OpenedModel {
  const model: ModelInfo = {
    inputs: [{ name: "images", dtype: "f32", shape: [batch, 3, side, side] }],
    outputs: Object.entries(said).map(([name, { dtype, shape }]) => ({ name, dtype, shape })),
    metadata,
  };
  const info = async (): Promise<ModelInfo> => model;
  return {
    model,
    source: "the model",
    described: info,
    rangeOf: () => undefined,
    outputsFor: async () => model.outputs,
  };
}

/** What a task makes of images and of what a model says of them: the input, and the results. */
interface Made<Output> {
  readonly input: Tensor;
  readonly outputs: readonly Output[];
}

type Recognised<Params, Output> = Awaited<ReturnType<Task<unknown, Params, Output>["recognise"]>>;

async function onHost<Params, Output>(
  task: Recognised<Params, Output>,
  said: Said,
  params: Params,
  images: readonly Image[] = IMAGES,
  side = SIDE,
): Promise<Made<Output>> {
  const work = (await task.host()).createWork();
  const input = createTensor("f32", [images.length, 3, side, side]);
  const tensors: HostTensors = {
    outputs: new Map(Object.entries(said)),
    fill: (preprocessor: Preprocessor, image: Image, row, placement) =>
      preprocessor.run(image, input as InputTensor, row, placement),
    lend: () => input as InputTensor,
  };
  work.begin(images, [side, side]);
  for (let row = 0; row < images.length; row++) work.fill(tensors, row, row);
  for (let row = 0; row < images.length; row++) work.finish(tensors, row, row, params);
  return { input, outputs: work.end() };
}

/** A slot around a model that says this of every batch. */
async function slotOf<Params, Output>(
  task: Recognised<Params, Output>,
  said: Said,
  owned: DisposableStack,
  formats: Readonly<Record<string, TensorFormat>> = {},
  rows = BATCH,
): Promise<GpuSlot<Params, Output>> {
  const device = owned.use(Device.open());
  const infos = Object.entries(said).map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const engine = owned.use(new StandInEngine(device, infos, { formats }));
  engine.give(new Map(Object.entries(said)));
  const model = standInModel(engine, device, task as TaskModel<unknown, unknown, unknown>, rows, owned);
  const part = (await task.device.cuda!()) as CudaTask<Params, Output>;
  const streams = owned.use(new GpuStreams(model.engine, device, "one", 1));
  const cuda = part.load(model, owned);
  return owned.use(new GpuSlot<Params, Output>({ ...model, cuda, streams, trace: undefined }, streams));
}

/** The same through a whole slot: piece by piece at first, as a graph from then on, and stage by stage. */
async function onDevice<Params, Output>(
  task: Recognised<Params, Output>,
  said: Said,
  params: readonly Params[],
  formats: Readonly<Record<string, TensorFormat>> = {},
): Promise<Made<Output>[]> {
  using owned = new DisposableStack();
  const slot = await slotOf(task, said, owned, formats);
  const made: Made<Output>[] = [];
  for (const wanted of params) {
    const outputs = structuredClone(await slot.run(IMAGES, [SIDE, SIDE], wanted));
    await slot.preprocess(IMAGES, [SIDE, SIDE]);
    await slot.infer();
    expect(await slot.postprocess(wanted)).toEqual(outputs);
    made.push({ input: await slot.readInput(), outputs });
  }
  return made;
}

const SELECTIONS: readonly NmsOptions[] = [
  USUAL_SELECTION,
  { ...USUAL_SELECTION, threshold: 0.01, iou: 0.3, classAgnostic: true },
  // More than there is room for at first.
  { ...USUAL_SELECTION, threshold: 0, iou: 1, maxDetections: 500 },
  { ...USUAL_SELECTION, classIds: new Set([1]), maxDetections: 3 },
];

const POSE = { task: "pose", names: "{0: 'person', 1: 'dog'}", stride: "32" };

function people(dtype: "f32" | "f16", count: number, numbers: 2 | 3): Tensor {
  const channels = 6 + 4 * numbers;
  return tensor(dtype, [BATCH, channels, count], (at) => {
    const channel = Math.floor(at / count) % channels;
    return channel === 4 || channel === 5 ? random() ** 2 : channel < 4 ? 3 + random() * 20 : random() * 40 - 4;
  });
}

const oriented = { images: BATCH, boxes: 90, classes: 2, places: 1 } as const;
const OBJECTS: readonly (readonly [
  name: string,
  task: "obb" | "pose",
  said: Tensor,
  metadata: Record<string, string>,
])[] = [
  ["points with scores", "pose", people("f32", 90, 3), { ...POSE, kpt_shape: "[4, 3]" }],
  ["points without scores, f16", "pose", people("f16", 61, 2), { ...POSE, kpt_shape: "[4, 2]" }],
  ["as many as the input has cells", "pose", people("f32", 21, 3), { ...POSE, kpt_shape: "[4, 3]" }],
  ["oriented boxes", "obb", orientedCase(oriented).outputs.get("output0")!, { ...POSE, task: "obb" }],
  [
    "final oriented boxes",
    "obb",
    orientedCase({ ...oriented, isFinal: true }).outputs.get("output0")!,
    { ...POSE, task: "obb", end2end: "True" },
  ],
];

describe("a task on a GPU makes of the same tensors what it makes on the host", () => {
  for (const [name, task, said, metadata] of OBJECTS) {
    gpuTest(`${task}: ${name}`, async () => {
      const outputs = { output0: said };
      const recognised = await new ObjectTask(task, DEFAULT_DETECT_TASK_OPTIONS).recognise(opened(outputs, metadata));
      const made = await onDevice<NmsOptions, DetectionBlock>(recognised, outputs, SELECTIONS);
      for (const [at, selection] of SELECTIONS.entries()) {
        const wanted = await onHost<NmsOptions, DetectionBlock>(recognised, outputs, selection);
        expect(made[at]!.input.data).toEqual(wanted.input.data);
        for (const [index, block] of wanted.outputs.entries()) {
          expect(differenceOf(made[at]!.outputs[index]!, block), `selection ${at}, image ${index}`).toBeUndefined();
        }
      }
      expect(made.some(({ outputs }) => outputs.some(({ count }) => count > 0))).toBe(true);
    });
  }

  gpuTest(
    "NV12 in mapped memory is read where it lies: piece by piece, as a graph, and other images by the same graph",
    async () => {
      const said = { output0: people("f32", 90, 3) };
      const metadata = { ...POSE, kpt_shape: "[4, 3]" };
      const task = await new ObjectTask("pose", DEFAULT_DETECT_TASK_OPTIONS).recognise(opened(said, metadata));
      using owned = new DisposableStack();
      const device = owned.use(Device.open());
      const engine = owned.use(
        new StandInEngine(device, [{ name: "output0", dtype: "f32", shape: said.output0.shape }]),
      );
      engine.give(new Map(Object.entries(said)));
      const model = standInModel(engine, device, task as never, BATCH, owned);
      const part = (await task.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
      const streams = owned.use(new GpuStreams(model.engine, device, "one", 1));
      const own = { ...model, zeroCopy: "auto", cuda: part.load(model, owned), streams, trace: undefined } as const;
      const slot = owned.use(new GpuSlot<NmsOptions, DetectionBlock>(own, streams));
      // Three times as large as the input: every third row is read.
      const images = [60, 96, 90].map((height) => {
        const { data, ...form } = nv12Pair(96, height).nv12;
        const pinned = owned.use(PinnedBuffer.create("u8", [data.length], device, { use: "mapped" }));
        pinned.data.set(data);
        return { pinned, image: imageOf(pinned.data, form) };
      });
      const uploads = owned.use(spyOn(FrameMemory.prototype, "upload"));
      for (const order of [images, images, images.toReversed(), images]) {
        uploads.mockClear();
        const frames = order.map(({ image }) => image);
        await slot.run(frames, [SIDE, SIDE], USUAL_SELECTION);
        const wanted = await onHost<NmsOptions, DetectionBlock>(task as never, said, USUAL_SELECTION, frames);
        expect((await slot.readInput()).data).toEqual(wanted.input.data);
        const places = uploads.mock.results.map(({ value }) => (value as DeviceImage).pixels);
        expect(places).toEqual(order.map(({ pinned }) => pinned.mapped.pointer));
      }
    },
  );

  gpuTest("heads of the caller's, of every task, read on the host what the device computed", async () => {
    for (const dtype of ["f32", "f16"] as const) {
      const planes = tensor(dtype, [BATCH, 7, 8, 8], () => random() - 0.3);
      const said = { output0: people(dtype, 90, 3), planes, unread: tensor(dtype, [BATCH, 5], random) };
      const prototypes = { output: "planes", coefficients: 7 };
      // Channels last, and filled up where the type has that.
      const formats: Readonly<Record<string, TensorFormat>> = dtype === "f16" ? { images: "hwc", planes: "hwc8" } : {};
      const READINGS = [
        [undefined, {}, 6],
        ["pose", { keypoints: { count: 4, numbers: 3 } }, 6],
        ["obb", {}, 6],
        ["segment", { masks: prototypes }, 6],
        ["segment", { masks: { output: "planes", rule: "logits" } }, undefined],
      ] as const;
      for (const [task, reading, first] of READINGS) {
        const head = ownHeads([
          {
            name: "mine",
            task,
            recognise: () => ({ classes: 2, outputs: ["output0"], ...reading }),
            decode({ values: read, shape }, objects) {
              const [, anchors = 0] = shape("output0");
              const data = read("output0");
              for (let at = 0; at < anchors; at++) {
                const [cx = 0, cy = 0, width = 0, height = 0, score = 0] = [0, 1, 2, 3, 4].map(
                  (row) => data[row * anchors + at]!,
                );
                if (task === "obb") objects.pushOriented(cx, cy, width, height, score * 3, score, at % 2);
                else if (first === undefined) objects.pushCentre(cx, cy, width, height, score, at % 2, [at % 7]);
                else objects.pushCentre(cx, cy, width, height, score, at % 2, data, first * anchors + at, anchors);
              }
            },
          },
        ]);
        const options = { ...DEFAULT_DETECT_TASK_OPTIONS, heads: head };
        const made = task === undefined ? new DetectTask(options) : new ObjectTask(task, options);
        const recognised = await made.recognise(opened(said, {}));
        expect(recognised.outputs).toEqual("masks" in reading ? ["output0", "planes"] : ["output0"]);
        const device = await onDevice<NmsOptions, DetectionBlock>(recognised as never, said, SELECTIONS, formats);
        for (const [at, selection] of SELECTIONS.entries()) {
          const wanted = await onHost<NmsOptions, DetectionBlock>(recognised as never, said, selection);
          expect(device[at]!.input.data).toEqual(wanted.input.data);
          for (const [index, block] of wanted.outputs.entries()) {
            expect(differenceOf(device[at]!.outputs[index]!, block), `selection ${at}, image ${index}`).toBeUndefined();
            expect(block.count).toBeGreaterThan(0);
            expect((device[at]!.outputs[index] as MaskedBlock).masks).toEqual(
              structuredClone((block as MaskedBlock).masks),
            );
          }
        }
      }
    }
  });

  // Of three grids of an input of 320 pixels: boxes from corner to corner, and one of a class.
  const CELLS = 40 * 40 + 20 * 20 + 10 * 10;
  const corner = (channel: number, cell: number): number => {
    const [x, y] = [(cell % 40) * 8, (Math.floor(cell / 40) * 8) % 320];
    return [x, y, x + 16, y + 8, 0, 0, cell === 9 ? 0.75 : 0][channel]!;
  };
  const LABELS = ["a", "b", "c"];
  const REFUSED: readonly (readonly [name: string, said: Tensor, head: string, other: string, found: string])[] = [
    [
      "rows whose boxes are corners",
      tensor("f32", [BATCH, CELLS, 7], (at) => corner(at % 7, Math.floor(at / 7) % CELLS)),
      "yolo-transposed",
      "ppyoloe-raw",
      "all of them are corners",
    ],
    [
      "columns whose boxes are corners, f16",
      tensor("f16", [BATCH, 7, CELLS], (at) => corner(Math.floor(at / CELLS) % 7, at % CELLS)),
      "yolo",
      "libreyolo",
      "all of them are corners",
    ],
    [
      "cells that are decoded, of which none is kept",
      tensor("f32", [BATCH, CELLS, 8], (at) => [20, 16, 12, 8, 0.001, 0.001, 0, 0][at % 8]!),
      "yolox",
      "yolox-decoded",
      "which are small, got 12",
    ],
  ];
  for (const [name, said, head, other, found] of REFUSED) {
    gpuTest(`what the host's decoder refuses at the first image is refused again and again: ${name}`, async () => {
      const outputs = { output0: said };
      const options = { ...DEFAULT_DETECT_TASK_OPTIONS, labels: LABELS };
      const read = (named: string): ReturnType<DetectTask["recognise"]> =>
        new DetectTask({ ...options, head: named }).recognise(opened(outputs, {}, BATCH, 320));
      using owned = new DisposableStack();
      const asked = { ...USUAL_SELECTION, threshold: 0.5 };
      for (const [named, refused] of [
        [head, found],
        [other, undefined],
      ] as const) {
        const recognised = await read(named);
        expect(recognised.spec.head).toBe(named);
        const slot = await slotOf<NmsOptions, DetectionBlock>(recognised as never, outputs, owned);
        for (let run = 0; run < 2; run++) {
          const made = (): Promise<readonly DetectionBlock[]> => slot.run(IMAGES, [320, 320], asked);
          const wanted = (): Promise<Made<DetectionBlock>> => onHost(recognised as never, outputs, asked, IMAGES, 320);
          if (refused !== undefined) {
            await expect(made()).rejects.toThrow(refused);
            await expect(wanted()).rejects.toThrow(refused);
            continue;
          }
          const [blocks, { outputs: like }] = [await made(), await wanted()];
          for (const [at, block] of like.entries()) expect(differenceOf(blocks[at]!, block)).toBeUndefined();
          expect(like.every(({ count }) => count === (named === "yolox-decoded" ? 0 : 1))).toBe(true);
        }
      }
    });
  }

  gpuTest(
    "the host looks at one image of a load, in whichever slot it comes, and again once it is loaded anew",
    async () => {
      const shape = [1, CELLS, 7];
      const corners = tensor("f32", shape, (at) => corner(at % 7, Math.floor(at / 7)));
      const box = tensor("f32", shape, (at) => (Math.floor(at / 7) === 9 ? corner(at % 7, 9) : 0));
      const task = new DetectTask({ ...DEFAULT_DETECT_TASK_OPTIONS, labels: LABELS, head: "yolo-transposed" });
      const images = IMAGES.slice(0, 1);
      using owned = new DisposableStack();
      const device = owned.use(Device.open());
      for (let load = 0; load < 2; load++) {
        const recognised = await task.recognise(opened({ output0: corners }, {}, 1, 320));
        const engine = owned.use(new StandInEngine(device, [{ name: "output0", dtype: "f32", shape }]));
        const model = standInModel(engine, device, recognised as TaskModel<unknown, unknown, unknown>, 1, owned);
        const streams = owned.use(new GpuStreams(model.engine, device, "parallel", 2));
        const part = (await recognised.device.cuda!()) as CudaTask<NmsOptions, DetectionBlock>;
        const gpu = { ...model, cuda: part.load(model, owned), streams, trace: undefined };
        const slots = [0, 1].map(() => owned.use(new GpuSlot<NmsOptions, DetectionBlock>(gpu, streams)));
        const told: string[] = [];
        for (const said of [corners, box, corners]) {
          engine.give(new Map([["output0", said]]));
          const ended = await Promise.allSettled(slots.map((slot) => slot.run(images, [320, 320], USUAL_SELECTION)));
          told.push(ended.map(({ status }) => status).join());
        }
        expect(told).toEqual(["rejected,rejected", "fulfilled,fulfilled", "fulfilled,fulfilled"]);
      }
    },
    30_000,
  );

  /** Heads with kernels of their own, and a model of each: rows before NMS in either order, finished rows, queries. */
  const MOVED: readonly (readonly [head: Head, said: Said])[] = [
    [yolo, { output0: tensor("f32", [BATCH, 6, 84], (at) => (at % 504 < 336 ? 2 + random() * 20 : random() ** 2)) }],
    [
      yoloTransposed,
      { output0: tensor("f32", [BATCH, 21, 6], (at) => (at % 6 < 4 ? 2 + random() * 20 : random() ** 2)) },
    ],
    [
      yoloEndToEnd,
      {
        output0: tensor("f16", [BATCH, 40, 6], (at) =>
          at % 6 < 4 ? (at % 6 < 2 ? 0 : 16) + random() * 14 : at % 6 === 4 ? random() : Math.floor(random() * 2),
        ),
      },
    ],
    [
      rfDetr,
      { dets: tensor("f32", [BATCH, 30, 4], random), labels: tensor("f32", [BATCH, 30, 3], () => random() * 8 - 5) },
    ],
  ];

  gpuTest(
    "built-in heads that are passed as the caller's give on the host what their kernels give on the device",
    async () => {
      const selections = SELECTIONS.slice(0, 2);
      for (const [head, said] of MOVED) {
        const labels = head === rfDetr ? ["a", "b", "c"] : ["a", "b"];
        const options = { ...DEFAULT_DETECT_TASK_OPTIONS, labels };
        const builtIn = await new DetectTask({ ...options, head: head.name }).recognise(opened(said, {}));
        const heads = ownHeads([passed(head, { labels })]);
        const moved = await new DetectTask({ ...options, heads, head: "moved-out" }).recognise(opened(said, {}));
        expect([builtIn.spec.head, moved.spec.head, moved.spec.plan.kind]).toEqual([head.name, "moved-out", "own"]);
        const [byKernels, byHead] = [
          await onDevice<NmsOptions, DetectionBlock>(builtIn as never, said, selections),
          await onDevice<NmsOptions, DetectionBlock>(moved as never, said, selections),
        ];
        let count = 0;
        for (const at of selections.keys()) {
          for (const [index, { boxes, scores: found, classIds, ...block }] of byKernels[at]!.outputs.entries()) {
            const own = byHead[at]!.outputs[index]!;
            expect(own.count).toBe(block.count);
            expect(own.boxes.slice(0, block.count * 4)).toEqual(boxes.slice(0, block.count * 4));
            expect(own.scores.slice(0, block.count)).toEqual(found.slice(0, block.count));
            expect(own.classIds.slice(0, block.count)).toEqual(classIds.slice(0, block.count));
            count += block.count;
          }
        }
        expect(count).toBeGreaterThan(0);
      }
    },
    SLOW_TEST_MS,
  );

  gpuTest(
    "every built-in head with a kernel gives of its golden case on the device what it gives on the host, passed as the caller's",
    async () => {
      const path = join(import.meta.dir, "../../model/golden.jsonl");
      const found = new Set<string>();
      for (const line of readFileSync(path, "utf8").trimEnd().split("\n")) {
        const one = JSON.parse(line) as GoldenCase;
        const { inputs, inputWidth, inputHeight, threshold, anchors, task } = one;
        if (task !== undefined || inputs.length > 1 || inputs[0]!.dtype !== "f32" || inputs[0]!.shape[0] !== 2)
          continue;
        const labels = one.labels ?? undefined;
        const said = Object.fromEntries(one.outputs.map((output) => [output.name, describedTensor(output)]));
        const model = {
          inputs,
          outputs: one.outputs.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
          metadata: {},
        };
        const source = {
          ...opened(said, {}, 2),
          model,
          described: async () => model,
          outputsFor: async () => model.outputs,
        };
        const options = { ...DEFAULT_DETECT_TASK_OPTIONS, labels, anchors };
        const builtIn = await new DetectTask({ ...options, head: one.head }).recognise(source);
        if (isHostPlan(builtIn.spec.plan)) continue;
        const heads = ownHeads([passed(headNamed(one.head), { labels, anchors })]);
        const moved = await new DetectTask({
          ...options,
          labels: builtIn.spec.labels,
          heads,
          head: "moved-out",
        }).recognise(source);
        expect([builtIn.spec.head, moved.spec.plan.kind]).toEqual([one.head, "own"]);
        const selection = { ...USUAL_SELECTION, threshold };
        const made: (readonly DetectionBlock[])[] = [];
        for (const recognised of [builtIn, moved]) {
          using owned = new DisposableStack();
          const slot = await slotOf<NmsOptions, DetectionBlock>(recognised as never, said, owned, {}, 2);
          made.push(structuredClone(await slot.run(IMAGES.slice(0, 2), [inputWidth, inputHeight], selection)));
        }
        const [byKernels, byHead] = made as [readonly DetectionBlock[], readonly DetectionBlock[]];
        expect(byKernels.length).toBe(2);
        for (const [index, { count, boxes, scores: sure, classIds }] of byKernels.entries()) {
          const own = byHead[index]!;
          expect(own.count, one.name).toBe(count);
          expect(own.boxes.slice(0, count * 4), one.name).toEqual(boxes.slice(0, count * 4));
          expect(own.scores.slice(0, count), one.name).toEqual(sure.slice(0, count));
          expect(own.classIds.slice(0, count), one.name).toEqual(classIds.slice(0, count));
          if (count > 0) found.add(one.head);
        }
      }
      expect(found.size).toBeGreaterThan(30);
    },
    SLOW_TEST_MS,
  );

  const scores = (dtype: "f32" | "f16"): Tensor =>
    tensor(dtype, [BATCH, 11], (at) => (at === 7 ? Number.NaN : Math.round(random() * 12) / 4));
  const CLASSIFIERS: readonly (readonly [name: string, said: Tensor, options: ClassifyTaskOptions])[] = [
    ["torchvision's middle", scores("f32"), { activation: "none" }],
    ["bicubic, f16, softmax", scores("f16"), { activation: "softmax", preprocessing: { resize: "bicubic", crop: 1 } }],
    [
      "Lanczos, bars beside it",
      scores("f32"),
      { activation: "sigmoid", preprocessing: { resize: "lanczos", fit: "longer-side" } },
    ],
    [
      "bilinear, stretched",
      scores("f32"),
      { activation: "none", preprocessing: { resize: "bilinear", fit: "stretch" } },
    ],
  ];
  for (const [name, said, options] of CLASSIFIERS) {
    gpuTest(`classify: ${name}`, async () => {
      const outputs = { output0: said };
      const recognised = await new ClassifyTask(options).recognise(opened(outputs, {}));
      const params = [{ top: 1 }, { top: 5 }, { top: 100 }];
      const made = await onDevice<{ top: number }, BestClasses>(recognised, outputs, params);
      for (const [at, one] of params.entries()) {
        const wanted = await onHost<{ top: number }, BestClasses>(recognised, outputs, one);
        expect(made[at]!.input.data).toEqual(wanted.input.data);
        expect(made[at]!.outputs).toEqual([...wanted.outputs]);
        expect(wanted.outputs.some(({ count }) => count > 0)).toBe(true);
      }
    });
  }

  // Images of two kinds: the rows of NV12 are apart, and so are its planes.
  const { nv12, rgb } = nv12Pair(91, 61, { gap: 5, chromaGap: 3, between: 7 });
  const frames = [rgb, nv12];
  const PEOPLE = 10;
  const ROWS = frames.length * PEOPLE;
  /** Inside the image, beyond its edges, larger than it, and of less than a pixel. */
  const boxes = Array.from({ length: PEOPLE }, (_, at) => {
    const [x, y] = [random() * 91, random() * 61];
    const [across, down] = at === 0 ? [0.2, 0.1] : at === 1 ? [400, 300] : [1 + random() * 40, 1 + random() * 60];
    return { box: [x - across / 2, y - down / 2, x + across / 2, y + down / 2] as const };
  });
  const values = (dtype: "f32" | "f16", ...shape: number[]): Tensor => tensor(dtype, [ROWS, ...shape], random);
  const TOP_DOWN: readonly (readonly [name: string, said: Said, options: Partial<TopDownTaskOptions>])[] = [
    ["SimCC", { x: values("f32", 17, 64), y: values("f32", 17, 64) }, {}],
    [
      "SimCC in f16, blue first",
      { x: values("f16", 5, 64), y: values("f16", 5, 64) },
      { preprocessing: { colour: "BGR" } },
    ],
    ["heat maps", { map: values("f32", 17, 8, 8) }, {}],
    ["transformers' heat maps in f16", { heatmaps: values("f16", 17, 8, 8) }, {}],
  ];
  for (const [name, said, options] of TOP_DOWN) {
    gpuTest(`top-down pose: 20 people of two frames are one run, and each frame is copied once: ${name}`, async () => {
      const task = new TopDownTask({ simccScore: "min", batch: ROWS, maxPixels: undefined, ...options } as never);
      const recognised = await task.recognise(opened(said, {}, ROWS));
      const { size, isUnbiased } = recognised.spec;
      const rule = { size, padding: 1.25, isUnbiased };
      using owned = new DisposableStack();
      const device = owned.use(Device.open());
      const engine = owned.use(new StandInEngine(device, opened(said, {}, ROWS).model.outputs));
      const model = standInModel(engine, device, recognised as never, ROWS, owned);
      const part = (await recognised.device.cuda!()) as CudaTask<undefined, Float32Array>;
      const streams = owned.use(new GpuStreams(model.engine, device, "one", 2));
      const cuda = part.load(model, owned);
      const gpu = { ...model, cuda, streams, trace: undefined, hasGraph: false, fixedBatch: undefined };
      const slot = owned.use(new GpuSlot<undefined, Float32Array>(gpu, streams));
      engine.give(new Map(Object.entries(said)));
      // A frame takes memory of its own where it is copied.
      const copied = spyOn(FrameMemory.prototype, "upload");
      owned.defer(() => copied.mockRestore());
      // All rows; then fewer, which are rounded up, so that some more need no memory of their own.
      const counts = [
        [boxes.length, ROWS],
        [7, 16],
        [8, 16],
        [1, 2],
      ] as const;
      for (const [round, [count, rows]] of counts.entries()) {
        const people = boxes.slice(-count);
        const seen = frames.flatMap((frame) => personImages(frame, people, rule));
        const wanted = await onHost<undefined, Float32Array>(recognised, said, undefined, seen);
        const points = await slot.run(seen, size, undefined);
        expect(points.slice(0, seen.length)).toEqual([...wanted.outputs]);
        expect([engine.runs, copied.mock.calls.length]).toEqual([round + 1, (round + 1) * frames.length]);
        const { data, shape } = await slot.readInput();
        expect(shape[0]).toBe(rows);
        expect((data as Float32Array).subarray(0, wanted.input.data.length)).toEqual(wanted.input.data as never);
      }
      // The second run of a number of rows is the first one's graph, with other people.
      const replaying = owned.use(new GpuSlot<undefined, Float32Array>({ ...gpu, hasGraph: true }, streams));
      for (const people of [boxes, boxes.toReversed(), boxes.slice(1)]) {
        const seen = frames.flatMap((frame) => personImages(frame, people, rule));
        const { outputs } = await onHost<undefined, Float32Array>(recognised, said, undefined, seen);
        expect((await replaying.run(seen, size, undefined)).slice(0, seen.length)).toEqual([...outputs]);
      }
    });
  }

  // What such a model says is its input, byte for byte, so that each tile has values of its own.
  type MapCase = readonly [
    name: string,
    of: MapTask<never, unknown, never>,
    input: "f32" | "f16" | "u8",
    map: TensorInfo,
  ];
  const map = (dtype: DType, ...shape: number[]): TensorInfo => ({ name: "map", dtype, shape: [-1, ...shape] });
  const mapTask = (form: unknown, options: object): MapCase[1] =>
    new MapTask(form as never, { tile: [40, 30], overlap: 6, ...options } as never);
  const MAPS: readonly MapCase[] = [
    ["logits", mapTask(SEMANTIC, {}), "f32", map("f32", 3, SIDE, SIDE)],
    [
      "logits of f16, antialias, blue first",
      mapTask(SEMANTIC, { preprocessing: { resize: "antialias", colour: "BGR" } }),
      "f16",
      map("f16", 12, SIDE / 2, SIDE / 2),
    ],
    ["chosen classes", mapTask(SEMANTIC, { preprocessing: { mean: 0, std: 1 } }), "u8", map("u8", SIDE * 3, SIDE)],
    ["classes of 64 bits", mapTask(SEMANTIC, {}), "f32", map("i64", 48, SIDE)],
    [
      "metres, bars",
      mapTask(DEPTH, { kind: "metric", preprocessing: { fit: "letterbox" } }),
      "f32",
      map("f32", 96, SIDE),
    ],
    [
      "relative depth, bicubic, f16",
      mapTask(DEPTH, { kind: "relative", preprocessing: { resize: "bicubic" } }),
      "f16",
      map("f16", 1, 96, SIDE),
    ],
    [
      "relative depth of whole images",
      mapTask(DEPTH, { kind: "relative", tile: undefined }),
      "f32",
      map("f32", 96, SIDE),
    ],
  ];
  for (const [name, task, dtype, said] of MAPS) {
    gpuTest(`${task.name}: tiles share the copy of their image, in one run or several: ${name}`, async () => {
      const model = { inputs: [{ name: "images", dtype, shape: [-1, 3, SIDE, SIDE] }], outputs: [said], metadata: {} };
      const recognised = await task.recognise({ ...opened({}, {}), model });
      using owned = new DisposableStack();
      const device = owned.use(Device.open());
      const copied = spyOn(FrameMemory.prototype, "upload");
      owned.defer(() => copied.mockRestore());
      for (const kind of RUNS) {
        const { rows, isFixed, hasGraph } = kind;
        const { engine, slot } = await echoingSlot<ArrayBufferView>(recognised, said, kind, device, owned);
        let runs = 0;
        // The second time as a graph, where there is one, with images in another order.
        for (const images of [[...IMAGES, nv12], [rgb, ...IMAGES.toReversed()], [nv12]]) {
          copied.mockClear();
          const wanted = await echoed(recognised as never, images, rows, dtype, said);
          const maps = await slot.run(images, [SIDE, SIDE], undefined);
          expect(maps.slice(0, images.length)).toEqual(wanted.maps);
          expect(copied).toHaveBeenCalledTimes(images.length);
          runs += Math.ceil(wanted.regions / rows);
          if (rows === 64) {
            await slot.preprocess(images, [SIDE, SIDE]);
            await slot.infer();
            expect((await slot.postprocess(undefined)).slice(0, images.length)).toEqual(wanted.maps);
            runs += 1;
            copied.mockClear();
          }
          if (!hasGraph) expect(engine.runs).toBe(runs);
          if (!isFixed && wanted.regions <= rows) expect((await slot.readInput()).data).toEqual(wanted.input.data);
        }
        // Replayed ones are not enqueued.
        if (hasGraph) expect(engine.runs).toBeLessThan(runs);
      }
    });
  }

  gpuTest("image: tiles come back where they were, in one run or several, by one copy of tables a run", async () => {
    const shape = [-1, 3, SIDE, SIDE];
    const said: TensorInfo = { name: "made", dtype: "f32", shape };
    const model = { inputs: [{ name: "images", dtype: "f32", shape }], outputs: [said], metadata: {} } as const;
    const options = { hints: {}, tile: [SIDE, SIDE], overlap: 6, padding: "reflect", alpha: "keep" } as const;
    const task = new ImageTask(options as never);
    const recognised = await task.recognise({ ...opened({}, {}), model });
    using owned = new DisposableStack();
    const device = owned.use(Device.open());
    const uploads = owned.use(spyOn(ImageMemory.prototype, "upload"));
    // One pixel, and more bytes than one thread copies.
    const extremes = (
      [
        [1, 1, "RGBA"],
        [700, 500, "BGR"],
        [1, 40, "RGB"],
      ] as const
    ).map(([width, height, format]) =>
      imageOf(
        Uint8Array.from({ length: width * height * bytesPerPixel(format) }, () => random() * 256),
        { width, height, format },
      ),
    );
    for (const kind of RUNS) {
      const { rows } = kind;
      const { slot } = await echoingSlot<MadeImage>(recognised, said, kind, device, owned);
      // The second time as a graph, where there is one; images of more and of fewer tiles than before.
      for (const image of [IMAGES[1]!, IMAGES[0]!, IMAGES[2]!, IMAGES[0]!, ...(rows === 64 ? extremes : [])]) {
        uploads.mockClear();
        const [made] = await slot.run([image], [SIDE, SIDE], undefined);
        expect(made!.image).toMatchObject({ width: image.width, height: image.height, format: image.format });
        expect(Buffer.compare(made!.image.data, image.data)).toBe(0);
        expect(uploads).toHaveBeenCalledTimes(Math.ceil(made!.tiles / rows));
      }
      // A batch that fails on its way leaves nothing to the next one.
      const before = await slot.run([IMAGES[0]!], [SIDE, SIDE], undefined);
      using failing = spyOn(ImageMemory.prototype, "download").mockImplementationOnce(() => {
        throw new RangeError("Out of memory");
      });
      await expect(slot.run([IMAGES[2]!], [SIDE, SIDE], undefined)).rejects.toThrow("Out of memory");
      expect(failing).toHaveBeenCalledTimes(1);
      expect(await slot.run([IMAGES[0]!], [SIDE, SIDE], undefined)).toEqual(before);
    }
  });
});

/** How the runs of a slot are: of so many rows, always or at most, and enqueued or replayed. */
interface RunKind {
  readonly rows: number;
  readonly isFixed: boolean;
  readonly hasGraph: boolean;
}

const RUNS: readonly RunKind[] = [
  { rows: 64, isFixed: false, hasGraph: false },
  { rows: 2, isFixed: false, hasGraph: false },
  { rows: 4, isFixed: true, hasGraph: false },
  { rows: 3, isFixed: false, hasGraph: true },
];

/** A slot whose engine says its input. */
async function echoingSlot<Output>(
  task: Pick<TaskModel<unknown, unknown, unknown>, "device">,
  said: TensorInfo,
  { rows, isFixed, hasGraph }: RunKind,
  device: Device,
  owned: DisposableStack,
): Promise<{ readonly engine: StandInEngine; readonly slot: GpuSlot<undefined, Output> }> {
  const part = (await task.device.cuda!()) as CudaTask<undefined, Output>;
  const engine = owned.use(new StandInEngine(device, [said], { echoed: "images" }));
  const loaded = standInModel(engine, device, task as never, rows, owned);
  const streams = owned.use(new GpuStreams(loaded.engine, device, hasGraph ? "split" : "one", 1));
  const gpu = { ...loaded, hasGraph, fixedBatch: isFixed ? rows : undefined };
  const cuda = part.load(gpu, owned);
  return { engine, slot: owned.use(new GpuSlot({ ...gpu, cuda, streams, trace: undefined }, streams)) };
}

/** The maps of images by a model that says its input. */
async function echoed(
  task: Recognised<undefined, ArrayBufferView>,
  images: readonly Image[],
  rows: number,
  dtype: DType & ("f32" | "f16" | "u8"),
  said: TensorInfo,
): Promise<{ readonly input: Tensor; readonly regions: number; readonly maps: ArrayBufferView[] }> {
  const work = (await task.host()).createWork();
  const regions = work.begin(images, [SIDE, SIDE]);
  const count = Math.min(rows, regions);
  const input = createTensor(dtype, [count, 3, SIDE, SIDE]) as InputTensor;
  const data = viewOf(said.dtype, input.data.buffer as ArrayBuffer, 0, count * volume(said.shape.slice(1)));
  const tensors: HostTensors = {
    outputs: new Map([[said.name, { dtype: said.dtype, shape: [count, ...said.shape.slice(1)], data } as Tensor]]),
    fill: (preprocessor: Preprocessor, image: Image, row, placement) => preprocessor.run(image, input, row, placement),
    lend: () => input,
  };
  for (let region = 0; region < regions; region++) {
    work.fill(tensors, region, region % rows);
    work.finish(tensors, region, region % rows, undefined);
  }
  return { input, regions, maps: work.end().slice() };
}
