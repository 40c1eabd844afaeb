/** @module Latency: one frame at a time, from pixels, bytes and a file, and what its time is made of. */

import type { Detector } from "../../src/api/detector.ts";
import { DeviceBuffer, PinnedBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice, copyToHost } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import type { ImageSource } from "../../src/image/source.ts";
import type { FrameRecord, StageTimings } from "../../src/runtime/backend.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { EngineRun, gpuTimes } from "../gpu/engine-runs.ts";
import { tracedRun } from "../gpu/traced-run.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { planOf } from "../support/engines.ts";
import { keep, promise } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, summarise } from "../support/samples.ts";

const ROUNDS = 10;
const STAGES = ["decode", "preprocess", "infer", "postprocess"] as const satisfies readonly (keyof StageTimings)[];
/** What launching, the kernels around the engine, waiting and JS may add to engine and copy, in milliseconds. */
const MOST_OVERHEAD_MS = 0.08;
const MOST_SPREAD_MS = 0.1;
/** Bytes of the kept rows of one image that come back: 300 of 24 bytes, and the header. */
const ROWS_BYTES = 7216;

/** A way a frame comes, and what its samples are. */
interface Way {
  readonly id: string;
  readonly name: string;
  readonly source: ImageSource;
  readonly latencies: number[];
  readonly stages: Readonly<Record<keyof StageTimings, number[]>>;
}

function wayOf(id: string, name: string, source: ImageSource): Way {
  return { id, name, source, latencies: [], stages: { decode: [], preprocess: [], infer: [], postprocess: [] } };
}

async function detectSome(detector: Detector, way: Way, count: number): Promise<void> {
  const { latencies, stages } = way;
  for (let at = 0; at < count; at++) {
    const started = performance.now();
    const { timing } = await detector.detect(way.source);
    latencies.push(performance.now() - started);
    for (const stage of STAGES) stages[stage].push(timing[stage]);
  }
}

function framesOf({ options, kind }: StudyContext): number {
  return options.frames ?? (kind === "gpu" ? (options.isQuick ? 2000 : 10_000) : options.isQuick ? 20 : 150);
}

/** Milliseconds on the GPU of what a frame needs, each alone, by events. */
interface RawTimes {
  readonly graph: number[];
  readonly plain: number[];
  readonly copyIn: number[];
  readonly copyOut: number[];
  /** Whole frames by the GPU's own record, page-locked and one at a time. */
  readonly frames: FrameRecord[];
}

async function measureRaw(context: StudyContext, pinned: PinnedBuffer<"u8">, device: Device): Promise<RawTimes> {
  const times: RawTimes = { graph: [], plain: [], copyIn: [], copyOut: [], frames: [] };
  const perRound = context.options.isQuick ? 40 : 200;
  using runtime = await Runtime.create({ device });
  using engine = await runtime.deserialize(await planOf(context, device), { source: context.source ?? "the engine" });
  const input = engine.inputs[0]?.shape ?? [];
  const shape = input.map((dim, axis) => (dim > 0 ? dim : axis === 0 ? 1 : 640));
  using stream = Stream.create(device);
  using run = await EngineRun.create(device, engine, { shape, stream });
  using target = DeviceBuffer.create("u8", [pinned.byteLength], { device });
  using rows = PinnedBuffer.create("u8", [ROWS_BYTES], device);
  const copies = { warmUp: 10, count: perRound };
  run.times("graph", 200);
  run.times("plain", 200);
  await inRounds(
    [
      { run: () => void times.graph.push(...run.times("graph", perRound)) },
      { run: () => void times.plain.push(...run.times("plain", perRound)) },
      {
        run: () =>
          void times.copyIn.push(...gpuTimes(device, stream, copies, () => copyToDevice(target, pinned, { stream }))),
      },
      {
        run: () =>
          void times.copyOut.push(
            ...gpuTimes(device, stream, copies, () => copyToHost(rows, target, { stream, byteLength: ROWS_BYTES })),
          ),
      },
    ],
    ROUNDS,
  );
  const durationMs = Math.min(1000, context.durationMs);
  times.frames.push(...(await tracedRun(context.source!, imageOf(pinned.data, context.image.image), { durationMs })));
  return times;
}

async function measureWays(context: StudyContext, ways: readonly Way[]): Promise<void> {
  await using detector = await context.load({ inFlight: 1 });
  const frames = framesOf(context);
  for (const way of ways) await detectSome(detector, way, Math.min(frames, context.kind === "gpu" ? 200 : 3));
  for (const { latencies, stages } of ways) for (const list of [latencies, ...Object.values(stages)]) list.length = 0;
  const first = ways[0]!;
  const contestants = ways.map((way) => ({
    // The ways other than the first, which a promise rests on, do with fewer frames.
    run: () =>
      detectSome(detector, way, Math.max(1, Math.round((way === first ? frames : Math.min(frames, 2000)) / ROUNDS))),
  }));
  await inRounds(contestants, ROUNDS, (round) => {
    context.progress(round / ROUNDS, `round ${round + 1} of ${ROUNDS}, ${frames} frames`);
    return !context.isOver() || round === 0;
  });
}

/** Medians of the parts of a way; on the GPU, the engine and the copies as measured alone, and the rest as what remains. */
function partsOf({ stages }: Way, raw: RawTimes | undefined): { stage: string; value: number }[] {
  if (raw === undefined) return STAGES.map((stage) => ({ stage, value: medianOf(stages[stage]) }));
  const { copyIn, infer, kernels, copyOut } = gpuParts(raw);
  const known = copyIn + infer + kernels + copyOut;
  return [
    { stage: "decode", value: medianOf(stages.decode) },
    { stage: "JS before the launch", value: medianOf(stages.preprocess) },
    { stage: "copy in", value: copyIn },
    { stage: "preprocess and postprocess", value: kernels },
    { stage: "infer", value: infer },
    { stage: "copy out", value: copyOut },
    { stage: "launch and wait", value: Math.max(0, medianOf(stages.infer) - known) },
    { stage: "rows to JS", value: medianOf(stages.postprocess) },
  ];
}

/** Medians of what the GPU does for a frame; the kernels around the engine are what computing takes beyond it. */
function gpuParts(raw: RawTimes): { copyIn: number; infer: number; kernels: number; copyOut: number } {
  const infer = medianOf(raw.graph);
  const length = (pick: (record: FrameRecord) => readonly [number, number]): number =>
    medianOf(raw.frames.map((record) => pick(record)[1] - pick(record)[0]));
  if (raw.frames.length === 0)
    return { copyIn: medianOf(raw.copyIn), infer, kernels: 0, copyOut: medianOf(raw.copyOut) };
  return {
    copyIn: length(({ copyInMs }) => copyInMs),
    infer,
    kernels: Math.max(0, length(({ computeMs }) => computeMs) - infer),
    copyOut: length(({ copyOutMs }) => copyOutMs),
  };
}

function conclude(context: StudyContext, output: StudyOutput, ways: readonly Way[], raw: RawTimes | undefined): void {
  for (const { id, name, latencies } of ways) keep(output, id, name, "ms", latencies);
  output.blocks.push({
    kind: "distribution",
    title: "From the call to the boxes",
    note: "Every frame's time, one at a time: the solid mark is the median, the dashed one the 99th percentile. Heights are square roots, so that rare slow frames stay visible.",
    measurements: ways.map(({ id }) => id),
  });
  output.blocks.push({
    kind: "stages",
    title: "What the time is made of",
    note:
      context.kind === "gpu"
        ? "Medians. Copies and computing are from the GPU's own record of whole frames, the engine from runs of its own; what computing takes beyond the engine are the kernels before and after it, and what the whole takes beyond all that is launch and wait."
        : "Medians of each stage. Inference is ONNX Runtime's Run, off the JS thread.",
    unit: "ms",
    bars: ways.map((way) => ({
      name: way.name,
      parts: partsOf(way, raw).filter(({ value }) => value > 0.0005),
    })),
  });
  const { p50, p99 } = summarise(ways[0]!.latencies);
  if (raw === undefined) return;
  keep(output, "raw-graph", "engine alone, CUDA graph", "ms", raw.graph);
  keep(output, "raw-plain", "engine alone, no graph", "ms", raw.plain);
  keep(output, "copy-in", "copy of the frame, page-locked", "ms", raw.copyIn);
  keep(output, "copy-out", "copy of the kept rows", "ms", raw.copyOut);
  output.blocks.push({
    kind: "distribution",
    title: "The GPU's own time",
    note: "By events around each piece, alone on the card: the floor under everything above.",
    measurements: ["raw-graph", "raw-plain", "copy-in", "copy-out"],
  });
  const floor = medianOf(raw.graph) + medianOf(raw.copyIn);
  output.findings.push(
    `Pre-processing, head, NMS, launch, wait and JS add ${(p50 - floor).toFixed(3)} ms to engine and copy at the median.`,
  );
  promise(output, "decoded frame to boxes: p50 at most engine with graph + copy + 0.08 ms", p50, {
    most: floor + MOST_OVERHEAD_MS,
    unit: "ms",
  });
  promise(output, `decoded frame to boxes: p99 at most p50 + 0.1 ms over ${ways[0]!.latencies.length} frames`, p99, {
    most: p50 + MOST_SPREAD_MS,
    unit: "ms",
  });
}

/** One frame at a time. */
export const latency: Study = {
  name: "latency",
  title: "Latency: one frame at a time",
  question: "How long does one image take, as pixels, as JPEG bytes and as a file, and where does that time go?",
  needs: ["model"],
  async run(context, output) {
    const { kind } = context;
    const { image, bytes, path } = context.image;
    const rest = [wayOf("bytes", "JPEG bytes", bytes), wayOf("file", "file", path)];
    if (kind === "cpu") {
      const ways = [wayOf("decoded", "decoded frame", image), ...rest];
      await measureWays(context, ways);
      conclude(context, output, ways, undefined);
      return;
    }
    using device = Device.open(0);
    using pinned = PinnedBuffer.create("u8", [image.data.length], device);
    pinned.data.set(image.data);
    const frame: Image = imageOf(pinned.data, image);
    const ways = [
      wayOf("decoded", "decoded, page-locked", frame),
      wayOf("pageable", "decoded, ordinary", image),
      ...rest,
    ];
    context.progress(0, "the engine alone");
    const raw = await measureRaw(context, pinned, device);
    await measureWays(context, ways);
    conclude(context, output, ways, raw);
  },
};
