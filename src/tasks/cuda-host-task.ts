/**
 * @module CudaHostTask: a task whose outputs are read on the host, around an engine: images are pre-processed on the device, outputs
 * leave it as they are, and the task's own part on the host places the regions and finishes them.
 */

import type {
  CudaModel,
  CudaStages,
  CudaTask,
  CudaWork,
  DeviceBatch,
  DeviceTensors,
  LoadedModel,
  RunShape,
} from "../accelerators/tensorrt/gpu-model.ts";
import { KernelLaunch } from "../accelerators/tensorrt/kernels.ts";
import {
  type DeviceImage,
  IMAGE_BYTES,
  ImageTable,
  preprocessLaunch,
  valueTable,
} from "../accelerators/tensorrt/preprocess.ts";
import { createTensor, type Tensor, unpackVectors } from "../core/tensor.ts";
import { type DeviceBuffer, PinnedBuffer } from "../cuda/buffers.ts";
import { copyToHost } from "../cuda/copy.ts";
import { ChangingTable, deviceTable } from "../cuda/kept-memory.ts";
import type { OnStream } from "../cuda/stream.ts";
import { refuseOutput } from "../heads/outputs.ts";
import type { Region, Size } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { Preprocessor } from "../image/preprocessor.ts";
import type { SlotImage } from "../runtime/backend.ts";
import { assertDeviceResize, type HostTensors, type HostWork, type PixelSize } from "../runtime/task.ts";

/** A task's part of one slot on the host that looks at no pixel itself. */
export interface RegionWork<Params, Output> extends HostWork<Params, Output> {
  /** What `begin` would return for images of such sizes; without it, as many as there are. */
  regions?(images: readonly PixelSize[], params?: Params): number;
  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void;
  finish(tensors: Pick<HostTensors, "outputs">, region: number, row: number, params: Params): void;
}

/** What all parts of a loaded model share. */
interface Shared {
  readonly model: LoadedModel;
  readonly preprocessing: Preprocessing;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceBuffer<"f32">;
}

/** Such a task around an engine. */
export class CudaHostTask<Params, Output> implements CudaTask<Params, Output> {
  readonly #preprocessing: Preprocessing;
  readonly #createWork: () => RegionWork<Params, Output>;

  /**
   * @param preprocessing of every region
   * @param createWork    makes the part of one slot
   * @throws {UnavailableError} If only the CPU resizes in this way
   */
  constructor(preprocessing: Preprocessing, createWork: () => RegionWork<Params, Output>) {
    assertDeviceResize(preprocessing.resize, "load the model");
    this.#preprocessing = preprocessing;
    this.#createWork = createWork;
  }

  load(model: LoadedModel, owned: DisposableStack): CudaModel<Params, Output> {
    const preprocessing = this.#preprocessing;
    const values = owned.use(deviceTable("f32", valueTable(preprocessing), model.device));
    return { createWork: () => new CudaHostWork({ model, preprocessing, values }, this.#createWork()) };
  }
}

class CudaHostWork<Params, Output> implements CudaWork<Params, Output> {
  readonly #shared: Shared;
  readonly #work: RegionWork<Params, Output>;
  /** Regions of the batch. */
  count = 0;
  #params: Params | undefined;

  constructor(shared: Shared, work: RegionWork<Params, Output>) {
    this.#shared = shared;
    this.#work = work;
  }

  get placements(): readonly Region[] {
    return this.#work.placements;
  }

  regions(images: readonly SlotImage[], _: Size, params?: Params): number {
    this.#params = params;
    return this.#work.regions?.(images, params) ?? images.length;
  }

  createStages(tensors: DeviceTensors, { batch }: RunShape): HostWorkStages {
    return new HostWorkStages(this.#shared, tensors, batch, this);
  }

  begin({ images, size }: DeviceBatch<Params>): void {
    // Some may have no pixels on the host: only the stages look for those.
    this.count = this.#work.begin(images as readonly Image[], size, this.#params);
  }

  fill(stages: Pick<HostTensors, "fill">, region: number, row: number): void {
    this.#work.fill(stages, region, row);
  }

  take(stages: HostWorkStages, params: Params): boolean {
    const { first, batch } = stages;
    stages.unpack();
    for (let row = 0; row < batch && first + row < this.count; row++) {
      this.#work.finish(stages, first + row, row, params);
    }
    return true;
  }

  enqueueCopyOut(): void {}

  read(stages: HostWorkStages, params: Params): readonly Output[] {
    this.take(stages, params);
    return this.#work.end();
  }

  [Symbol.dispose](): void {}
}

/** The launch of one shape, with its table, and the outputs in page-locked memory. */
class HostWorkStages implements CudaStages<unknown>, Pick<HostTensors, "fill" | "outputs"> {
  /** Of the last run, once it has been waited for. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** The region of its first row. */
  first = 0;
  readonly batch: number;
  readonly #work: Pick<CudaHostWork<never, unknown>, "count" | "fill">;
  readonly #preprocessing: Preprocessing;
  readonly #table: ImageTable;
  readonly #changing: ChangingTable;
  readonly #preprocess: KernelLaunch;
  readonly #copies: readonly (readonly [to: PinnedBuffer, from: DeviceBuffer])[];
  /** Outputs whose channels come in vectors, as they are read and as they were copied. */
  readonly #packed: readonly (readonly [tensor: Tensor, packed: PinnedBuffer, vector: number])[];
  readonly #owned: DisposableStack;
  /** Of the batch whose rows are being filled. */
  #images: readonly SlotImage[] = [];
  #deviceImages: readonly DeviceImage[] = [];

  /** @throws {ShapeError} If the engine lacks an output */
  constructor(
    { model, preprocessing, values }: Shared,
    tensors: DeviceTensors,
    batch: number,
    work: Pick<CudaHostWork<never, unknown>, "count" | "fill">,
  ) {
    const { device, kernels, task } = model;
    this.#work = work;
    this.#preprocessing = preprocessing;
    this.batch = batch;
    using owned = new DisposableStack();
    this.#changing = owned.use(new ChangingTable(batch * IMAGE_BYTES, device));
    this.#table = new ImageTable(this.#changing.buffer, 0, batch);
    const input = { output: tensors.images, images: this.#changing.device, table: values };
    this.#preprocess = new KernelLaunch(kernels, preprocessLaunch(preprocessing, input));
    const outputs = (task.outputs ?? [...tensors.outputs.keys()]).map((name) => {
      const from = tensors.outputs.get(name) ?? refuseOutput(name, "there", undefined);
      const isPlain = from.vector === 1;
      const to = owned.use(PinnedBuffer.create(from.dtype, isPlain ? from.shape : [from.length], device));
      return { name, to, from, tensor: isPlain ? to : createTensor(from.dtype, from.shape) };
    });
    this.outputs = new Map(outputs.map(({ name, tensor }) => [name, tensor]));
    this.#copies = outputs.map(({ to, from }) => [to, from]);
    const packed = outputs.filter(({ from }) => from.vector !== 1);
    this.#packed = packed.map(({ tensor, to, from }) => [tensor, to, from.vector]);
    this.#owned = owned.move();
  }

  reserve(): boolean {
    return false;
  }

  /** Make row-major what has come in vectors. */
  unpack(): void {
    for (const [tensor, { data }, vector] of this.#packed) unpackVectors(tensor, data, vector);
  }

  /** Rows that only fill the batch repeat the first region. */
  select({ images, deviceImages }: DeviceBatch<unknown>, first: number): void {
    this.first = first;
    this.#images = images;
    this.#deviceImages = deviceImages;
    for (let row = 0; row < this.batch; row++) {
      this.#work.fill(this, first + row < this.#work.count ? first + row : first, row);
    }
  }

  /** Write a region into the table in place of the input. */
  fill(_preprocessor: Preprocessor, image: Image, row: number, placement: Region): void {
    const on = this.#deviceImages[this.#images.indexOf(image)]!;
    this.#table.set(row, on, placement, this.#preprocessing);
  }

  setParams(): void {}

  updateTables(on: OnStream): void {
    this.#changing.update(on);
  }

  enqueueTables(on: OnStream): void {
    this.#changing.enqueueCopy(on);
  }

  enqueuePreprocess(on: OnStream): void {
    this.#preprocess.enqueue(on);
  }

  enqueuePostprocess(): void {}

  enqueueCopyOut(on: OnStream): void {
    for (const [to, from] of this.#copies) copyToHost(to, from, on);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
