/**
 * @module Comparison: the steps of `compare`: both models on each image, then the tensors inside them. A model whose task is not
 * known is run for its outputs.
 */

import { readModelFile } from "../accelerators/tensorrt/model-file.ts";
import { CallParser } from "../api/call-options.ts";
import { type DetectorConfig, EVALUATE_THRESHOLD, parseDetectorOptions } from "../api/detector-config.ts";
import { evaluate } from "../api/evaluate.ts";
import { LoadedModel, type Opened, openModel, owned } from "../api/loaded-model.ts";
import { Model, type ModelOptions, modelTask } from "../api/model.ts";
import { type ModelSource, modelSource } from "../api/model-source.ts";
import { ImageError, ModelError, message } from "../core/errors.ts";
import { fitsShape, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import { decodeLimits } from "../image/decode-limits.ts";
import type { Region } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import { Preprocessor } from "../image/preprocessor.ts";
import type { Size } from "../runtime/backend.ts";
import type { EngineShapes, HostTensors, OpenedModel, Task, TaskModel } from "../runtime/task.ts";
import type { RegionWork } from "../tasks/cuda-host-task.ts";
import { MEASURES } from "../tasks/evaluate/average-precision.ts";
import {
  type Agreement,
  agreementOf,
  lossOf,
  MOST_CLASSES,
  type ObjectEvaluation,
} from "../tasks/evaluate/evaluation.ts";
import { calibrationImages } from "./calibration.ts";
import {
  type CompareConfig,
  type CompareOptions,
  type Comparison,
  parseCompareOptions,
  type TensorDifference,
} from "./precision-config.ts";
import {
  describeTensors,
  ImageFeed,
  type PlainImage,
  type ProbedModel,
  plainImage,
  probeSession,
  TensorDifferences,
  tensorGroups,
  USUAL_SIDE,
} from "./tensor-probe.ts";

/** Bytes of the tensors of one group, of each model. */
const GROUP_BYTES = 128 * 2 ** 20;

/** One region an image; nothing is read of what comes out. */
class PlainWork implements RegionWork<undefined, undefined> {
  readonly #preprocessor: Preprocessor;
  #images: readonly Image[] = [];
  placements: readonly Region[] = [];

  constructor(preprocessing: Preprocessing) {
    this.#preprocessor = new Preprocessor(preprocessing);
  }

  begin(images: readonly Image[], [width, height]: Size): number {
    this.#images = images;
    this.placements = images.map((image) => this.#preprocessor.place(image, width, height));
    return images.length;
  }

  fill(tensors: Pick<HostTensors, "fill">, region: number, row: number): void {
    tensors.fill(this.#preprocessor, this.#images[region]!, row, this.placements[region]!);
  }

  finish(): void {}

  end(): readonly undefined[] {
    return this.#images.map(() => undefined);
  }
}

class PlainTask implements Task<PlainImage, undefined, undefined> {
  readonly name = "plain";
  readonly action = "load a model";
  readonly #config: DetectorConfig;

  constructor(config: DetectorConfig) {
    this.#config = config;
  }

  recognise({ model, source }: OpenedModel): Promise<TaskModel<PlainImage, undefined, undefined>> {
    const spec = plainImage(model, source, `load ${source}`);
    const { image, size, preprocessing } = spec;
    const { name, dtype, layout, channels } = image;
    return Promise.resolve({
      task: "plain",
      spec,
      input: { name, dtype, layout, channels },
      sizeInputs: [],
      outputs: undefined,
      decodeOptions: decodeLimits(this.#config),
      rows: 1,
      mostImages: 1,
      usualSize: size,
      idleParams: undefined,
      sizeFor: () => size,
      sameParams: () => true,
      host: async () => ({ createWork: () => new PlainWork(preprocessing) }),
      device: {
        async cuda() {
          const { CudaHostTask } = await import("../tasks/cuda-host-task.ts");
          return new CudaHostTask(preprocessing, () => new PlainWork(preprocessing));
        },
      },
    });
  }

  engineShapes(): EngineShapes {
    return { batch: { min: 1, opt: 1, max: 1 }, size: [USUAL_SIDE, USUAL_SIDE] };
  }
}

/** A model that is run for its outputs. */
class PlainModel extends LoadedModel<PlainImage, undefined, undefined, object> {
  /** Nobody knows what it is for. */
  readonly task = undefined;

  /** @internal */
  constructor(opened: Opened<PlainImage, undefined, undefined, DetectorConfig>) {
    super(opened, {
      facade: "PlainModel",
      params: undefined,
      calls: new CallParser("run"),
      paramsOf: () => undefined,
      read: () => ({}),
    });
  }

  /** @throws {ModelError} If it is no model, or takes no image */
  static async load(model: ModelSource, options: ModelOptions): Promise<PlainModel> {
    const config = parseDetectorOptions(options);
    return owned(PlainModel, await openModel(model, config, () => new PlainTask(config)));
  }
}

/** Runs an image, and gives what came of it with the outputs. */
export interface Examined {
  readonly name: string;
  readonly model: Pick<PlainModel, "close" | "backend"> & { readonly task: string | undefined };
  /** `undefined` where its task is not known. */
  readonly known: Model | undefined;
  examine(path: string): Promise<{ readonly result: object; readonly outputs: ReadonlyMap<string, Tensor> }>;
}

/** Tasks whose models see an image as a whole, once, so that a run of theirs is one of the image. */
const SINGLE_RUN: ReadonlySet<string> = new Set([...Object.keys(MEASURES), "classify", "semantic", "depth"]);

/**
 * Load a model to run images by themselves: as its task says, or where that is not known as most models want images.
 *
 * @throws {ModelError} If it is no model, or takes no image
 */
export async function openExamined(source: ModelSource, options: ModelOptions = {}): Promise<Examined> {
  const { source: found, name } = await modelSource(source);
  // Outputs of one name are the same only of models that are run as they were exported.
  const given: ModelOptions = { shape: false, ...options };
  const known = await Model.load(found, given).catch((error: unknown) => {
    if (error instanceof ModelError) return error;
    throw error;
  });
  if (!(known instanceof ModelError) && SINGLE_RUN.has(known.task)) {
    // Average precision needs all that a model finds.
    const isOfObjects = Object.hasOwn(MEASURES, known.task);
    const isOfClasses = known.task === "classify";
    const call = isOfObjects ? { threshold: EVALUATE_THRESHOLD } : isOfClasses ? { top: MOST_CLASSES } : {};
    return { name, model: known, known, examine: (path) => known.examine(path, call) };
  }
  if (!(known instanceof ModelError)) await known.close();
  const plain = await PlainModel.load(found, given).catch((error: unknown) => {
    throw error instanceof ModelError && known instanceof ModelError ? known : error;
  });
  return { name, model: plain, known: undefined, examine: (path) => plain.examine(path) };
}

/**
 * How well a model does by annotations: the lowest AP of what it is measured by, or the share of images whose first class is right.
 *
 * @throws {ModelError} If it is a model of neither objects nor classes
 * @throws as `evaluate`
 */
export async function precisionOf(
  { known, name }: Examined,
  annotations: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  if (known === undefined || !("labels" in known)) {
    const found = "it is a model of neither objects nor classes";
    throw new ModelError(message(`score ${name}`, found, "leave out `annotations`"), name);
  }
  const scored = await evaluate(known as never, annotations, { signal });
  const { metrics } = scored as unknown as ObjectEvaluation;
  if (metrics === undefined) return (scored as unknown as { readonly top1: number }).top1;
  return Math.min(...Object.values(metrics).map(({ AP }) => AP as number));
}

/** @throws {ModelError} If two models do different things */
function refuseTasks(first: Examined, second: Examined): void {
  const [a, b] = [first.known?.task, second.known?.task];
  if (a === undefined || b === undefined || a === b) return;
  const found = `the first is of the task ${JSON.stringify(a)}, the second of ${JSON.stringify(b)}`;
  throw new ModelError(message(`compare ${first.name} with ${second.name}`, found), second.name);
}

/** What one comparison works with. */
interface Run {
  readonly config: CompareConfig;
  readonly images: readonly string[];
  readonly skipped: Set<string>;
  done: number;
  total: number;
}

/** Told of an image that cannot be read. @throws the error where nobody is told, or none of the images can be read */
function skip({ config, images, skipped }: Run, error: unknown, path: string): void {
  if (config.onError === undefined || !(error instanceof ImageError)) throw error;
  if (skipped.has(path)) return;
  skipped.add(path);
  config.onError(error, path);
  if (skipped.size < images.length) return;
  const found = `none of the ${plural(images.length, "image")} can be read`;
  throw new ImageError(message("compare two models", found, error.message), path, { cause: error });
}

/** Both models on every image. */
async function compareResults(
  first: Examined,
  second: Examined,
  run: Run,
): Promise<{ readonly outputs: TensorDifferences; readonly agreement: Agreement | undefined }> {
  const { config, images } = run;
  const outputs = new TensorDifferences();
  const isKnown = first.known !== undefined && second.known !== undefined;
  const agreement = isKnown ? agreementOf(first.known, second.known, config.threshold) : undefined;
  for (const path of images) {
    config.signal?.throwIfAborted();
    try {
      const a = await first.examine(path);
      const b = await second.examine(path);
      outputs.add(a.outputs, b.outputs);
      agreement?.add(path, a.result, b.result);
    } catch (error) {
      skip(run, error, path);
    }
    config.onProgress?.(++run.done, run.total);
  }
  return { outputs, agreement };
}

/** A model whose inner tensors are looked at. */
async function probedModel(source: ModelSource): Promise<ProbedModel> {
  const { source: found, name } = await modelSource(source);
  const file = await readModelFile(found);
  if (!file.isPlan) return { bytes: file.bytes, name, path: file.path };
  const action = `compare the layers of ${name}`;
  const hint = "give the ONNX model that it was built of, or leave out `layers` (--layers)";
  throw new ModelError(message(action, "a plan has no tensors inside that can be read", hint), name);
}

/** True for elements that are compared: layers in integers are places and shapes. */
function isFloat({ dtype }: TensorInfo): boolean {
  return dtype === "f32" || dtype === "f16";
}

/**
 * Compare the tensors inside two ONNX models that both have, by name, by the CPU.
 *
 * @param outputs that have been compared
 * @returns in the order of the first
 */
async function compareLayers(
  models: readonly [ProbedModel, ProbedModel],
  outputs: readonly TensorDifference[],
  run: Run,
): Promise<TensorDifference[]> {
  const [a, b] = models;
  const { config, images, skipped } = run;
  using first = await ImageFeed.open(a, await modelTask(a.path ?? a.bytes));
  using second = await ImageFeed.open(b, await modelTask(b.path ?? b.bytes));
  const ofFirst = await describeTensors(a, first.shapes);
  const ofSecond = await describeTensors(b, second.shapes);
  const common = [...ofFirst.values()].filter((info) => {
    const other = ofSecond.get(info.name);
    if (outputs.some(({ name }) => name === info.name)) return false;
    return other !== undefined && isFloat(info) && isFloat(other) && fitsShape(info.shape, other.shape);
  });
  const groups = tensorGroups(common, GROUP_BYTES);
  run.total += groups.length * images.length;
  const differences = new TensorDifferences();
  for (const names of groups) {
    await using one = await probeSession(a, names, first.shapes);
    await using other = await probeSession(b, names, second.shapes);
    for (const path of images) {
      config.signal?.throwIfAborted();
      if (!skipped.has(path)) {
        await first.read(path, config.signal);
        await second.read(path, config.signal);
        differences.add(await one.run(first.inputs), await other.run(second.inputs));
      }
      config.onProgress?.(++run.done, run.total);
    }
  }
  return differences.report();
}

function isWithin(
  { tolerance, maxLoss }: CompareConfig,
  { outputs, unmatched, agreement }: Pick<Comparison, "outputs" | "unmatched" | "agreement">,
): boolean {
  if (outputs.length === 0 && agreement === undefined) return false;
  const isNear = ({ relative, nonFinite }: TensorDifference): boolean => nonFinite === 0 && relative <= tolerance!;
  if (tolerance !== undefined && (unmatched.length > 0 || !outputs.every(isNear))) return false;
  return maxLoss === undefined || (agreement !== undefined && lossOf(agreement) <= maxLoss);
}

/** Run a comparison. @throws as `compare` does */
export async function runComparison(
  first: ModelSource,
  second: ModelSource,
  options: CompareOptions,
): Promise<Comparison> {
  const config = parseCompareOptions(options);
  const images = calibrationImages(config.images, config.samples, "compare two models");
  const probed = config.layers ? ([await probedModel(first), await probedModel(second)] as const) : undefined;
  const run: Run = { config, images, skipped: new Set(), done: 0, total: images.length };
  await using opened = new AsyncDisposableStack();
  const a = await openExamined(first, config.first);
  opened.defer(() => a.model.close());
  const b = await openExamined(second, config.second);
  opened.defer(() => b.model.close());
  refuseTasks(a, b);
  if (config.maxLoss !== undefined && (a.known === undefined || b.known === undefined)) {
    const { name } = a.known === undefined ? a : b;
    const hint = "give `tolerance` (--tolerance), which is of outputs";
    throw new ModelError(message("compare what two models find", `the task of ${name} is not known`, hint), name);
  }
  const compared = await compareResults(a, b, run);
  const outputs = compared.outputs.report();
  const layers = probed && (await compareLayers(probed, outputs, run));
  const report = {
    outputs,
    unmatched: compared.outputs.unmatched,
    agreement: compared.agreement?.report(),
  };
  const said = ({ name, model, known }: Examined) => ({
    name,
    task: known?.task,
    backend: model.backend.description,
  });
  return {
    models: [said(a), said(b)],
    images: images.length - run.skipped.size,
    skipped: [...run.skipped],
    ...report,
    ...(layers && { layers }),
    isWithin: isWithin(config, report),
  };
}
