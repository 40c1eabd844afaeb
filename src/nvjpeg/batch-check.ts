/**
 * @module BatchCheck: the kernels beside nvJPEG: they find out whether it wrote an image, and whether the data of a batch codes all of
 * its pixels while it decodes, and turn images upright.
 */

import { readFileSync } from "node:fs";
import jpegPtx from "../../ptx/jpeg.ptx" with { type: "file" };
import checkPtx from "../../ptx/jpeg_check.ptx" with { type: "file" };
import { importedFile } from "../core/embedded.ts";
import { BunTensorRtError, message } from "../core/errors.ts";
import { Owner, Resource } from "../core/resource.ts";
import { DeviceBuffer, type DeviceMemory, PinnedBuffer } from "../cuda/buffers.ts";
import { copyToDevice } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import { Event } from "../cuda/event.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../cuda/kept-memory.ts";
import { type Kernel, type KernelArguments, kernelParameters, type LaunchConfig, Module } from "../cuda/kernel.ts";
import { type OnStream, Stream } from "../cuda/stream.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import { NVJPEG_IMAGE_BYTES, NVJPEG_IMAGE_PITCH } from "../ffi/nvidia-libraries.ts";
import { SHIM_STATUS, shimOffThread } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import type { OrientationSteps } from "../image/exif.ts";

/// <reference path="../core/files.d.ts" />

const TABLE_THREADS = 64;
const TILE_WIDTH = 32;
const TILE_HEIGHT = 8;
const WALK_THREADS = 512;
const JUDGE_THREADS = 256;
/** Launches of jpeg_check_walk: twelve looks at each part, of which files need two to seven. */
const ROUNDS = 2;

/** The kernels of kernels/jpeg.cu and jpeg_check.cu on one device. */
export class JpegKernels extends Owner {
  readonly #mark: Kernel;
  readonly #inspect: Kernel;
  readonly #orient: Kernel;
  readonly #walk: Kernel;
  readonly #judge: Kernel;
  readonly #tableArguments: KernelArguments;
  readonly #walkArguments: KernelArguments;
  readonly #orientArguments: KernelArguments;

  private constructor(device: Device) {
    super("JpegKernels", device);
    try {
      const module = this.owned.use(Module.load(device, readFileSync(importedFile(jpegPtx)), { name: "jpeg.ptx" }));
      const checkModule = this.owned.use(
        Module.load(device, readFileSync(importedFile(checkPtx)), { name: "jpeg_check.ptx" }),
      );
      this.#mark = module.kernel("jpeg_mark", kernelParameters("jpeg", "jpeg_mark"));
      this.#inspect = module.kernel("jpeg_inspect", kernelParameters("jpeg", "jpeg_inspect"));
      this.#orient = module.kernel("jpeg_orient", kernelParameters("jpeg", "jpeg_orient"));
      this.#walk = checkModule.kernel("jpeg_check_walk", kernelParameters("jpeg_check", "jpeg_check_walk"));
      this.#judge = checkModule.kernel("jpeg_check_judge", kernelParameters("jpeg_check", "jpeg_check_judge"));
      this.#walkArguments = this.#walk.createArguments();
      this.#tableArguments = this.#mark.createArguments();
      this.#orientArguments = this.#orient.createArguments();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Load them. @throws {CudaError} If the driver cannot */
  static create(device: Device): JpegKernels {
    return new JpegKernels(device);
  }

  /** Enqueue putting a pattern over the end of every image. @param table what {@linkcode BatchTable} wrote */
  mark(table: DeviceMemory, count: number, options: OnStream): void {
    this.#launchOnTable(this.#mark, table, count, options);
  }

  /** Enqueue looking whether the patterns are still there; the table tells once the stream has passed. */
  inspect(table: DeviceMemory, count: number, options: OnStream): void {
    this.#launchOnTable(this.#inspect, table, count, options);
  }

  /**
   * Enqueue turning an image upright.
   *
   * @param target u8, `steps.width` × `steps.height` × 3 bytes
   * @param source u8, as many, apart from the target's
   */
  orient(target: DeviceMemory, source: DeviceMemory, steps: OrientationSteps, options: OnStream): void {
    const args = this.#orientArguments;
    const { width, height } = steps;
    args.setPointer(0, target.pointer);
    args.setPointer(1, source.pointer);
    args.setI32(2, width);
    args.setI32(3, height);
    args.setI32(4, steps.start);
    args.setI32(5, steps.stepX);
    args.setI32(6, steps.stepY);
    const grid = [Math.ceil(width / TILE_WIDTH), Math.ceil(height / TILE_HEIGHT), 1] as const;
    this.#orient.launch({ grid, block: [TILE_WIDTH, TILE_HEIGHT, 1] }, args, options);
  }

  /**
   * Enqueue the check of a batch's data; the verdicts are in the table once the stream has passed.
   *
   * @param most parts of an image at most
   */
  check(table: DeviceMemory, count: number, most: number, options: OnStream): void {
    const args = this.#walkArguments;
    args.setPointer(0, table.pointer);
    const config: LaunchConfig = { grid: [Math.ceil(most / WALK_THREADS), count, 1], block: [WALK_THREADS, 1, 1] };
    for (let round = 0; round < ROUNDS; round++) {
      args.setI32(1, round);
      this.#walk.launch(config, args, options);
    }
    this.#tableArguments.setPointer(0, table.pointer);
    this.#judge.launch({ grid: [count, 1, 1], block: [JUDGE_THREADS, 1, 1] }, this.#tableArguments, options);
  }

  #launchOnTable(kernel: Kernel, table: DeviceMemory, count: number, options: OnStream): void {
    this.#tableArguments.setPointer(0, table.pointer);
    const config: LaunchConfig = { grid: [count, 1, 1], block: [TABLE_THREADS, 1, 1] };
    kernel.launch(config, this.#tableArguments, options);
  }
}

/** What the check found; `undecided` is for the CPU to find out. */
export type DataVerdict = "whole" | "damaged" | "undecided";

/** By the number `jpeg_check_judge` writes. */
const VERDICTS: readonly DataVerdict[] = ["undecided", "whole", "damaged", "undecided"];

/** Bytes of `struct Image` and of `struct Part` in kernels/jpeg_check.cu, and of the data of a part. */
const IMAGE_BYTES = 48;
const PART_BYTES = 272;
const BYTES_PER_PART = 1024;
const WORDS = IMAGE_BYTES / 4;

/** Bytes that a file is laid out in: tables, data, a place for each restart marker of all but absurd files, and slack. */
function planCapacity(byteLength: number): number {
  return Math.ceil((SHIM_CONSTANTS.BT_JPEG_PLAN_BYTES + byteLength * 1.25 + 256) / 16) * 16;
}

/** Parts the data of a file is walked through in, at most. */
function partCount(byteLength: number): number {
  return Math.ceil(byteLength / BYTES_PER_PART);
}

/** Checks one batch after the other, on a stream of its own. */
export class BatchCheck extends Owner {
  /** Passed once the verdicts are there. */
  readonly done: Event;
  readonly #device: Device;
  readonly #kernels: JpegKernels;
  readonly #options: OnStream;
  readonly #table: PinnedBuffer<"u8">;
  readonly #words: Uint32Array;
  readonly #bytes: OutCells;
  readonly #lengths: OutCells;
  readonly #offsets: OutCells;
  readonly #statuses: Int32Array<ArrayBuffer>;
  #staging: PinnedBuffer<"u8"> | undefined;
  #plans: DeviceBuffer<"u8"> | undefined;
  #parts: DeviceBuffer<"u8"> | undefined;

  /** @param capacity most files of a batch */
  constructor(device: Device, kernels: JpegKernels, capacity: number) {
    super("BatchCheck", device);
    this.#device = device;
    this.#kernels = kernels;
    try {
      this.#options = { stream: this.owned.use(Stream.create(device, { priority: device.priorityRange()[1] })) };
      this.done = this.owned.use(Event.create(device));
      const tableBytes = capacity * IMAGE_BYTES;
      this.#table = this.owned.use(PinnedBuffer.create("u8", [tableBytes], device, { use: "mapped" }));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#words = new Uint32Array(this.#table.buffer);
    this.#bytes = new OutCells(capacity);
    this.#lengths = new OutCells(capacity);
    this.#offsets = new OutCells(capacity + 1);
    this.#statuses = new Int32Array(new ArrayBuffer(capacity * 4));
  }

  /**
   * Lay the files out off the JS thread, then enqueue the check; `done` is recorded behind it.
   *
   * @param files baseline JPEGs of one scan up to their end markers; not to be changed until `done` has passed
   */
  async enqueue(files: readonly Uint8Array[]): Promise<void> {
    const staging = await this.#layOut(files);
    const options = this.#options;
    this.#device.makeCurrent();
    const plans = this.#room(files, staging.byteLength);
    const most = this.#describe(files, plans);
    const byteLength = this.#offsets.pointer(files.length);
    copyToDevice(plans, staging, { ...options, byteLength });
    this.#kernels.check(this.#table.mapped, files.length, most, options);
    this.done.record(options);
  }

  /** What was found of a file, once `done` has passed. */
  verdict(index: number): DataVerdict {
    return VERDICTS[this.#words[index * WORDS + 7]!] ?? "undecided";
  }

  async #layOut(files: readonly Uint8Array[]): Promise<PinnedBuffer<"u8">> {
    let end = 0;
    for (const [index, file] of files.entries()) {
      this.#bytes.setPointer(index, addressOf(file));
      this.#lengths.setPointer(index, file.length);
      this.#offsets.setPointer(index, end);
      end += planCapacity(file.length);
    }
    this.#offsets.setPointer(files.length, end);
    this.#staging = grownPinnedBuffer(this.#staging, end, this.#device);
    const status = await shimOffThread("bt_jpeg_plans")(
      files.length,
      addressOf(this.#bytes.cells),
      addressOf(this.#lengths.cells),
      this.#staging.pointer,
      addressOf(this.#offsets.cells),
      addressOf(this.#statuses),
    );
    if (status !== SHIM_STATUS.ok)
      throw new BunTensorRtError(message("lay JPEG files out", `the shim returned ${status}`));
    return this.#staging;
  }

  #room(files: readonly Uint8Array[], stagingBytes: number): DeviceBuffer<"u8"> {
    const device = this.#device;
    if (this.#plans === undefined || this.#plans.closed || this.#plans.byteLength < stagingBytes) {
      this.#plans?.close();
      this.#plans = DeviceBuffer.create("u8", [stagingBytes], { device });
    }
    const partBytes = files.reduce((sum, { length }) => sum + partCount(length), 0) * PART_BYTES;
    this.#parts = grownDeviceBuffer(this.#parts, partBytes, device);
    return this.#plans;
  }

  /** Write the table; the most parts of any file. */
  #describe(files: readonly Uint8Array[], plans: DeviceBuffer<"u8">): number {
    let parts: number = this.#parts!.pointer;
    let most = 1;
    for (const [index, { length }] of files.entries()) {
      const count = partCount(length);
      const at = index * WORDS;
      this.#setPointer(at, plans.pointer + this.#offsets.pointer(index));
      this.#setPointer(at + 2, plans.pointer + this.#offsets.pointer(index + 1));
      this.#setPointer(at + 4, parts);
      this.#words[at + 6] = count;
      this.#words[at + 7] = 0;
      this.#words[at + 8] = this.#statuses[index] === SHIM_STATUS.ok ? 1 : 0;
      parts += count * PART_BYTES;
      most = Math.max(most, count);
    }
    return most;
  }

  #setPointer(word: number, value: number): void {
    this.#words[word] = value % 2 ** 32;
    this.#words[word + 1] = value / 2 ** 32;
  }

  protected override release(): void {
    for (const buffer of [this.#staging, this.#plans, this.#parts]) this.owned.use(buffer);
    super.release();
  }
}

/** Bytes of `struct Image` in kernels/jpeg.cu. */
const TABLE_IMAGE_BYTES = 32;
const TABLE_WORDS = TABLE_IMAGE_BYTES / 4;
const IMAGE_CELLS = NVJPEG_IMAGE_BYTES / 8;

/** An image to be decoded, as stored: before it is turned upright. */
export interface StoredImage {
  /** The file, up to its end marker. */
  readonly bytes: Uint8Array;
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** u8 [height, width, 3], tight rows. */
  readonly pixels: DeviceMemory;
}

/** Tables for batches of up to a number of images; they stay in place while native code reads them. */
export class BatchTable extends Resource {
  /** The images as the kernels see them. */
  readonly mapped: DeviceMemory;
  readonly #memory: PinnedBuffer<"u8">;
  readonly #words: Int32Array;
  readonly #data: OutCells;
  readonly #lengths: OutCells;
  readonly #images: OutCells;

  /** @param capacity images it has room for */
  constructor(device: Device, capacity: number) {
    super("BatchTable", device);
    try {
      this.#memory = PinnedBuffer.create("u8", [capacity * TABLE_IMAGE_BYTES], device, { use: "mapped" });
    } catch (error) {
      this.close();
      throw error;
    }
    this.mapped = this.#memory.mapped;
    this.#words = new Int32Array(this.#memory.buffer);
    this.#data = new OutCells(capacity);
    this.#lengths = new OutCells(capacity);
    this.#images = new OutCells(capacity * IMAGE_CELLS);
  }

  /** `const unsigned char *const *data`, `const size_t *lengths`, `nvjpegImage_t *destinations` */
  get addresses(): readonly [data: number, lengths: number, images: number] {
    return [addressOf(this.#data.cells), addressOf(this.#lengths.cells), addressOf(this.#images.cells)];
  }

  /** Write one image. The caller keeps its bytes and pixels until the batch is done. */
  set(index: number, stored: StoredImage): void {
    const { bytes, width, height, pixels } = stored;
    const { pointer } = pixels;
    this.#data.setPointer(index, addressOf(bytes));
    this.#lengths.setPointer(index, bytes.length);
    this.#images.setPointer(index * IMAGE_CELLS, pointer);
    this.#images.setPointer(index * IMAGE_CELLS + NVJPEG_IMAGE_PITCH, width * 3);
    const at = index * TABLE_WORDS;
    this.#words[at] = pointer % 2 ** 32;
    this.#words[at + 1] = pointer / 2 ** 32;
    this.#words[at + 2] = width;
    this.#words[at + 3] = height;
    this.#words[at + 4] = 0;
  }

  /** True if nothing was written since `jpeg_mark`, once the stream has passed `jpeg_inspect`. */
  isUntouched(index: number): boolean {
    return this.#words[index * TABLE_WORDS + 4] !== 0;
  }

  protected override release(): void {
    this.#memory?.close();
  }
}
