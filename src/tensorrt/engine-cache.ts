/** @module EngineCache: plans are built once a model, GPU, version and choice of options, whichever process comes first. */

import { accessSync, constants, existsSync, mkdirSync, readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { BunTensorRtError, inShort, ModelError, message, OptionError, PlanMismatchError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";
import { formatDuration } from "../core/units.ts";
import { discard, writeWhole, writeWholeSync } from "../core/whole-file.ts";
import { Device } from "../cuda/device.ts";
import { type Beside, besideOf } from "../onnx/beside.ts";
import { fp32NodesOf } from "../onnx/fp32-nodes.ts";
import { externalDataPaths, readOnnxMetadata } from "../onnx/model.ts";
import { type BuildConfig, type BuildOptions, parseBuildOptions } from "./build-options.ts";
import {
  type BuildEnvironment,
  type BuiltPlan,
  buildPlan,
  isConvertedFirst,
  keepsFp32,
  targetCapabilities,
} from "./build-plan.ts";
import { BuildTurn, FileLock, GIVEN_WAY } from "./build-turn.ts";
import { builtPrecision, FLOAT16_VERSION } from "./fp16-network.ts";
import { openTensorRt, type TensorRtLibrary } from "./library.ts";
import { checkPlan, readPlan, withBeside } from "./plan-file.ts";

/** A plan out of the cache. */
export interface CachedPlan {
  /** It carries the files beside its model: a copy of the model in another folder that has such files has a plan of its own. */
  readonly path: string;
  /** As `Runtime.deserialize` takes them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** False if it was built just now. */
  readonly isHit: boolean;
}

/** What {@linkcode EngineCache.obtain} runs with, beside the options of the build. */
export interface ObtainEnvironment extends Omit<BuildEnvironment, "timingCache" | "turn" | "beside" | "onEnded"> {
  /** File of the timing cache, read and written. Default: one a GPU, version and number of `timingIterations`, in the folder. */
  readonly timingCachePath?: string | undefined;
  /**
   * Called where a build is due, before it begins; what it throws is thrown, and nothing is built. A model that it returns is built
   * in the place of the one that was given: of a {@linkcode ObtainEnvironment.variant}. Told the signal that ends the build.
   */
  readonly beforeBuild?: ((signal: AbortSignal | undefined) => Promise<Uint8Array | undefined>) | undefined;
  /** What tells plans apart that are built of one model in different forms. Default: the form as it is. */
  readonly variant?: string | undefined;
  /**
   * Asked where there is no plan of the {@linkcode ObtainEnvironment.variant}: whether one can be made here. Where not, plans of the
   * model as it is are found and built in its place, so that none is taken for what it is not. Default: it can.
   */
  readonly canVary?: (() => boolean) | undefined;
  /** The plan is to be replaced by another soon: it is kept apart from those that were built to stay. Default false. */
  readonly isInterim?: boolean | undefined;
  /** Asked when it is this build's turn: a plan that is taken in the place of one that would be built. */
  readonly instead?: (() => Promise<CachedPlan | undefined>) | undefined;
  /** Build even where the plan is there, and put the new one in its place. Default false. */
  readonly rebuild?: boolean | undefined;
}

/** Which of the plans of a model is meant, where the same options build several; and what the model is called. */
export type PlanForm = Pick<ObtainEnvironment, "path" | "source" | "variant" | "isInterim">;

/** What a cached plan depends on, beside the model and the options. */
export interface Builds {
  readonly library: TensorRtLibrary;
  readonly device: Device | undefined;
  readonly config: BuildConfig;
}

/** What a plan is built of, and what it is to carry. */
interface Wanted extends Builds {
  readonly beside: Beside | undefined;
}

/** Digits of a hash in file names: 128 bits. */
const KEY_DIGITS = 32;

/** Most letters of the model's name in file names: what is added to it stays within the 255 bytes of most systems. */
const LONGEST_STEM = 100;

/** The content of a file; `undefined` where there is none, or not any more. */
async function contentOf(path: string | undefined): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (path === undefined) return undefined;
  try {
    return await Bun.file(path).bytes();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    const hint = "name a file that can be read, or set BUN_TENSORRT_CACHE to another folder";
    throw new BunTensorRtError(message(`read ${path}`, (error as Error).message, hint), { cause: error });
  }
}

/** What earlier builds measured. Only a file that was asked for is worth an error: without one a build takes longer. */
async function timingsOf(path: string | undefined, isAskedFor: boolean): Promise<Uint8Array | undefined> {
  try {
    return await contentOf(path);
  } catch (error) {
    if (isAskedFor) throw new OptionError((error as Error).message, "timingCachePath", { cause: error });
    logger.warn((error as Error).message);
    return undefined;
  }
}

/** Keep what a build has measured that was ended, for the next one. The process may be about to end: nothing is waited for. */
function keepMeasured(path: string, measured: Uint8Array): void {
  try {
    writeWholeSync(path, measured);
  } catch (error) {
    logger.debug(`Cannot keep ${path}: ${(error as Error).message}`);
  }
}

/** The end of a plan's name: a hash of the folder, where files of it are in the plan. */
const OWN_ENDING = /(?:-[0-9a-f]{8})?\.plan$/;

/** The path of a plan that carries files of its model's folder: others may have other files beside the same model. */
function ownPath(engine: string, model: string | undefined, beside: Beside | undefined): string {
  if (model === undefined || beside?.folder === undefined) return engine;
  const folder = new Bun.CryptoHasher("sha256").update(resolve(dirname(model))).digest("hex");
  return engine.replace(/\.plan$/, `-${folder.slice(0, 8)}.plan`);
}

/** The error for a folder or file that cannot be written. */
function unwritable(action: string, place: string, cause: unknown): Error {
  const { code, message: text } = cause as NodeJS.ErrnoException;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  const hint = `${isFull ? "make room" : "make it writable"}, or set BUN_TENSORRT_CACHE to another folder`;
  return new BunTensorRtError(message(action, `${place} cannot be written (${text})`, hint), { cause });
}

/**
 * Plans in a folder. Several processes may use it at once.
 *
 * @example
 * ```ts
 * import { EngineCache } from "bun-tensorrt/tensorrt";
 *
 * const onnx = await Bun.file("yolo11n.onnx").bytes();
 * const { path } = await new EngineCache("engines").obtain(onnx, { batch: 1, size: [640, 640] });
 * console.log(path); // built the first time, found from then on
 * ```
 */
export class EngineCache {
  readonly folder: string;

  /** @param folder default: `engines` in the package's cache folder; made when something is first written to it */
  constructor(folder: string = join(cacheFolder(), "engines")) {
    this.folder = folder;
  }

  /**
   * The plan of a model, built if it is not there. While another process builds the same one, it is waited for. Files beside the model
   * that say how it is read, such as `config.json`, are in the plan as they are now: where they changed, it is not built again.
   *
   * @param model       bytes of an `.onnx` file
   * @param options     of the build; another choice is another plan
   * @param environment where and how to build; without a device, CUDA's device 0 (TensorRT-RTX may do without)
   * @throws {BunTensorRtError} If the folder cannot be written: before the build where that is known then
   * @throws as {@linkcode buildPlan} does
   */
  async obtain(
    model: Uint8Array,
    options: BuildOptions = {},
    environment: ObtainEnvironment = {},
  ): Promise<CachedPlan> {
    const library = environment.library ?? openTensorRt();
    using own = environment.device === undefined && library.hasDevice() ? Device.open(0) : undefined;
    const device = environment.device ?? own;
    const beside = await besideOf(model, environment.path);
    const builds: Wanted = { library, device, config: parseBuildOptions(options), beside };
    const isWanted = environment.rebuild !== true;
    const { path, plan: found } = await this.#look(model, builds, environment, isWanted);
    if (found !== undefined) return found;

    const changed = await environment.beforeBuild?.(environment.signal);
    this.#prepareFolder();
    const place = { path, builds, isWanted };
    for (;;) {
      try {
        return await this.#build(changed ?? model, options, { ...environment, library, device }, place);
      } catch (error) {
        if (error !== GIVEN_WAY) throw error;
      }
    }
  }

  /**
   * The plan of a model if it is there; nothing is built.
   *
   * @param environment as that of {@linkcode obtain}
   */
  async find(
    model: Uint8Array,
    options: BuildOptions,
    environment: Pick<ObtainEnvironment, "library" | "device" | "canVary" | keyof PlanForm>,
  ): Promise<CachedPlan | undefined> {
    const library = environment.library ?? openTensorRt();
    const beside = await besideOf(model, environment.path);
    const builds: Wanted = { library, device: environment.device, config: parseBuildOptions(options), beside };
    return (await this.#look(model, builds, environment, true)).plan;
  }

  /** Where a plan is kept, or will be, and the plan if it is there and wanted. */
  async #look(
    model: Uint8Array,
    builds: Wanted,
    environment: Pick<ObtainEnvironment, "canVary" | keyof PlanForm>,
    isWanted: boolean,
  ): Promise<{ readonly path: string; readonly plan: CachedPlan | undefined }> {
    const look = async (form: PlanForm) => {
      const path = ownPath(await this.#enginePath(model, builds, form), form.path, builds.beside);
      return { path, plan: isWanted ? await this.#find(path, builds) : undefined };
    };
    const found = await look(environment);
    const isAsItIs = environment.variant === undefined || found.plan !== undefined || environment.canVary?.() !== false;
    return isAsItIs ? found : look({ ...environment, variant: undefined });
  }

  async #build(
    model: Uint8Array,
    options: BuildOptions,
    environment: ObtainEnvironment,
    { path, builds, isWanted }: { readonly path: string; readonly builds: Wanted; readonly isWanted: boolean },
  ): Promise<CachedPlan> {
    const { library, device, beside } = builds;
    const { isBackground = false, signal } = environment;
    const source = environment.source ?? environment.path ?? "the model";
    using turn = await BuildTurn.take({ ...environment, library, device, source });
    // One in the background holds nothing that others wait for.
    using _lock = isBackground ? undefined : await this.#lock(path, signal);
    const meanwhile = isWanted ? ((await environment.instead?.()) ?? (await this.#find(path, builds))) : undefined;
    if (meanwhile !== undefined) return meanwhile;
    // Without a GPU nothing is measured, and what was measured cannot be read.
    const shared = environment.timingCachePath ?? (device === undefined ? undefined : this.#timingPath(builds));
    const own = isBackground ? path.replace(/\.plan$/, ".timing") : undefined;
    const known = (await timingsOf(own, false)) ?? (await timingsOf(shared, environment.timingCachePath !== undefined));
    const built = await buildPlan(model, options, {
      ...environment,
      turn,
      beside,
      timingCache: known,
      onEnded: (measured) => own !== undefined && keepMeasured(own, measured),
    });
    await writeWhole(path, built.bytes).catch((cause: unknown) => {
      throw unwritable("keep an engine", this.folder, cause);
    });
    if (shared !== undefined) await this.#keepTiming(shared, built, environment);
    if (own !== undefined) discard(own);
    logger.info(`Built ${path} in ${formatDuration(built.elapsedMs)}`);
    return { path, bytes: built.bytes, isHit: false };
  }

  /**
   * Where the plan of a model is kept: the name of the model, and a hash of the model's bytes (those in files beside it
   * too), the version of TensorRT, the GPU and the options that change the plan; and one of the model's folder, where the plan carries
   * files of it.
   */
  async path(model: Uint8Array, builds: Builds, where: PlanForm): Promise<string> {
    return ownPath(await this.#enginePath(model, builds, where), where.path, await besideOf(model, where.path));
  }

  async #enginePath(model: Uint8Array, builds: Builds, where: PlanForm): Promise<string> {
    const { library, device } = builds;
    const metadata = readOnnxMetadata(model);
    const config = { ...builds.config, precision: builtPrecision(builds.config, library, metadata) };
    // Neither the number of threads nor whether the precision was chosen or left at its default changes the plan.
    const {
      maxThreads: _,
      isPrecisionChosen: __,
      fp32Layers,
      precision,
      ioFormat,
      timingIterations,
      ...choice
    } = config;
    const fp32 = keepsFp32(config, library) ? fp32NodesOf(model).map(({ node }) => node.outputs[0]) : [];
    const hash = new Bun.CryptoHasher("sha256");
    hash.update(model);
    for (const file of where.path === undefined ? [] : externalDataPaths(model, where.path)) {
      const weights = Bun.file(file);
      // What is missing is the parser's to complain of.
      if (!(await weights.exists())) continue;
      // In pieces: they may have gigabytes.
      for await (const piece of weights.stream()) hash.update(piece);
    }
    hash.update(
      JSON.stringify({
        ...choice,
        precision,
        ...(isConvertedFirst(config, library) ? { float16: FLOAT16_VERSION } : {}),
        // Models that lose nothing keep the engines they had before.
        ...(fp32.length === 0 ? {} : { fp32 }),
        ...(fp32Layers ? {} : { fp32Layers }),
        ...(ioFormat === "auto" ? {} : { ioFormat }),
        // TensorRT-RTX compares no kernels.
        ...(library.version.family === "TensorRT" ? { timingIterations } : {}),
        tensorRt: [library.version.text, library.version.build],
        gpu: device?.name,
        capabilities: targetCapabilities(config, device),
        variant: where.variant,
        ...(where.isInterim === true && { isInterim: true }),
      }),
    );
    const stem = basename(where.source ?? where.path ?? "model")
      .replace(/\.onnx$/, "")
      .replace(/[^\w.-]/g, "_")
      .slice(0, LONGEST_STEM);
    return join(this.folder, `${stem}-${hash.digest("hex").slice(0, KEY_DIGITS)}.plan`);
  }

  /** So that a build of minutes does not end in a folder that cannot be written. */
  #prepareFolder(): void {
    try {
      mkdirSync(this.folder, { recursive: true });
      accessSync(this.folder, constants.W_OK);
    } catch (error) {
      throw unwritable("keep an engine", this.folder, error);
    }
  }

  /** Two processes that build one plan at once make it twice, and no worse: where the folder has no locks, none is held. */
  async #lock(path: string, signal: AbortSignal | undefined): Promise<FileLock | undefined> {
    try {
      return await FileLock.acquire(`${path}.lock`, signal);
    } catch (error) {
      signal?.throwIfAborted();
      logger.warn(`Building without a lock, so that other processes may build the same: ${inShort(error as Error)}`);
      return undefined;
    }
  }

  /** The plan is kept already: only a file that was asked for is worth an error. */
  async #keepTiming(path: string, built: BuiltPlan, environment: ObtainEnvironment): Promise<void> {
    const isAskedFor = environment.timingCachePath !== undefined;
    if (isAskedFor && built.isTimingCacheRefused) {
      logger.warn(`Leaving ${path} as it is: name another file to keep what was measured`);
      return;
    }
    try {
      await writeWhole(path, built.timingCache);
    } catch (cause) {
      const error = unwritable("keep the timing cache", path, cause);
      if (isAskedFor) throw error;
      logger.warn(error.message);
    }
  }

  /** What was averaged over fewer runs is no answer to a build that wants more. */
  #timingPath({ library, device, config }: Builds): string {
    const name = `${library.version.text} ${device?.name ?? "no GPU"} average of ${config.timingIterations}`;
    return join(this.folder, `${name.replace(/[^\w.-]+/g, "-")}.timing`);
  }

  /** A plan that is kept here, or a copy of one with the same engine that is kept for another folder. */
  async #find(path: string, builds: Wanted): Promise<CachedPlan | undefined> {
    const own = await this.#read(path, path, builds);
    if (own !== undefined || !existsSync(this.folder)) return own;
    const engine = basename(path).replace(OWN_ENDING, "");
    for (const name of readdirSync(this.folder)) {
      if (!name.startsWith(engine) || !name.endsWith(".plan") || name === basename(path)) continue;
      const found = await this.#read(join(this.folder, name), path, builds);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** A plan at `from`, kept at `path` with what now lies beside the model: where that has changed, nothing is built. */
  async #read(from: string, path: string, builds: Wanted): Promise<CachedPlan | undefined> {
    const bytes = await contentOf(from);
    if (bytes === undefined) return undefined;
    try {
      const { computeCapabilities, hardwareCompatibility } = builds.config;
      const target = {
        computeCapability: builds.device?.computeCapability,
        versionCompatible: false,
        hardwareCompatible: computeCapabilities.length > 0 || hardwareCompatibility !== "none",
      };
      checkPlan(readPlan(bytes, from), builds.library.version, target, from);
      const current = withBeside(bytes, from, builds.beside);
      if (current === bytes && from === path) return { path, bytes, isHit: true };
      try {
        await writeWhole(path, current);
      } catch (cause) {
        // One of a folder with the same files will do. Else whoever obtains the plan has it in memory.
        if (current === bytes) return { path: from, bytes, isHit: true };
        logger.warn(unwritable("keep what now lies beside the model", path, cause).message);
      }
      return { path, bytes: current, isHit: true };
    } catch (error) {
      if (!(error instanceof ModelError || error instanceof PlanMismatchError)) throw error;
      logger.warn(`Building again, the cached plan is of no use: ${error.message}`);
      return undefined;
    }
  }
}
