/** @module Cuda classify: images in, their best classes out, around an engine: the scores leave the device as they are. */

import type {
  CudaModel,
  CudaStages,
  CudaTask,
  CudaWork,
  DeviceBatch,
  DeviceTensors,
  LoadedModel,
  RunShape,
} from "../../accelerators/tensorrt/gpu-model.ts";
import { deviceOutput, KernelLaunch } from "../../accelerators/tensorrt/kernels.ts";
import {
  deviceTable,
  IMAGE_BYTES,
  ImageTable,
  preprocessLaunch,
  valueTable,
} from "../../accelerators/tensorrt/preprocess.ts";
import { copyToDevice, copyToHost } from "../../cuda/copy.ts";
import { DeviceBuffer, type TypedDeviceMemory } from "../../cuda/device-buffer.ts";
import { PinnedBuffer } from "../../cuda/pinned-buffer.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { FLOATS } from "../../heads/traits.ts";
import type { Region } from "../../image/geometry.ts";
import type { Preprocessing } from "../../image/preprocessing.ts";
import type { SlotImage } from "../../runtime/backend.ts";
import type { BestClasses } from "./class-scores.ts";
import type { ClassifierSpec, ClassifyParams } from "./classifier-recognition.ts";
import { placeMiddle, regionPreprocessing, takeBest } from "./host-classify.ts";

/** What all parts of a loaded classifier share. */
interface Shared {
  readonly model: LoadedModel;
  readonly spec: ClassifierSpec;
  readonly preprocessing: Preprocessing;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceBuffer<"f32">;
}

/** Classification around an engine. */
export class CudaClassify implements CudaTask<ClassifyParams, BestClasses> {
  readonly #spec: ClassifierSpec;

  constructor(spec: ClassifierSpec) {
    this.#spec = spec;
  }

  load(model: LoadedModel, owned: DisposableStack): CudaModel<ClassifyParams, BestClasses> {
    const spec = this.#spec;
    const preprocessing = regionPreprocessing(spec);
    const values = owned.use(deviceTable("f32", valueTable(preprocessing), model.device));
    return { createWork: () => new CudaClassifyWork({ model, spec, preprocessing, values }) };
  }
}

/** What one slot needs to classify: a region an image, its middle. */
class CudaClassifyWork implements CudaWork<ClassifyParams, BestClasses> {
  readonly placements: Region[] = [];
  readonly #shared: Shared;
  readonly #best: BestClasses[] = [];

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  regions(images: readonly SlotImage[]): number {
    return images.length;
  }

  createStages(tensors: DeviceTensors, shape: RunShape): ClassifyStages {
    return new ClassifyStages(this.#shared, tensors, shape, this.placements);
  }

  begin({ images, size }: DeviceBatch<ClassifyParams>): void {
    this.placements.length = images.length;
    for (let index = 0; index < images.length; index++) {
      this.placements[index] = placeMiddle(images[index]!, this.#shared.spec, size, this.placements[index]);
    }
  }

  enqueueCopyOut(): void {}

  read(stages: ClassifyStages, { top }: ClassifyParams): readonly BestClasses[] {
    for (let index = 0; index < this.placements.length; index++) {
      takeBest(this.#best, index, this.#shared.spec, stages.scores, index, top);
    }
    return this.#best;
  }

  [Symbol.dispose](): void {}
}

/** The launch of one shape, with its table, and the scores in page-locked memory. */
class ClassifyStages implements CudaStages<ClassifyParams> {
  readonly #shared: Shared;
  readonly #placements: readonly Region[];
  readonly #batch: number;
  readonly #table: ImageTable;
  readonly #hostTable: PinnedBuffer<"u8">;
  readonly #deviceTable: DeviceBuffer<"u8">;
  readonly #preprocess: KernelLaunch;
  readonly #output: TypedDeviceMemory;
  readonly #scores: PinnedBuffer;
  readonly #owned: DisposableStack;

  /** @throws {ShapeError} If the output is not what was recognised */
  constructor(shared: Shared, tensors: DeviceTensors, { batch }: RunShape, placements: readonly Region[]) {
    const { model, spec, preprocessing, values } = shared;
    const { device, kernels } = model;
    this.#shared = shared;
    this.#placements = placements;
    this.#batch = batch;
    using owned = new DisposableStack();
    const bytes = [batch * IMAGE_BYTES];
    this.#hostTable = owned.use(PinnedBuffer.create("u8", bytes, device));
    this.#deviceTable = owned.use(DeviceBuffer.create("u8", bytes, { device }));
    this.#hostTable.data.fill(0);
    this.#table = new ImageTable(this.#hostTable.buffer, 0, batch);
    const input = { output: tensors.images, images: this.#deviceTable, table: values };
    this.#preprocess = new KernelLaunch(kernels, preprocessLaunch(preprocessing, input));
    this.#output = deviceOutput(tensors.outputs, spec.output, FLOATS, [batch, spec.classes]);
    this.#scores = owned.use(PinnedBuffer.create(this.#output.dtype, this.#output.shape, device));
    this.#owned = owned.move();
  }

  /** f32 or f16 [batch, classes], once the frame has been waited for. */
  get scores(): ArrayLike<number> {
    return this.#scores.data as Float32Array;
  }

  reserve(): boolean {
    return false;
  }

  /** Rows that only fill the batch repeat the first image. */
  select({ deviceImages }: DeviceBatch<ClassifyParams>, first: number): void {
    for (let row = 0; row < this.#batch; row++) {
      const index = first + row < deviceImages.length ? first + row : first;
      this.#table.set(row, deviceImages[index]!, this.#placements[index]!, this.#shared.preprocessing);
    }
  }

  setParams(): void {}

  enqueueTables(on: OnStream): void {
    copyToDevice(this.#deviceTable, this.#hostTable, on);
  }

  enqueuePreprocess(on: OnStream): void {
    this.#preprocess.enqueue(on);
  }

  enqueuePostprocess(): void {}

  enqueueCopyOut(on: OnStream): void {
    copyToHost(this.#scores, this.#output, on);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
