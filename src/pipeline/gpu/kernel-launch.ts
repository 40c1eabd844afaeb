/** @module KernelLaunch: a launch written down as data, and the same bound to a kernel, ready to be enqueued every frame. */

import { ArgumentError } from "../../core/errors.ts";
import type { DevicePtr } from "../../core/handle.ts";
import type { Kernel, LaunchConfig } from "../../cuda/kernel.ts";
import type { KernelArguments } from "../../cuda/kernel-arguments.ts";
import type { OnStream } from "../../cuda/stream.ts";
import type { KernelLibrary, KernelModule } from "./kernel-library.ts";

/** A launch as plain data: which kernel, how many threads, and the value of every parameter by its name. */
export interface LaunchSpec {
  readonly module: KernelModule;
  readonly kernel: string;
  readonly config: LaunchConfig;
  /** Addresses and numbers. */
  readonly values: Readonly<Record<string, number>>;
}

/**
 * Write the value of every parameter into an argument block.
 *
 * @throws {ArgumentError} If a value is missing, or there is no such parameter
 */
export function writeArguments(args: KernelArguments, values: Readonly<Record<string, number>>): void {
  for (const name of Object.keys(values)) args.index(name);
  for (const [at, { name, type }] of args.parameters.entries()) {
    const value = values[name];
    if (value === undefined) throw new ArgumentError(`Cannot launch a kernel: its parameter ${name} has no value`);
    if (type === "pointer") args.setPointer(at, value as DevicePtr);
    else if (type === "i32") args.setI32(at, value);
    else if (type === "u32") args.setU32(at, value);
    else args.setF32(at, value);
  }
}

/** A kernel with its arguments written: enqueuing it does nothing else. */
export class KernelLaunch {
  readonly #kernel: Kernel;
  readonly #config: LaunchConfig;
  readonly #args: KernelArguments;

  /** @throws {ArgumentError} If the values are not those of the kernel's parameters */
  constructor(library: KernelLibrary, spec: LaunchSpec) {
    this.#kernel = library.kernel(spec.module, spec.kernel);
    this.#config = spec.config;
    this.#args = this.#kernel.createArguments();
    writeArguments(this.#args, spec.values);
  }

  /** Enqueue it. */
  enqueue(options: OnStream): void {
    this.#kernel.launch(this.#config, this.#args, options);
  }
}
