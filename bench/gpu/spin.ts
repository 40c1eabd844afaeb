/** @module Spin: a kernel that keeps the GPU busy for as many nanoseconds as it is told. */

import type { DevicePtr } from "../../src/core/units.ts";
import type { Device } from "../../src/cuda/device.ts";
import { type Kernel, type KernelArguments, layOut, Module } from "../../src/cuda/kernel.ts";
import type { OnStream } from "../../src/cuda/stream.ts";

/** One thread that reads the clock until enough time has passed. Its one parameter is the time, u64. */
export const SPIN_PTX = `
.version 7.0
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 nanoseconds)
{
  .reg .u64 %limit, %start, %now, %passed;
  .reg .pred %more;
  ld.param.u64 %limit, [nanoseconds];
  mov.u64 %start, %globaltimer;
again:
  mov.u64 %now, %globaltimer;
  sub.u64 %passed, %now, %start;
  setp.lt.u64 %more, %passed, %limit;
  @%more bra again;
  ret;
}
`;

const CONFIG = { grid: [1, 1, 1], block: [1, 1, 1] } as const;

/**
 * Keeps a stream busy while work is enqueued on it. What events around a graph on an idle stream measure begins before the JS
 * thread has launched the graph: in virtual machines 2 to 7 µs at the median, and 35 in some processes, which passed for slow engines.
 */
export class Spin implements Disposable {
  readonly #module: Module;
  readonly #kernel: Kernel;
  readonly #arguments: KernelArguments;

  /** @param microseconds of each run: more than enqueueing takes */
  constructor(device: Device, microseconds: number) {
    this.#module = Module.load(device, SPIN_PTX, { name: "spin.ptx" });
    this.#kernel = this.#module.kernel("spin", layOut([["nanoseconds", "pointer"]]));
    this.#arguments = this.#kernel.createArguments();
    this.#arguments.setPointer(0, (microseconds * 1000) as DevicePtr);
  }

  /** Enqueue it. */
  enqueue(on: OnStream): void {
    this.#kernel.launch(CONFIG, this.#arguments, on);
  }

  [Symbol.dispose](): void {
    this.#module.close();
  }
}
