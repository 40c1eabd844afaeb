/** @module Streams: frames in flight, how they share the machine, and the memory they come from. */

import type { Detector } from "../../src/api/detector.ts";
import type { DetectorOptions } from "../../src/api/detector-config.ts";
import type { Image } from "../../src/image/image.ts";
import type { FrameRecord } from "../../src/runtime/backend.ts";
import { idleShareOf, tracedRun, traceTimeline } from "../gpu/traced-run.ts";
import { runTrtexec } from "../peers/trtexec.ts";
import type { TimelineBlock } from "../result.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { type Driven, drive } from "../support/drive.ts";
import { keep, promise } from "../support/keep.ts";
import { kneeOf } from "../support/knee.ts";
import { pageLocked } from "../support/page-locked.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, summarise } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

const ROUNDS = 3;
const HEADS = ["one", "split", "parallel"] as const;
const LAYOUT_NAMES: Readonly<Record<(typeof HEADS)[number], string>> = {
  one: "one stream",
  split: "copy streams apart",
  parallel: "parallel streams",
};
/** Name of the only line without a GPU. */
const CPU_LINE = "CPU";
const TIMELINE_FRAMES = 40;
/** Frames of each slot in a timeline at least. */
const TIMELINE_ROUNDS = 4;
/** Of trtexec's throughput with as many inferences enqueued. */
const LEAST_OF_TRTEXEC = 0.95;
/** trtexec enqueues an inference of a stream before the last has ended, so twice its streams are in flight. */
const TRTEXEC_DEPTH = 2;

/** A way to run frames in flight. */
interface Setting {
  readonly id: string;
  /** Without the number in flight: the name of a line. */
  readonly line: string;
  readonly inFlight: number;
  readonly memory: "page-locked" | "ordinary";
  readonly hasGraph: boolean;
  readonly load: DetectorOptions;
}

/** What was measured of one setting, over all rounds. */
interface Measured {
  readonly setting: Setting;
  /** Milliseconds from call to boxes, one a frame. */
  readonly latencies: number[];
  /** Frames per second, one figure for each 50 ms worth of frames. */
  readonly rates: number[];
  /** The first frames of the first round, as the JS thread saw them. */
  spans: Driven["spans"];
  /** The GPU's own record of a shorter run; empty where there is none. */
  records: FrameRecord[];
}

function settingsFor(context: StudyContext, inFlight: number): Setting[] {
  if (context.kind === "cpu") {
    const load = { inFlight };
    return [{ id: `cpu-${inFlight}`, line: CPU_LINE, inFlight, memory: "ordinary", hasGraph: false, load }];
  }
  return HEADS.flatMap((layout) =>
    [true, false].flatMap((hasGraph) =>
      (["page-locked", "ordinary"] as const).map((memory): Setting => {
        const load: DetectorOptions = { inFlight, streams: layout, graph: hasGraph };
        const line = `${LAYOUT_NAMES[layout]}, ${memory}${hasGraph ? "" : ", no graph"}`;
        return {
          id: `${layout}-${memory}-${hasGraph ? "graph" : "plain"}-${inFlight}`,
          line,
          inFlight,
          memory,
          hasGraph,
          load,
        };
      }),
    ),
  );
}

/** Measure settings in turns, so that a change of the machine's pace falls on all of them. */
async function measure(
  context: StudyContext,
  settings: readonly Setting[],
  frames: Readonly<Record<Setting["memory"], Image>>,
): Promise<Measured[]> {
  await using stack = new AsyncDisposableStack();
  const detectors = new Map<string, Detector>();
  for (const { load } of settings) {
    const key = JSON.stringify(load);
    if (!detectors.has(key)) detectors.set(key, stack.use(await context.load(load)));
  }
  const all = settings.map((setting): Measured => ({ setting, latencies: [], rates: [], spans: [], records: [] }));
  const contestants = all.map((measured) => ({
    run: async () => {
      const { setting } = measured;
      const driven = await drive(detectors.get(JSON.stringify(setting.load))!, frames[setting.memory], {
        inFlight: setting.inFlight,
        durationMs: context.durationMs / ROUNDS,
        warmUp: context.kind === "gpu" ? 20 : 1,
      });
      measured.latencies.push(...driven.latencies);
      measured.rates.push(...driven.rates);
      if (measured.spans.length === 0) measured.spans = driven.spans;
    },
  }));
  await inRounds(contestants, ROUNDS);
  if (context.kind === "cpu") return all;
  const traced = { durationMs: Math.min(500, context.durationMs / ROUNDS) };
  for (const measured of all) {
    const { setting } = measured;
    if (setting.memory !== "page-locked" || !setting.hasGraph) continue;
    measured.records = await tracedRun(context.source!, frames[setting.memory], { ...setting.load, ...traced });
  }
  return all;
}

/** The one with the most frames per second; `undefined` of none. */
function fastestOf(all: readonly Measured[]): Measured | undefined {
  return all.toSorted((a, b) => medianOf(b.rates) - medianOf(a.rates))[0];
}

/** Share of the time in which the GPU computes nothing: by its own record, else where frames do not run side by side. */
function idleShare(measured: Measured, engineMs: number | undefined): number | null {
  const recorded = idleShareOf(measured.records);
  if (recorded !== undefined) return recorded;
  if (engineMs === undefined || measured.setting.load.streams === "parallel") return null;
  return Math.max(0, 1 - (medianOf(measured.rates) * engineMs) / 1000);
}

function report(context: StudyContext, output: StudyOutput, all: readonly Measured[]): void {
  const raw = context.earlier.find(({ name }) => name === "latency")?.measurements.find(({ id }) => id === "raw-graph");
  const engineMs = raw === undefined ? undefined : medianOf(raw.samples);
  for (const { setting, rates, latencies } of all) {
    keep(output, `rate-${setting.id}`, `${setting.line}, ${setting.inFlight} in flight`, "fps", rates);
    keep(output, `latency-${setting.id}`, `${setting.line}, ${setting.inFlight} in flight`, "ms", latencies);
  }
  const lines = [...Map.groupBy(all, ({ setting }) => setting.line)];
  const chart = (
    title: string,
    note: string,
    y: { label: string; unit: "fps" | "ms" },
    value: (one: Measured) => number,
    hasKnee: boolean,
  ): void => {
    output.blocks.push({
      kind: "lines",
      title,
      note,
      x: { label: "frames in flight", scale: "log2" },
      y,
      lines: lines.map(([name, measured]) => {
        const points = measured.map((one) => ({ x: one.setting.inFlight, y: value(one) }));
        const knee = hasKnee ? kneeOf(points) : undefined;
        return { name, points, ...(knee === undefined ? {} : { knee }) };
      }),
    });
  };
  chart(
    "Throughput",
    "Frames per second from one JS thread, median over 50 ms worth of frames. The ring marks the knee: beyond it a step brings less than a quarter of what scaling in proportion would.",
    { label: "throughput", unit: "fps" },
    ({ rates }) => medianOf(rates),
    true,
  );
  chart(
    "What it costs in latency",
    "The 99th percentile from call to boxes: frames in flight wait for each other once the machine is full.",
    { label: "p99 latency", unit: "ms" },
    ({ latencies }) => summarise(latencies).p99,
    false,
  );
  output.blocks.push({
    kind: "table",
    title: "All settings",
    note: "The idle share is the time in which the GPU computed for no frame, by events, in a shorter run of its own; where there is no such record, 1 − throughput × the engine's own time from the study latency.",
    columns: ["setting", "in flight", "frames/s", "p50 ms", "p99 ms", "GPU idle %"],
    rows: all.map((one) => {
      const { p50, p99 } = summarise(one.latencies);
      const idle = idleShare(one, engineMs);
      return [one.setting.line, one.setting.inFlight, medianOf(one.rates), p50, p99, idle === null ? null : idle * 100];
    }),
  });
  const best = fastestOf(all)!;
  output.findings.push(
    `Fastest: ${best.setting.line} with ${best.setting.inFlight} in flight, ${formatWithUnit(medianOf(best.rates), "fps")}.`,
  );
  for (const one of timelineChoice(all)) output.blocks.push(timelineOf(one));
}

/** A run on a time axis: by the GPU's own record where there is one. */
function timelineOf({ setting, records, spans }: Measured): TimelineBlock {
  const title = `Timeline: ${setting.line}, ${setting.inFlight} in flight`;
  if (records.length > 0) {
    return {
      kind: "timeline",
      title,
      note: "Frames out of the middle of a run, by GPU events on the clock of the JS thread; recording them costs some 10 µs a frame. Neighbouring frames differ in shade.",
      ...traceTimeline(records, Math.max(TIMELINE_FRAMES, setting.inFlight * TIMELINE_ROUNDS)),
    };
  }
  return {
    kind: "timeline",
    title,
    note: 'The first frames as the JS thread saw them, a lane for each frame in flight. "infer" is from the launch to the end of all work on the GPU, or ONNX Runtime\'s run.',
    lanes: Array.from({ length: setting.inFlight }, (_, lane) => `frame slot ${lane + 1}`),
    spans,
  };
}

/**
 * Of every layout with page-locked memory and a graph, and of the CPU: 3 or 4 frames in flight, else the most there are. Of
 * parallel streams the most in flight as well, where frames share lanes and one stream copies ahead for all.
 */
function timelineChoice(all: readonly Measured[]): Measured[] {
  const shown = all.filter(({ setting: { line, memory, hasGraph } }) => {
    return line === CPU_LINE || (hasGraph && memory === "page-locked");
  });
  return [...Map.groupBy(shown, ({ setting }) => setting.line).values()]
    .flatMap((group) => {
      const few = group.find(({ setting: { inFlight } }) => inFlight === 3 || inFlight === 4);
      const most = group.at(-1)!;
      return few === undefined || most.setting.load.streams === "parallel" ? [few ?? most, most] : [few];
    })
    .filter((one, at, chosen) => chosen.indexOf(one) === at);
}

/** Put our rates beside trtexec's of the same plan, with as many streams as frames in flight and with half as many. */
async function besideTrtexec(context: StudyContext, output: StudyOutput, all: readonly Measured[]): Promise<void> {
  const { options } = context;
  const source = options.exportedEngine ?? context.source;
  if (options.trtexec === undefined || source === undefined || /\.onnx$/i.test(source)) {
    const why = options.trtexec === undefined ? "it is not there: --trtexec names it" : "it needs the plan: --engine";
    output.leftOut.push(`trtexec beside frames in flight: ${why}`);
    return;
  }
  const seconds = Math.max(1, Math.round(context.durationMs / 1000));
  const rows: (string | number | null)[][] = [];
  // The promise is about the most streams with as many frames of ours in flight as trtexec has inferences.
  let widest: { streams: number; share: number } | undefined;
  for (const streams of [...new Set(all.map(({ setting }) => setting.inFlight))]) {
    const alone = await runTrtexec(options.trtexec, source, { streams, hasGraph: true, hasTransfers: false, seconds });
    const whole = await runTrtexec(options.trtexec, source, { streams, hasGraph: true, hasTransfers: true, seconds });
    for (const inFlight of [streams, streams * TRTEXEC_DEPTH]) {
      const ours = fastestOf(all.filter(({ setting }) => setting.inFlight === inFlight));
      if (ours === undefined) continue;
      const rate = medianOf(ours.rates);
      const share = rate / alone.rate;
      rows.push([
        ours.setting.line,
        inFlight,
        rate,
        streams,
        alone.rate,
        share * 100,
        whole.rate,
        (rate / whole.rate) * 100,
      ]);
      if (inFlight === streams * TRTEXEC_DEPTH && (widest === undefined || streams > widest.streams))
        widest = { streams, share };
    }
  }
  output.blocks.push({
    kind: "table",
    title: "Beside trtexec on the same plan",
    note: "trtexec runs the engine alone, without frames, pre-processing, NMS or results; once without any transfer, once with its input and output tensors copied. It enqueues the next inference of a stream before the last has ended, so twice as many are in flight as it has streams. Ours is frames to boxes.",
    columns: [
      "ours",
      "in flight",
      "ours, frames/s",
      "trtexec's streams",
      "trtexec, no transfers",
      "ours of it, %",
      "trtexec, transfers",
      "ours of it, %",
    ],
    rows,
  });
  if (widest === undefined) return;
  const claim = `frames in flight: share of trtexec's throughput with ${widest.streams} streams (${widest.streams * TRTEXEC_DEPTH} inferences enqueued), no transfers`;
  promise(output, claim, widest.share, { least: LEAST_OF_TRTEXEC, unit: "share" });
}

/** Frames in flight. */
export const streams: Study = {
  name: "streams",
  title: "Frames in flight: memory and streams",
  question:
    "How many frames per second, at what latency, with how many in flight, on which streams and from which memory?",
  needs: ["model"],
  async run(context, output) {
    const { kind, options, image } = context;
    const counts = kind === "gpu" ? (options.isQuick ? [1, 4, 8] : [1, 2, 3, 4, 8, 16, 32]) : [1, 2];
    using owned = new DisposableStack();
    const frames = { ordinary: image.image, "page-locked": image.image };
    if (kind === "gpu") frames["page-locked"] = pageLocked(image.image, owned);
    const all: Measured[] = [];
    for (const [at, inFlight] of counts.entries()) {
      if (context.isOver()) {
        output.leftOut.push(`${inFlight} in flight: the minutes of --max-minutes were over`);
        continue;
      }
      context.progress(at / counts.length, `${inFlight} in flight`);
      all.push(...(await measure(context, settingsFor(context, inFlight), frames)));
    }
    if (all.length > 0) report(context, output, all);
    if (kind === "gpu" && options.hasPeers) await besideTrtexec(context, output, all);
  },
};
