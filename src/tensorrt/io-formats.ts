/** @module IoFormats: element type and memory layout of an engine's images and maps: which are tried, and which is the fastest. */

import { ModelError, message, NativeError, ShapeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Owner } from "../core/resource.ts";
import { type DType, formatShape, isDynamic } from "../core/tensor.ts";
import { formatDuration } from "../core/units.ts";
import { DeviceBuffer } from "../cuda/buffers.ts";
import { fill } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import { Event } from "../cuda/event.ts";
import { Graph, type GraphExec, Stream } from "../cuda/stream.ts";
import { type BuildConfig, IO_FORMATS, type IoFormat } from "./build-options.ts";
import type { Engine, ExecutionContext } from "./engine.ts";
import type { TensorRtLibrary } from "./library.ts";
import type { Network } from "./network.ts";
import type { PlanIo } from "./plan-file.ts";
import { Runtime } from "./runtime.ts";
import type { TensorFormat } from "./tensor-info.ts";

/** Key of the metadata of a model that was cut at the maps of its head: see src/heads/shaping-config.ts. */
export const SHAPED_KEY = "bun_tensorrt_shaped";

/** What a build knows of a model when formats are chosen. */
export interface IoQuestion {
  readonly network: Pick<Network, "inputs" | "outputs">;
  readonly metadata: Readonly<Record<string, string>>;
  /** True if tensors keep the types that the model gives them. */
  readonly isTyped: boolean;
  /** True if there is a GPU to measure on. */
  readonly hasDevice: boolean;
}

/** An input or output that is laid out in another way than the model's. */
interface LaidOut {
  readonly side: "input" | "output";
  /** Among the inputs or the outputs. */
  readonly index: number;
  readonly dtype: DType;
  readonly format: TensorFormat;
}

/** The inputs and outputs that a format changes: images and maps, arrays of floats of four dimensions. */
export function laidOutBy(format: IoFormat, { network, isTyped }: Pick<IoQuestion, "network" | "isTyped">): LaidOut[] {
  if (format === "model") return [];
  const sides = { input: network.inputs(), output: network.outputs() };
  return (["input", "output"] as const).flatMap((side) =>
    sides[side].flatMap(({ dtype, shape, isShapeTensor }, index): LaidOut[] => {
      const channels = shape[1] ?? -1;
      if (shape.length !== 4 || isShapeTensor || !(dtype === "f16" || (dtype === "f32" && !isTyped))) return [];
      // TensorRT takes the second axis for the channels: of images that have them last it is the height.
      const isPlanar = channels > 0 && (side === "output" || channels <= 4);
      const layout = format === "hwc8" && isPlanar ? "hwc8" : "linear";
      return dtype === "f16" && layout === "linear" ? [] : [{ side, index, dtype: "f16", format: layout }];
    }),
  );
}

/** Lower levels are for engines that are wanted soon. */
const LEAST_MEASURED_LEVEL = 3;

/** The formats that are tried; with one there is nothing to choose. The model's own comes first, and then what is liked more. */
export function formatsToTry(config: BuildConfig, question: IoQuestion): readonly IoFormat[] {
  const { ioFormat, precision, dla, optimizationLevel = LEAST_MEASURED_LEVEL } = config;
  const possible = IO_FORMATS.filter((format) => format === "model" || laidOutBy(format, question).length > 0);
  if (ioFormat !== "auto") {
    if (possible.includes(ioFormat)) return [ioFormat];
    const found = question.isTyped ? "is FP16, and the build keeps the types of the model" : "is of floats";
    logger.warn(`Ignoring ioFormat "${ioFormat}": no image and no raw map of the model ${found}`);
    return ["model"];
  }
  const isFp16 = question.isTyped || precision === "fp16";
  if (question.metadata[SHAPED_KEY] === undefined || !isFp16 || dla !== undefined) return ["model"];
  return question.hasDevice && optimizationLevel >= LEAST_MEASURED_LEVEL ? possible : possible.slice(-1);
}

/** `hwc8: 0.407 ms; fp16 0.423 ms, model 0.433 ms` */
export function formatPlanIo({ format, measuredMs = {} }: PlanIo): string {
  const text = (one: IoFormat): string => formatDuration(measuredMs[one]!);
  const others = IO_FORMATS.filter((one) => one !== format && measuredMs[one] !== undefined);
  if (measuredMs[format] === undefined) return format;
  return `${format}: ${[text(format), others.map((one) => `${one} ${text(one)}`).join(", ")].join("; ")}`;
}

/** So much faster is nothing. */
const TOLERANCE = 0.01;

/** The format that is kept: of those as fast as the fastest, but for the tolerance, the last one. */
export function fastestFormat(measuredMs: Readonly<Partial<Record<IoFormat, number>>>): IoFormat {
  const best = Math.min(...Object.values(measuredMs));
  return IO_FORMATS.findLast((format) => (measuredMs[format] ?? Number.POSITIVE_INFINITY) <= best * (1 + TOLERANCE))!;
}

/** A plan in one of the formats that were tried. */
export interface FormatPlan {
  readonly format: IoFormat;
  /** The engine, without a header. */
  readonly plan: Uint8Array;
}

/** Where plans are measured. */
interface MeasuringPlace {
  readonly library: TensorRtLibrary;
  readonly device: Device | undefined;
  readonly versionCompatible: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Where in all of a build's progress one of several builds is: the first one takes most of it, as it measures for the others. */
export function progressOf(at: number, count: number): (fraction: number) => number {
  const first = count === 1 ? 1 : 0.8;
  const rest = count === 1 ? 0 : (1 - first) / (count - 1);
  return (fraction) => (at === 0 ? fraction * first : first + (at - 1 + fraction) * rest);
}

/** What is kept of plans, by a measurement of some seconds at most. Where they cannot be measured it is the last one. */
export async function choosePlanIo(plans: readonly FormatPlan[], place: MeasuringPlace): Promise<PlanIo> {
  const { format: last } = plans.at(-1)!;
  const { device } = place;
  if (plans.length === 1 || device === undefined) return { format: last };
  try {
    const measuredMs = await measurePlans(plans, { ...place, device });
    const io = { format: fastestFormat(measuredMs), measuredMs };
    logger.info(`Inputs and outputs of the engine: ${formatPlanIo(io)}`);
    return io;
  } catch (error) {
    if (!(error instanceof NativeError || error instanceof ModelError || error instanceof ShapeError)) throw error;
    logger.warn(`Formats of inputs and outputs cannot be compared, so ${last} is taken: ${error.message}`);
    return { format: last };
  }
}

const MOST_ROUNDS = 25;
const LEAST_ROUNDS = 5;
const BUDGET_MS = 2000;
/** Milliseconds of a round of one plan. */
const ROUND_MS = 10;
const MOST_RUNS = 50;

async function measurePlans(
  plans: readonly FormatPlan[],
  { library, device, versionCompatible, signal }: MeasuringPlace & { readonly device: Device },
): Promise<Partial<Record<IoFormat, number>>> {
  using owned = new DisposableStack();
  const runtime = owned.use(await Runtime.create({ library, device, hostCodeAllowed: versionCompatible }));
  device.makeCurrent();
  // One for all: contexts with a stream each slow each other down by a twentieth, though only one of them runs.
  const stream = owned.use(Stream.create(device));
  const trials: PlanTrial[] = [];
  for (const { plan } of plans) {
    signal?.throwIfAborted();
    const engine = owned.use(await runtime.deserialize(plan, { hardwareCompatible: true }));
    trials.push(owned.use(await PlanTrial.create(engine, stream, device)));
  }
  const runs: number[] = [];
  for (const trial of trials) {
    await trial.measure(LEAST_ROUNDS);
    runs.push(Math.min(MOST_RUNS, Math.ceil(ROUND_MS / (await trial.measure(1)))));
  }
  const samples = trials.map((): number[] => []);
  const started = performance.now();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    if (round >= LEAST_ROUNDS && performance.now() - started > BUDGET_MS) break;
    signal?.throwIfAborted();
    for (const [at, trial] of trials.entries()) samples[at]!.push(await trial.measure(runs[at]!));
  }
  return Object.fromEntries(
    plans.map(({ format }, at) => {
      const sorted = samples[at]!.sort((a, b) => a - b);
      return [format, Number(sorted[sorted.length >> 1]!.toFixed(4))];
    }),
  );
}

function unmeasured({ source }: Engine, found: string): ModelError {
  return new ModelError(message(`measure ${source}`, found), source);
}

/** An engine that runs alone at its typical shapes, as one graph. */
class PlanTrial extends Owner {
  readonly #stream: Stream;
  readonly #context: ExecutionContext;
  readonly #begin: Event;
  readonly #end: Event;
  #graph: GraphExec | undefined;

  private constructor(context: ExecutionContext, stream: Stream, device: Device, owned: DisposableStack) {
    super(`PlanTrial of ${context.engine.label}`, context.engine, owned);
    this.#context = context;
    this.#stream = stream;
    this.#begin = this.owned.use(Event.create(device, { timing: true }));
    this.#end = this.owned.use(Event.create(device, { timing: true }));
  }

  /** @throws {ModelError} If its shapes or formats are not known @throws {NativeError} If it cannot run */
  static async create(engine: Engine, stream: Stream, device: Device): Promise<PlanTrial> {
    using owned = new DisposableStack();
    const context = owned.use(await engine.createContext());
    device.makeCurrent();
    for (const { name, shape, profiles } of engine.inputs) {
      context.tensor(name).setShape(isDynamic(shape) ? profiles[0]!.opt : shape);
    }
    for (const tensor of context.tensors) {
      const { shape, vector } = tensor;
      const { name, dtype, location } = tensor.info;
      if (location === "host") throw unmeasured(engine, `${JSON.stringify(name)} lies on the host`);
      if (isDynamic(shape)) throw unmeasured(engine, `the shape of ${JSON.stringify(name)} is ${formatShape(shape)}`);
      const buffer = owned.use(DeviceBuffer.create(dtype, shape, { device }, vector));
      fill(buffer, 0, { stream });
      tensor.setAddress(buffer.pointer);
    }
    // Once before the capture, so that TensorRT has what it needs.
    context.enqueue(stream);
    stream.synchronize();
    const trial = new PlanTrial(context, stream, device, owned.move());
    trial.#capture();
    return trial;
  }

  /** Run it so often. @returns milliseconds of one run */
  async measure(runs: number): Promise<number> {
    const on = { stream: this.#stream };
    this.#begin.record(on);
    for (let run = 0; run < runs; run++) {
      if (this.#graph === undefined) this.#context.enqueue(this.#stream);
      else this.#graph.launch(on);
    }
    this.#end.record(on);
    await this.#end.wait();
    return this.#end.elapsedMsSince(this.#begin) / runs;
  }

  #capture(): void {
    const on = { stream: this.#stream };
    try {
      using graph = Graph.capture(this.label, () => this.#context.enqueue(this.#stream), on);
      this.#graph = this.owned.use(graph.instantiate());
    } catch (error) {
      // What no graph takes is measured without one.
      if (!(error instanceof NativeError)) throw error;
    }
  }
}
