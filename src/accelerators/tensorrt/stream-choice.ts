/** @module StreamChoice: which stream layout and how many batches in flight suit an engine on a GPU, measured once and kept. */

import { logger } from "../../core/log.ts";
import { allEnded, Owner } from "../../core/resource.ts";
import { formatDuration } from "../../core/units.ts";
import { PinnedBuffer } from "../../cuda/buffers.ts";
import { type Image, imageOf } from "../../image/image.ts";
import type { MachineOptions, Size } from "../../runtime/backend.ts";
import type { StreamLayout } from "../accelerator-options.ts";
import { type CudaModel, type GpuModel, isOutOfMemory, type LoadedModel } from "./gpu-model.ts";
import { GpuSlot } from "./gpu-slot.ts";
import { GpuStreams, type StreamLayoutName } from "./gpu-streams.ts";
import {
  LAYOUTS,
  readStreamChoices,
  type StreamChoice,
  type StreamChoices,
  type TrialFigures,
  writeStreamChoices,
} from "./stream-choice-config.ts";

/** Batches in flight in which layouts are compared where the caller does not say how many. */
const COMPARED_IN_FLIGHT = 4;

/** Most batches in flight in which layouts are compared: the fastest of them stays so with more, and each takes memory. */
const MOST_COMPARED = 16;

/** Batches in flight where nothing is measured: two, so that one is copied while the other computes. */
const UNMEASURED_IN_FLIGHT = 2;

/** Numbers of batches in flight that the best layout is then tried with. */
const COUNTS: readonly number[] = [2, 3, 4, 6, 8];

/** What is simpler, or has fewer in flight, wins unless it is slower by more than this share. */
const TOLERANCE = 0.02;

/** Times of the measurement in milliseconds: of one turn of a layout, and after which no further turn begins. */
const TURN_MS = 60;
const BUDGET_MS = 700;
const TURNS = 3;

/** Batches that last longer keep a GPU busy by themselves: the copies of a frame are a hundredth of them. */
const LONG_BATCH_MS = 20;

/** What a choice is asked for. */
interface StreamRequest {
  readonly options: Pick<MachineOptions, "inFlight"> & { readonly streams: StreamLayout; readonly batch?: number };
  /** Path of the file that keeps the choices; asked for only where something is measured. */
  readonly path: () => string;
}

/**
 * Choose: what the caller says, what was measured before, or what a measurement of about a second says now. Where the
 * device has no memory for a measurement, what takes least of it.
 */
export async function chooseStreams<Params, Output>(
  model: LoadedModel,
  cuda: CudaModel<Params, Output>,
  request: StreamRequest,
): Promise<Pick<StreamChoice, "streams" | "inFlight">> {
  const { streams, inFlight } = request.options;
  // One batch at a time has nothing to share, and one stream orders it without events.
  if (inFlight === 1) return { streams: streams === "auto" ? "one" : streams, inFlight };
  if (streams !== "auto" && inFlight !== undefined) return { streams, inFlight };
  const path = request.path();
  const key = keyOf(model, request);
  const known = (await readStreamChoices(path))[key];
  if (known !== undefined) return known;
  const started = performance.now();
  let choice: StreamChoice;
  try {
    choice = await measure(model, cuda, request);
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    logger.warn(`Stream layouts are not compared, as there is no memory for it: ${error.message}`);
    return { streams: streams === "auto" ? "one" : streams, inFlight: inFlight ?? UNMEASURED_IN_FLIGHT };
  }
  // Another process may have added to the file meanwhile.
  const choices: StreamChoices = { ...(await readStreamChoices(path)), [key]: choice };
  await writeStreamChoices(path, choices);
  const { streams: layout, inFlight: count } = choice;
  const told = choice.figures.map(formatFigures).join("; ");
  logger.info(
    `Streams: "${layout}" with ${count} in flight for ${model.engine.source}, measured in ${formatDuration(performance.now() - started)}: ${told}`,
  );
  return choice;
}

/** Everything a choice depends on beside the plan. */
function keyOf(model: LoadedModel, { options }: StreamRequest): string {
  const { device, zeroCopy, hasGraph, waits, task } = model;
  const batch = imagesOf(model, options);
  const [width, height] = task.usualSize;
  const asked = `${options.streams}, ${options.inFlight ?? "any number"} in flight`;
  const ways = `${zeroCopy === true ? ", zero copy" : ""}${hasGraph ? "" : ", no graph"}`;
  return `${device.name}, ${batch}x${width}x${height}, ${asked}, wait ${waits.mode}${ways}`;
}

function imagesOf({ rows, task }: LoadedModel, { batch = 1 }: StreamRequest["options"]): number {
  return Math.min(batch, rows, task.mostImages);
}

async function measure<Params, Output>(
  model: LoadedModel,
  cuda: CudaModel<Params, Output>,
  { options }: StreamRequest,
): Promise<StreamChoice> {
  using memory = new DisposableStack();
  const images: Image[] = Array(imagesOf(model, options)).fill(trialFrame(model, memory));
  const size = model.task.sizeFor(images);
  const slots = Math.min(options.inFlight ?? COMPARED_IN_FLIGHT, MOST_COMPARED);
  const figures: TrialFigures[] = [];
  let layout: StreamLayoutName;
  {
    using owned = new DisposableStack();
    const trials: StreamTrial<Params, Output>[] = [];
    for (const name of options.streams === "auto" ? LAYOUTS : [options.streams]) {
      const trial = owned.use(new StreamTrial(model, cuda, name, slots, images, size));
      trials.push(trial);
      const batchMs = await trial.warmUp();
      if (batchMs > LONG_BATCH_MS) return unmeasured(name, options.inFlight, batchMs);
    }
    if (trials.length > 1) figures.push(...(await compare(trials, slots)));
    layout = trials.length > 1 ? fastest(figures).streams : trials[0]!.layout;
  }
  if (options.inFlight !== undefined) return { streams: layout, inFlight: options.inFlight, figures };

  using trial = new StreamTrial(model, cuda, layout, Math.max(...COUNTS), images, size);
  await trial.warmUp();
  const counts: TrialFigures[] = [];
  for (const count of COUNTS) counts.push(await trial.measure(count, TURN_MS));
  return { streams: layout, inFlight: fastest(counts).inFlight, figures: [...figures, ...counts] };
}

/** Run layouts in turns. @returns the median turn of each */
async function compare(trials: readonly StreamTrial<unknown, unknown>[], inFlight: number): Promise<TrialFigures[]> {
  const started = performance.now();
  const turns = trials.map((): TrialFigures[] => []);
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [at, trial] of trials.entries()) turns[at]!.push(await trial.measure(inFlight, TURN_MS));
    if (performance.now() - started > BUDGET_MS) break;
  }
  return turns.map(medianFigures);
}

/** The first that is as fast as the fastest, but for the tolerance. @param figures what is preferred first */
export function fastest(figures: readonly TrialFigures[]): TrialFigures {
  const best = Math.max(...figures.map(({ batchesPerSecond }) => batchesPerSecond));
  return figures.find(({ batchesPerSecond }) => batchesPerSecond >= best * (1 - TOLERANCE))!;
}

/** The turn with the median rate. */
export function medianFigures(turns: readonly TrialFigures[]): TrialFigures {
  const sorted = turns.toSorted((a, b) => a.batchesPerSecond - b.batchesPerSecond);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function unmeasured(streams: StreamLayoutName, inFlight: number | undefined, batchMs: number): StreamChoice {
  const alone = { streams, inFlight: 1, batchesPerSecond: 1000 / batchMs, latencyMs: batchMs };
  return { streams, inFlight: inFlight ?? UNMEASURED_IN_FLIGHT, figures: [alone] };
}

function formatFigures({ streams, inFlight, batchesPerSecond, latencyMs }: TrialFigures): string {
  return `${streams} ${inFlight}: ${Math.round(batchesPerSecond)} batches/s, ${formatDuration(latencyMs)} each`;
}

/** The frame of the measurement: what most cameras give. */
const FRAME: Size = [1920, 1080];

/** A made-up frame in page-locked memory. */
function trialFrame({ device, zeroCopy }: LoadedModel, owned: DisposableStack): Image {
  const [width, height] = FRAME;
  const use = zeroCopy === true ? "mapped" : "copy";
  const { data } = owned.use(PinnedBuffer.create("u8", [height, width, 3], device, { use }));
  for (let at = 0; at < data.length; at++) data[at] = (at * 2654435761) >>> 24;
  return imageOf(data, { width, height });
}

/** A layout with slots. */
class StreamTrial<Params, Output> extends Owner {
  readonly layout: StreamLayoutName;
  readonly #images: readonly Image[];
  readonly #size: Size;
  readonly #slots: readonly GpuSlot<Params, Output>[];
  /** Nothing is found in noise with them, so that what is measured is the machine and not the image. */
  readonly #params: Params;
  #settled = 0;
  #latencyMs = 0;

  /** @param slots most batches in flight */
  constructor(
    model: LoadedModel,
    cuda: CudaModel<Params, Output>,
    layout: StreamLayoutName,
    slots: number,
    images: readonly Image[],
    size: Size,
  ) {
    super(`StreamTrial (${layout})`, model.engine);
    this.layout = layout;
    this.#images = images;
    this.#size = size;
    this.#params = model.task.idleParams as Params;
    try {
      const streams = this.owned.use(new GpuStreams(model.engine, model.device, layout, slots));
      const own: GpuModel<Params, Output> = { ...model, cuda, streams, trace: undefined };
      this.#slots = Array.from({ length: slots }, () => this.owned.use(new GpuSlot(own, streams)));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Run each slot twice, so that contexts are made and graphs captured. Where one fails, none runs any more.
   *
   * @returns milliseconds of the quickest batch that ran alone
   */
  async warmUp(): Promise<number> {
    await allEnded(this.#slots.map((slot) => this.#run(slot)));
    let quickest = Number.POSITIVE_INFINITY;
    for (const slot of this.#slots) {
      const started = performance.now();
      await this.#run(slot);
      quickest = Math.min(quickest, performance.now() - started);
    }
    return quickest;
  }

  /** Keep so many batches in flight for a time. */
  async measure(inFlight: number, milliseconds: number): Promise<TrialFigures> {
    this.#settled = 0;
    this.#latencyMs = 0;
    const started = performance.now();
    await allEnded(this.#slots.slice(0, inFlight).map((slot) => this.#runUntil(slot, started + milliseconds)));
    const settled = Math.max(1, this.#settled);
    return {
      streams: this.layout,
      inFlight,
      batchesPerSecond: this.#settled / ((performance.now() - started) / 1000),
      latencyMs: this.#latencyMs / settled,
    };
  }

  async #runUntil(slot: GpuSlot<Params, Output>, deadlineMs: number): Promise<void> {
    let now = performance.now();
    while (now < deadlineMs) {
      const started = now;
      await this.#run(slot);
      now = performance.now();
      this.#settled += 1;
      this.#latencyMs += now - started;
    }
  }

  async #run(slot: GpuSlot<Params, Output>): Promise<void> {
    await slot.run(this.#images, this.#size, this.#params);
  }
}
