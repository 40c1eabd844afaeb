/**
 * @module Frame: what the time of one frame, and how far it spreads, follow from: each way in a process of its own, in turns, so that what
 * changes from process to process is told from what changes from frame to frame.
 */

import { availableParallelism } from "node:os";
import type { Cell } from "../result.ts";
import type { Study } from "../study.ts";
import { keep } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, quantileOf } from "../support/samples.ts";
import { FRAME_STAGES, measureApart, type PartAsk, type ProcessForm } from "./record-parts.ts";

/** Processes of each way. */
const ROUNDS = 3;
const FRAMES = 2500;
/** What the run of record allows the 99th percentile beyond the median. */
const SPREAD_MS = 0.06;
/** A frame that took so long was held up by a collection of garbage, or by the system. */
const HELD_UP_MS = 1;

/** One way a frame is run. */
interface Way extends Pick<PartAsk, "part" | "options">, ProcessForm {
  readonly id: string;
  readonly name: string;
}

/** Cores for the process, away from the first one, which takes most interrupts. */
function coresOf(first: number, count: number): Pick<Way, "before"> {
  const last = Math.min(availableParallelism() - 1, first + count - 1);
  return { before: ["taskset", "-c", `${Math.min(first, last)}-${last}`] };
}

const WAYS: readonly Way[] = [
  { part: "rgb", id: "rgb", name: "RGB, copied" },
  { part: "rgb-mapped", id: "rgb-in-place", name: "RGB, read in place", options: { zeroCopy: true } },
  { part: "nv12", id: "nv12", name: "NV12, copied" },
  { part: "nv12-mapped", id: "nv12-in-place", name: "NV12, read in place" },
  { part: "rgb", id: "rgb-poll", name: "RGB, `wait: poll`", options: { wait: "poll" } },
  { part: "rgb", id: "rgb-4-cores", name: "RGB, on 4 cores", ...coresOf(4, 4) },
  { part: "rgb", id: "rgb-1-marker", name: "RGB, one thread for GC", variables: { BUN_JSC_numberOfGCMarkers: "1" } },
  { part: "rgb", id: "rgb-stop-gc", name: "RGB, GC while JS stands", variables: { BUN_JSC_useConcurrentGC: "0" } },
];

/** Milliseconds by stage, in the order of {@linkcode FRAME_STAGES}, of a process. */
type Round = readonly (readonly number[])[];

function percentile(samples: readonly number[], share: number): number {
  return quantileOf(Float64Array.from(samples).sort(), share);
}

/** Where time was spent in each process of a way: the median of each stage, and how far its 99th percentile is from that. */
function stageRows({ name }: Way, rounds: readonly Round[]): Cell[][] {
  return rounds.map((stages, at) => [
    `${name}, process ${at + 1}`,
    ...stages.flatMap((samples) => [medianOf(samples), percentile(samples, 0.99) - medianOf(samples)]),
  ]);
}

/** The figures of a way: of each process, and of all together. */
function rowOf({ name }: Way, given: readonly Round[]): Cell[] {
  const rounds = given.map(([latencies]) => latencies!);
  const all = Float64Array.from(rounds.flat()).sort();
  const medians = rounds.map(medianOf);
  const p50 = quantileOf(all, 0.5);
  const spreads = rounds.map((samples, at) => percentile(samples, 0.99) - medians[at]!);
  return [
    name,
    p50,
    quantileOf(all, 0.99) - p50,
    medians.map((median) => median.toFixed(3)).join(", "),
    spreads.map((spread) => spread.toFixed(3)).join(", "),
    (all.filter((ms) => ms > p50 + SPREAD_MS).length / all.length) * 100,
    all.filter((ms) => ms > HELD_UP_MS).length,
  ];
}

/** What one frame's time follows from. */
export const frame: Study = {
  name: "frame",
  title: "One frame, in several ways",
  question: "What do the median and the 99th percentile of one frame's time follow from?",
  needs: ["gpu", "model"],
  async run(context, output) {
    const { source, image, durationMs, options } = context;
    const count = Math.ceil((options.frames ?? (options.isQuick ? FRAMES / 5 : FRAMES * ROUNDS)) / ROUNDS);
    const found = new Map<Way, Round[]>(WAYS.map((way) => [way, []]));
    let done = 0;
    const measure = async (way: Way): Promise<void> => {
      const { id, name, part, options: own = {}, before, variables } = way;
      context.progress(done++ / (WAYS.length * ROUNDS), name);
      if (output.leftOut.some((line) => line.startsWith(`${id}:`))) return;
      try {
        const ask = { part, source: source!, image: image.path, count, durationMs, hasStages: true, options: own };
        const samples = await measureApart(ask, { ...(before && { before }), ...(variables && { variables }) });
        found.get(way)!.push(FRAME_STAGES.map((_, stage) => samples.slice(stage * count, (stage + 1) * count)));
      } catch (error) {
        output.leftOut.push(`${id}: ${(error as Error).message}`);
      }
    };
    await inRounds(
      WAYS.map((way) => ({ run: () => measure(way) })),
      ROUNDS,
      () => !context.isOver(),
    );
    const measured = [...found].filter(([, rounds]) => rounds.length > 0);
    for (const [{ id, name }, rounds] of measured) {
      const latencies = rounds.flatMap(([first]) => first!);
      keep(output, id, name, "ms", latencies);
    }
    output.blocks.push({
      kind: "table",
      title: "Ways of one frame",
      note: "Milliseconds, one frame at a time, page-locked. The spread is from the median to the 99th percentile.",
      columns: ["", "p50", "spread", "p50 by process", "spread by process", "% over p50 + 0.06", "over 1 ms"],
      rows: measured.map(([way, rounds]) => rowOf(way, rounds)),
    });
    output.blocks.push({
      kind: "table",
      title: "Stages of one frame by process",
      note: "Medians in milliseconds, and behind each how far its 99th percentile is from it. What all takes beyond its stages is JS around them.",
      columns: ["", ...FRAME_STAGES.flatMap((stage) => [stage, "spread"])],
      rows: measured.flatMap(([way, rounds]) => stageRows(way, rounds)),
    });
  },
};
