/** @module NvJpegHandle: libnvjpeg set up for one of its backends on one device. */

import { message, NativeError } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { Device } from "../cuda/device.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import {
  NVJPEG_BACKEND_GPU_HYBRID,
  NVJPEG_BACKEND_HARDWARE,
  NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION,
  NVJPEG_STATUSES,
  type NvJpegLibrary,
  nvJpegLibrary,
} from "../ffi/nvidia-libraries.ts";
import { shimOffThread } from "../ffi/shim.ts";

/** What decodes: the engines made for it, or the multiprocessors with a CPU core's help. */
export type NvJpegBackend = "hardware" | "hybrid";

const BACKENDS: Readonly<Record<NvJpegBackend, number>> = {
  hardware: NVJPEG_BACKEND_HARDWARE,
  hybrid: NVJPEG_BACKEND_GPU_HYBRID,
};

const out = new OutCells(2);
const second = out.cells.subarray(1);

/** Name of an `nvjpegStatus_t`, or of what the shim says where the call was not made. */
export function nvJpegStatusName(status: number): `NVJPEG_STATUS_${string}` {
  return (NVJPEG_STATUSES[status] ?? `NVJPEG_STATUS_${status}`) as `NVJPEG_STATUS_${string}`;
}

/**
 * Check a status of libnvjpeg on the line of the call.
 *
 * @throws {NativeError} If it is not 0
 */
export function checkNvJpeg(status: number, call: string): void {
  if (status === 0) return;
  const code = nvJpegStatusName(status);
  const error = new NativeError(message(`complete ${call}`, `it returned ${code} (${status})`), { code, call });
  Error.captureStackTrace(error, checkNvJpeg);
  throw error;
}

/** A handle that is held. */
export interface HeldHandle extends Disposable {
  readonly handle: NvJpegHandle;
}

/** A handle that is open, or on its way, and how many hold it. */
interface SharedHandle {
  readonly opening: Promise<NvJpegHandle>;
  /** Closes it, and its device: holders close their own. */
  readonly owned: DisposableStack;
  holders: number;
}

/** Of this process, by device and backend. */
const sharedHandles = new Map<string, SharedHandle>();

/** A library handle: shared by everything that decodes with its backend on its device. */
export class NvJpegHandle extends Resource {
  readonly device: Device;
  readonly backend: NvJpegBackend;
  readonly library: NvJpegLibrary;
  /** Borrowed: valid while this is open. */
  readonly handle: Handle<"nvjpegHandle_t">;
  /** Images the hardware decodes at the same time; 1 for the hybrid backend. */
  readonly engines: number;

  private constructor(
    device: Device,
    backend: NvJpegBackend,
    library: NvJpegLibrary,
    handle: Handle<"nvjpegHandle_t">,
    engines: number,
  ) {
    super(`NvJpegHandle (${backend})`, device);
    this.device = device;
    this.backend = backend;
    this.library = library;
    this.handle = handle;
    this.engines = engines;
  }

  /**
   * Hold the handle of a device and backend. The first one sets libnvjpeg up, off the JS thread: that takes a quarter of a second and
   * more, in which the driver holds up all frames. The last one that lets go closes it.
   *
   * @throws {LibraryLoadError} If libnvjpeg is nowhere
   * @throws {NativeError} If the device does not have the backend; its code is libnvjpeg's
   */
  static async hold({ index }: Device, backend: NvJpegBackend): Promise<HeldHandle> {
    const key = `${index} ${backend}`;
    const shared = sharedHandles.get(key) ?? openShared(index, backend);
    sharedHandles.set(key, shared);
    shared.holders += 1;
    const letGo = (): void => {
      shared.holders -= 1;
      if (shared.holders > 0) return;
      sharedHandles.delete(key);
      shared.owned.dispose();
    };
    try {
      return { handle: await shared.opening, [Symbol.dispose]: letGo };
    } catch (error) {
      letGo();
      throw error;
    }
  }

  /** @internal Set libnvjpeg up. */
  static async create(device: Device, backend: NvJpegBackend): Promise<NvJpegHandle> {
    const library = nvJpegLibrary();
    const { calls } = library;
    const created = new OutCells(1);
    const status = await shimOffThread("bt_nvjpeg_create")(
      device.index,
      calls.nvjpegCreateEx.ptr,
      BACKENDS[backend],
      NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION,
      addressOf(created.cells),
    );
    checkNvJpeg(status, "nvjpegCreateEx");
    const handle = created.pointer() as Handle<"nvjpegHandle_t">;
    device.makeCurrent();
    let engines = 1;
    if (backend === "hardware") {
      const asked = calls.nvjpegGetHardwareDecoderInfo(handle, out.cells, second);
      if (asked !== 0) calls.nvjpegDestroy(handle);
      checkNvJpeg(asked, "nvjpegGetHardwareDecoderInfo");
      engines = Math.max(1, out.u32(0) * out.u32(1));
    }
    return new NvJpegHandle(device, backend, library, handle, engines);
  }

  protected override release(): void {
    this.device.makeCurrent();
    checkNvJpeg(this.library.calls.nvjpegDestroy(this.handle), "nvjpegDestroy");
  }
}

function openShared(index: number, backend: NvJpegBackend): SharedHandle {
  const owned = new DisposableStack();
  const device = owned.use(Device.open(index));
  return { opening: NvJpegHandle.create(device, backend).then((handle) => owned.use(handle)), owned, holders: 0 };
}
