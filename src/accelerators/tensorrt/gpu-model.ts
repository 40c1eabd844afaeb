/**
 * @module GpuModel: a model on a GPU as its slots share it, and the part of a task around it; with nvJPEG for all of them, set up when the
 * first JPEG file comes.
 */

import {
  CudaError,
  LibraryLoadError,
  message,
  NativeError,
  TensorRtError,
  UnavailableError,
} from "../../core/errors.ts";
import { logger, RepeatedLine } from "../../core/log.ts";
import { Owner, Resource } from "../../core/resource.ts";
import { formatBytes } from "../../core/units.ts";
import type { DeviceBuffer } from "../../cuda/buffers.ts";
import { MEMORY_ALLOCATION } from "../../cuda/check.ts";
import { Device } from "../../cuda/device.ts";
import { EventWaits } from "../../cuda/event-waits.ts";
import type { OnStream } from "../../cuda/stream.ts";
import { imageKind } from "../../image/decode-limits.ts";
import type { Region, Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { ImageDecodeOptions, JpegCounts } from "../../image/image-decoder.ts";
import type { RowsRead } from "../../image/resize-taps.ts";
import type { SourceBytes } from "../../image/source.ts";
import { NvJpegDecoder, nvJpegUnavailable } from "../../nvjpeg/nvjpeg-decoder.ts";
import type { MachineOptions, SlotImage } from "../../runtime/backend.ts";
import type { TaskModel } from "../../runtime/task.ts";
import type { Engine } from "../../tensorrt/engine.ts";
import type { JpegDecoding, TensorRtOptions, ZeroCopy } from "../accelerator-options.ts";
import type { FrameMemory } from "./frame-memory.ts";
import type { GpuStreams, GpuTrace, SlotStreams } from "./gpu-streams.ts";
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

  /** Keep it open. @param purpose as the ledger names it. @returns what lets go of it */
  hold(purpose: string): Disposable {
    this.assertOpen("run a model");
    this.#holders += 1;
    const held = new DisposableStack();
    held.defer(() => {
      this.#holders -= 1;
      if (this.#holders === 0) this.close();
    });
    return new GroundHold(`${this.label}, held for ${purpose}`, held);
  }
}

/** One that needs a ground. */
class GroundHold extends Owner {
  constructor(label: string, owned: DisposableStack) {
    super(label, undefined, owned);
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

/** How {@linkcode GpuJpeg} decodes. */
interface GpuJpegOptions {
  readonly mode: JpegDecoding;
  /** False: files whose data is damaged are not looked for. */
  readonly check: boolean;
  /** Shared with the slots. */
  readonly waits: EventWaits;
  /** How long `auto` leaves JPEG to the CPU where memory for nvJPEG was missing, in milliseconds. Default 10 s. */
  readonly retryMs?: number;
}

const RETRY_MS = 10_000;

/** Owns the decoder once there is one. */
export class GpuJpeg extends Resource {
  readonly #device: Device;
  readonly #options: GpuJpegOptions;
  #opening: Promise<NvJpegDecoder | undefined> | undefined;
  #decoder: NvJpegDecoder | undefined;
  /** When it is tried again, by `performance.now()`. */
  #retryAt = Number.POSITIVE_INFINITY;
  readonly #shortage = new RepeatedLine((text) => logger.warn(text));

  private constructor(device: Device, options: GpuJpegOptions) {
    super("GpuJpeg", device);
    this.#device = device;
    this.#options = options;
  }

  /**
   * Look whether nvJPEG is there; where it is not, `auto` leaves JPEG to the CPU with a line in the log.
   *
   * @returns `undefined` where the CPU decodes
   * @throws {UnavailableError} If it was asked for and is not there
   */
  static open(device: Device, options: GpuJpegOptions): GpuJpeg | undefined {
    const { mode } = options;
    if (mode === "cpu") return undefined;
    const fault = nvJpegUnavailable();
    if (fault === undefined) return new GpuJpeg(device, options);
    if (mode === "gpu") throw refusal(fault, "run `bunx bun-tensorrt install nvjpeg`");
    logger.info(`JPEG is decoded on the CPU: ${fault}`);
    return undefined;
  }

  /**
   * The decoder. `auto` takes it only where the device has engines for JPEG: without them a CPU core is busy for longer
   * than libjpeg-turbo would keep it. Where memory is missing for it, `auto` tries again after a while.
   *
   * @returns `undefined` where the CPU decodes
   * @throws {UnavailableError} If nvJPEG was asked for and cannot be set up
   */
  decoder(): Promise<NvJpegDecoder | undefined> {
    if (performance.now() >= this.#retryAt) {
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#opening = undefined;
    }
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /**
   * Decode an image file on the device; where its memory does not suffice, `auto` leaves the image to the CPU, as does either mode
   * what may have an alpha channel or 16 bits that are to be kept.
   *
   * @throws {ImageError} If the bytes are no image
   * @throws {CudaError} If the device fails
   */
  async decode(
    decoder: NvJpegDecoder,
    frame: FrameMemory,
    { bytes, name }: SourceBytes,
    options: ImageDecodeOptions,
  ): Promise<SlotImage> {
    const isKept = options.alpha === "keep" || options.depth === "keep";
    if (isKept && imageKind(bytes)?.name !== "JPEG") return frame.decode(bytes, name, options);
    try {
      return await frame.decodeOnDevice(decoder, bytes, name, options);
    } catch (error) {
      if (this.#options.mode === "gpu" || !isOutOfMemory(error)) throw error;
      this.#shortage.tell(`The CPU decodes ${name}, as the GPU has no memory for it: ${error.code}`);
    }
    return frame.decode(bytes, name, options);
  }

  /** How files were decoded so far. */
  get counts(): JpegCounts | undefined {
    return this.#decoder?.counts;
  }

  async #open(): Promise<NvJpegDecoder | undefined> {
    this.assertOpen("decode a JPEG");
    const { mode, check, waits } = this.#options;
    const backend = mode === "gpu" ? "auto" : "hardware";
    try {
      this.#decoder = await NvJpegDecoder.sharing(waits, this.#device, { backend, check });
      logger.debug(`JPEG is decoded by ${this.#decoder.description}`);
      return this.#decoder;
    } catch (error) {
      if (!(error instanceof NativeError) && !(error instanceof LibraryLoadError)) throw error;
      const fault = error instanceof NativeError ? error.code : (error.message.split("\n", 1)[0] ?? "");
      if (mode === "gpu") {
        // What was in the way may be gone when the next image comes, such as a lack of memory.
        this.#opening = undefined;
        throw refusal(fault, 'leave "jpeg" out');
      }
      logger.info(`JPEG is decoded on the CPU, as nvJPEG cannot use the engines of ${this.#device.name}: ${fault}`);
      if (isOutOfMemory(error)) this.#retryAt = performance.now() + (this.#options.retryMs ?? RETRY_MS);
      return undefined;
    }
  }

  protected override release(): void {
    this.#decoder?.close();
  }
}

function refusal(fault: string, hint: string): UnavailableError {
  return new UnavailableError(message("decode JPEG by nvJPEG", fault, hint), "jpeg");
}

/**
 * True where memory has run out, which others may give back: what CUDA or nvJPEG was asked for, or what TensorRT takes for
 * itself, of which its log alone may tell.
 */
export function isOutOfMemory(error: unknown): error is NativeError {
  if (error instanceof CudaError) return error.status === MEMORY_ALLOCATION;
  if (error instanceof TensorRtError) {
    return error.code === "FAILED_ALLOCATION" || error.log.some((line) => /out[ _]?of[ _]?memory/i.test(line));
  }
  return error instanceof NativeError && error.code === "NVJPEG_STATUS_ALLOCATOR_FAILURE";
}

/** What an engine beside another one of the same model leaves free of a device's memory, for what grows with the images. */
const SPARE_BYTES = 64 * 2 ** 20;

/** @throws {UnavailableError} If an engine's slots would not fit into the memory that is left */
export function assertRoom(engine: Engine, device: Device, slots: number): void {
  const needed = engine.deviceMemoryBytes() * slots + SPARE_BYTES;
  const { freeBytes } = device.memory();
  if (freeBytes >= needed) return;
  const found = `its ${slots} slots need ${formatBytes(needed)}, and ${device.name} has ${formatBytes(freeBytes)} left`;
  throw new UnavailableError(message("run the full engine", found), "firstEngine");
}
