/** @module Calibration: the ranges of a model's tensors on images, kept in a file from which a run that was ended goes on. */

import { existsSync, readFileSync } from "node:fs";
import { ImageError, ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { statsOf } from "../core/paths.ts";
import type { Tensor } from "../core/tensor.ts";
import { writeFileWhole } from "../core/whole-file.ts";
import { externalDataPaths } from "../onnx/model.ts";
import type { Task } from "../runtime/task.ts";
import { imagesBelow, isDirectory } from "../tasks/evaluate/dataset.ts";
import type { QuantisedType } from "./placement.ts";
import type { CalibrationMethod } from "./precision-config.ts";
import { ChannelSums, type ChannelSumsState, Histogram, type HistogramState } from "./rounding.ts";
import { describeTensors, ImageFeed, type ProbedModel, probeSession, tensorGroups } from "./tensor-probe.ts";

/** Raised with what is counted, or how: a file of another version is not read. */
const VERSION = 3;

/** Images that are held back: one of so many, … */
const HELD_BACK_SHARE = 4;
/** … of fewer than this none, as they would say nothing, … */
const LEAST_HELD_BACK = 4;
/** … and no more than a loss is measured on. */
const MOST_HELD_BACK = 64;

/** Seconds between two writes of what is found so far. */
const KEEP_EVERY_MS = 10_000;

/** The ranges of a model's tensors, as its `.calibration.json` has them. */
export interface Calibration {
  readonly version: number;
  /** Hash of the model, with the weights in other files: ranges of others are not taken. */
  readonly model: string;
  /** Hash of what was done: a run that was ended goes on with the same only. */
  readonly run: string;
  readonly method: CalibrationMethod;
  readonly type: QuantisedType;
  /** Images that were used, in order. */
  readonly images: readonly string[];
  /** Images that could not be read. */
  readonly skipped: readonly string[];
  /** Images of those given that were not used, so that what is lost can be measured on them. */
  readonly heldBack?: readonly string[] | undefined;
  /** Largest magnitude that each tensor is to hold. */
  readonly ranges: Readonly<Record<string, number>>;
  /** Noise of each tensor that is rounded within its range, as a share of its signal; none by `max`, which counts nothing. */
  readonly noise: Readonly<Record<string, number>>;
  /** Means of the channels of the tensors that were to be averaged, as base64 of f32: see {@linkcode foundBy}. */
  readonly means?: Readonly<Record<string, string>> | undefined;
  /** Noise at the heads with one layer quantised, as a share of the signal, by its name: `withLayerNoise` adds it. */
  readonly layerNoise?: Readonly<Record<string, number>> | undefined;
}

/** Keep what a calibration has found. */
export async function writeCalibration(file: string, calibration: Calibration): Promise<void> {
  await writeFileWhole(file, `${JSON.stringify(calibration, undefined, 1)}\n`);
}

/** How a model is calibrated. */
export interface CalibrateOptions {
  readonly type: QuantisedType;
  readonly method: CalibrationMethod;
  /** Names of the tensors whose ranges are wanted, as `tensorsToCalibrate` has them. */
  readonly tensors: readonly string[];
  /** Those of them whose channels are averaged, as `tensorsToAverage` has them. Default none. */
  readonly averaged?: readonly string[] | undefined;
  /** What the model is for: what is done to an image before. */
  readonly task: Task<unknown, unknown, unknown>;
  /** Where ranges are kept, and read again by the next run. Left out: nowhere. */
  readonly file?: string | undefined;
  /** Images that are held back: the file names them. */
  readonly heldBack?: readonly string[] | undefined;
  /** Called with an image that cannot be read; it is skipped. Without it the first one ends the calibration. */
  readonly onError?: ((error: Error, path: string) => void) | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the calibration; what was found is kept in the file. */
  readonly signal?: AbortSignal | undefined;
}

/** What is kept of a run that is not at its end. */
interface Unfinished extends Omit<Calibration, "ranges" | "noise" | "means"> {
  readonly unfinished: {
    /** Groups of tensors, and images of the next one, that are done. */
    readonly groups: number;
    readonly done: number;
    readonly histograms: Readonly<Record<string, HistogramState>>;
    readonly sums?: Readonly<Record<string, ChannelSumsState>>;
  };
}

/** What a calibration has of each tensor: its range, and the means of its channels where these were averaged. */
export function foundBy({ ranges, means = {} }: Calibration): {
  readonly ranges: ReadonlyMap<string, number>;
  readonly means: ReadonlyMap<string, Float32Array>;
} {
  const numbersOf = (text: string): Float32Array =>
    new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
  return {
    ranges: new Map(Object.entries(ranges)),
    means: new Map(Object.entries(means).map(([name, text]) => [name, numbersOf(text)])),
  };
}

/** So many of some, evenly. */
export function evenly<T>(all: readonly T[], most: number): T[] {
  if (all.length <= most) return [...all];
  return Array.from({ length: most }, (_, at) => all[Math.floor((at * all.length) / most)]!);
}

/** @throws {ImageError} If there is none */
function imagesOf(given: string | readonly string[], action: string): string[] {
  const paths = typeof given === "string" ? [given] : given;
  const found = paths.flatMap((path) => (isDirectory(path) ? imagesBelow(path) : [path]));
  if (found.length === 0) {
    const named = paths.map((path) => JSON.stringify(path)).join(", ") || "the list";
    const hint = "give a folder of images like those that the model will see";
    throw new ImageError(message(action, `there is no image in ${named}`, hint), named);
  }
  return found;
}

/**
 * The images that a model is calibrated or compared on.
 *
 * @param given  a folder, whose images are taken with those below it, or paths and folders
 * @param most   of more than that, so many are taken evenly
 * @param action for messages
 * @throws {ImageError} If there is none
 */
export function calibrationImages(
  given: string | readonly string[],
  most: number,
  action: string = "calibrate a model",
): string[] {
  return evenly(imagesOf(given, action), most);
}

/**
 * The images that a model is calibrated on, and others that what it loses is measured on: of those given a quarter, evenly and 64 at
 * most; of fewer than 16 none.
 *
 * @param most images of the calibration
 * @throws {ImageError} If there is no image
 */
export function splitImages(
  given: string | readonly string[],
  most: number,
): { readonly images: string[]; readonly heldBack: string[] } {
  const found = imagesOf(given, "calibrate a model");
  const count = Math.min(MOST_HELD_BACK, Math.floor(found.length / HELD_BACK_SHARE));
  const heldBack = new Set(count < LEAST_HELD_BACK ? [] : evenly(found, count));
  const rest = found.filter((path) => !heldBack.has(path));
  return { images: evenly(rest, most), heldBack: [...heldBack] };
}

/** Hash of a model. Weights in other files are known by their sizes and times. */
function hashOf({ bytes, path }: ProbedModel): string {
  const hash = new Bun.CryptoHasher("sha256").update(bytes);
  if (path === undefined) return hash.digest("hex");
  const others = externalDataPaths(bytes, path).map((file) => [statsOf(file)?.size, statsOf(file)?.mtimeMs]);
  return hash.update(JSON.stringify(others)).digest("hex");
}

/** What ranges depend on beside the model. */
function runOf(options: CalibrateOptions, images: readonly string[]): string {
  const { method, type, tensors, averaged = [], heldBack = [] } = options;
  const files = images.map((path) => [path, statsOf(path)?.size, statsOf(path)?.mtimeMs]);
  const others = [averaged, heldBack].filter(({ length }) => length > 0);
  const all = JSON.stringify([method, method === "max" ? "" : type, tensors, files, ...others]);
  return new Bun.CryptoHasher("sha256").update(all).digest("hex");
}

/**
 * The ranges that an earlier calibration of the same model has kept.
 *
 * @param wanted what is quantised to, and the tensors that need a range
 * @throws {ModelError} If they are of another model or type, or not complete
 */
export function keptRanges(
  file: string,
  model: ProbedModel,
  { type, tensors, averaged = [] }: Pick<CalibrateOptions, "type" | "tensors" | "averaged">,
): Calibration {
  const refuse = (found: string): never => {
    const text = message(
      `take the ranges of ${JSON.stringify(file)}`,
      found,
      "give images, to calibrate the model again",
    );
    throw new ModelError(text, model.name);
  };
  let found: Partial<Calibration>;
  try {
    found = JSON.parse(readFileSync(file, "utf8")) as Partial<Calibration>;
  } catch (error) {
    return refuse(
      error instanceof SyntaxError ? "it is no JSON" : `it cannot be read (${(error as NodeJS.ErrnoException).code})`,
    );
  }
  const { version, ranges, method } = found;
  if (version !== VERSION) return refuse("another version of bun-tensorrt wrote it, or none");
  if (found.model !== hashOf(model)) return refuse(`they are not of ${model.name}`);
  if (ranges === undefined) return refuse("its calibration has not ended");
  if (method !== "max" && found.type !== type)
    return refuse(`they are for ${found.type}, and by ${method} depend on that`);
  const missing = tensors.find((name) => !Object.hasOwn(ranges, name));
  if (missing !== undefined) return refuse(`there is none of the tensor ${JSON.stringify(missing)}`);
  const unknown = averaged.find((name) => found.means?.[name] === undefined);
  if (unknown !== undefined) return refuse(`the means of the tensor ${JSON.stringify(unknown)} are missing`);
  return found as Calibration;
}

/** What a file has of the same calibration; `undefined` where it is another's. */
function kept(file: string | undefined, model: string, run: string): Calibration | Unfinished | undefined {
  if (file === undefined || !existsSync(file)) return undefined;
  try {
    const found = JSON.parse(readFileSync(file, "utf8")) as Partial<Calibration & Unfinished>;
    const isWhole = found.ranges !== undefined || found.unfinished !== undefined;
    const isSame = found.version === VERSION && found.model === model && found.run === run;
    if (isSame && isWhole) return found as Calibration | Unfinished;
    logger.info(`Calibrating anew: ${JSON.stringify(file)} is of another model, of other images or of another method`);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    logger.warn(`Calibrating anew: ${JSON.stringify(file)} is not what this package writes`);
  }
  return undefined;
}

/**
 * Find the ranges of a model's tensors on images, by the CPU. Images are read one after the other, and tensors in groups, so that
 * memory stays the same however many there are. A second run with the same file takes its ranges from there, or goes on where the
 * first was ended; both give the same to the bit.
 *
 * @param images paths of files
 * @throws {ImageError} If an image cannot be read and there is no `onError`, or none can
 * @throws {ModelError} If a tensor has numbers that are not finite
 * @throws the signal's reason
 */
export async function calibrate(
  model: ProbedModel,
  images: readonly string[],
  options: CalibrateOptions,
): Promise<Calibration> {
  options.signal?.throwIfAborted();
  const [hash, how] = [hashOf(model), runOf(options, images)];
  const former = kept(options.file, hash, how);
  if (former !== undefined && "ranges" in former) return former;
  using feed = await ImageFeed.open(model, options.task);
  const run = new CalibrationRun({ model, images, options, feed, hash, how }, former);
  return await run.finish();
}

/** What a run works with. */
interface RunParts {
  readonly model: ProbedModel;
  readonly images: readonly string[];
  readonly options: CalibrateOptions;
  readonly feed: ImageFeed;
  readonly hash: string;
  readonly how: string;
}

class CalibrationRun {
  readonly #parts: RunParts;
  readonly #histograms = new Map<string, Histogram>();
  readonly #sums = new Map<string, ChannelSums>();
  readonly #skipped: Set<string>;
  #groups: number;
  #done: number;
  #keptAt = performance.now();

  constructor(parts: RunParts, former: Unfinished | undefined) {
    this.#parts = parts;
    const { groups = 0, done = 0, histograms = {}, sums = {} } = former?.unfinished ?? {};
    this.#groups = groups;
    this.#done = done;
    this.#skipped = new Set(former?.skipped);
    for (const name of parts.options.tensors) {
      this.#histograms.set(name, new Histogram(parts.options.method !== "max", histograms[name]));
    }
    for (const name of parts.options.averaged ?? []) this.#sums.set(name, new ChannelSums(sums[name]));
  }

  async finish(): Promise<Calibration> {
    const { options } = this.#parts;
    const groups = await this.#group();
    for (; this.#groups < groups.length; this.#groups++, this.#done = 0) {
      await this.#observe(groups[this.#groups]!, groups.length);
    }
    const { method, type, file } = options;
    const ranges = Object.fromEntries([...this.#histograms].map(([name, one]) => [name, one.range(method, type)]));
    const noises = [...this.#histograms].map(([name, one]) => [name, one.noise(ranges[name]!, type)] as const);
    const noise = Object.fromEntries(noises.filter(([, one]) => one !== undefined)) as Record<string, number>;
    const textOf = ({ means }: ChannelSums): string => Buffer.from(means.buffer).toString("base64");
    const means = Object.fromEntries([...this.#sums].map(([name, sums]) => [name, textOf(sums)]));
    const calibration: Calibration = { ...this.#common(), ranges, noise, ...(this.#sums.size > 0 && { means }) };
    if (file !== undefined) await writeCalibration(file, calibration);
    return calibration;
  }

  /** Tensors that are looked at together; inputs, which no node gives, with the first of them. */
  async #group(): Promise<(readonly string[])[]> {
    const { model, feed, options } = this.#parts;
    const infos = await describeTensors(model, feed.shapes);
    const inner = options.tensors.filter((name) => !(name in feed.inputs));
    const known = inner.map((name) => infos.get(name) ?? { name, dtype: "f32" as const, shape: [] });
    const groups = tensorGroups(known);
    return groups.length === 0 ? [[]] : groups;
  }

  async #observe(names: readonly string[], groups: number): Promise<void> {
    const { model, feed, options, images } = this.#parts;
    const { inputs } = feed;
    const given = this.#groups > 0 ? [] : options.tensors.filter((name) => name in inputs);
    await using session = names.length === 0 ? undefined : await probeSession(model, names, feed.shapes);
    using inference = session?.prepare(Object.fromEntries(session.inputs.map(({ name }) => [name, inputs[name]!])));
    for (; this.#done < images.length; this.#done++) {
      const path = images[this.#done]!;
      if (options.signal?.aborted === true) await this.#keep();
      options.signal?.throwIfAborted();
      if (await this.#read(path)) {
        for (const name of given) this.#add(name, inputs[name]!, path);
        const outputs = await inference?.run();
        for (const name of names) this.#add(name, outputs!.get(name)!, path);
      }
      options.onProgress?.(this.#groups * images.length + this.#done + 1, groups * images.length);
      if (performance.now() - this.#keptAt > KEEP_EVERY_MS) await this.#keep(1);
    }
  }

  /** @returns false for an image that is skipped */
  async #read(path: string): Promise<boolean> {
    const { feed, options, images } = this.#parts;
    if (this.#skipped.has(path)) return false;
    try {
      await feed.read(path, options.signal);
      return true;
    } catch (error) {
      if (options.onError === undefined || !(error instanceof ImageError)) throw error;
      this.#skipped.add(path);
      options.onError(error, path);
      if (this.#skipped.size < images.length) return false;
      const found =
        images.length === 1 ? "the image cannot be read" : `none of the ${images.length} images can be read`;
      throw new ImageError(message("calibrate a model", found, "give other images"), path, { cause: error });
    }
  }

  #add(name: string, { data, dtype, shape }: Tensor, path: string): void {
    const elements =
      dtype === "f32" || dtype === "f16"
        ? (data as Float32Array | Float16Array)
        : Float32Array.from(data as Uint8Array);
    if (this.#histograms.get(name)!.add(elements)) {
      this.#sums.get(name)?.add(elements, shape);
      return;
    }
    const { name: source } = this.#parts.model;
    const found = `its tensor ${JSON.stringify(name)} has numbers that are not finite on ${JSON.stringify(path)}`;
    throw new ModelError(message(`calibrate ${source}`, found, "look for what overflows before it"), source);
  }

  #common(): Omit<Calibration, "ranges" | "noise" | "means"> {
    const { hash, how, options, images } = this.#parts;
    const { method, type, heldBack = [] } = options;
    const held = heldBack.length === 0 ? {} : { heldBack };
    return { version: VERSION, model: hash, run: how, method, type, images, skipped: [...this.#skipped], ...held };
  }

  /** Write what is found so far. @param ahead images that are done beyond the count */
  async #keep(ahead = 0): Promise<void> {
    const { file } = this.#parts.options;
    this.#keptAt = performance.now();
    if (file === undefined) return;
    const histograms = Object.fromEntries([...this.#histograms].map(([name, { state }]) => [name, state]));
    const sums = Object.fromEntries([...this.#sums].map(([name, { state }]) => [name, state]));
    const unfinished = { groups: this.#groups, done: this.#done + ahead, histograms, sums };
    await writeFileWhole(file, JSON.stringify({ ...this.#common(), unfinished } satisfies Unfinished));
  }
}
