/** @module BuildPlan: an ONNX model becomes a plan, off the JS thread, with progress and a way to cancel. */

import { message, OptionError, TensorRtError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { Device } from "../cuda/device.ts";
import { type Beside, besideOf } from "../onnx/beside.ts";
import { formatFp32Nodes } from "../onnx/fp32-nodes.ts";
import { nodeName } from "../onnx/messages.ts";
import { convertedTo, readOnnxMetadata } from "../onnx/model.ts";
import { type BuildConfig, type BuildOptions, type IoFormat, parseBuildOptions } from "./build-options.ts";
import { BuildTurn, type BuildWait } from "./build-turn.ts";
import { Builder, type BuilderConfig } from "./builder.ts";
import { builtPrecision, keepFp32, type TypedModel, typedModel, warnOfSlowFp8 } from "./fp16-network.ts";
import { choosePlanIo, type FormatPlan, formatsToTry, laidOutBy, progressOf } from "./io-formats.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { type Network, OnnxParser } from "./network.ts";
import { type BuildEvent, ProgressMonitor } from "./observers.ts";
import { inputProfiles, TimingCache } from "./optimization-profile.ts";
import { type ComputeCapability, type PlanOrigin, writePlan } from "./plan-file.ts";
import { leanFault } from "./version.ts";

/** What a build runs with, beside its options. */
export interface BuildEnvironment {
  /** Default: {@linkcode openTensorRt}. */
  readonly library?: TensorRtLibrary | undefined;
  /** The GPU that is built for and measured on. Default: CUDA's device 0; TensorRT-RTX needs none. */
  readonly device?: Device | undefined;
  /** Ends the build at its next step; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** Told on the JS thread, a few times a second, in batches. What it throws ends the build, and is thrown. */
  readonly onProgress?: ((event: BuildEvent) => void) | undefined;
  /** What an earlier build on the same GPU returned. One that does not fit is left aside with a line in the log. */
  readonly timingCache?: Uint8Array | undefined;
  /**
   * Path of the model: its folder is where external weights are looked for, and the files that say how it is read (`config.json`,
   * `labels.txt` and the like), whose text the plan carries.
   */
  readonly path?: string | undefined;
  /** What to call the model in messages; default the path, else "the model". */
  readonly source?: string | undefined;
  /** Called some times a second while another build runs on the GPU, in whichever process: builds take turns. */
  readonly onWait?: ((wait: BuildWait) => void) | undefined;
  /** Give way to other builds and to other threads; default false. */
  readonly isBackground?: boolean | undefined;
  /** @internal The right to build, if the caller has it already. */
  readonly turn?: BuildTurn | undefined;
  /** @internal What the plan is to carry beside the model, if the caller knows it already. */
  readonly beside?: Beside | undefined;
  /** @internal Told what a build has measured that was ended. */
  readonly onEnded?: ((timingCache: Uint8Array) => void) | undefined;
}

/** What {@linkcode buildPlan} makes. */
export interface BuiltPlan {
  /** The plan with the model's metadata in front, as `Runtime.deserialize` and Ultralytics read it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly origin: PlanOrigin;
  /** For the next build; empty where the library gave none. */
  readonly timingCache: Uint8Array<ArrayBuffer>;
  /** True if the timing cache that was given is of another GPU or version, or none at all. */
  readonly isTimingCacheRefused: boolean;
  /** Of parsing and building together, without waiting for other builds. */
  readonly elapsedMs: number;
}

const DRAIN_MS = 50;

/** The GPUs a plan is for: those that were asked for, else the device's own. */
export function targetCapabilities(config: BuildConfig, device: Device | undefined): readonly ComputeCapability[] {
  if (config.computeCapabilities.length === 0) return device === undefined ? [] : [device.computeCapability];
  return config.computeCapabilities.map((text) => text.split(".").map(Number) as [major: number, minor: number]);
}

/**
 * Build a plan from an ONNX model. The JS thread goes on meanwhile; builds on the same GPU take turns, also in several processes,
 * and so do those of the same library in one. The plan is read as the model is, wherever it is moved: it carries the model's metadata,
 * what the names of its weights tell and, where `path` says where the model lies, the files there that say how it is read.
 *
 * @param model bytes of an `.onnx` file
 * @throws {OptionError} If an option is wrong, or a dynamic input has no range
 * @throws {ModelError} If the model cannot be parsed; it names node and operator
 * @throws {TensorRtError} If the build fails; `log` holds TensorRT's own lines
 *
 * @example
 * ```ts
 * import { buildPlan } from "bun-tensorrt/tensorrt";
 *
 * const onnx = await Bun.file("yolo11n.onnx").bytes();
 * const { bytes } = await buildPlan(onnx, { batch: 1, size: [640, 640] });
 * await Bun.write("yolo11n.plan", bytes);
 * ```
 */
export async function buildPlan(
  model: Uint8Array,
  options: BuildOptions = {},
  environment: BuildEnvironment = {},
): Promise<BuiltPlan> {
  const library = environment.library ?? openTensorRt();
  const { device, signal } = environment;
  const metadata = readOnnxMetadata(model);
  const beside = environment.beside ?? (await besideOf(model, environment.path));
  const asked = parseBuildOptions(options);
  const config = { ...asked, precision: builtPrecision(asked, library, metadata) };
  const source = environment.source ?? environment.path ?? "the model";
  checkLibrary(config, library, device);
  if (device !== undefined && convertedTo(metadata) === "fp8") warnOfSlowFp8(library, device);
  if (config.plugins && !library.openPlugins()) logger.warn("NVIDIA's plugins were asked for, but are not there");

  using own =
    environment.turn === undefined ? await BuildTurn.take({ ...environment, library, device, source }) : undefined;
  const turn = environment.turn ?? own!;
  const started = performance.now();
  using builder = await Builder.create({ library, device });
  if (config.versionCompatible) checkLean(library);
  if (config.maxThreads !== undefined) builder.setMaxThreads(config.maxThreads);
  const parsed = { path: environment.path, source };
  const typed = isConvertedFirst(config, library) ? await convertFirst(builder, model, config, parsed) : undefined;
  using network = builder.createNetwork({ stronglyTyped: config.precision === "model" });
  network.name = source;
  using _parser = await OnnxParser.parse(network, typed?.bytes ?? model, parsed);
  signal?.throwIfAborted();

  // Progress monitors and plans; closed behind the settings, which know the monitors.
  using owned = new DisposableStack();
  using settings = builder.createConfig();
  configure(settings, config);
  setPrecision(settings, network, config, library);
  const fp32 = keepsFp32(config, library)
    ? keepFp32Layers(settings, network, model, { config, source })
    : (typed?.kept ?? []);
  addProfiles(builder, settings, network, config);
  const { cache, isRefused } = attachTimingCache(settings, environment.timingCache);
  using _cache = cache;

  const isTyped = library.isStronglyTyped || config.precision === "model";
  const formats = formatsToTry(config, { network, metadata, isTyped, hasDevice: device !== undefined });
  const built = await buildFormats({ builder, network, settings, isTyped }, formats, owned, { ...environment, turn });
  const io = await choosePlanIo(built, { library, device, versionCompatible: config.versionCompatible, signal });
  const { plan } = built.find(({ format }) => format === io.format)!;
  const origin = {
    ...originOf(config, library, device),
    ...(typed !== undefined && typed.kept === undefined ? { precision: "model" as const } : {}),
    ...(fp32.length === 0 ? {} : { fp32Layers: fp32 }),
    ...(io.format === "model" && io.measuredMs === undefined ? {} : { io }),
    ...(beside && { beside }),
  };
  return {
    bytes: writePlan(plan, metadata, origin),
    metadata,
    origin,
    timingCache: settings.timingCacheBytes(),
    isTimingCacheRefused: isRefused,
    elapsedMs: performance.now() - started,
  };
}

/** What only one of the two families can do is refused before time is spent. */
function checkLibrary(config: BuildConfig, library: TensorRtLibrary, device: Device | undefined): void {
  const canChoose = library.has("BuilderConfig.setComputeCapability");
  const isChosen = config.computeCapabilities.length > 0;
  const refuse = (found: string, hint: string): never => {
    const text = message("build an engine", `${library.version.text} ${found}`, hint);
    throw new OptionError(text, "computeCapabilities");
  };
  if (isChosen && !canChoose) {
    const hint = "leave out `computeCapabilities`; `hardwareCompatibility` makes a plan for several GPUs";
    refuse("builds only for the GPU of this machine", hint);
  }
  if (canChoose && !isChosen && device === undefined && !library.hasDevice()) {
    const hint = 'say which to build for: `computeCapabilities: ["8.6", "8.9"]`';
    refuse("must know the GPU, and this machine has none", hint);
  }
}

/** Found out before time is spent: TensorRT embeds a lean runtime of any release. */
function checkLean(library: TensorRtLibrary): void {
  const fault = leanFault(library.version);
  if (fault === undefined) return;
  const found = `it would bring the lean runtime of ${library.version.text}, and ${fault}`;
  const hint = "put the one of NVIDIA's archive of that release beside TensorRT, or leave out `versionCompatible`";
  throw new OptionError(message("build a version-compatible engine", found, hint), "versionCompatible");
}

function configure(settings: BuilderConfig, config: BuildConfig): void {
  settings.setFlag("tf32", config.tf32);
  if (config.versionCompatible) settings.setFlag("versionCompatible", true);
  if (config.hardwareCompatibility !== "none") settings.hardwareCompatibility = config.hardwareCompatibility;
  if (config.dla !== undefined) settings.useDla(config.dla.core, { gpuFallback: config.dla.gpuFallback });
  if (config.maxAuxStreams !== undefined) settings.setMaxAuxStreams(config.maxAuxStreams);
  if (config.optimizationLevel !== undefined) settings.optimizationLevel = config.optimizationLevel;
  settings.timingIterations = config.timingIterations;
  settings.profilingVerbosity = config.profilingVerbosity;
  for (const [pool, bytes] of Object.entries(config.memoryPools)) {
    settings.setMemoryPoolLimit(pool as keyof typeof config.memoryPools, bytes);
  }
  const capabilities = config.computeCapabilities.map((text) => Number(text.replace(".", "")));
  if (capabilities.length > 0) settings.setComputeCapabilities(capabilities);
}

function setPrecision(settings: BuilderConfig, network: Network, config: BuildConfig, library: TensorRtLibrary): void {
  if (config.precision === "model" || library.isStronglyTyped) return;
  if (config.precision === "fp16") settings.setFlag("fp16", true);
  if (!network.isQuantized()) return;
  settings.setFlag("int8", true);
  logger.info("The model brings its own quantisation: INT8 is used");
}

/** Whether layers are looked for that an engine must compute in FP32. */
export function keepsFp32({ precision, fp32Layers }: BuildConfig, library: TensorRtLibrary): boolean {
  return precision === "fp16" && fp32Layers && !library.isStronglyTyped;
}

/** Whether the model itself becomes FP16 before it is parsed. */
export function isConvertedFirst({ precision }: BuildConfig, library: TensorRtLibrary): boolean {
  return precision === "fp16" && library.isStronglyTyped;
}

/** The model as FP16. Where it does not tell the shapes of its tensors, a network that is thrown away does. */
async function convertFirst(
  builder: Builder,
  model: Uint8Array,
  config: BuildConfig,
  parsed: { readonly path: string | undefined; readonly source: string },
): Promise<TypedModel> {
  using scratch = builder.createNetwork();
  using _parser = await OnnxParser.parse(scratch, model, parsed);
  const layers = Array.from({ length: scratch.layerCount }, (_, index) => scratch.layerOutputs(index));
  const shapes = new Map(layers.flatMap((outputs) => outputs.map(({ name, shape }) => [name, shape] as const)));
  return typedModel(model, { config, source: parsed.source, shapeOf: (tensor) => shapes.get(tensor) });
}

/** Longest side of images that a network takes. */
function longestSideOf(network: Network, config: BuildConfig): number {
  const sides = inputProfiles(network.inputs(), config).flatMap((shapes) => [...shapes.values()].map(({ max }) => max));
  const shapes = [...sides, ...network.inputs().map(({ shape }) => shape)];
  return Math.max(0, ...shapes.filter(({ length }) => length === 4).flat());
}

/** Compute in FP32 what FP16 would lose, and say so. @returns names of the nodes */
function keepFp32Layers(
  settings: BuilderConfig,
  network: Network,
  model: Uint8Array,
  { config, source }: { readonly config: BuildConfig; readonly source: string },
): string[] {
  const kept = keepFp32(network, model, { longestSide: longestSideOf(network, config) });
  if (kept.length === 0) return [];
  settings.setFlag("preferPrecisionConstraints", true);
  logger.warn(`Keeping ${formatFp32Nodes(kept)} of ${source} in FP32, as FP16 would lose there`);
  return kept.map(({ node }) => nodeName(node));
}

function addProfiles(builder: Builder, settings: BuilderConfig, network: Network, config: BuildConfig): void {
  for (const shapes of inputProfiles(network.inputs(), config)) {
    const profile = builder.createProfile();
    for (const [input, range] of shapes) profile.setShapes(input, range);
    settings.addProfile(profile);
  }
}

/** True if TensorRT has made an empty cache of bytes that it could not read, which it tells its log alone. */
function isEmptied(cache: TimingCache, bytes: Uint8Array, settings: BuilderConfig): boolean {
  using empty = TimingCache.create(settings);
  const { byteLength } = empty.serialize();
  return cache.serialize().byteLength === byteLength && bytes.byteLength !== byteLength;
}

/** An earlier cache that this library or GPU refuses is no reason to fail: the build only takes longer. */
function attachTimingCache(
  settings: BuilderConfig,
  bytes: Uint8Array | undefined,
): { readonly cache: TimingCache; readonly isRefused: boolean } {
  const isGiven = bytes !== undefined && bytes.byteLength > 0;
  if (isGiven) {
    try {
      const cache = TimingCache.create(settings, bytes);
      if (settings.setTimingCache(cache)) return { cache, isRefused: isEmptied(cache, bytes, settings) };
      cache.close();
      logger.warn("The timing cache was made on another GPU or by another version: the build starts without it");
    } catch (error) {
      if (!(error instanceof TensorRtError)) throw error;
      logger.warn(`The timing cache cannot be read, so the build starts without it: ${error.message}`);
    }
  }
  const empty = TimingCache.create(settings);
  settings.setTimingCache(empty);
  return { cache: empty, isRefused: isGiven };
}

/** By how much the threads of a build in the background give way. */
const BACKGROUND_NICE = 10;

/** What a plan is built of. */
interface Prepared {
  readonly builder: Builder;
  readonly network: Network;
  readonly settings: BuilderConfig;
  readonly isTyped: boolean;
}

/** Build a plan in each format, one after the other: the timing cache has most of what the later ones need. */
async function buildFormats(
  { builder, network, settings, isTyped }: Prepared,
  formats: readonly IoFormat[],
  owned: DisposableStack,
  environment: BuildEnvironment & { readonly turn: BuildTurn },
): Promise<FormatPlan[]> {
  const built: FormatPlan[] = [];
  for (const [at, format] of formats.entries()) {
    for (const { side, index, dtype, format: layout } of laidOutBy(format, { network, isTyped })) {
      network.setFormat(side, index, dtype, layout);
    }
    const monitor = owned.use(new ProgressMonitor());
    settings.setProgressMonitor(monitor);
    const all = { ...environment, progress: progressOf(at, formats.length) };
    try {
      const plan = owned.use(await runBuild(builder, network, settings, monitor, all));
      built.push({ format, plan: plan.view() });
    } catch (error) {
      if (at === 0 || !(error instanceof TensorRtError)) throw error;
      logger.warn(`Leaving out the format ${format} of inputs and outputs, as it cannot be built: ${error.message}`);
    }
  }
  return built;
}

async function runBuild(
  builder: Builder,
  network: Network,
  settings: BuilderConfig,
  monitor: ProgressMonitor,
  environment: BuildEnvironment & { readonly turn: BuildTurn; readonly progress: (fraction: number) => number },
): ReturnType<Builder["build"]> {
  const { onProgress, progress, turn, isBackground = false } = environment;
  const signal = AbortSignal.any([turn.signal, ...(environment.signal === undefined ? [] : [environment.signal])]);
  const cancel = (): void => monitor.cancel();
  let fault: { readonly cause: unknown } | undefined;
  const report = (): void => {
    try {
      monitor.drain((event) => {
        const fraction = progress(event.fraction);
        turn.report({ fraction, phase: event.phases.at(-1)?.name ?? event.phase.name });
        onProgress?.({ ...event, fraction });
      });
      monitor.pause(turn.mustWait);
    } catch (cause) {
      // Out of a timer it would end the process: the build is ended instead.
      fault ??= { cause };
      cancel();
    }
  };
  // The call keeps the process alive, where that is to wait for the build.
  const timer = setInterval(report, DRAIN_MS).unref();
  signal.addEventListener("abort", cancel);
  try {
    signal.throwIfAborted();
    const plan = await builder.build(network, settings, { nice: isBackground ? BACKGROUND_NICE : 0 });
    report();
    if (fault === undefined) return plan;
    plan.close();
    throw fault.cause;
  } catch (error) {
    if (signal.aborted) environment.onEnded?.(settings.timingCacheBytes());
    // A cancelled build fails like any other: the caller's reason says why.
    signal.throwIfAborted();
    throw fault === undefined ? error : fault.cause;
  } finally {
    clearInterval(timer);
    signal.removeEventListener("abort", cancel);
  }
}

function originOf(config: BuildConfig, library: TensorRtLibrary, device: Device | undefined): PlanOrigin {
  const { text, build } = library.version;
  const computeCapabilities = targetCapabilities(config, device);
  return {
    tensorRt: build === undefined ? text : `${text}.${build}`,
    precision: config.precision,
    ...(device === undefined ? {} : { gpu: device.name }),
    ...(computeCapabilities.length === 0 ? {} : { computeCapabilities }),
    ...(config.hardwareCompatibility === "none" || library.version.family !== "TensorRT"
      ? {}
      : { hardwareCompatibility: config.hardwareCompatibility }),
  };
}
