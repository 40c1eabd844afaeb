/** @module Kernel: an entry point of a module, and launching it; with the parameters of the package's own kernels, as `scripts/kernels.ts` lists them. */

import manifest from "../../ptx/manifest.json";
import { ArgumentError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import type { DevicePtr, Handle } from "../core/units.ts";
import { cudaDriver } from "../ffi/cuda-runtime.ts";
import { addressOf, cString, OutCells, readCString } from "../ffi/memory.ts";
import { checkDriver, noteLaunch } from "./check.ts";
import type { Device } from "./device.ts";
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
  readonly sharedBytes?: number | undefined;
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

/** Type of one kernel parameter. */
export type ParameterType = "pointer" | "i32" | "u32" | "f32";

/** One parameter of a kernel, as `ptx/manifest.json` lists it. */
export interface Parameter {
  readonly name: string;
  readonly type: ParameterType;
  /** From the start of the block. */
  readonly offsetBytes: number;
  readonly byteLength: number;
}

const BYTES: Readonly<Record<ParameterType, number>> = { pointer: 8, i32: 4, u32: 4, f32: 4 };

/** Tags of the `extra` array of `cuLaunchKernel`. */
const BUFFER_POINTER = 1n;
const BUFFER_SIZE = 2n;
const END = 0n;

/**
 * Lay parameters out as a C compiler does: each at the next multiple of its own size.
 *
 * @param parameters name and type, in the kernel's order
 */
export function layOut(parameters: readonly (readonly [name: string, type: ParameterType])[]): Parameter[] {
  let end = 0;
  return parameters.map(([name, type]) => {
    const byteLength = BYTES[type];
    const offsetBytes = Math.ceil(end / byteLength) * byteLength;
    end = offsetBytes + byteLength;
    return { name, type, offsetBytes, byteLength };
  });
}

/**
 * The argument block of one kernel. Setters write one parameter in place, by the number that {@linkcode index} gave
 * once; a launch copies the whole block, so it may be changed right after.
 */
export class KernelArguments {
  readonly parameters: readonly Parameter[];
  /** The `extra` array of `cuLaunchKernel`; it points at the block. */
  readonly extra: BigUint64Array<ArrayBuffer>;
  readonly #types: readonly ParameterType[];
  /** Offset of each parameter in 32-bit words. */
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #block: ArrayBuffer;
  readonly #u32: Uint32Array<ArrayBuffer>;
  readonly #i32: Int32Array<ArrayBuffer>;
  readonly #f32: Float32Array<ArrayBuffer>;
  /** Holds the block's length; `extra` points at it. */
  readonly #length: BigUint64Array<ArrayBuffer>;

  /**
   * @param parameters the kernel's parameters, from the manifest or {@linkcode layOut}
   * @throws {ArgumentError} If there are none, or one is not aligned to its size
   */
  constructor(parameters: readonly Parameter[]) {
    const last = parameters.at(-1);
    if (last === undefined) throw new ArgumentError(message("make an argument block", "the kernel has no parameters"));
    for (const { name, type, offsetBytes, byteLength } of parameters) {
      if (byteLength !== BYTES[type] || offsetBytes % byteLength !== 0) {
        const found = `${name} (${type}) takes ${BYTES[type]} bytes at a multiple of that`;
        throw new ArgumentError(
          message("make an argument block", `${found}, got ${byteLength} bytes at ${offsetBytes}`),
        );
      }
    }
    const byteLength = last.offsetBytes + last.byteLength;
    this.parameters = parameters;
    this.#types = parameters.map((parameter) => parameter.type);
    this.#words = Int32Array.from(parameters, (parameter) => parameter.offsetBytes / 4);
    this.#block = new ArrayBuffer(Math.ceil(byteLength / 8) * 8);
    this.#u32 = new Uint32Array(this.#block);
    this.#i32 = new Int32Array(this.#block);
    this.#f32 = new Float32Array(this.#block);
    this.#length = new BigUint64Array(new ArrayBuffer(8));
    this.#length[0] = BigInt(byteLength);
    this.extra = new BigUint64Array(new ArrayBuffer(40));
    this.extra.set([BUFFER_POINTER, BigInt(addressOf(this.#u32)), BUFFER_SIZE, BigInt(addressOf(this.#length)), END]);
  }

  /** Number of a parameter, for the setters: ask once, outside the hot path. @throws {ArgumentError} If there is none */
  index(name: string): number {
    const at = this.parameters.findIndex((parameter) => parameter.name === name);
    if (at < 0) {
      const names = this.parameters.map((parameter) => parameter.name).join(", ");
      throw new ArgumentError(message(`set the parameter ${JSON.stringify(name)}`, `the kernel has only ${names}`));
    }
    return at;
  }

  /** Write a device address. @throws {ArgumentError} If the parameter is no pointer */
  setPointer(index: number, value: DevicePtr): void {
    const word = this.#word(index, "pointer");
    this.#u32[word] = value % 2 ** 32;
    this.#u32[word + 1] = value / 2 ** 32;
  }

  /** Write an `int`. @throws {ArgumentError} If the parameter has another type */
  setI32(index: number, value: number): void {
    this.#i32[this.#word(index, "i32")] = value;
  }

  /** Write an `unsigned int`. @throws {ArgumentError} If the parameter has another type */
  setU32(index: number, value: number): void {
    this.#u32[this.#word(index, "u32")] = value;
  }

  /** Write a `float`. @throws {ArgumentError} If the parameter has another type */
  setF32(index: number, value: number): void {
    this.#f32[this.#word(index, "f32")] = value;
  }

  /** The block's bytes, for tests and dumps. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#block, 0, Number(this.#length[0]));
  }

  #word(index: number, type: ParameterType): number {
    if (this.#types[index] !== type) this.#refuse(index, type);
    return this.#words[index]!;
  }

  #refuse(index: number, type: ParameterType): never {
    const parameter = this.parameters[index];
    const found = parameter === undefined ? "there is none" : `${parameter.name} is ${parameter.type}`;
    throw new ArgumentError(message(`set parameter ${index} as ${type}`, found));
  }
}

/** Numbers of `enum CUjit_option`. */
const INFO_LOG_BUFFER = 3;
const INFO_LOG_BUFFER_SIZE_BYTES = 4;
const ERROR_LOG_BUFFER = 5;
const ERROR_LOG_BUFFER_SIZE_BYTES = 6;

const LOG_BYTES = 16 * 1024;

/** What {@linkcode Module.load} takes. */
export interface ModuleOptions {
  /** What to call the module in messages: `preprocess.ptx`. */
  readonly name: string;
}

/**
 * Kernels on a device. It unloads with `close()`, and its kernels with it.
 *
 * @example
 * ```ts
 * import { compileCuda, copyToHost, Device, DeviceBuffer, layOut, Module, Stream } from "bun-tensorrt/cuda";
 *
 * const { ptx } = compileCuda(`extern "C" __global__ void number(int *values) { values[threadIdx.x] = threadIdx.x; }`);
 * using device = Device.open();
 * using stream = Stream.create(device);
 * using buffer = DeviceBuffer.create("i32", [32], { stream });
 * using module = Module.load(device, ptx, { name: "number.ptx" });
 * const kernel = module.kernel("number", layOut([["values", "pointer"]]));
 * const args = kernel.createArguments();
 * args.setPointer(args.index("values"), buffer.pointer);
 * kernel.launch({ grid: [1, 1, 1], block: [32, 1, 1] }, args, { stream });
 * const values = new Int32Array(32);
 * copyToHost(values, buffer, { stream });
 * console.log(values);
 * ```
 */
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

/** A source of `kernels/`, without its ending. */
export type OwnModule =
  | "decode_dense"
  | "decode_distance_bins"
  | "decode_fastestdet"
  | "decode_grid"
  | "decode_maps"
  | "decode_queries"
  | "decode_rows"
  | "jpeg"
  | "jpeg_check"
  | "mask"
  | "preprocess"
  | "preprocess_antialias"
  | "preprocess_channels"
  | "preprocess_lobed"
  | "rotated"
  | "select"
  | "transform";

/** Rows of parameters by entry point. */
type Entries = Readonly<Record<string, readonly (readonly (string | number)[])[]>>;

// The names are spelt out above: NodeNext refuses declarations that import JSON.
const modules: Readonly<Record<OwnModule, { readonly entries: Entries }>> = manifest.modules;

/**
 * The parameters of a kernel, as the manifest lists them.
 *
 * @throws {ArgumentError} If the module has no such entry point
 */
export function kernelParameters(module: OwnModule, name: string): readonly Parameter[] {
  const { entries } = modules[module];
  const rows = entries[name];
  if (rows === undefined) {
    throw new ArgumentError(
      message(`load the kernel ${name}`, `${module} has only ${Object.keys(entries).join(", ")}`),
    );
  }
  return rows.map(([parameter, type, offsetBytes, byteLength]) => ({
    name: String(parameter),
    type: type as ParameterType,
    offsetBytes: Number(offsetBytes),
    byteLength: Number(byteLength),
  }));
}
