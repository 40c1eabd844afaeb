/** @module Module: PTX or a cubin, compiled for and loaded on a device. */

import type { Handle } from "../core/handle.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { cString, readCString } from "../ffi/cstring.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { addressOf } from "../ffi/pointer.ts";
import { OutCells } from "../ffi/scratch.ts";
import { checkDriver } from "./check.ts";
import type { Device } from "./device.ts";
import { Kernel } from "./kernel.ts";
import type { Parameter } from "./kernel-arguments.ts";

/** Numbers of `enum CUjit_option`. */
const INFO_LOG_BUFFER = 3;
const INFO_LOG_BUFFER_SIZE_BYTES = 4;
const ERROR_LOG_BUFFER = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES = 6;

const LOG_BYTES = 16 * 1024;

const out = new OutCells(1);

/** What {@linkcode Module.load} takes. */
export interface ModuleOptions {
  /** What to call the module in messages: `preprocess.ptx`. */
  readonly name: string;
}

/** Kernels on a device. It unloads with `close()`, and its kernels with it. */
export class Module extends Resource {
  readonly device: Device;
  /** Borrowed: valid while the module is open. */
  readonly handle: Handle<"CUmodule">;

  private constructor(device: Device, handle: Handle<"CUmodule">, label: string) {
    super(label, device);
    this.device = device;
    this.handle = handle;
  }

  /**
   * Load PTX, which the driver compiles for this GPU (and caches on disk), or a cubin.
   *
   * @param image PTX text, or the bytes of PTX or a cubin
   * @throws {CudaError} If it cannot be compiled or is not for this GPU; the compiler's log is in the message
   */
  static load(device: Device, image: string | Uint8Array, options: ModuleOptions): Module {
    const label = `Module ${JSON.stringify(options.name)}`;
    device.assertOpen(`load ${label}`);
    device.makeCurrent();
    const bytes = terminated(image);
    const info = new Uint8Array(new ArrayBuffer(LOG_BYTES));
    const errors = new Uint8Array(new ArrayBuffer(LOG_BYTES));
    const keys = new Int32Array(new ArrayBuffer(16));
    keys.set([INFO_LOG_BUFFER, INFO_LOG_BUFFER_SIZE_BYTES, ERROR_LOG_BUFFER, ERROR_LOG_BUFFER_SIZE_BYTES]);
    const values = new OutCells(4);
    values.setPointer(0, addressOf(info));
    values.setPointer(1, LOG_BYTES);
    values.setPointer(2, addressOf(errors));
    values.setPointer(3, LOG_BYTES);
    const status = cudaDriver().cuModuleLoadDataEx(out.cells, bytes, keys.length, keys, values.cells);
    // The last byte stays 0 whatever the compiler writes.
    info[LOG_BYTES - 1] = 0;
    errors[LOG_BYTES - 1] = 0;
    const log = readCString(addressOf(errors)).trim();
    checkDriver(status, "cuModuleLoadDataEx", log === "" ? options.name : `${options.name}: ${log}`);
    const notes = readCString(addressOf(info)).trim();
    if (notes !== "") logger.debug(`${label}: ${notes}`);
    return new Module(device, out.pointer() as Handle<"CUmodule">, label);
  }

  /**
   * A kernel of the module. It borrows the module: do not launch it after `close()`.
   *
   * @param name       of the entry point
   * @param parameters its parameters, from the manifest
   * @throws {CudaError} If the module has no such kernel
   */
  kernel(name: string, parameters: readonly Parameter[]): Kernel {
    this.assertOpen(`take the kernel ${name}`);
    this.device.makeCurrent();
    const status = cudaDriver().cuModuleGetFunction(out.cells, this.handle, cString(name));
    checkDriver(status, "cuModuleGetFunction", `${this.label} has no kernel ${name}`);
    return new Kernel(this, name, out.pointer() as Handle<"CUfunction">, parameters);
  }

  protected override release(): void {
    this.device.makeCurrent();
    checkDriver(cudaDriver().cuModuleUnload(this.handle), "cuModuleUnload");
  }
}

/** The image with a NUL behind it, which PTX needs and a cubin does not mind. */
function terminated(image: string | Uint8Array): Uint8Array<ArrayBuffer> {
  if (typeof image === "string") return cString(image);
  const bytes = new Uint8Array(new ArrayBuffer(image.length + 1));
  bytes.set(image);
  return bytes;
}
