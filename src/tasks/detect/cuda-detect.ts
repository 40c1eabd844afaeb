/** @module Cuda detect: images in, kept boxes out, around an engine, all of it in the frame's graph. */

import { readTensor } from "../../accelerators/tensorrt/gpu-binding.ts";
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
import type { SlotStreams } from "../../accelerators/tensorrt/gpu-streams.ts";
import { KernelLaunch } from "../../accelerators/tensorrt/kernels.ts";
import { preprocessLaunch, valueTable } from "../../accelerators/tensorrt/preprocess.ts";
import type { Tensor } from "../../core/tensor.ts";
import type { DeviceBuffer } from "../../cuda/buffers.ts";
import { deviceTable } from "../../cuda/kept-memory.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { ModelSpec } from "../../heads/head.ts";
import { decoderOf } from "../../heads/registry.ts";
import { place, type Region, type Size, sourceRegion } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import { type RowsRead, rowsRead } from "../../image/resize-taps.ts";
import { blockAt, Candidates, type DetectionBlock } from "../../model/rows.ts";
import type { SlotImage } from "../../runtime/backend.ts";
import type { SlicePlan } from "../image-grid.ts";
import { Slicer } from "../slices/slicer.ts";
import { GpuPostprocess } from "./cuda-postprocess.ts";
import { type CudaObjects, type DecodeBatch, GpuTables } from "./device-batch.ts";
import type { NmsOptions } from "./nms.ts";
import { PixelCheck, type PlausibilityGuard } from "./plausibility.ts";

/** Rows an image that there is room for until more are asked for: the default of `maxDetections`. */
const FIRST_ROWS = 300;

/** What all parts of a loaded detector share. */
interface Shared {
  readonly model: LoadedModel;
  readonly recognition: ModelSpec;
  readonly guard: PlausibilityGuard;
  readonly objects: CudaObjects;
  /** What images are cut into where a call does not say. */
  readonly slices: SlicePlan | undefined;
  /** On the device: what `valueTable` gave for the pre-processing. */
  readonly values: DeviceBuffer<"f32">;
  /** Looks at the model's first image. */
  readonly first: FirstLook;
}

/**
 * What a decoder on the host refuses at a model's first image, such as corners in the place of centres, its kernel may not see: it reads
 * no box of a row that no score keeps. So the outputs of the first image are copied to the host and decoded there as well, once a load.
 */
class FirstLook {
  readonly #recognition: ModelSpec;
  /** True once an image was looked at, and nothing refused. */
  isDone = false;

  constructor(recognition: ModelSpec) {
    this.#recognition = recognition;
  }

  /** @throws {ModelError} As the decoder on the host does */
  look(outputs: ReadonlyMap<string, Tensor>, { inputWidth, inputHeight }: DecodeBatch, threshold: number): void {
    const { plan } = this.#recognition;
    const input = { outputs, index: 0, inputWidth, inputHeight, threshold };
    decoderOf(this.#recognition)(plan, input, new Candidates());
    this.isDone = true;
  }
}

/** Detection around an engine. */
export class CudaDetect implements CudaTask<NmsOptions, DetectionBlock> {
  readonly #recognition: ModelSpec;
  readonly #guard: PlausibilityGuard;
  readonly #objects: CudaObjects;
  readonly #slices: SlicePlan | undefined;

  /**
   * @param objects what the task does beside boxes
   * @param slices  that an image is cut into where a call does not say
   */
  constructor(recognition: ModelSpec, guard: PlausibilityGuard, objects: CudaObjects = {}, slices?: SlicePlan) {
    const { extras = recognition.extras } = objects;
    this.#recognition = { ...recognition, ...(extras && { extras }) };
    this.#guard = guard;
    this.#objects = objects;
    this.#slices = slices;
  }

  load(model: LoadedModel, owned: DisposableStack): CudaModel<NmsOptions, DetectionBlock> {
    const { device } = model;
    const recognition = this.#recognition;
    const guard = this.#guard;
    const objects = this.#objects;
    const slices = this.#slices;
    const values = owned.use(deviceTable("f32", valueTable(recognition.preprocessing), device));
    const first = new FirstLook(recognition);
    return {
      createWork: (streams) =>
        new CudaDetectWork({ model, recognition, guard, objects, slices, values, first }, streams),
    };
  }
}

/** What one slot needs to detect: a region an image, or several of one image. */
class CudaDetectWork implements CudaWork<NmsOptions, DetectionBlock> {
  readonly placements: Region[] = [];
  readonly #shared: Shared;
  readonly #streams: SlotStreams;
  readonly #blocks: DetectionBlock[] = [];
  readonly #pixels = new PixelCheck();
  /** Where each image was placed last, in its decoded size, and which of its rows that reads. */
  readonly #placed: Region[] = [];
  readonly #read: (RowsRead | undefined)[] = [];
  readonly #ownSlicer: Slicer;
  /** Where the image of the batch is cut into slices. */
  #slicer: Slicer | undefined;

  constructor(shared: Shared, streams: SlotStreams) {
    this.#shared = shared;
    this.#streams = streams;
    this.#ownSlicer = new Slicer(shared.recognition);
  }

  regions(images: readonly SlotImage[], _: Size, params?: NmsOptions): number {
    const slices = params?.slices ?? this.#shared.slices;
    this.#slicer = slices ? this.#ownSlicer.use(slices) : undefined;
    return this.#slicer?.count(images[0]!) ?? images.length;
  }

  rowsRead(image: Image, index: number, size: Size): RowsRead | undefined {
    if (this.#slicer !== undefined) return undefined;
    this.#place(index, image, size);
    return this.#read[index];
  }

  createStages(tensors: DeviceTensors, shape: RunShape): DetectStages {
    return new DetectStages(this.#shared, this.#streams, tensors, shape, this);
  }

  begin({ images, size }: DeviceBatch<NmsOptions>): void {
    const slicer = this.#slicer;
    this.placements.length = slicer?.begin(images[0]!, size) ?? images.length;
    for (let index = 0; index < this.placements.length; index++) {
      if (slicer !== undefined) {
        this.placements[index] = slicer.regions[index]!;
        continue;
      }
      const image = images[index]!;
      this.placements[index] = sourceRegion(image, this.#place(index, image, size));
    }
  }

  /** Where a region of the batch lies in the input, in the decoded size of its image. */
  placed(index: number): Region {
    return this.#slicer?.regions[index] ?? this.#placed[index]!;
  }

  /** The image that a region is of. */
  imageOf(index: number): number {
    return this.#slicer === undefined ? index : 0;
  }

  take(stages: DetectStages, selection: NmsOptions): boolean {
    if (stages.grow()) return false;
    const { recognition, guard } = this.#shared;
    const { extras } = recognition;
    const { first, batch } = stages;
    if (!this.#shared.first.isDone) stages.lookAtFirst(selection);
    const end = Math.min(first + batch, this.placements.length);
    for (let index = first; index < end; index++) {
      const block = blockAt(this.#blocks, index, selection.maxDetections, extras);
      stages.read(index - first, block, this.placements[index]!);
      this.#pixels.check(block, this.placements[index]!, recognition, selection);
      guard.check(block, this.placements[index]!, selection);
    }
    return true;
  }

  enqueueCopyOut(): void {}

  read(stages: DetectStages, selection: NmsOptions): readonly DetectionBlock[] | undefined {
    if (!this.take(stages, selection)) return undefined;
    return this.#slicer === undefined ? this.#blocks : [this.#slicer.merge(this.#blocks, selection)];
  }

  #place(index: number, image: Pick<SlotImage, "width" | "height">, [width, height]: Size): Region {
    const last = this.#placed[index];
    if (
      last !== undefined &&
      last.sourceWidth === image.width &&
      last.sourceHeight === image.height &&
      last.inputWidth === width &&
      last.inputHeight === height
    ) {
      return last;
    }
    const { fit, resize } = this.#shared.recognition.preprocessing;
    const placement = place(image.width, image.height, width, height, fit);
    this.#placed[index] = placement;
    this.#read[index] = resize === "bilinear" ? rowsRead(placement) : undefined;
    return placement;
  }

  [Symbol.dispose](): void {}
}

/** The launches of one shape: pre-processing, decoding and selection, with their tables and memory. */
class DetectStages implements CudaStages<NmsOptions> {
  /** The region of its first row. */
  first = 0;
  readonly batch: number;
  /** Where those of a run lie. */
  readonly #placements: Region[] = [];
  readonly #shared: Shared;
  readonly #streams: Pick<SlotStreams, "setup" | "takesTurns">;
  readonly #tensors: DeviceTensors;
  readonly #shape: DecodeBatch;
  readonly #work: CudaDetectWork;
  readonly #tables: GpuTables;
  readonly #preprocess: KernelLaunch;
  #postprocess: GpuPostprocess;

  constructor(
    shared: Shared,
    streams: Pick<SlotStreams, "setup" | "takesTurns">,
    tensors: DeviceTensors,
    { batch, size: [inputWidth, inputHeight] }: RunShape,
    work: CudaDetectWork,
  ) {
    this.#shared = shared;
    this.#streams = streams;
    this.#tensors = tensors;
    this.#shape = { batch, inputWidth, inputHeight };
    this.batch = batch;
    this.#work = work;
    using owned = new DisposableStack();
    const { model, recognition, values } = shared;
    this.#tables = owned.use(new GpuTables(model.device, batch));
    const spec = preprocessLaunch(recognition.preprocessing, {
      output: tensors.images,
      images: this.#tables.deviceImages,
      table: values,
    });
    this.#preprocess = new KernelLaunch(model.kernels, spec);
    this.#postprocess = owned.use(this.#postprocessFor(FIRST_ROWS));
    owned.move();
  }

  reserve({ maxDetections }: NmsOptions): boolean {
    if (maxDetections <= this.#postprocess.rows) return false;
    const larger = this.#postprocessFor(maxDetections);
    const smaller = this.#postprocess;
    this.#postprocess = larger;
    // A stage that is run alone has been told of no image since.
    const { placements } = this.#work;
    if (placements.length <= this.#shape.batch) larger.select(placements, this.#streams.setup);
    smaller.close();
    return true;
  }

  /** Rows that only fill the batch repeat the first region. */
  select({ deviceImages, params }: DeviceBatch<NmsOptions>, first: number, on: OnStream): void {
    const { preprocessing } = this.#shared.recognition;
    const { placements } = this.#work;
    const { images: table, selection } = this.#tables;
    selection.setSelection(params);
    const { batch } = this.#shape;
    this.first = first;
    this.#placements.length = Math.min(batch, placements.length - first);
    for (let row = 0; row < batch; row++) {
      const index = first + row < placements.length ? first + row : first;
      const image = deviceImages[this.#work.imageOf(index)]!;
      table.set(row, image, this.#work.placed(index), preprocessing);
      selection.setRegion(row, placements[index]!);
      if (row < this.#placements.length) this.#placements[row] = placements[index]!;
    }
    this.#postprocess.select(this.#placements, on);
  }

  setParams(selection: NmsOptions): void {
    this.#tables.selection.setSelection(selection);
  }

  updateTables(on: OnStream): void {
    this.#tables.update(on);
  }

  enqueueTables(on: OnStream): void {
    this.#tables.enqueueCopy(on);
  }

  enqueuePreprocess(on: OnStream): void {
    this.#preprocess.enqueue(on);
  }

  enqueuePostprocess(on: OnStream): void {
    this.#postprocess.enqueue(on);
  }

  enqueueCopyOut(on: OnStream): void {
    this.#postprocess.enqueueCopy(on);
  }

  /** Make room where a run had too little. @returns true if it is to be run again */
  grow(): boolean {
    return this.#postprocess.grow();
  }

  /** Show the outputs to {@linkcode FirstLook}, once the frame has been waited for. Blocks. */
  lookAtFirst({ threshold }: NmsOptions): void {
    const { stream } = this.#streams.setup;
    const outputs = [...this.#tensors.outputs].map(([name, buffer]) => [name, readTensor(buffer, stream)] as const);
    this.#shared.first.look(new Map(outputs), this.#shape, threshold);
  }

  /** Copy the kept rows of one row of the batch out, once the frame has been waited for. */
  read(index: number, block: DetectionBlock, region: Region): void {
    this.#postprocess.read(index, block, region);
  }

  #postprocessFor(rows: number): GpuPostprocess {
    const { model, recognition, objects } = this.#shared;
    const { setup, takesTurns } = this.#streams;
    const on = { setup, takesTurns };
    return new GpuPostprocess(model, recognition, on, this.#tensors, this.#tables, this.#shape, rows, objects);
  }

  [Symbol.dispose](): void {
    // Each is closed whatever happens to the other.
    using owned = new DisposableStack();
    owned.use(this.#tables);
    owned.use(this.#postprocess);
  }
}
