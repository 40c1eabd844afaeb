/** @module Device: one GPU of this machine, with its primary context retained while it is open, and pools of its stream-ordered memory. */

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ArgumentError, BunTensorRtError, CudaError, inShort, LibraryLoadError, message } from "../core/errors.ts";
import { readIfThere } from "../core/paths.ts";
import { Resource } from "../core/resource.ts";
import { formatBytes, type Handle } from "../core/units.ts";
import { cudaDriver, cudaRuntime } from "../ffi/cuda-runtime.ts";
import { addressOf, OutCells, readCString } from "../ffi/memory.ts";
import { check, checkDriver } from "./check.ts";

/** Free and total memory of a device in bytes. */
export interface DeviceMemoryInfo {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** What {@linkcode Device.open} asks before it makes the object; `device` is the driver's number of it. */
type DeviceFacts = Pick<
  Device,
  "index" | "name" | "computeCapability" | "multiprocessorCount" | "totalBytes" | "pool"
> & { readonly device: number };

/** Longest device name the driver gives, with its NUL. */
const NAME_BYTES = 256;

const out = new OutCells(2);
const second = out.cells.subarray(1);

/** The device that is current on this thread, as far as this module made it so; -1 before the first. */
let current = -1;

/**
 * A GPU. Everything made on it holds it open; the device numbers are those CUDA_VISIBLE_DEVICES leaves.
 *
 * @example There and back
 * ```ts
 * import { copyToDevice, copyToHost, Device, DeviceBuffer, Stream } from "bun-tensorrt/cuda";
 *
 * using device = Device.open();
 * using stream = Stream.create(device);
 * using buffer = DeviceBuffer.create("f32", [4], { stream });
 * copyToDevice(buffer, Float32Array.of(1, 2, 3, 4), { stream });
 * const back = new Float32Array(4);
 * copyToHost(back, buffer, { stream }); // to an ordinary array: waits
 * console.log(device.name, back);
 * ```
 */
export class Device extends Resource {
  readonly index: number;
  /** As the driver calls it: `NVIDIA H200`. */
  readonly name: string;
  /** `[9, 0]` for sm_90. */
  readonly computeCapability: readonly [major: number, minor: number];
  readonly multiprocessorCount: number;
  readonly totalBytes: number;
  /** The primary context, for libraries that ask for a `CUcontext`. Borrowed: valid while the device is open. */
  readonly context: Handle<"CUcontext">;
  /** The device's own pool of stream-ordered memory; `undefined` where the device has none. */
  readonly pool: PoolView | undefined;
  readonly #device: number;

  private constructor(facts: DeviceFacts, context: Handle<"CUcontext">) {
    super(`Device ${facts.index} (${facts.name})`);
    this.index = facts.index;
    this.name = facts.name;
    this.computeCapability = facts.computeCapability;
    this.multiprocessorCount = facts.multiprocessorCount;
    this.totalBytes = facts.totalBytes;
    this.#device = facts.device;
    this.context = context;
    this.pool = facts.pool;
  }

  /**
   * Number of GPUs CUDA sees.
   *
   * @throws {LibraryLoadError} If libcudart is nowhere
   * @throws {CudaError} If there is no driver (`cudaErrorInsufficientDriver`) or no GPU (`cudaErrorNoDevice`)
   */
  static count(): number {
    check(cudaRuntime().cudaGetDeviceCount(out.cells), "cudaGetDeviceCount");
    return out.i32();
  }

  /**
   * Open a GPU and make it current on this thread. The same GPU may be opened several times.
   *
   * @param index from 0 on
   * @throws {ArgumentError} If there is no such device
   * @throws {LibraryLoadError} If libcudart or libcuda is nowhere
   * @throws {CudaError} If the driver or the GPU cannot be used
   */
  static open(index = 0): Device {
    const count = Device.count();
    if (!Number.isInteger(index) || index < 0 || index >= count) {
      throw new ArgumentError(
        message(`open device ${index}`, `the devices are 0 to ${count - 1}`, "see Device.count()"),
      );
    }
    current = -1;
    select(index);
    const facts = inquire(index);
    checkDriver(cudaDriver().cuDevicePrimaryCtxRetain(out.cells, facts.device), "cuDevicePrimaryCtxRetain");
    return new Device(facts, out.pointer() as Handle<"CUcontext">);
  }

  /** Make this the device that allocations, modules, streams and events of this thread are made on. */
  makeCurrent(): void {
    if (current !== this.index) select(this.index);
  }

  /** One attribute. @see https://docs.nvidia.com/cuda/cuda-runtime-api/ (cudaDeviceGetAttribute) */
  attribute(name: DeviceAttribute): number {
    return attributeOf(this.index, name);
  }

  /** Free and total memory now, of all processes together. */
  memory(): DeviceMemoryInfo {
    this.makeCurrent();
    check(cudaRuntime().cudaMemGetInfo(out.cells, second), "cudaMemGetInfo");
    return { freeBytes: out.pointer(0), totalBytes: out.pointer(1) };
  }

  /** The GPU's own number, the same in every process: 32 hexadecimal digits. */
  uuid(): string {
    checkDriver(cudaDriver().cuDeviceGetUuid_v2(out.cells, this.#device), "cuDeviceGetUuid_v2");
    return Buffer.from(out.cells.buffer, 0, 16).toString("hex");
  }

  /** Least and most urgent stream priority; the most urgent is the lower number. */
  priorityRange(): readonly [least: number, greatest: number] {
    this.makeCurrent();
    check(cudaRuntime().cudaDeviceGetStreamPriorityRange(out.cells, second), "cudaDeviceGetStreamPriorityRange");
    return [out.i32(0), out.i32(1)];
  }

  /** Block this thread until all work of the device has finished. @throws {CudaError} If some of it failed */
  synchronize(): void {
    this.makeCurrent();
    check(cudaRuntime().cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  protected override release(): void {
    if (current === this.index) current = -1;
    checkDriver(cudaDriver().cuDevicePrimaryCtxRelease_v2(this.#device), "cuDevicePrimaryCtxRelease_v2");
  }
}

function select(index: number): void {
  check(cudaRuntime().cudaSetDevice(index), "cudaSetDevice");
  current = index;
}

function attributeOf(index: number, name: DeviceAttribute): number {
  check(cudaRuntime().cudaDeviceGetAttribute(out.cells, DEVICE_ATTRIBUTES[name], index), "cudaDeviceGetAttribute");
  return out.i32();
}

function inquire(index: number): DeviceFacts {
  const driver = cudaDriver();
  checkDriver(driver.cuInit(0), "cuInit");
  checkDriver(driver.cuDeviceGet(out.cells, index), "cuDeviceGet");
  const device = out.i32();
  const name = new Uint8Array(new ArrayBuffer(NAME_BYTES));
  checkDriver(driver.cuDeviceGetName(name, NAME_BYTES, device), "cuDeviceGetName");
  checkDriver(driver.cuDeviceTotalMem_v2(out.cells, device), "cuDeviceTotalMem_v2");
  const totalBytes = out.pointer();
  return {
    index,
    device,
    name: readCString(addressOf(name)),
    computeCapability: [attributeOf(index, "computeCapabilityMajor"), attributeOf(index, "computeCapabilityMinor")],
    multiprocessorCount: attributeOf(index, "multiprocessorCount"),
    totalBytes,
    pool: attributeOf(index, "memoryPoolsSupported") === 1 ? PoolView.ofDevice(index) : undefined,
  };
}

/** Names of ours, numbers of `enum cudaDeviceAttr` (the same in CUDA 12 and 13). */
const DEVICE_ATTRIBUTES = {
  maxThreadsPerBlock: 1,
  maxSharedBytesPerBlock: 8,
  warpSize: 10,
  clockRateKhz: 13,
  multiprocessorCount: 16,
  /** 1 where CPU and GPU share one memory, as on Jetson. */
  isIntegrated: 18,
  canMapHostMemory: 19,
  memoryClockRateKhz: 36,
  memoryBusWidthBits: 37,
  l2Bytes: 38,
  asyncEngineCount: 40,
  computeCapabilityMajor: 75,
  computeCapabilityMinor: 76,
  sharedBytesPerMultiprocessor: 81,
  maxSharedBytesPerBlockOptIn: 97,
  memoryPoolsSupported: 115,
} as const;

/** Name of a device attribute. */
export type DeviceAttribute = keyof typeof DEVICE_ATTRIBUTES;

/** Statuses that mean "there is no usable GPU here", in contrast to one that is broken. */
const ABSENT: ReadonlySet<number> = new Set([34, 35, 100]);

/**
 * Why CUDA cannot be used on this machine, or `undefined` where it can. Opens the libraries, but no device.
 *
 * @returns one line: a library that is nowhere, no driver, a driver too old, or no GPU
 * @throws {CudaError} If there is a GPU and it fails for another reason
 */
export function cudaUnavailable(): string | undefined {
  try {
    cudaDriver();
    Device.count();
    return undefined;
  } catch (error) {
    const isAbsent = error instanceof LibraryLoadError || (error instanceof CudaError && ABSENT.has(error.status));
    if (!isAbsent) throw error;
    return inShort(error);
  }
}

/** NVIDIA's cards and boards, by what the kernel says: it needs no library. */
export function cardNames(): string[] {
  const folder = "/proc/driver/nvidia/gpus";
  const cards = existsSync(folder) ? readdirSync(folder) : [];
  const names = cards.map((card) => readIfThere(join(folder, card, "information"))?.match(/^Model:\s*(.+)$/m)?.[1]);
  const jetson = readIfThere("/proc/device-tree/model")?.replaceAll("\0", "");
  const known = [...names.filter((name) => name !== undefined), ...(jetson?.includes("NVIDIA") ? [jetson] : [])];
  // WSL has its node for cards of every make, and this library for NVIDIA's alone.
  const isInWindows = existsSync("/dev/dxg") && existsSync("/usr/lib/wsl/lib/libnvidia-ml.so.1");
  const hasNode = existsSync("/dev/nvidiactl") || isInWindows;
  return known.length === 0 && hasNode ? ["a card that the kernel does not name"] : known;
}

/** True if the machine has a card, whether CUDA can use it or not. */
export function hasCard(): boolean {
  return cardNames().length > 0;
}

/** Attribute numbers of `enum cudaMemPoolAttr`. */
const RELEASE_THRESHOLD = 4;
const RESERVED_CURRENT = 5;
const RESERVED_HIGH = 6;
const USED_CURRENT = 7;
const USED_HIGH = 8;

/** What a pool holds, in bytes. */
export interface PoolUsage {
  /** Handed out now, and at most so far. */
  readonly usedBytes: number;
  readonly usedHighBytes: number;
  /** Taken from the device now, and at most so far. */
  readonly reservedBytes: number;
  readonly reservedHighBytes: number;
}

/** A pool someone else owns: the device, or a `MemoryPool`. */
export class PoolView {
  readonly handle: Handle<"cudaMemPool_t">;

  /** Made by {@linkcode PoolView.ofDevice} and `MemoryPool`. */
  constructor(handle: Handle<"cudaMemPool_t">) {
    this.handle = handle;
  }

  /** The pool every device has from the start. */
  static ofDevice(deviceIndex: number): PoolView {
    check(cudaRuntime().cudaDeviceGetDefaultMemPool(out.cells, deviceIndex), "cudaDeviceGetDefaultMemPool");
    return new PoolView(out.pointer() as Handle<"cudaMemPool_t">);
  }

  /** How much is handed out and reserved. */
  usage(): PoolUsage {
    return {
      usedBytes: this.#attribute(USED_CURRENT),
      usedHighBytes: this.#attribute(USED_HIGH),
      reservedBytes: this.#attribute(RESERVED_CURRENT),
      reservedHighBytes: this.#attribute(RESERVED_HIGH),
    };
  }

  /**
   * How much freed memory the pool keeps for later allocations when a stream is synchronised. 0, the default, gives
   * all of it back to the device, which makes the next allocation slow.
   *
   * @param bytes `Infinity` to keep everything
   */
  setReleaseThreshold(bytes: number): void {
    if (bytes === Number.POSITIVE_INFINITY) out.cells[0] = 0xffff_ffff_ffff_ffffn;
    else out.setPointer(0, bytes);
    check(cudaRuntime().cudaMemPoolSetAttribute(this.handle, RELEASE_THRESHOLD, out.cells), "cudaMemPoolSetAttribute");
  }

  /** Give unused memory back to the device. @param keepBytes how much may stay reserved */
  trim(keepBytes = 0): void {
    check(cudaRuntime().cudaMemPoolTrimTo(this.handle, keepBytes), "cudaMemPoolTrimTo");
  }

  #attribute(attribute: number): number {
    check(cudaRuntime().cudaMemPoolGetAttribute(this.handle, attribute, out.cells), "cudaMemPoolGetAttribute");
    return out.pointer();
  }
}

/** Bytes of `struct cudaMemPoolProps`, and what is written into it. The rest has to be zero. */
const PROPS_BYTES = 88;
const ALLOCATION_PINNED = 1;
const LOCATION_DEVICE = 1;
const LOCATION_TYPE_WORD = 2;
const LOCATION_ID_WORD = 3;
const MAX_BYTES_CELL = 3;

/** What {@linkcode MemoryPool.create} takes. */
export interface MemoryPoolOptions {
  /** Most bytes the pool may take; 0, the default, for all the device has. Drivers before CUDA 12.2 ignore it. */
  readonly maxBytes?: number | undefined;
}

/** A pool of one's own: what it holds is counted, limited and given back apart from everyone else's. */
export class MemoryPool extends Resource {
  /** Hand this to `DeviceBuffer.create`. Borrowed: valid while the pool is open. */
  readonly view: PoolView;

  private constructor(device: Device, handle: Handle<"cudaMemPool_t">, label: string) {
    super(label, device);
    this.view = new PoolView(handle);
  }

  /**
   * Make a pool on a device.
   *
   * @throws {BunTensorRtError} If the device has no pools
   * @throws {CudaError} If the pool cannot be made
   */
  static create(device: Device, options: MemoryPoolOptions = {}): MemoryPool {
    const maxBytes = options.maxBytes ?? 0;
    const label = `MemoryPool (${maxBytes === 0 ? "unlimited" : formatBytes(maxBytes)})`;
    device.assertOpen(`create a ${label}`);
    if (device.pool === undefined) {
      const hint = "allocate with { device } instead of { stream }";
      throw new BunTensorRtError(message("create a memory pool", `${device.label} has no stream-ordered memory`, hint));
    }
    const props = new Int32Array(new ArrayBuffer(PROPS_BYTES));
    props[0] = ALLOCATION_PINNED;
    props[LOCATION_TYPE_WORD] = LOCATION_DEVICE;
    props[LOCATION_ID_WORD] = device.index;
    new BigUint64Array(props.buffer)[MAX_BYTES_CELL] = BigInt(maxBytes);
    check(cudaRuntime().cudaMemPoolCreate(out.cells, props), "cudaMemPoolCreate");
    return new MemoryPool(device, out.pointer() as Handle<"cudaMemPool_t">, label);
  }

  protected override release(): void {
    check(cudaRuntime().cudaMemPoolDestroy(this.view.handle), "cudaMemPoolDestroy");
  }
}
