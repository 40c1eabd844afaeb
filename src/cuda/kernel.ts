/** @module Kernel: an entry point of a module, and launching it. */

import type { Handle } from "../core/handle.ts";
import type { Resource } from "../core/resource.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { OutCells } from "../ffi/scratch.ts";
import { checkDriver, noteLaunch } from "./check.ts";
import { KernelArguments, type Parameter } from "./kernel-arguments.ts";
import type { OnStream } from "./stream.ts";

/** Numbers of `enum CUfunction_attribute`. */
const MAX_THREADS_PER_BLOCK = 0;
const SHARED_SIZE_BYTES = 1;
const LOCAL_SIZE_BYTES = 3;
const NUM_REGS = 4;
const MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;

const out = new OutCells(1);

/** How many blocks, of how many threads. Make it once and reuse it. */
export interface LaunchConfig {
  /** Blocks in x, y, z. */
  readonly grid: readonly [x: number, y: number, z: number];
  /** Threads of a block in x, y, z. */
  readonly block: readonly [x: number, y: number, z: number];
  /** Dynamic shared-memory size per thread block in bytes, default 0. */
  readonly sharedBytes?: number;
}

/** A kernel of a loaded module; borrowed from it. */
export class Kernel {
  /** The `Module` that owns it. */
  readonly module: Resource;
  readonly name: string;
  /** Borrowed: valid while the module is open. */
  readonly handle: Handle<"CUfunction">;
  readonly parameters: readonly Parameter[];
  /** Of one thread. */
  readonly registers: number;
  /** Spilled to local memory, per thread; 0 for a kernel that fits. */
  readonly localBytes: number;
  /** Static shared memory of a block. */
  readonly sharedBytes: number;
  readonly maxThreadsPerBlock: number;

  /** Made by `Module.kernel`. Asking for the attributes also loads the kernel, so that no launch has to. */
  constructor(module: Resource, name: string, handle: Handle<"CUfunction">, parameters: readonly Parameter[]) {
    this.module = module;
    this.name = name;
    this.handle = handle;
    this.parameters = parameters;
    this.registers = attribute(handle, NUM_REGS);
    this.localBytes = attribute(handle, LOCAL_SIZE_BYTES);
    this.sharedBytes = attribute(handle, SHARED_SIZE_BYTES);
    this.maxThreadsPerBlock = attribute(handle, MAX_THREADS_PER_BLOCK);
  }

  /** An argument block for this kernel, all zero. */
  createArguments(): KernelArguments {
    return new KernelArguments(this.parameters);
  }

  /** Allow launches with more dynamic shared memory than the 48 KiB every device grants. */
  setMaxSharedBytes(bytes: number): void {
    checkDriver(
      cudaDriver().cuFuncSetAttribute(this.handle, MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes),
      "cuFuncSetAttribute",
    );
  }

  /** Blocks of this many threads that one multiprocessor holds at once. */
  blocksPerMultiprocessor(threads: number, sharedBytes = 0): number {
    checkDriver(
      cudaDriver().cuOccupancyMaxActiveBlocksPerMultiprocessor(out.cells, this.handle, threads, sharedBytes),
      "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    );
    return out.i32();
  }

  /**
   * Enqueue the kernel. The argument block is copied: it may be changed for the next launch at once.
   *
   * @throws {CudaError} If the launch is rejected; faults of the kernel surface at the next synchronize
   * @see https://docs.nvidia.com/cuda/cuda-driver-api/ (cuLaunchKernel)
   */
  launch(config: LaunchConfig, args: KernelArguments, options: OnStream): void {
    this.module.assertOpen("launch a kernel");
    const { grid, block } = config;
    const { stream } = options;
    const status = cudaDriver().cuLaunchKernel(
      this.handle,
      grid[0],
      grid[1],
      grid[2],
      block[0],
      block[1],
      block[2],
      config.sharedBytes ?? 0,
      stream.handle,
      null,
      args.extra,
    );
    if (status !== 0) checkDriver(status, "cuLaunchKernel", this.name);
    stream.lastLaunch = this.name;
    noteLaunch(this.name);
  }
}

function attribute(handle: number, number: number): number {
  checkDriver(cudaDriver().cuFuncGetAttribute(out.cells, number, handle), "cuFuncGetAttribute");
  return out.i32();
}
