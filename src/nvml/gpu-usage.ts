/**
 * @module GpuUsage: how busy the GPUs of this machine are, and how full: as NVML tells; and of a Jetson, which has none, as its kernel
 * tells in /sys and /proc.
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { LibraryLoadError, NativeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { readIfThere } from "../core/paths.ts";
import { Resource } from "../core/resource.ts";
import { OutCells } from "../ffi/memory.ts";
import {
  checkNvml,
  NVML_ERROR_GPU_IS_LOST,
  NVML_ERROR_NO_PERMISSION,
  NVML_ERROR_NOT_SUPPORTED,
  type Nvml,
  nvml,
} from "../ffi/nvidia-libraries.ts";

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

/** Power of one rail of a board. */
interface PowerRail {
  /** As the board's documents call it: `VDD_GPU_SOC`, `VDD_IN` for the whole module. */
  readonly name: string;
  readonly watts: number;
}

/** A Jetson, now. */
interface BoardState {
  /** `NVIDIA Jetson AGX Orin Developer Kit` */
  readonly model: string;
  /** Of Jetson Linux: `36.4.0`; `undefined` where it does not tell. */
  readonly release: string | undefined;
  /** Number of the power mode, as `nvpmodel -q` has it; `undefined` where it does not tell. */
  readonly powerMode: number | undefined;
  /** Share of time in which the GPU was busy, 0 to 1; `undefined` where it does not tell. */
  readonly gpuLoad: number | undefined;
  /** What `tegrastats` prints as well. Reading them needs root on some releases: then there are none. */
  readonly rails: readonly PowerRail[];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return [];
  }
}

function numberIn(path: string): number | undefined {
  const text = readIfThere(path)?.trim() ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The channels of the INA3221 power monitors: volts and amperes in thousandths, by the name of the rail. */
function railsBelow(root: string): PowerRail[] {
  const driver = join(root, "sys/bus/i2c/drivers/ina3221");
  const monitors = namesIn(driver).flatMap((chip) =>
    namesIn(join(driver, chip, "hwmon")).map((monitor) => join(driver, chip, "hwmon", monitor)),
  );
  return monitors.flatMap((monitor) =>
    [1, 2, 3].flatMap((channel) => {
      const name = readIfThere(join(monitor, `in${channel}_label`))?.trim();
      const millivolts = numberIn(join(monitor, `in${channel}_input`));
      const milliamperes = numberIn(join(monitor, `curr${channel}_input`));
      if (name === undefined || millivolts === undefined || milliamperes === undefined) return [];
      return [{ name, watts: (millivolts * milliamperes) / 1e6 }];
    }),
  );
}

/** In thousandths, in a place that changed with the generations of boards. */
function loadBelow(root: string): number | undefined {
  const devices = join(root, "sys/class/devfreq");
  const found = namesIn(devices).filter((name) => /\.(?:gpu|g[av]\w+)$/.test(name));
  const places = ["sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load"].map((path) => join(root, path));
  for (const path of [...places, ...found.map((name) => join(devices, name, "device/load"))]) {
    const load = numberIn(path);
    if (load !== undefined) return load / 1000;
  }
  return undefined;
}

/**
 * The Jetson that this runs on. Written from its documents; no board has run it yet.
 *
 * @param root where a test has made up the files of one
 * @returns `undefined` on every other machine
 * @see https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
 */
export function readBoard(root = "/"): BoardState | undefined {
  const model = readIfThere(join(root, "proc/device-tree/model"))?.replaceAll("\0", "").trim() ?? "";
  if (!/\b(?:jetson|tegra)\b/i.test(model)) return undefined;
  const [, major, minor] =
    /^# R(\d+) \(release\), REVISION: ([\d.]+)/.exec(readIfThere(join(root, "etc/nv_tegra_release")) ?? "") ?? [];
  const mode = /^pmode:(\d+)/.exec(readIfThere(join(root, "var/lib/nvpmodel/status")) ?? "")?.[1];
  return {
    model,
    release: major === undefined ? undefined : `${major}.${minor}`,
    powerMode: mode === undefined ? undefined : Number(mode),
    gpuLoad: loadBelow(root),
    rails: railsBelow(root),
  };
}

/** `Jetson Linux 36.4.0, power mode 0, GPU 43 % busy, VDD_GPU_SOC 3.2 W`: without its model. */
export function boardText({ release, powerMode, gpuLoad, rails }: BoardState): string {
  return [
    ...(release === undefined ? [] : [`Jetson Linux ${release}`]),
    ...(powerMode === undefined ? [] : [`power mode ${powerMode}`]),
    ...(gpuLoad === undefined ? [] : [`GPU ${(gpuLoad * 100).toFixed(0)} % busy`]),
    ...rails.map(({ name, watts }) => `${name} ${watts.toFixed(1)} W`),
  ].join(", ");
}
