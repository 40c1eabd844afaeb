/**
 * @module Doctor commands: `doctor`, what was found on this machine and how to get what is missing; `version`, which release this is,
 * and with `--json` of everything it runs on. Then all that they look for: Bun, the processor, libraries, programs, the cache folder.
 */

import { existsSync, readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import manifest from "../../../package.json" with { type: "json" };
import { catalogue, DEFAULT_MODEL } from "../../catalogue/catalogue.ts";
import { isInstalled } from "../../catalogue/store.ts";
import { LibraryLoadError } from "../../core/errors.ts";
import { logger, printableJson, setLogSink } from "../../core/log.ts";
import { cacheFolder } from "../../core/paths.ts";
import { formatBytes, plural } from "../../core/units.ts";
import { folderFault } from "../../core/whole-file.ts";
import { hasCard } from "../../cuda/device.ts";
import { isMusl, MUSL_HINT } from "../../ffi/library.ts";
import { ONNXRUNTIME, openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import { findTurboJpeg as searchTurboJpeg } from "../../ffi/turbojpeg.ts";
import { loadSharp } from "../../image/sharp.ts";
import { boardText, readBoard } from "../../nvml/gpu-usage.ts";
import { findFfmpeg } from "../../video/ffmpeg.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import {
  BACKEND_VARIABLE,
  choiceOf,
  type Finding,
  type FindingState,
  findCudaRuntime,
  findDriver,
  findGpus,
  findNvJpeg,
  findShim,
  findTensorRt,
  findVideoEngines,
  formatFindings,
  type GpuFindings,
  isHealthy,
  located,
  search,
  whyUnusable,
} from "../findings.ts";
import { findModel } from "../load-detector.ts";
import { type InspectFlags, parseDoctorFlags, parseInspectFlags } from "../own-flags.ts";
import { paintOf } from "../terminal.ts";
import type { Report } from "./inspect.ts";

/** What `inspect` says of a model. */
async function modelReport(word: string, said: Partial<InspectFlags>, context: CommandContext): Promise<Report> {
  const { reportOf } = await import("./inspect.ts");
  const flags = { ...parseInspectFlags({ flags: {}, operands: [] }), ...said };
  return await reportOf(await findModel(word, context), flags, context);
}

/** Run `doctor`. @returns the exit code */
export async function doctor(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output } = context;
  const { model: word, json, ...said } = parseDoctorFlags(parsed);
  refuseOperands("doctor", parsed);
  const findings = await findAll();
  const isReady = isHealthy(findings);
  if (!json) await output.write(formatFindings(findings, paintOf(output.hasColour)));
  // Without what detection needs a model cannot be looked at.
  const model = word === undefined || !isReady ? undefined : await modelReport(word, said, context);
  if (json) {
    const told = word === undefined ? findings : { findings, model: model?.json ?? null };
    await output.write(`${printableJson(told, 2)}\n`);
  } else if (model !== undefined) await output.write(`\n${model.text}`);
  return isReady && model?.isGood !== false ? EXIT_OK : EXIT_FAILED;
}

/** Run `version`: with `--json` what was found, too. @returns the exit code */
export async function version(parsed: ParsedArguments, { output }: CommandContext): Promise<number> {
  refuseOperands("version", parsed);
  if (parsed.flags.json !== true) {
    await output.write(`${manifest.version}\n`);
    return EXIT_OK;
  }
  const found = (await findAll()).filter(
    ({ name, version, path }) => name !== "Bun" && (version ?? path) !== undefined,
  );
  const libraries = found.map(({ name, version, path }) => ({ name, version, path }));
  const platform = `${process.platform}-${process.arch}`;
  const facts = { version: manifest.version, bun: Bun.version, platform, libraries };
  await output.write(`${printableJson(facts, 2)}\n`);
  return EXIT_OK;
}

/** Bun, and whether it is new enough. */
function findBun(): Finding {
  const wanted = manifest.engines.bun;
  const found = `${Bun.version} (${process.platform}-${process.arch})`;
  if (isMusl()) {
    const musl = `${found}, made for musl (Alpine Linux): ONNX Runtime and NVIDIA's libraries are made for glibc`;
    return { name: "Bun", state: "broken", found: musl, fix: MUSL_HINT };
  }
  if (Bun.semver.satisfies(Bun.version, wanted)) return { name: "Bun", state: "ok", found, version: Bun.version };
  return { name: "Bun", state: "broken", found: `${found}, needed is ${wanted}`, fix: "bun upgrade" };
}

/** Processor and memory. */
function findProcessor(): Finding {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const found = `${model}, ${plural(availableParallelism(), "thread")}, ${formatBytes(totalmem())}`;
  return { name: "CPU", state: "ok", found };
}

/** A Jetson: one finding; none on other machines. */
function findBoard(root?: string): readonly Finding[] {
  const board = readBoard(root);
  if (board === undefined) return [];
  const facts = boardText(board);
  const found = facts === "" ? board.model : `${board.model}: ${facts}`;
  const version = board.release === undefined ? {} : { version: board.release };
  return [{ name: "board", state: "ok", found, ...version }];
}

/**
 * The folder for downloads and engines, and whether files can be put into it, which is tried; nothing stays. Where they cannot,
 * detection fails unless the model that it takes by default is there already.
 */
function findCache(): Finding {
  const name = "cache folder";
  const folder = cacheFolder();
  const files = `${catalogue.filter(isInstalled).length} of ${catalogue.length} catalogue files`;
  const fault = folderFault(folder);
  if (fault === undefined) return { name, state: "ok", found: `${folder}, ${files}` };
  const isWarm = catalogue.some((entry) => entry.name === DEFAULT_MODEL && isInstalled(entry));
  const rest = isWarm ? files : "models by name cannot be fetched, files of your own run";
  return {
    name,
    state: isWarm ? "absent" : "broken",
    found: `${folder} cannot be written, ${fault}: ${rest}`,
    fix: `${process.platform === "win32" ? "set" : "export"} BUN_TENSORRT_CACHE=<a folder you can write>`,
  };
}

/** Names of one package on the systems that name it in their own way. */
interface SystemPackageNames {
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
function thisSystem(): string[] {
  if (process.platform === "darwin") return ["macos"];
  if (process.platform === "win32") return ["windows"];
  return existsSync("/etc/os-release") ? systemIds(readFileSync("/etc/os-release", "utf8")) : [];
}

const TURBOJPEG: SystemPackageNames = {
  debian: "libturbojpeg0",
  ubuntu: "libturbojpeg",
  fedora: "turbojpeg",
  arch: "libjpeg-turbo",
  alpine: "libjpeg-turbo",
  macos: "jpeg-turbo",
  windows: "libjpeg-turbo.libjpeg-turbo.VC",
};

/** ONNX Runtime: detection on the CPU needs it. */
function findOnnxRuntime(): Finding {
  const find = (): Omit<Finding, "name"> => located(openOnnxRuntime().version, openOnnxRuntime().path);
  const named = process.env[ONNXRUNTIME.variable] ?? "";
  const { unavailable } = ONNXRUNTIME;
  return search("ONNX Runtime", find, (error) => {
    if (isMusl()) return { state: "broken", found: "made for glibc, which this system lacks", fix: MUSL_HINT };
    if (unavailable !== undefined) return { state: "broken", found: unavailable.found, fix: unavailable.hint };
    const fix =
      named === ""
        ? "bun install --force (without --omit=optional)"
        : `unset ${ONNXRUNTIME.variable}, or let it name a library`;
    return { state: "broken", found: whyUnusable(error, ONNXRUNTIME), fix };
  });
}

/** libturbojpeg: without it JPEG decodes at about half the speed. */
function findTurboJpeg(): Finding {
  const name = "libturbojpeg";
  const found = searchTurboJpeg();
  if (!(found instanceof LibraryLoadError)) return { name, state: "ok", found: found.path, path: found.path };
  const fix = installCommand(TURBOJPEG, thisSystem()) ?? "install libturbojpeg";
  return { name, state: "absent", found: "not found: JPEG is decoded by sharp, more slowly", fix };
}

/** sharp: every format but JPEG, and drawing, need it. */
async function findSharp(): Promise<Finding> {
  const name = "sharp";
  try {
    const { versions } = await loadSharp();
    return { name, state: "ok", found: `${versions.sharp}, libvips ${versions.vips}`, version: versions.sharp };
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return {
      name,
      state: "broken",
      found: error.message.split("\n", 1)[0]!,
      fix: "bun install --force (without --omit=optional)",
    };
  }
}

const FFMPEG: SystemPackageNames = {
  debian: "ffmpeg",
  ubuntu: "ffmpeg",
  fedora: "ffmpeg-free",
  arch: "ffmpeg",
  alpine: "ffmpeg",
  macos: "ffmpeg",
  windows: "ffmpeg",
};

/** What works without ffmpeg. */
function withoutFfmpeg(videoEngines: Finding): string {
  if (videoEngines.state !== "ok") return "images are detected without, videos, streams and cameras are not";
  const reader = isResolvable("mediabunny") ? "by mediabunny" : "once mediabunny is added";
  return `images and, ${reader}, video files for NVDEC are detected without, streams and cameras are not`;
}

function isResolvable(specifier: string): boolean {
  try {
    return import.meta.resolve(specifier) !== "";
  } catch {
    return false;
  }
}

/** `5.1.9-0+deb12u1` */
function versionOf(path: string): string | undefined {
  const { stdout } = Bun.spawnSync([path, "-version"], { stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  return /^ff\w+ version (\S+)/.exec(stdout.toString())?.[1];
}

/** ffmpeg, together with ffprobe. */
function findVideoTools(videoEngines: Finding): Finding {
  const without = withoutFfmpeg(videoEngines);
  const fix = installCommand(FFMPEG, thisSystem()) ?? "install ffmpeg";
  const find = (): string | Omit<Finding, "name"> => {
    const path = findFfmpeg("ffmpeg");
    findFfmpeg("ffprobe");
    const version = versionOf(path);
    if (version !== undefined) return located(version, path);
    return { state: "absent", found: `${path} does not tell its version: ${without}`, fix };
  };
  return search("ffmpeg", find, (error) => {
    const [line = ""] = error.message.split("\n", 1);
    const found = line.replace(/^Cannot run (\S+): (it )?/, (_, program, it) => (it ? `${program} ` : ""));
    return { found: `${found}: ${without}`, fix };
  });
}

type Probe = () => Finding | readonly Finding[] | Promise<Finding>;

/** What one search found. A search that fails in an unforeseen way is a finding as well: the report goes on. */
async function probe(name: string, find: Probe, unforeseen: FindingState = "broken"): Promise<readonly Finding[]> {
  try {
    const found = await find();
    return "name" in found ? [found] : found;
  } catch (error) {
    const [found = ""] = String(error instanceof Error ? error.message : error).split("\n", 1);
    logger.info(`doctor: ${name}: ${Bun.inspect(error)}`);
    return [{ name, state: unforeseen, found, ...(unforeseen === "broken" ? { fix: "bun install" } : {}) }];
  }
}

/** Everything a GPU takes, in the order in which one thing needs the other. Detection works without. */
async function probeGpu(): Promise<GpuFindings> {
  const one = async (name: string, find: () => Finding): Promise<Finding> => (await probe(name, find, "absent"))[0]!;
  const driver = await one("NVIDIA driver", findDriver);
  const runtime = await one("CUDA runtime", findCudaRuntime);
  const gpus = await probe("NVIDIA GPU", findGpus, "absent");
  const shim = await one("TensorRT shim", findShim);
  const tensorRt = [
    await one("TensorRT", () => findTensorRt("TensorRT")),
    await one("TensorRT-RTX", () => findTensorRt("TensorRT-RTX")),
  ];
  const nvJpeg = await one("nvJPEG", findNvJpeg);
  return { gpus, driver, runtime, shim, tensorRt, nvJpeg, videoEngines: await one("NVDEC", findVideoEngines) };
}

/** What is passed over is a finding; a line about it, several times over, would only be noise. */
function quietly(): Disposable {
  const former = setLogSink((level, text) => {
    former?.(level === "warn" ? "info" : level, text);
  });
  return { [Symbol.dispose]: () => void setLogSink(former) };
}

/** Look for everything, in the order of the report. */
export async function findAll(): Promise<readonly Finding[]> {
  using _quiet = quietly();
  const gpu = await probeGpu();
  const host = [
    ...(await probe("Bun", findBun)),
    ...(await probe("CPU", findProcessor)),
    ...(await probe("board", findBoard, "absent")),
    ...(await probe("ONNX Runtime", findOnnxRuntime)),
    ...(await probe("sharp", findSharp)),
    ...(await probe("libturbojpeg", findTurboJpeg)),
    ...(await probe("ffmpeg", () => findVideoTools(gpu.videoEngines), "absent")),
  ];
  const wanted = process.env[BACKEND_VARIABLE] ?? "";
  const cache = await probe("cache folder", findCache);
  return [...host, ...choiceOf(gpu, hasCard(), [...host, ...cache], wanted), ...cache];
}
