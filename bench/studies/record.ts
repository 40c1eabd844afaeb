/**
 * @module Record: what the project promises of one GPU, in one run: the engine as it is loaded, a frame to boxes, frames in flight and
 * JPEG, beside trtexec on the engine of the model as it was exported.
 */

import { runTrtexec, type TrtexecReport } from "../peers/trtexec.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { keep, promise } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, summarise } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";
import { measureApart, type PartAsk } from "./record-parts.ts";

/** Times that every part is measured, in turns. */
const ROUNDS = 3;
/** Of the engine, of this library's graph: 0.45 ms unshaped. */
const MOST_ENGINE_MS = 0.41;
/** What a frame may take beyond the engine and the copy of all of its bytes, and its 99th percentile beyond its median. */
const MOST_OVERHEAD_MS = 0.04;
const MOST_SPREAD_MS = 0.06;
const LEAST_RATE = 6500;
const LEAST_JPEG_RATE = 5100;
/** trtexec enqueues an inference of a stream before the last has ended, so twice its streams are in flight. */
const TRTEXEC_DEPTH = 2;
const COUNTS = [1, 4, 8, 16, 32] as const;
/** With which of them trtexec is to be reached. */
const COMPARED: readonly number[] = [4, 8, 16];
const JPEG_IN_FLIGHT = 128;

/** Those that are measured frame by frame. */
const FRAME_PARTS: readonly string[] = ["rgb", "nv12", "nv12-mapped", "ordinary"] satisfies PartAsk["part"][];

/** A part, and what its samples are called. */
interface NamedPart extends Pick<PartAsk, "part" | "inFlight"> {
  readonly id: string;
  readonly name: string;
  readonly unit: "ms" | "fps";
  /** Measured once: it takes long to start. */
  readonly isOnce?: boolean;
  /** It runs the model as exported. */
  readonly isExported?: boolean;
}

const PARTS: readonly NamedPart[] = [
  { part: "engine", id: "engine", name: "engine alone, CUDA graph", unit: "ms" },
  { part: "engine", id: "exported", name: "engine of the model as exported, CUDA graph", unit: "ms", isExported: true },
  { part: "copy-rgb", id: "copy-rgb", name: "copy of all of an RGB frame", unit: "ms" },
  { part: "copy-nv12", id: "copy-nv12", name: "copy of all of an NV12 frame", unit: "ms" },
  { part: "rgb", id: "rgb", name: "RGB frame, page-locked", unit: "ms" },
  { part: "nv12-mapped", id: "nv12", name: "NV12 frame, page-locked and mapped", unit: "ms" },
  { part: "nv12", id: "nv12-copied", name: "NV12 frame, page-locked", unit: "ms" },
  { part: "ordinary", id: "ordinary", name: "RGB frame, ordinary memory", unit: "ms" },
  ...COUNTS.map((inFlight): NamedPart => {
    return { part: "rate", inFlight, id: `rate-${inFlight}`, name: `${inFlight} in flight`, unit: "fps" };
  }),
  {
    ...{ part: "jpeg", inFlight: JPEG_IN_FLIGHT, id: "jpeg", unit: "fps", isOnce: true },
    name: `JPEG to boxes, ${JPEG_IN_FLIGHT} in flight`,
  },
  { part: "nvjpeg", id: "nvjpeg", name: "nvJPEG alone, by this library", unit: "fps", isOnce: true },
];

const EVENTS = 200;

/** Every part in its own process, in turns. @returns samples by id */
async function measureParts(context: StudyContext, output: StudyOutput): Promise<Map<string, number[]>> {
  const { options, image, durationMs } = context;
  const found = new Map<string, number[]>(PARTS.map(({ id }) => [id, []]));
  const frames = options.frames ?? (options.isQuick ? 2000 : 10_000);
  const rounds = options.isQuick ? 1 : ROUNDS;
  let round = 0;
  let done = 0;
  const measure = async ({ part, inFlight, id, name, isOnce, isExported }: NamedPart): Promise<void> => {
    context.progress((done++ / (PARTS.length * rounds)) * 0.8, `${name}, round ${round + 1} of ${rounds}`);
    const source = isExported === true ? options.exportedEngine : context.source;
    if (source === undefined || (isOnce === true && round > 0)) return;
    const isFrame = FRAME_PARTS.includes(part);
    try {
      const samples = await measureApart({
        ...{ part, source, image: image.path, count: isFrame ? Math.ceil(frames / rounds) : EVENTS },
        durationMs: isOnce === true ? durationMs : durationMs / rounds,
        ...(inFlight === undefined ? {} : { inFlight }),
      });
      found.get(id)!.push(...samples);
    } catch (error) {
      if (isOnce !== true) throw error;
      output.leftOut.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  await inRounds(
    PARTS.map((part) => ({ run: () => measure(part) })),
    rounds,
    (at) => {
      round = at;
      return true;
    },
  );
  for (const { id, name, unit } of PARTS) keep(output, id, name, unit, found.get(id)!);
  return found;
}

/** trtexec on the engine of the model as exported, with as many inferences in flight as ours has frames, and with twice as many. */
async function besideTrtexec(
  context: StudyContext,
  output: StudyOutput,
  rates: ReadonlyMap<number, number>,
): Promise<void> {
  const { trtexec, exportedEngine } = context.options;
  if (trtexec === undefined || exportedEngine === undefined) {
    output.leftOut.push("trtexec: --trtexec names it, and --exported-engine its plan");
    return;
  }
  const seconds = Math.max(1, Math.round(context.durationMs / 1000));
  const measured = new Map<number, TrtexecReport>();
  for (const streams of [...new Set(COUNTS.flatMap((count) => [count, Math.ceil(count / TRTEXEC_DEPTH)]))]) {
    context.progress(0.6, `trtexec, ${streams} streams`);
    const options = { streams, hasGraph: true, hasTransfers: false, seconds };
    measured.set(streams, await runTrtexec(trtexec, exportedEngine, options));
  }
  const alone = measured.get(1)!;
  keep(output, "trtexec", "trtexec on the engine of the model as exported", "ms", [alone.computeMs]);
  output.blocks.push({
    kind: "table",
    title: "Frames in flight beside trtexec on the model as exported",
    note: "trtexec runs the engine alone, without frames, pre-processing, NMS, results or copies. It enqueues the next inference of a stream before the last has ended, so as many are in flight as it has streams, times two. Ours is frames in page-locked memory to boxes.",
    columns: [
      "in flight",
      "ours, frames/s",
      "trtexec, as many in flight",
      "ours, %",
      "trtexec, as many streams",
      "ours, %",
    ],
    rows: [...rates].map(([inFlight, rate]) => {
      const same = measured.get(Math.ceil(inFlight / TRTEXEC_DEPTH))!.rate;
      const twice = measured.get(inFlight)!.rate;
      return [inFlight, rate, same, (rate / same) * 100, twice, (rate / twice) * 100];
    }),
  });
  for (const inFlight of COMPARED) {
    const share = rates.get(inFlight)! / measured.get(inFlight / TRTEXEC_DEPTH)!.rate;
    promise(output, `${inFlight} frames in flight: share of trtexec's rate with as many`, share, {
      least: 1,
      unit: "share",
    });
  }
}

function conclude(output: StudyOutput, found: ReadonlyMap<string, readonly number[]>): void {
  const engine = medianOf(found.get("engine")!);
  const copy = medianOf(found.get("copy-rgb")!);
  const rgb = found.get("rgb")!;
  const { p50, p99 } = summarise(rgb);
  const most = engine + copy + MOST_OVERHEAD_MS;
  promise(output, "engine alone by our graph", engine, { most: MOST_ENGINE_MS, unit: "ms" });
  promise(output, "RGB frame to boxes: p50 at most engine + copy of the frame + 0.04 ms", p50, { most, unit: "ms" });
  promise(output, `RGB frame to boxes: p99 at most p50 + 0.06 ms over ${rgb.length} frames`, p99, {
    most: p50 + MOST_SPREAD_MS,
    unit: "ms",
  });
  promise(output, "NV12 frame to boxes: p50 at most that of RGB less half the copy", medianOf(found.get("nv12")!), {
    most: most - copy / 2,
    unit: "ms",
  });
  output.blocks.push({
    kind: "distribution",
    title: "One frame to boxes",
    note: "Every frame's time, one at a time: the solid mark is the median, the dashed one the 99th percentile. Engines and copies alone are by GPU events.",
    measurements: output.measurements.filter(({ unit }) => unit === "ms").map(({ id }) => id),
  });
}

/** What is promised of one GPU. */
export const record: Study = {
  name: "record",
  title: "The run of record",
  question: "How do a frame, frames in flight and JPEG stand beside the engine's own time, and beside trtexec?",
  needs: ["gpu", "model"],
  async run(context, output) {
    const found = await measureParts(context, output);
    conclude(output, found);
    const { source, image, durationMs } = context;
    const [overlapped] = await measureApart({
      ...{ part: "overlap", source: source!, image: image.path, count: 1, durationMs },
    });
    if (overlapped !== undefined) {
      const share = formatWithUnit(overlapped, "share");
      output.findings.push(
        `With two frames in flight ${share} of the copies' time another frame is computed meanwhile.`,
      );
    }
    const rates = new Map(COUNTS.map((count) => [count, medianOf(found.get(`rate-${count}`)!)]));
    const most = Math.max(...COUNTS);
    promise(output, `frames/s with ${most} in flight`, rates.get(32)!, { least: LEAST_RATE, unit: "fps" });
    await besideTrtexec(context, output, rates);
    const jpeg = found.get("jpeg")!;
    if (jpeg.length > 0) promise(output, "JPEG to boxes", medianOf(jpeg), { least: LEAST_JPEG_RATE, unit: "fps" });
  },
};
