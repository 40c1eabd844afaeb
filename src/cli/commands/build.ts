/** @module Build command: an ONNX model in, a TensorRT plan out. */

import { join, resolve } from "node:path";
import { canProve, variantOf } from "../../accelerators/opened-model.ts";
import { waitProgress } from "../../accelerators/tensorrt/first-plan.ts";
import { engineOptions, modelToBuild } from "../../accelerators/tensorrt/gpu-backend.ts";
import { type ModelFile, readModelFile } from "../../accelerators/tensorrt/model-file.ts";
import { engineTask } from "../../api/model.ts";
import { BunTensorRtError, LibraryLoadError, message, OptionError, TensorRtError } from "../../core/errors.ts";
import { printableJson } from "../../core/log.ts";
import { cacheFolder, overwritten } from "../../core/paths.ts";
import { formatBytes, formatDuration, plural } from "../../core/units.ts";
import { openOutput, writeFileWhole } from "../../core/whole-file.ts";
import { Device } from "../../cuda/device.ts";
import { externalDataPaths, OnnxModel } from "../../onnx/model.ts";
import { parseConvertOptions } from "../../precision/precision-config.ts";
import type { Task } from "../../runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../tasks/detect/detect-task.ts";
import type { BuildOptions } from "../../tensorrt/build-options.ts";
import { type CachedPlan, EngineCache } from "../../tensorrt/engine-cache.ts";
import { formatPlanIo } from "../../tensorrt/io-formats.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../../tensorrt/library.ts";
import { type PlanOrigin, readPlan } from "../../tensorrt/plan-file.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type BuildArguments, parseBuildFlags } from "../build-flags.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { lacksBuilder, whyUnusable } from "../findings.ts";
import { findModel, modelTitle } from "../load-detector.ts";
import { Complaints } from "../operands.ts";
import { BuildProgressView, Progress } from "../terminal.ts";

/** What a build came to. */
interface Built {
  readonly plan: CachedPlan;
  readonly elapsedMs: number;
}

/** Flags for the options that are found missing once the model and the machine are known. */
const FLAG_HINTS: ReadonlyMap<string, string> = new Map([
  [
    "versionCompatible",
    "put the one of NVIDIA's archive of that release beside TensorRT, or leave out --version-compatible",
  ],
  ["timingCachePath", "give --timing-cache the name of a file, which need not be there yet"],
  ["profiles", "say its shapes: --shapes NAME=1x3x640x640, or --shapes NAME=LEAST,TYPICAL,LARGEST"],
  [
    "computeCapabilities",
    "say which to build for: --compute-capability 8.6,8.9; TensorRT builds for the GPU at hand alone",
  ],
]);

/** What says how a model is built. */
type BuildTask = Pick<Task<unknown, unknown, unknown>, "engineShapes" | "forShaping">;

/** The model's task; only a detector has rectangular inputs. */
async function buildTask(file: ModelFile, { batch, size, isRectangular }: BuildArguments): Promise<BuildTask> {
  const given = typeof batch === "number" ? { batch } : {};
  const fixed = size === undefined || "min" in size ? undefined : size;
  if (!isRectangular) return engineTask(file.path ?? file.bytes, given);
  const options = { ...DEFAULT_DETECT_TASK_OPTIONS, ...given, size: fixed, rectangular: true };
  const task = new DetectTask(options);
  // Whatever the model is: who builds it says what for.
  return {
    engineShapes: (declared) => task.engineShapes(declared),
    forShaping: (opened) => task.forShaping(opened),
  };
}

/** What the model's task would build with, and what was said on the command line over it. */
function buildOptions(file: ModelFile, task: BuildTask, args: BuildArguments): BuildOptions {
  const { batch, size, precision, isRectangular } = args;
  return {
    ...engineOptions(file, task, { precision: undefined }),
    ...args.options,
    ...(typeof batch === "object" ? { batch } : {}),
    ...(size === undefined || isRectangular ? {} : { size }),
    precision,
  };
}

/** The library to build with: one that is told which GPUs to build for is TensorRT-RTX. */
function openLibrary({ options }: BuildArguments): TensorRtLibrary {
  const isElsewhere = (options.computeCapabilities ?? []).length > 0;
  try {
    return openTensorRt(isElsewhere ? { family: "TensorRT-RTX" } : {});
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    const found = `${isElsewhere ? "TensorRT-RTX" : "TensorRT"} ${whyUnusable(error, tensorRtSpec())}`;
    const rtx = "`bunx bun-tensorrt install tensorrt-rtx` for GeForce and RTX cards";
    const hint = isElsewhere ? rtx : `\`bunx bun-tensorrt install tensorrt\` fetches it, or ${rtx}`;
    throw new BunTensorRtError(message("build an engine", found, hint), { cause: error });
  }
}

/** An error in the words of the command line, with the command that helps where there is one. */
function inFlags(error: unknown, library: TensorRtLibrary): unknown {
  if (error instanceof TensorRtError && error.code !== "NO_DEVICE" && lacksBuilder(library)) {
    const hint = "its builder resource is not beside it: `bunx bun-tensorrt install tensorrt-builder`";
    return new BunTensorRtError(`${error.message.split("\nHint:", 1)[0]}\nHint: ${hint}`, { cause: error });
  }
  const hint = error instanceof OptionError ? FLAG_HINTS.get(error.option) : undefined;
  if (!(error instanceof OptionError) || hint === undefined) return error;
  const [first = ""] = error.message.split("\n", 1);
  if (error.option === "profiles" && !first.endsWith("has no range")) return error;
  return new OptionError(`${first}\nHint: ${hint}`, error.option, { cause: error });
}

async function buildFile(file: ModelFile, args: BuildArguments, { terminal, signal }: CommandContext): Promise<Built> {
  const library = openLibrary(args);
  using device = library.hasDevice() ? Device.open(args.device) : undefined;
  using view = args.isQuiet ? undefined : new BuildProgressView(terminal, modelTitle(file.source), signal);
  const started = performance.now();
  try {
    const task = await buildTask(file, args);
    const plan = await new EngineCache().obtain(file.bytes, buildOptions(file, task, args), {
      ...(args.shape && {
        variant: await variantOf(file, task),
        canVary: canProve,
        beforeBuild: () => modelToBuild(file, task, { signal }),
      }),
      library,
      signal,
      source: file.source,
      rebuild: args.isForced,
      onProgress: ({ fraction, phase, phases }) => view?.update({ fraction, phase: phases.at(-1)?.name ?? phase.name }),
      onWait: (wait) => view?.update(waitProgress(wait)),
      device,
      path: file.path,
      timingCachePath: args.timingCache,
    });
    return { plan, elapsedMs: performance.now() - started };
  } catch (error) {
    throw inFlags(error, library);
  }
}

/** The model in the precision that was asked for, where that is one that models are converted to. Its ranges are kept in the cache. */
async function convertedFirst(
  file: ModelFile,
  { conversion, isQuiet }: BuildArguments,
  { terminal, signal }: CommandContext,
): Promise<ModelFile> {
  if (conversion === undefined) return file;
  const { convertInMemory } = await import("../../precision/conversion.ts");
  const complaints = new Complaints(terminal);
  const progress = isQuiet ? undefined : new Progress(terminal, modelTitle(file.source), "images");
  const config = parseConvertOptions({
    ...conversion,
    signal,
    onError: (error) => complaints.tell(error),
    onProgress: ({ done, total }) => progress?.update(done, total),
  });
  const key = Bun.hash(`${file.source} ${JSON.stringify(conversion)}`).toString(16);
  const ranges = join(cacheFolder(), "engines", `${modelTitle(file.source)}-${key}.calibration.json`);
  const model = { bytes: file.bytes, name: JSON.stringify(file.source), path: file.path };
  const onnx = OnnxModel.read(file.bytes, model.name);
  try {
    const { layers } = await convertInMemory({ model, onnx, config, ranges, external: "cast" });
    progress?.close();
    const count = layers.filter(({ type }) => type === config.precision).length;
    if (!isQuiet) terminal.line(terminal.paint("dim", `Converted: ${plural(count, "layer")} in ${config.precision}`));
    return { ...file, bytes: onnx.write() };
  } finally {
    progress?.close();
  }
}

/** What is written must be none of the files that are read, by whatever name. @throws {OptionError} If it is */
function checkTargets({ bytes, source, isPlan }: ModelFile, { output, timingCache }: BuildArguments): void {
  const weights = isPlan ? [] : externalDataPaths(bytes, source);
  const targets = { output, "timing-cache": timingCache };
  for (const [flag, path] of Object.entries(targets)) {
    if (path === undefined) continue;
    const isModel = overwritten([path], [source]) !== undefined;
    if (!isModel && overwritten([path], weights) === undefined) continue;
    const found = `--${flag} would overwrite the model${isModel ? "" : "'s weights"}`;
    throw refuse(flag, found, "name another file");
  }
  if (output === undefined || timingCache === undefined) return;
  if (resolve(output) !== resolve(timingCache) && overwritten([output], [timingCache]) === undefined) return;
  throw refuse("timing-cache", "--output and --timing-cache name one file", "name another file");
}

/** `Built in 41.2 s: 8.23 MiB, TensorRT 10.6.0.26 for compute capability 9.0, fp16` */
function formatBuilt({ plan, elapsedMs }: Built, origin: PlanOrigin | undefined): string {
  const how = plan.isHit ? "Taken from the engine cache" : `Built in ${formatDuration(elapsedMs)}`;
  const capabilities = (origin?.computeCapabilities ?? []).map((one) => one.join("."));
  const target = capabilities.length === 0 ? "" : ` for compute capability ${capabilities.join(", ")}`;
  const by = origin === undefined ? "" : `, ${origin.tensorRt}${target}`;
  const io = origin?.io === undefined ? "" : `, images and maps ${formatPlanIo(origin.io)}`;
  return `${how}: ${formatBytes(plan.bytes.byteLength)}${by}${io}`;
}

/** Run `build`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal } = context;
  const args = parseBuildFlags(parsed);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    throw refuse("model", `Expected one model, got ${parsed.operands.length}`, "bunx bun-tensorrt build yolo11n");
  }
  // Minutes later would be too late to find out.
  if (args.output !== undefined) openOutput(args.output).close();
  const file = await readModelFile(await findModel(word, context));
  checkTargets(file, args);
  if (file.isPlan) {
    throw refuse("model", `${JSON.stringify(word)} is a plan already`, "give the ONNX model");
  }
  const built = await buildFile(await convertedFirst(file, args, context), args, context);
  const { isHit, bytes } = built.plan;
  const path = args.output ?? built.plan.path;
  if (args.output !== undefined) await writeFileWhole(path, bytes);
  const { metadata, origin } = readPlan(bytes, path);
  if (!args.isQuiet) terminal.line(terminal.paint("dim", formatBuilt(built, origin)));
  const elapsedMs = Math.round(built.elapsedMs);
  const json = { path, byteLength: bytes.byteLength, isHit, elapsedMs, metadata, origin };
  await output.write(args.isJson ? `${printableJson(json, 2)}\n` : `${path}\n`);
  return EXIT_OK;
}
