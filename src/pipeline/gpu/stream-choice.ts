/** @module StreamChoice: which stream layout and how many batches in flight suit an engine on a GPU, measured once and kept. */

import { logger } from "../../core/log.ts";
import { formatDuration } from "../../core/units.ts";
import type { MachineOptions } from "../backend.ts";
import type { CudaModel, LoadedModel } from "./gpu-model.ts";
import type { StreamLayoutName } from "./gpu-streams.ts";
import { isOutOfMemory } from "./memory-shortage.ts";
import {
  readStreamChoices,
  type StreamChoice,
  type StreamChoices,
  type TrialFigures,
  writeStreamChoices,
} from "./stream-choice-config.ts";
import { StreamTrial, TrialFrame } from "./stream-trial.ts";

/** Simplest first. */
const LAYOUTS: readonly StreamLayoutName[] = ["one", "split", "parallel"];

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
export interface StreamRequest {
  readonly options: Pick<MachineOptions, "streams" | "inFlight"> & { readonly batch?: number };
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
  const batch = picturesOf(model, options);
  const [width, height] = task.usualSize;
  const asked = `${options.streams}, ${options.inFlight ?? "any number"} in flight`;
  const ways = `${zeroCopy ? ", zero copy" : ""}${hasGraph ? "" : ", no graph"}`;
  return `${device.name}, ${batch}x${width}x${height}, ${asked}, wait ${waits.mode}${ways}`;
}

function picturesOf({ rows, task }: LoadedModel, { batch = 1 }: StreamRequest["options"]): number {
  return Math.min(batch, rows, task.mostPictures);
}

async function measure<Params, Output>(
  model: LoadedModel,
  cuda: CudaModel<Params, Output>,
  { options }: StreamRequest,
): Promise<StreamChoice> {
  using frame = new TrialFrame(model);
  const images = Array.from({ length: picturesOf(model, options) }, () => frame.image);
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
