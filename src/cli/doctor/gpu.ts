/** @module GPU: what `doctor` says of the graphics cards, their driver, and whether the package's kernels run on them. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ptx from "../../../ptx/manifest.json" with { type: "json" };
import { CudaError, LibraryLoadError } from "../../core/errors.ts";
import { formatBytes } from "../../core/units.ts";
import { checkDriver } from "../../cuda/check.ts";
import { Device } from "../../cuda/device.ts";
import { explain } from "../../cuda/explanations.ts";
import { cudaUnavailable } from "../../cuda/probe.ts";
import { CUDA_DRIVER_SPEC, cudaDriver } from "../../ffi/cuda-driver.ts";
import { formatCudaVersion } from "../../ffi/cuda-runtime.ts";
import { OutCells } from "../../ffi/scratch.ts";
import { KernelLibrary } from "../../pipeline/gpu/kernel-library.ts";
import type { Finding } from "./finding.ts";
import { whyUnusable } from "./library-faults.ts";

/** CUDA 12.2, whose drivers (535) are the first that load PTX of ISA 8.2. */
const OLDEST_CUDA = 12_020;
/** Turing: what the kernels are compiled for, and what TensorRT 10 begins with. */
const OLDEST_CAPABILITY = 7.5;
const INSTALL_DRIVER = "install NVIDIA driver 535 or newer (Ubuntu: sudo ubuntu-drivers install)";
const SMALL_KERNEL = "select";

/** `535.183.01` from the driver's own version file. Pure. */
export function driverVersion(versionFile: string): string | undefined {
  return versionFile.match(/Kernel Module(?: for \S+)?\s+([\d.]+)/)?.[1];
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** `driver 535.183.01, CUDA 12.2`: the kernel module's version where it tells, and the newest CUDA the driver runs. */
function driverText(cuda: number): string {
  const version = driverVersion(readIfThere("/proc/driver/nvidia/version") ?? "");
  return `${version === undefined ? "" : `driver ${version}, `}CUDA ${formatCudaVersion(cuda)}`;
}

/** Newest CUDA that the driver runs: 12020 is 12.2. @throws {CudaError} If the driver does not answer */
function driverCuda(): number {
  const out = new OutCells(1);
  checkDriver(cudaDriver().cuDriverGetVersion(out.cells), "cuDriverGetVersion");
  return out.i32();
}

/** Cards, by what the kernel says: it needs no library. */
function cardNames(): string[] {
  const folder = "/proc/driver/nvidia/gpus";
  const cards = existsSync(folder) ? readdirSync(folder) : [];
  const names = cards.map((card) => readIfThere(join(folder, card, "information"))?.match(/^Model:\s*(.+)$/m)?.[1]);
  const jetson = readIfThere("/proc/device-tree/model")?.replaceAll("\0", "");
  const known = [...names.filter((name) => name !== undefined), ...(jetson?.includes("NVIDIA") ? [jetson] : [])];
  const hasNode = existsSync("/dev/nvidiactl") || existsSync("/dev/dxg");
  return known.length === 0 && hasNode ? ["a card that the kernel does not name"] : known;
}

/** True if the machine has a card, whether CUDA can use it or not. */
export function hasCard(): boolean {
  return cardNames().length > 0;
}

function firstLine(error: Error): string {
  return error.message.split("\n", 1)[0] ?? "";
}

/** A failure of CUDA, with what to do about it. */
function failed(name: string, error: CudaError): Finding {
  const fix = explain(error.status);
  return { name, state: "absent", found: firstLine(error), ...(fix === undefined ? {} : { fix }) };
}

/** The driver, and whether it is new enough for the package's kernels. */
export function findDriver(): Finding {
  const name = "NVIDIA driver";
  try {
    checkDriver(cudaDriver().cuInit(0), "cuInit");
    const cuda = driverCuda();
    if (cuda >= OLDEST_CUDA) return { name, state: "ok", found: driverText(cuda) };
    const found = `${driverText(cuda)}: too old for the kernels, which are PTX ISA 8.2 (driver 535, CUDA 12.2)`;
    return { name, state: "absent", found, fix: INSTALL_DRIVER };
  } catch (error) {
    if (error instanceof CudaError) return failed(name, error);
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name, state: "absent", found: `libcuda ${whyUnusable(error, CUDA_DRIVER_SPEC)}`, fix: INSTALL_DRIVER };
  }
}

/** What stands between the cards and CUDA. */
function findUnusable(reason: string): Finding {
  const name = "NVIDIA GPU";
  const names = cardNames();
  if (names.length > 0) {
    return { name, state: "absent", found: `${names.join(", ")}: CUDA cannot use it: ${reason}` };
  }
  const fix = "in a container, start it with --gpus all; without a card everything runs on the CPU";
  return { name, state: "absent", found: "none", fix };
}

/** One GPU, opened, with a kernel loaded on it. */
function findDevice(index: number): Finding {
  const name = `GPU ${index}`;
  try {
    using device = Device.open(index);
    const capability = device.computeCapability.join(".");
    const facts = [
      device.name,
      `compute capability ${capability}`,
      formatBytes(device.totalBytes),
      driverText(driverCuda()),
    ];
    if (Number(capability) < OLDEST_CAPABILITY) {
      const found = `${facts.join(", ")}: too old, ${OLDEST_CAPABILITY} (Turing) or newer is needed`;
      return { name, state: "absent", found };
    }
    using kernels = KernelLibrary.create(device);
    kernels.kernel(SMALL_KERNEL, Object.keys(ptx.modules[SMALL_KERNEL].entries)[0]!);
    return { name, state: "ok", found: [...facts, `kernels (PTX ISA ${ptx.isa}) load`].join(", ") };
  } catch (error) {
    if (!(error instanceof CudaError)) throw error;
    return failed(name, error);
  }
}

/** The cards: one finding for each that CUDA sees, else one that says why it sees none. */
export function findGpus(): Finding[] {
  const reason = cudaUnavailable();
  if (reason !== undefined) return [findUnusable(reason)];
  return Array.from({ length: Device.count() }, (_, index) => findDevice(index));
}
