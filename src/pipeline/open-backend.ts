/** @module Open backend: which machine a model runs on. */

import { message, OptionError } from "../core/errors.ts";
import type { Backend, BackendOptions } from "./backend.ts";
import { CpuBackend } from "./cpu/cpu-backend.ts";

/** What decides between the machines. */
export interface OpenBackendOptions extends BackendOptions {
  /** `auto`: the best machine there is. */
  readonly backend: "auto" | "cpu" | "gpu";
}

/**
 * Load a model on the machine that was asked for, or the best there is.
 *
 * @param source path of a model, or its bytes
 * @throws {OptionError} If the GPU was asked for: this version runs on the CPU
 * @throws {ModelError} If it is no model, or of no known layout
 */
export function openBackend(source: string | Uint8Array, options: OpenBackendOptions): Promise<Backend> {
  if (options.backend === "gpu") {
    const found = 'as this version has no GPU backend yet: received backend "gpu"';
    const hint = 'leave the option out, or set it to "cpu"';
    return Promise.reject(new OptionError(message("load a detector", found, hint), "backend"));
  }
  return CpuBackend.load(source, options);
}
