import { describe, expect, test } from "bun:test";
import type { CudaTask, DeviceBatch, LoadedModel } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import type { SlotStreams } from "../../../src/accelerators/tensorrt/gpu-streams.ts";
import { KernelLibrary } from "../../../src/accelerators/tensorrt/kernels.ts";
import { createTensor, type Tensor } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/device-buffer.ts";
import { type Image, imageOf } from "../../../src/image/image.ts";
import type { InputTensor, Preprocessor } from "../../../src/image/preprocessor.ts";
import type { ModelInfo } from "../../../src/model/model-info.ts";
import type { DetectionBlock } from "../../../src/model/rows.ts";
import type { HostTensors, OpenedModel, Task } from "../../../src/runtime/task.ts";
import type { BestClasses } from "../../../src/tasks/classify/class-scores.ts";
import type { ClassifyTaskOptions } from "../../../src/tasks/classify/classifier-recognition.ts";
import { ClassifyTask } from "../../../src/tasks/classify/classify-task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS } from "../../../src/tasks/detect/detect-task.ts";
import { type NmsOptions, USUAL_SELECTION } from "../../../src/tasks/detect/nms.ts";
import { ObjectTask } from "../../../src/tasks/objects/object-task.ts";
import { chance } from "../../support/chance.ts";
import { differenceOf } from "../../support/decoded.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";
import { orientedCase } from "../../support/oriented-cases.ts";

const gpuTest = test.skipIf(isGpuMissing);

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

/** A model of one input that says this of three images, as an accelerator opens it. */
function opened(output: Tensor, metadata: Readonly<Record<string, string>>): OpenedModel {
  const model: ModelInfo = {
    inputs: [{ name: "images", dtype: "f32", shape: [BATCH, 3, SIDE, SIDE] }],
    outputs: [{ name: "output0", dtype: output.dtype, shape: output.shape }],
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
  said: Tensor,
  params: Params,
): Promise<Made<Output>> {
  const work = (await task.host()).createWork();
  const input = createTensor("f32", [BATCH, 3, SIDE, SIDE]);
  const tensors: HostTensors = {
    outputs: new Map([["output0", said]]),
    fill: (preprocessor: Preprocessor, image: Image, row, placement) =>
      preprocessor.run(image, input as InputTensor, row, placement),
    lend: () => input as InputTensor,
  };
  work.begin(IMAGES, [SIDE, SIDE]);
  for (let row = 0; row < BATCH; row++) work.fill(tensors, row, row);
  for (let row = 0; row < BATCH; row++) work.finish(tensors, row, row, params);
  return { input, outputs: work.end() };
}

async function onDevice<Params, Output>(
  task: Recognised<Params, Output>,
  said: Tensor,
  params: readonly Params[],
): Promise<Made<Output>[]> {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  const on = { stream };
  const kernels = gpu.own(KernelLibrary.create(device));
  const images = gpu.own(DeviceBuffer.create("f32", [BATCH, 3, SIDE, SIDE], { stream }));
  const tensors = { images, outputs: new Map([["output0", gpu.upload(said)]]) };
  const deviceImages = IMAGES.map((image) => {
    const { width, height, data } = image as Image & { readonly data: Uint8Array };
    const pixels = gpu.upload({ dtype: "u8", shape: [data.length], data: data as Uint8Array<ArrayBuffer> }).pointer;
    return { format: "RGB", width, height, pixels, pitchBytes: width * 3 } as const;
  });
  using owned = new DisposableStack();
  const part = (await task.device.cuda!()) as CudaTask<Params, Output>;
  const model = { device, kernels, task, rows: BATCH, fixedBatch: BATCH } as unknown as LoadedModel;
  const streams = { setup: on, compute: on, copyIn: on, copyOut: on } as unknown as SlotStreams;
  const work = owned.use(part.load(model, owned).createWork(streams));
  const stages = owned.use(work.createStages(tensors, { batch: BATCH, size: [SIDE, SIDE] }));
  const made: Made<Output>[] = [];
  for (const wanted of params) {
    const batch: DeviceBatch<Params> = { images: IMAGES, deviceImages, size: [SIDE, SIDE], params: wanted };
    stages.reserve(wanted);
    work.begin(batch, on);
    stages.select(batch, 0, on);
    stages.enqueueTables(on);
    stages.enqueuePreprocess(on);
    stages.enqueuePostprocess(on);
    stages.enqueueCopyOut(on);
    work.enqueueCopyOut(on);
    stream.synchronize();
    const outputs = structuredClone(work.read(stages, wanted)) as Output[];
    made.push({ input: { dtype: "f32", shape: images.shape, data: gpu.download(images) }, outputs });
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
      const recognised = await new ObjectTask(task, DEFAULT_DETECT_TASK_OPTIONS).recognise(opened(said, metadata));
      const made = await onDevice<NmsOptions, DetectionBlock>(recognised, said, SELECTIONS);
      for (const [at, selection] of SELECTIONS.entries()) {
        const wanted = await onHost<NmsOptions, DetectionBlock>(recognised, said, selection);
        expect(made[at]!.input.data).toEqual(wanted.input.data);
        for (const [index, block] of wanted.outputs.entries()) {
          expect(differenceOf(made[at]!.outputs[index]!, block), `selection ${at}, image ${index}`).toBeUndefined();
        }
      }
      expect(made.some(({ outputs }) => outputs.some(({ count }) => count > 0))).toBe(true);
    });
  }

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
      const recognised = await new ClassifyTask(options).recognise(opened(said, {}));
      const params = [{ top: 1 }, { top: 5 }, { top: 100 }];
      const made = await onDevice<{ top: number }, BestClasses>(recognised, said, params);
      for (const [at, one] of params.entries()) {
        const wanted = await onHost<{ top: number }, BestClasses>(recognised, said, one);
        expect(made[at]!.input.data).toEqual(wanted.input.data);
        expect(made[at]!.outputs).toEqual([...wanted.outputs]);
        expect(wanted.outputs.some(({ count }) => count > 0)).toBe(true);
      }
    });
  }
});
