/** @module GPU: what `doctor` says of the graphics cards, their driver, and whether the package's kernels run on them. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import ptx from "../../../ptx/manifest.json" with { type: "json" };
import { KernelLibrary } from "../../accelerators/tensorrt/kernels.ts";
import { CudaError, LibraryLoadError } from "../../core/errors.ts";
import { readIfThere } from "../../core/paths.ts";
import { formatBytes } from "../../core/units.ts";
import { checkDriver, explain } from "../../cuda/check.ts";
import { cardNames, cudaUnavailable, Device } from "../../cuda/device.ts";
import {
  CUDA_DRIVER_SPEC,
  cudaDriver,
  cudaRuntimePath,
  cudaRuntimeSpec,
  cudaRuntimeVersion,
  formatCudaVersion,
} from "../../ffi/cuda-runtime.ts";
import type { LibrarySpec } from "../../ffi/discovery.ts";
import { OutCells } from "../../ffi/memory.ts";
import { NVCUVID_SPEC, nvcuvidLibrary, nvJpegLibrary, nvJpegSpec } from "../../ffi/nvidia-decoders.ts";
import { SHIM_SPEC, shim } from "../../ffi/shim.ts";
import { Nvdec } from "../../nvdec/nvdec.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../../tensorrt/library.ts";
import type { TensorRtFamily } from "../../tensorrt/version.ts";
import { type Finding, located, search } from "./finding.ts";

/** CUDA 12.2, whose drivers (535) are the first that load PTX of ISA 8.2. */
const OLDEST_CUDA = 12_020;
/** Turing: what the kernels are compiled for, and what TensorRT 10 begins with. */
const OLDEST_CAPABILITY = 7.5;
const INSTALL_DRIVER =
  process.platform === "win32"
    ? "install NVIDIA driver 535 or newer, from nvidia.com/drivers"
    : "install NVIDIA driver 535 or newer (Ubuntu: sudo ubuntu-drivers install)";
const SMALL_KERNEL = "select";

/** `535.183.01` from the driver's own version file. Pure. */
export function driverVersion(versionFile: string): string | undefined {
  return versionFile.match(/Kernel Module(?: for \S+)?\s+([\d.]+)/)?.[1];
}

/** `driver 535.183.01, CUDA 12.2`: the kernel module's version where it tells, and the newest CUDA the driver runs. */
function driverText(cuda: number): string {
  const version = driverVersion(readIfThere("/proc/driver/nvidia/version") ?? "");
  return `${version === undefined ? "" : `driver ${version}, `}CUDA ${formatCudaVersion(cuda)}`;
}

/** Newest CUDA that the driver runs: 12020 is 12.2. @throws {CudaError} If the driver does not answer */
export function driverCuda(): number {
  const out = new OutCells(1);
  checkDriver(cudaDriver().cuDriverGetVersion(out.cells), "cuDriverGetVersion");
  return out.i32();
}

function firstLine(error: Error): string {
  return error.message.split("\n", 1)[0] ?? "";
}

/** A failure of CUDA, with what to do about it. @throws the error, if it is another one */
function failed(error: unknown): Omit<Finding, "name"> {
  if (!(error instanceof CudaError)) throw error;
  const fix = explain(error.status);
  return { state: "absent", found: firstLine(error), ...(fix === undefined ? {} : { fix }) };
}

/** The driver, and whether it is new enough for the package's kernels. */
export function findDriver(): Finding {
  const find = (): string | Omit<Finding, "name"> => {
    try {
      checkDriver(cudaDriver().cuInit(0), "cuInit");
      const cuda = driverCuda();
      const version =
        driverVersion(readIfThere("/proc/driver/nvidia/version") ?? "") ?? `CUDA ${formatCudaVersion(cuda)}`;
      if (cuda >= OLDEST_CUDA) return { state: "ok", found: driverText(cuda), version };
      const found = `${driverText(cuda)}: too old for the kernels, which are PTX ISA 8.2 (driver 535, CUDA 12.2)`;
      return { state: "absent", found, fix: INSTALL_DRIVER };
    } catch (error) {
      return failed(error);
    }
  };
  return search("NVIDIA driver", find, (error) => {
    return { found: `libcuda ${whyUnusable(error, CUDA_DRIVER_SPEC)}`, fix: INSTALL_DRIVER };
  });
}

/** What stands between the cards and CUDA. */
function findUnusable(reason: string): Finding {
  const name = "NVIDIA GPU";
  const names = cardNames();
  if (names.length > 0) {
    return { name, state: "absent", found: `${names.join(", ")}: CUDA cannot use it: ${reason}` };
  }
  const isWindows = process.platform === "win32";
  const fix = `${isWindows ? "" : "in a container, start it with --gpus all; "}detection needs no card`;
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
    return { name, ...failed(error) };
  }
}

/** The cards: one finding for each that CUDA sees, else one that says why it sees none. */
export function findGpus(): Finding[] {
  const reason = cudaUnavailable();
  if (reason !== undefined) return [findUnusable(reason)];
  return Array.from({ length: Device.count() }, (_, index) => findDevice(index));
}

/** The CUDA runtime. */
export function findCudaRuntime(): Finding {
  const find = (): Omit<Finding, "name"> => located(formatCudaVersion(cudaRuntimeVersion()), cudaRuntimePath());
  return search("CUDA runtime", find, (error) => ({
    found: `libcudart 12 or 13 ${whyUnusable(error, cudaRuntimeSpec([]))}`,
    fix: "bunx bun-tensorrt install cuda-runtime",
  }));
}

/** The C library through which TensorRT's C++ objects are called; the package brings it. */
export function findShim(): Finding {
  const find = (): Omit<Finding, "name"> => {
    const version = String(shim().bt_abi_version());
    return { state: "ok", found: `version ${version} for ${process.platform}-${process.arch}`, version };
  };
  return search("TensorRT shim", find, (error) => {
    return { found: whyUnusable(error, SHIM_SPEC), fix: SHIM_SPEC.hint };
  });
}

/** True if a TensorRT lacks the kernels its builder chooses from: it runs plans, and builds none. */
export function lacksBuilder({ path, version }: TensorRtLibrary): boolean {
  // A library that the dynamic linker found by name has its parts where that finds them too.
  if (version.family !== "TensorRT" || basename(path) === path) return false;
  return !readdirSync(dirname(path)).some((file) => /^(lib)?nvinfer_builder_resource/.test(file));
}

/** What a TensorRT that opens cannot do, and what would help. */
function shortcoming(library: TensorRtLibrary): { readonly text: string; readonly fix: string } | undefined {
  const what = "plans run, but ONNX models cannot be built";
  try {
    library.openParser();
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const [fault = "it is not beside it"] = faultsOf(error);
    return { text: `${what} without its ONNX parser: ${fault}`, fix: familyInstallCommand(library.version.family) };
  }
  if (!lacksBuilder(library)) return undefined;
  return { text: `${what} without its builder resource`, fix: "bunx bun-tensorrt install tensorrt-builder" };
}

function familyInstallCommand(family: TensorRtFamily): string {
  return `bunx bun-tensorrt install ${family.toLowerCase()}`;
}

/** TensorRT, or TensorRT-RTX. */
export function findTensorRt(family: TensorRtFamily): Finding {
  const find = (): Omit<Finding, "name"> => {
    const library = openTensorRt({ family });
    const { release, build } = library.version;
    const finding = located(`${release}${build === undefined ? "" : `.${build}`}`, library.path);
    const short = shortcoming(library);
    return short === undefined ? finding : { ...finding, found: `${finding.found}: ${short.text}`, fix: short.fix };
  };
  return search(family, find, (error) => {
    return { found: whyUnusable(error, tensorRtSpec()), fix: familyInstallCommand(family) };
  });
}

/** nvJPEG. */
export function findNvJpeg(): Finding {
  const find = (): Omit<Finding, "name"> => located(nvJpegLibrary().version, nvJpegLibrary().path);
  return search("nvJPEG", find, (error) => ({
    found: `${whyUnusable(error, nvJpegSpec())}: JPEG is decoded on the CPU`,
    fix: "bunx bun-tensorrt install nvjpeg",
  }));
}

/** The engines that decode video; the driver brings their library. */
export function findVideoEngines(): Finding {
  const find = (): Omit<Finding, "name"> => {
    nvcuvidLibrary();
    try {
      using device = Device.open();
      using engines = Nvdec.open(device);
      return { state: "ok", found: engines.description };
    } catch (error) {
      return failed(error);
    }
  };
  return search("NVDEC", find, (error) => ({
    found: `${whyUnusable(error, NVCUVID_SPEC)}: video is decoded on the CPU`,
    fix: NVCUVID_SPEC.hint,
  }));
}

/** The dynamic linker's words for a file that is nowhere. */
const ABSENT = /(\S+): cannot open shared object file/;

/** True for a place where nothing was; a library that lacks another one was found. */
function isNowhere(path: string, line: string): boolean {
  if (line.endsWith(": no such file")) return true;
  if (path.includes("/")) return false;
  const absent = ABSENT.exec(line)?.[1];
  // Bun looks for a bare name in the working folder at last, and tells of that.
  return absent === undefined ? /no such file/i.test(line) : absent === path || absent.endsWith(`/${path}`);
}

/** `/lib/a.so: file too short` of `/lib/a.so: Failed to open library "/lib/a.so": /lib/a.so: file too short`. */
function shorten(path: string, line: string): string {
  const reason = line.slice(path.length + 2).replace(/^Failed to open library "[^"]*": /, "");
  return `${path}: ${reason.startsWith(`${path}: `) ? reason.slice(path.length + 2) : reason}`;
}

/**
 * The files that are there and cannot be used, each with its reason in one line; empty where the library is nowhere.
 *
 * @param error of a search, or of a library that was opened and then refused
 */
export function faultsOf({ message, tried }: LibraryLoadError): string[] {
  // What was opened and then refused names its path alone; the reason is in the message.
  if (tried.length === 1 && !tried[0]!.includes(": ")) {
    return [(message.split("\n", 1)[0] ?? "").replace(/^Cannot \w+ (.+?): /, "$1: ")];
  }
  return tried.flatMap((line) => {
    const [path = ""] = line.split(": ", 1);
    return isNowhere(path, line) ? [] : [shorten(path, line)];
  });
}

/** `was not found`, or `cannot be used: …`: why a library could not be opened, in one line. */
export function whyUnusable(error: LibraryLoadError, { variable }: Pick<LibrarySpec, "variable">): string {
  const faults = faultsOf(error);
  if (faults.length > 0) return `cannot be used: ${faults.join("; ")}`;
  const named = process.env[variable];
  return named === undefined || named === "" ? "was not found" : `was not found at ${variable}=${named}`;
}

/** Names of one package on the systems that name it in their own way. */
export interface SystemPackageNames {
  readonly debian: string;
  readonly ubuntu: string;
  readonly fedora: string;
  readonly arch: string;
  readonly alpine: string;
  readonly macos: string;
  readonly windows: string;
}

/** The `ID` and `ID_LIKE` words of an os-release file, the most specific first. Pure. */
export function systemIds(osRelease: string): string[] {
  const field = (key: string): string => osRelease.match(new RegExp(`^${key}="?([^"\\n]*)"?$`, "m"))?.[1] ?? "";
  return `${field("ID")} ${field("ID_LIKE")}`.trim().split(/\s+/);
}

/** The command that installs the package on a system with these ids. Pure. */
export function installCommand(names: SystemPackageNames, ids: readonly string[]): string | undefined {
  for (const id of ids) {
    if (id === "ubuntu") return `sudo apt install ${names.ubuntu}`;
    if (id === "debian") return `sudo apt install ${names.debian}`;
    if (["fedora", "rhel", "centos"].includes(id)) return `sudo dnf install ${names.fedora}`;
    if (id === "arch") return `sudo pacman -S ${names.arch}`;
    if (id === "alpine") return `apk add ${names.alpine}`;
    if (id === "macos") return `brew install ${names.macos}`;
    if (id === "windows") return `winget install ${names.windows}`;
  }
  return undefined;
}

/** Ids of the system this runs on. */
export function thisSystem(): string[] {
  if (process.platform === "darwin") return ["macos"];
  if (process.platform === "win32") return ["windows"];
  return existsSync("/etc/os-release") ? systemIds(readFileSync("/etc/os-release", "utf8")) : [];
}
