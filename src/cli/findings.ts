/**
 * @module Findings: what `doctor` found of one thing, and the report made of all of them: where detection runs, and which gaps are
 * worth closing. And what it says of the graphics cards, their driver, NVIDIA's libraries, and whether the package's kernels run.
 */

import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import ptx from "../../ptx/manifest.json" with { type: "json" };
import { KernelLibrary } from "../accelerators/tensorrt/kernels.ts";
import { CudaError, LibraryLoadError } from "../core/errors.ts";
import { printable } from "../core/log.ts";
import { readIfThere } from "../core/paths.ts";
import { formatBytes } from "../core/units.ts";
import { checkDriver, explain } from "../cuda/check.ts";
import { cardNames, cudaUnavailable, Device } from "../cuda/device.ts";
import {
  CUDA_DRIVER_SPEC,
  cudaDriver,
  cudaRuntimePath,
  cudaRuntimeSpec,
  cudaRuntimeVersion,
  formatCudaVersion,
} from "../ffi/cuda-runtime.ts";
import type { LibrarySpec } from "../ffi/discovery.ts";
import { OutCells } from "../ffi/memory.ts";
import { NVCUVID_SPEC, nvcuvidLibrary, nvJpegLibrary, nvJpegSpec } from "../ffi/nvidia-libraries.ts";
import { SHIM_SPEC, shim } from "../ffi/shim.ts";
import { Nvdec } from "../nvdec/nvdec.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../tensorrt/library.ts";
import type { TensorRtFamily } from "../tensorrt/version.ts";
import { alignRows, type Paint, type Style } from "./terminal.ts";

/** `ok`: there and working. `absent`: not there, and detection works without. `broken`: detection fails because of it. */
export type FindingState = "ok" | "absent" | "broken";

/** One thing that was looked for. */
export interface Finding {
  readonly name: string;
  readonly state: FindingState;
  /** What was found: a version and a path, or what is wrong. */
  readonly found: string;
  /** Of a library or a program that was found. */
  readonly version?: string;
  readonly path?: string;
  /** Of a library that cannot be used: each path that was tried, in order, with its reason. */
  readonly tried?: readonly string[];
  /** A command or sentence that fixes it; `undefined` where nothing needs to be done or nothing can. */
  readonly fix?: string;
}

const STYLES: Readonly<Record<FindingState, Style>> = { ok: "green", absent: "yellow", broken: "red" };

/** What was found of a library that works. */
export function located(version: string, path: string): Omit<Finding, "name"> {
  return { state: "ok", found: `${version} at ${path}`, version, path };
}

/** A finding of what opens; `absent` says what is wrong, and what fixes it, where a library cannot be opened. */
export function search(
  name: string,
  find: () => string | Omit<Finding, "name">,
  absent: (error: LibraryLoadError) => Omit<Finding, "name" | "state"> & Partial<Finding>,
): Finding {
  try {
    const found = find();
    return typeof found === "string" ? { name, state: "ok", found } : { name, ...found };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return { name, state: "absent", tried: error.tried, ...absent(error) };
  }
}

/** True if nothing that is needed is broken. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ state }) => state !== "broken");
}

/** A line for each finding, with its fix below it. */
export function formatFindings(findings: readonly Finding[], paint: Paint): string {
  const rows = alignRows(
    findings.map(({ name, state, found }) => [paint(STYLES[state], state), paint("bold", name), printable(found)]),
  );
  const lines = findings.flatMap(({ fix }, at) =>
    fix === undefined ? [rows[at]!] : [rows[at]!, `        ${paint("dim", "fix:")} ${printable(fix)}`],
  );
  return `${lines.join("\n")}\n`;
}

/** What was found of everything that a GPU takes. */
export interface GpuFindings {
  /** One a GPU, or one that says why there is none. */
  readonly gpus: readonly Finding[];
  readonly driver: Finding;
  readonly runtime: Finding;
  readonly shim: Finding;
  /** TensorRT and TensorRT-RTX: one of them is enough. */
  readonly tensorRt: readonly Finding[];
  readonly nvJpeg: Finding;
  readonly videoEngines: Finding;
}

function withoutFix({ fix: _, ...rest }: Finding): Finding {
  return rest;
}

function isOk({ state }: Finding): boolean {
  return state === "ok";
}

/** Says where models run, for want of an option. */
export const BACKEND_VARIABLE = "BUN_TENSORRT_BACKEND";
const ON_CPU: readonly string[] = ["cpu", "onnxruntime"];

/** Where `--backend auto` runs, and what keeps it from the GPU; or what keeps it from running at all. */
function verdict(
  { gpus, driver, runtime, shim, tensorRt }: GpuFindings,
  hasCard: boolean,
  host: readonly Finding[],
  wanted: string,
): Finding {
  const name = "detection";
  const broken = host.filter(({ state }) => state === "broken").map((one) => one.name);
  if (broken.length > 0) return { name, state: "broken", found: `not ok, because of: ${broken.join(", ")}` };
  const usable = gpus.find(isOk) ?? gpus[0]!;
  const library = tensorRt.find(isOk) ?? tensorRt[0]!;
  // The first gap is the one to close first: what comes later needs what comes before.
  const needed = hasCard ? [driver, runtime, usable, shim, library] : [usable];
  const missing = needed.find((one) => !isOk(one));
  const backend = `${BACKEND_VARIABLE} is ${wanted}`;
  if (ON_CPU.includes(wanted)) return { name, state: "ok", found: `runs on the CPU, as ${backend}` };
  if (missing !== undefined && wanted !== "" && wanted !== "auto") {
    const fix = `unset ${BACKEND_VARIABLE}: detection then runs on the CPU`;
    return { name, state: "broken", found: `not ok: ${backend}, and there is no: ${missing.name}`, fix };
  }
  if (missing !== undefined) return { name, state: "ok", found: `runs on the CPU, for want of: ${missing.name}` };
  const what = library.fix === undefined ? "" : ": plans alone";
  return { name, state: "ok", found: `runs on the GPU, with ${library.name}${what}` };
}

/**
 * The findings in the order of the report, ended by where detection runs.
 *
 * @param hasCard without a card nothing would be won by installing its libraries: they get no fix then
 * @param host    what detection needs wherever it runs
 * @param wanted  value of {@linkcode BACKEND_VARIABLE}
 */
export function choiceOf(
  findings: GpuFindings,
  hasCard: boolean,
  host: readonly Finding[] = [],
  wanted = "",
): readonly Finding[] {
  const { gpus, driver, runtime, shim, tensorRt, nvJpeg, videoEngines } = findings;
  const isOne = tensorRt.some(isOk);
  // One TensorRT is enough; a shortcoming of the one that is there stays.
  const libraries = tensorRt.map((one) => (isOne && !isOk(one) ? withoutFix(one) : one));
  const all = [driver, runtime, shim, ...libraries, nvJpeg, videoEngines];
  return [...gpus, ...(hasCard ? all : all.map(withoutFix)), verdict(findings, hasCard, host, wanted)];
}

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
