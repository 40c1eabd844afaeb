/** @module JpegKernels: the kernels that look at what nvJPEG wrote, and turn it upright. */

/// <reference path="../core/files.d.ts" />

import { readFileSync } from "node:fs";
import jpegPtx from "../../ptx/jpeg.ptx" with { type: "file" };
import checkPtx from "../../ptx/jpeg_check.ptx" with { type: "file" };
import { importedFile } from "../core/embedded.ts";
import { Owner } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import type { DeviceMemory } from "../cuda/device-buffer.ts";
import { type Kernel, type KernelArguments, type LaunchConfig, Module } from "../cuda/kernel.ts";
import { kernelParameters } from "../cuda/manifest.ts";
import type { OnStream } from "../cuda/stream.ts";
import type { OrientationSteps } from "../image/orientation.ts";

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
