/** @module GpuUsage: how busy the GPUs of this machine are, and how full. */

import { LibraryLoadError, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { OutCells } from "../ffi/memory.ts";
import {
  checkNvml,
  NVML_ERROR_GPU_IS_LOST,
  NVML_ERROR_NO_PERMISSION,
  NVML_ERROR_NOT_SUPPORTED,
  type Nvml,
  nvml,
} from "../ffi/nvml.ts";

/** One GPU at one moment, of all processes. */
interface GpuReading {
  /** As `nvidia-smi` counts, which `$CUDA_VISIBLE_DEVICES` does not change. */
  readonly index: number;
  readonly memoryUsedBytes: number;
  readonly memoryTotalBytes: number;
  /** Share of the last sample period, up to a second, in which a kernel ran, 0–1. `undefined` where the GPU does not tell, as with MIG. */
  readonly utilisation: number | undefined;
}

/** Statuses of a GPU that does not tell, be it for now or for good. */
const SILENT: ReadonlySet<number> = new Set([
  NVML_ERROR_NOT_SUPPORTED,
  NVML_ERROR_NO_PERMISSION,
  NVML_ERROR_GPU_IS_LOST,
]);

/** Says that a GPU is lost. @returns what stands for its handle from then on */
function lost(index: number): 0 {
  logger.warn(`Skipped the metrics of GPU ${index}, which is lost`);
  return 0;
}

/** Reads the GPUs' load through NVML. Close it, or bind it with `using`. */
export class GpuUsage extends Resource {
  readonly #library: Nvml;
  /** `nvmlDevice_t` by index, 0 for a lost GPU; the library's, valid until it is shut down. */
  readonly #devices: number[];
  readonly #out = new OutCells(3);

  private constructor(library: Nvml, devices: number[]) {
    super(`GpuUsage of ${devices.length}`);
    this.#library = library;
    this.#devices = devices;
  }

  /**
   * Start reading.
   *
   * @throws {LibraryLoadError} If there is no libnvidia-ml
   * @throws {NativeError} If it finds no driver, or another one than its own
   */
  static open(): GpuUsage {
    const library = nvml();
    checkNvml(library, library.nvmlInit_v2(), "nvmlInit_v2");
    try {
      const out = new OutCells(1);
      checkNvml(library, library.nvmlDeviceGetCount_v2(out.cells), "nvmlDeviceGetCount_v2");
      const devices = Array.from({ length: out.u32() }, (_, index) => {
        const status = library.nvmlDeviceGetHandleByIndex_v2(index, out.cells);
        if (status === NVML_ERROR_GPU_IS_LOST) return lost(index);
        checkNvml(library, status, "nvmlDeviceGetHandleByIndex_v2");
        return out.pointer();
      });
      return new GpuUsage(library, devices);
    } catch (error) {
      checkNvml(library, library.nvmlShutdown(), "nvmlShutdown");
      throw error;
    }
  }

  /** Number of GPUs. */
  get length(): number {
    return this.#devices.length;
  }

  /** Every GPU now. A GPU that does not tell its memory is left out, and so is one that is lost, with one log line. */
  read(): GpuReading[] {
    this.assertOpen("read the use of the GPUs");
    const library = this.#library;
    const out = this.#out;
    const readings: GpuReading[] = [];
    for (const [index, device] of this.#devices.entries()) {
      if (device === 0) continue;
      const told = library.nvmlDeviceGetMemoryInfo(device, out.cells);
      if (told === NVML_ERROR_GPU_IS_LOST) this.#devices[index] = lost(index);
      if (!this.#has(told, "nvmlDeviceGetMemoryInfo")) continue;
      const memoryTotalBytes = out.pointer(0);
      const memoryUsedBytes = out.pointer(2);
      const status = library.nvmlDeviceGetUtilizationRates(device, out.cells);
      const utilisation = this.#has(status, "nvmlDeviceGetUtilizationRates") ? out.u32() / 100 : undefined;
      readings.push({ index, memoryUsedBytes, memoryTotalBytes, utilisation });
    }
    return readings;
  }

  /** True if the call went well; false where the GPU does not tell. */
  #has(status: number, call: string): boolean {
    if (SILENT.has(status)) return false;
    checkNvml(this.#library, status, call);
    return true;
  }

  protected release(): void {
    checkNvml(this.#library, this.#library.nvmlShutdown(), "nvmlShutdown");
  }
}

/**
 * Read the GPUs where that can be done, for metrics; where not, one log line says why.
 *
 * @returns owned by the caller; `undefined` without NVML or a GPU
 */
export function findGpuUsage(): GpuUsage | undefined {
  try {
    return GpuUsage.open();
  } catch (error) {
    if (!(error instanceof LibraryLoadError || error instanceof NativeError)) throw error;
    logger.info(`Skipped the GPU metrics (utilisation, memory). ${error.message.split("\n", 1)[0]}`);
    return undefined;
  }
}
