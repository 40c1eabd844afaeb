/** @module GpuModel: a model on a GPU as its slots share it, and the part of a task around it. */

import { Owner } from "../../core/resource.ts";
import { Device } from "../../cuda/device.ts";
import type { DeviceBuffer } from "../../cuda/device-buffer.ts";
import { EventWaits } from "../../cuda/event-waits.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { Region, Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { RowsRead } from "../../image/resize-taps.ts";
import type { MachineOptions, SlotImage } from "../../runtime/backend.ts";
import type { TaskModel } from "../../runtime/task.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { TensorRtOptions, ZeroCopy } from "../accelerator-options.ts";
import { GpuJpeg } from "./gpu-jpeg.ts";
import type { GpuStreams, SlotStreams } from "./gpu-streams.ts";
import type { GpuTrace } from "./gpu-trace.ts";
import { KernelLibrary } from "./kernels.ts";
import type { DeviceImage } from "./preprocess.ts";

/**
 * What a backend has on its device beside the engine. One with a better engine takes it over, as the driver holds up all frames while
 * nvJPEG is set up, which takes a second, or a module of kernels is compiled. The last one that holds it closes it.
 */
export class GpuGround extends Owner {
  readonly device: Device;
  readonly kernels: KernelLibrary;
  /** The waits of all slots. */
  readonly waits: EventWaits;
  /** Decodes image files on the device; `undefined` where the CPU does. */
  readonly jpeg: GpuJpeg | undefined;
  #holders = 0;

  private constructor(
    { device, kernels, waits, jpeg }: Pick<GpuGround, "device" | "kernels" | "waits" | "jpeg">,
    owned: DisposableStack,
  ) {
    super(`GpuGround of ${device.label}`, undefined, owned);
    this.device = device;
    this.kernels = kernels;
    this.waits = waits;
    this.jpeg = jpeg;
  }

  /**
   * Open a device, to be held at once. Nothing is compiled or set up on it yet.
   *
   * @throws {CudaError} If there is no such device
   * @throws {UnavailableError} If nvJPEG was asked for and is not there
   */
  static open(
    options: Pick<MachineOptions, "device"> & Pick<TensorRtOptions, "wait" | "jpeg" | "jpegCheck">,
  ): GpuGround {
    using owned = new DisposableStack();
    const device = owned.use(Device.open(options.device));
    const kernels = owned.use(KernelLibrary.create(device));
    const waits = new EventWaits(options.wait ?? "auto", device);
    const jpeg = GpuJpeg.open(device, { mode: options.jpeg ?? "auto", check: options.jpegCheck !== false, waits });
    owned.use(jpeg);
    return new GpuGround({ device, kernels, waits, jpeg }, owned.move());
  }

  /** Keep it open. @returns what lets go of it */
  hold(): Disposable {
    this.assertOpen("run a model");
    this.#holders += 1;
    const held = new DisposableStack();
    held.defer(() => {
      this.#holders -= 1;
      if (this.#holders === 0) this.close();
    });
    return held;
  }
}

/** A model loaded on a GPU, before it is known how its slots share the device. */
export interface LoadedModel extends Pick<GpuGround, "device" | "kernels" | "waits" | "jpeg"> {
  readonly engine: Engine;
  readonly task: TaskModel<unknown, unknown, unknown>;
  /** Rows of every batch where the engine fixes them. */
  readonly fixedBatch: number | undefined;
  /** Whether kernels read frames in mapped host memory; `"auto"`: those that are quicker to read than to copy. */
  readonly zeroCopy: ZeroCopy;
  /** Most rows of a run. */
  readonly rows: number;
  /** Whether frames are replayed as graphs. */
  readonly hasGraph: boolean;
  /** Batches that were run again after the model, as there was too little room for what came of them. */
  readonly reruns: { count: number };
}

/** A model whose slots run. */
export interface GpuModel<Params, Output> extends LoadedModel {
  /** The task's part that is on the device. */
  readonly cuda: CudaModel<Params, Output>;
  /** How the slots share the device. */
  readonly streams: GpuStreams;
  /** Who is told of each batch, and the clock of its records. */
  readonly trace: GpuTrace | undefined;
}

/** A task's part of a loaded model. */
export interface CudaTask<Params, Output> {
  /** Take what all slots share to the device. @param owned frees it with the model */
  load(model: LoadedModel, owned: DisposableStack): CudaModel<Params, Output>;
}

/** What all slots share. */
export interface CudaModel<Params, Output> {
  /** Make the part of one slot; closed by the slot. */
  createWork(streams: SlotStreams): CudaWork<Params, Output>;
}

/** A batch whose pixels are on the device, or on their way there. */
export interface DeviceBatch<Params> {
  readonly images: readonly SlotImage[];
  /** Where each is on the device. */
  readonly deviceImages: readonly DeviceImage[];
  readonly size: Size;
  readonly params: Params;
}

/** The tensors of one shape, in device memory: the input that takes the images, and the outputs. */
export interface DeviceTensors {
  readonly images: DeviceBuffer;
  /** Every output by name. */
  readonly outputs: ReadonlyMap<string, DeviceBuffer>;
}

/** The shape of a run. */
export interface RunShape {
  /** Rows of the input. */
  readonly batch: number;
  readonly size: Size;
}

/** A task's part of one slot. */
export interface CudaWork<Params, Output> extends Disposable {
  /** Where each image of the batch lies in the input, where the task has one region an image. */
  readonly placements: readonly Region[];
  /**
   * Take a batch. Its regions: rows of the input it needs in all, in one or several runs.
   *
   * @param params `undefined` for stages that are run one by one
   */
  regions(images: readonly SlotImage[], size: Size, params?: Params): number;
  /** Which rows of image `index` of the next batch the pre-processing reads, where it does with a part: no others are copied. */
  rowsRead?(image: Image, index: number, size: Size): RowsRead | undefined;
  /** Make what a shape needs around its tensors, prepared on the setup stream, which is synchronised afterwards. */
  createStages(tensors: DeviceTensors, shape: RunShape): CudaStages<Params>;
  /** Enqueue on `compute` what comes before the first run of a batch. */
  begin(batch: DeviceBatch<Params>, on: OnStream): void;
  /**
   * Take what a run said, before the next one of its batch is enqueued. Each run of a task that has this is waited for.
   *
   * @returns false where there was too little room for it, as of `read`
   */
  take?(stages: CudaStages<Params>, params: Params): boolean;
  /** Enqueue on `copyOut` what comes after the last run of a batch. */
  enqueueCopyOut(on: OnStream): void;
  /**
   * What came of each image, once everything has been waited for.
   *
   * @param stages of the batch's last run
   * @returns `undefined` where there was too little room for it, and is enough now: what comes after the model is run again
   */
  read(stages: CudaStages<Params>, params: Params): readonly Output[] | undefined;
}

/** A task's part of one shape: the launches around the inference, which a graph holds. */
export interface CudaStages<Params> extends Disposable {
  /**
   * Make room for what is asked for. None of its runs may be under way.
   *
   * @returns true if addresses have changed: the graph is captured anew then
   */
  reserve(params: Params): boolean;
  /** Point the tables at the regions from one on, before a run of them is enqueued on a stream. */
  select(batch: DeviceBatch<Params>, firstRegion: number, on: OnStream): void;
  /** Parameters that have changed since `select`, for a stage that is run alone. */
  setParams(params: Params): void;
  /** Before a run that does not copy the tables: what has changed in them. */
  updateTables(on: OnStream): void;
  /** The pieces of a run, in order: before the inference … */
  enqueueTables(on: OnStream): void;
  enqueuePreprocess(on: OnStream): void;
  /** … and after it. */
  enqueuePostprocess(on: OnStream): void;
  /** Rows to the host: a piece of the run, or apart where a stream of its own does that. */
  enqueueCopyOut(on: OnStream): void;
}
