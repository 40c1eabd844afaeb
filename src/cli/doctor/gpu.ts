/** @module GPU libraries: what `doctor` says of the graphics card, its driver, the CUDA runtime and TensorRT. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { LibraryLoadError } from "../../core/errors.ts";
import { type LibrarySpec, openLibrary, type SymbolTable } from "../../ffi/library.ts";
import { OutCells } from "../../ffi/scratch.ts";
import type { Finding } from "./finding.ts";

const CUDA_FOLDERS = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"] as const;

const DRIVER: LibrarySpec = {
  name: "cuda",
  variable: "BUN_TENSORRT_CUDA",
  files: ["libcuda.so.1"],
  folders: ["/usr/lib/wsl/lib"],
  hint: "install the NVIDIA driver",
};

const RUNTIME: LibrarySpec = {
  name: "cudart",
  variable: "BUN_TENSORRT_CUDART",
  files: ["libcudart.so.13", "libcudart.so.12"],
  python: ["nvidia/cu13/lib", "nvidia/cuda_runtime/lib"],
  folders: CUDA_FOLDERS,
  hint: "install the CUDA runtime",
};

const TENSORRT: LibrarySpec = {
  name: "nvinfer",
  variable: "BUN_TENSORRT_NVINFER",
  files: ["libnvinfer.so.11", "libnvinfer.so.10"],
  python: ["tensorrt_libs"],
  folders: CUDA_FOLDERS,
  hint: "install TensorRT",
};

const DRIVER_SYMBOLS = {
  cuInit: { args: ["u32"], returns: "i32" },
  cuDriverGetVersion: { args: ["ptr"], returns: "i32" },
  cuDeviceGetCount: { args: ["ptr"], returns: "i32" },
} as const satisfies SymbolTable;

const RUNTIME_SYMBOLS = {
  cudaRuntimeGetVersion: { args: ["ptr"], returns: "i32" },
} as const satisfies SymbolTable;

const TENSORRT_SYMBOLS = { getInferLibVersion: { args: [], returns: "i32" } } as const satisfies SymbolTable;

const NO_DEVICE = 100;

/** `12.4` from CUDA's 12040. Pure. */
export function cudaVersion(value: number): string {
  return `${Math.floor(value / 1000)}.${Math.floor((value % 1000) / 10)}`;
}

/** `10.6.0` from TensorRT's 100600, and `8.6.1` from the 8601 of before version 10. Pure. */
export function tensorRtVersion(value: number): string {
  const [major, minor] = value >= 10_000 ? [10_000, 100] : [1000, 100];
  return `${Math.floor(value / major)}.${Math.floor((value % major) / minor)}.${value % minor}`;
}

/** `535.183.01` from the driver's own version file. Pure. */
export function driverVersion(versionFile: string): string | undefined {
  return versionFile.match(/Kernel Module(?: for \S+)?\s+([\d.]+)/)?.[1];
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** Cards, by what the kernel says: it needs no library. */
function cardNames(): string[] {
  const folder = "/proc/driver/nvidia/gpus";
  const cards = existsSync(folder) ? readdirSync(folder) : [];
  const names = cards.map((card) => readIfThere(join(folder, card, "information"))?.match(/^Model:\s*(.+)$/m)?.[1]);
  const jetson = readIfThere("/proc/device-tree/model")?.replaceAll("\0", "");
  return [...names.filter((name) => name !== undefined), ...(jetson?.includes("NVIDIA") ? [jetson] : [])];
}

/** The card. */
export function findGpu(): Finding {
  const name = "NVIDIA GPU";
  const names = cardNames();
  if (names.length > 0) return { name, state: "ok", found: names.join(", ") };
  const hasNode = existsSync("/dev/nvidiactl") || existsSync("/dev/dxg");
  if (hasNode) return { name, state: "ok", found: "there, but the kernel does not tell its name" };
  const fix = "in a container, start it with --gpus all; without a card everything runs on the CPU";
  return { name, state: "absent", found: "none", fix };
}

/** The driver: its version, the CUDA version it can run, and how many cards it sees. */
export function findDriver(): Finding {
  const name = "NVIDIA driver";
  const version = driverVersion(readIfThere("/proc/driver/nvidia/version") ?? "");
  const of = version === undefined ? "" : `${version}, `;
  try {
    const { symbols, path } = openLibrary(DRIVER, DRIVER_SYMBOLS);
    const status = symbols.cuInit(0);
    if (status !== 0) {
      const reason = status === NO_DEVICE ? "it sees no card" : `cuInit returned ${status}`;
      return { name, state: "absent", found: `${of}${path}: ${reason}`, fix: "nvidia-smi says more" };
    }
    const out = new OutCells(2);
    const first = symbols.cuDriverGetVersion(out.cells);
    const second = symbols.cuDeviceGetCount(out.cells.subarray(1));
    if (first !== 0 || second !== 0) {
      return { name, state: "absent", found: `${of}${path}: it does not answer`, fix: "restart the machine" };
    }
    return { name, state: "ok", found: `${of}up to CUDA ${cudaVersion(out.i32(0))}, devices: ${out.i32(1)}, ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const fix = "install NVIDIA driver 535 or newer (Ubuntu: sudo ubuntu-drivers install)";
    return { name, state: "absent", found: `${of}libcuda.so.1 was not found`, fix };
  }
}

/** The CUDA runtime. */
export function findCudaRuntime(): Finding {
  const name = "CUDA runtime";
  try {
    const { symbols, path } = openLibrary(RUNTIME, RUNTIME_SYMBOLS);
    const out = new OutCells(1);
    const status = symbols.cudaRuntimeGetVersion(out.cells);
    const version = status === 0 ? cudaVersion(out.i32()) : `cudaRuntimeGetVersion returned ${status}`;
    return { name, state: status === 0 ? "ok" : "absent", found: `${version} at ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const fix = "pip install nvidia-cuda-runtime-cu12, or set BUN_TENSORRT_CUDART to libcudart.so";
    return { name, state: "absent", found: "libcudart.so.12 or .13 was not found", fix };
  }
}

/** TensorRT. */
export function findTensorRt(): Finding {
  const name = "TensorRT";
  try {
    const { symbols, path } = openLibrary(TENSORRT, TENSORRT_SYMBOLS);
    return { name, state: "ok", found: `${tensorRtVersion(symbols.getInferLibVersion())} at ${path}` };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const fix = "pip install tensorrt-cu12-libs, or set BUN_TENSORRT_NVINFER to libnvinfer.so";
    return { name, state: "absent", found: "libnvinfer.so.10 or .11 was not found", fix };
  }
}
