/**
 * @module Record: what the project promises of one GPU, in one run: the engine as it is loaded, a frame to boxes, frames in flight and
 * JPEG, beside trtexec on the engine of the model as it was exported.
 */

import type { Detector } from "../../src/api/detector.ts";
import { copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { DeviceBuffer } from "../../src/cuda/device-buffer.ts";
import { PinnedBuffer } from "../../src/cuda/pinned-buffer.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { EngineRun, gpuTimes } from "../gpu/engine-runs.ts";
import { overlapOf, tracedRun } from "../gpu/traced-run.ts";
import { runTrtexec, type TrtexecReport } from "../peers/trtexec.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { drive } from "../support/drive.ts";
import { planOf } from "../support/engines.ts";
import { keep, promise } from "../support/keep.ts";
import { nvjpegRate } from "../support/nvjpeg-rate.ts";
import { nv12Of, pageLocked } from "../support/page-locked.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf, summarise } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

const ROUNDS = 5;
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
/** A run of two in flight whose copies are looked at takes so long. */
const TRACED_MS = 400;
const JPEG_IN_FLIGHT = 128;
/** nvJPEG is set up with the first file, which takes a second and a half; then every slot takes its memory. */
const NVJPEG_WARM_UP_MS = 2500;

/** Milliseconds, by GPU events. */
interface Floors {
  readonly engine: number[];
  readonly exported: number[];
  readonly rgb: number[];
  readonly nv12: number[];
}

/** The engines, and the copies of whole frames, each alone, in turns, on one stream: see `EngineRunOptions.stream`. */
async function measureFloors(
  context: StudyContext,
  output: StudyOutput,
  frame: PinnedBuffer<"u8">,
  device: Device,
): Promise<Floors> {
  const floors: Floors = { engine: [], exported: [], rgb: [], nv12: [] };
  const count = context.options.isQuick ? 40 : 200;
  const { exportedEngine } = context.options;
  using owned = new DisposableStack();
  const runtime = owned.use(await Runtime.create({ device }));
  const stream = owned.use(Stream.create(device));
  const open = async (plan: Uint8Array, source: string): Promise<EngineRun> => {
    const engine = owned.use(await runtime.deserialize(plan, { source }));
    const shape = engine.inputs[0]!.shape.map((side, axis) => (side > 0 ? side : axis === 0 ? 1 : 640));
    const run = owned.use(await EngineRun.create(device, engine, { shape, stream }));
    run.times("graph", 200);
    return run;
  };
  const engine = await open(await planOf(context, device), "the engine");
  const exported =
    exportedEngine === undefined ? undefined : await open(await Bun.file(exportedEngine).bytes(), exportedEngine);
  const target = owned.use(DeviceBuffer.create("u8", [frame.byteLength], { device }));
  const copies = (byteLength: number): number[] =>
    gpuTimes(device, stream, { warmUp: 10, count }, () => copyToDevice(target, frame, { stream, byteLength }));
  await inRounds(
    [
      { run: () => void floors.engine.push(...engine.times("graph", count)) },
      { run: () => void floors.exported.push(...(exported?.times("graph", count) ?? [])) },
      { run: () => void floors.rgb.push(...copies(frame.byteLength)) },
      { run: () => void floors.nv12.push(...copies(frame.byteLength / 2)) },
    ],
    ROUNDS,
  );
  keep(output, "engine", "engine alone, CUDA graph", "ms", floors.engine);
  keep(output, "exported", "engine of the model as exported, CUDA graph", "ms", floors.exported);
  keep(output, "copy-rgb", "copy of all of an RGB frame", "ms", floors.rgb);
  keep(output, "copy-nv12", "copy of all of an NV12 frame", "ms", floors.nv12);
  return floors;
}

/** One frame at a time: its milliseconds from the call to the boxes. */
async function measureFrames(
  context: StudyContext,
  output: StudyOutput,
  frames: readonly (readonly [id: string, name: string, frame: Image])[],
): Promise<number[][]> {
  await using detector = await context.load({ inFlight: 1 });
  const each = context.options.frames ?? (context.options.isQuick ? 2000 : 10_000);
  const all = frames.map((): number[] => []);
  const turn = async (at: number, count: number): Promise<void> => {
    for (let frame = 0; frame < count; frame++) {
      const started = performance.now();
      await detector.detect(frames[at]![2]);
      all[at]!.push(performance.now() - started);
    }
  };
  for (const at of frames.keys()) await turn(at, Math.min(each, 300));
  for (const list of all) list.length = 0;
  const contestants = [...frames.keys()].map((at) => ({ run: () => turn(at, Math.ceil(each / ROUNDS)) }));
  await inRounds(contestants, ROUNDS, (round) => {
    context.progress(0.1 + (round / ROUNDS) * 0.3, `${each} frames of each kind, round ${round + 1} of ${ROUNDS}`);
    return true;
  });
  for (const [at, [id, name]] of frames.entries()) keep(output, id, name, "ms", all[at]!);
  return all;
}

/** Frames in flight from one JS thread: frames per second, in turns. */
async function measureRates(context: StudyContext, output: StudyOutput, frame: Image): Promise<Map<number, number>> {
  await using stack = new AsyncDisposableStack();
  const loaded: { inFlight: number; detector: Detector; rates: number[] }[] = [];
  for (const inFlight of COUNTS) {
    loaded.push({ inFlight, detector: stack.use(await context.load({ inFlight })), rates: [] });
  }
  const durationMs = context.durationMs / ROUNDS;
  await inRounds(
    loaded.map(({ inFlight, detector, rates }) => ({
      run: async () => {
        rates.push(...(await drive(detector, frame, { inFlight, durationMs, warmUp: 20 })).rates);
      },
    })),
    ROUNDS,
    (round) => {
      context.progress(0.4 + (round / ROUNDS) * 0.2, `frames in flight, round ${round + 1} of ${ROUNDS}`);
      return true;
    },
  );
  for (const { inFlight, rates } of loaded) keep(output, `rate-${inFlight}`, `${inFlight} in flight`, "fps", rates);
  return new Map(loaded.map(({ inFlight, rates }) => [inFlight, medianOf(rates)]));
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

/** JPEG to boxes, and nvJPEG alone. */
async function measureJpeg(context: StudyContext, output: StudyOutput): Promise<void> {
  const { bytes } = context.image;
  await using detector = await context.load({ inFlight: JPEG_IN_FLIGHT, jpeg: "gpu" });
  const run = (durationMs: number): ReturnType<typeof drive> =>
    drive(detector, bytes, { inFlight: JPEG_IN_FLIGHT, durationMs, warmUp: 2 });
  await run(NVJPEG_WARM_UP_MS);
  const { rates } = await run(context.durationMs);
  keep(output, "jpeg", `JPEG to boxes, ${JPEG_IN_FLIGHT} in flight`, "fps", rates);
  promise(output, "JPEG to boxes", medianOf(rates), { least: LEAST_JPEG_RATE, unit: "fps" });
  const alone = await nvjpegRate(bytes, context.durationMs);
  if (typeof alone === "string") output.leftOut.push(`nvJPEG alone: ${alone}`);
  else keep(output, "nvjpeg", "nvJPEG alone, by this library", "fps", alone);
}

function conclude(output: StudyOutput, floors: Floors, rgb: readonly number[], nv12: readonly number[]): void {
  const engine = medianOf(floors.engine);
  const copy = medianOf(floors.rgb);
  const { p50, p99 } = summarise(rgb);
  const most = engine + copy + MOST_OVERHEAD_MS;
  promise(output, "engine alone by our graph", engine, { most: MOST_ENGINE_MS, unit: "ms" });
  promise(output, "RGB frame to boxes: p50 at most engine + copy of the frame + 0.04 ms", p50, { most, unit: "ms" });
  promise(output, `RGB frame to boxes: p99 at most p50 + 0.06 ms over ${rgb.length} frames`, p99, {
    most: p50 + MOST_SPREAD_MS,
    unit: "ms",
  });
  promise(output, "NV12 frame to boxes: p50 at most that of RGB less half the copy", medianOf(nv12), {
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
    const { image } = context.image;
    using owned = new DisposableStack();
    const device = owned.use(Device.open(0));
    const pinned = owned.use(PinnedBuffer.create("u8", [image.data.length], device));
    pinned.data.set(image.data);
    const frame = imageOf(pinned.data, image);
    const nv12 = pageLocked(nv12Of(image), owned);
    context.progress(0, "engines and copies alone");
    const floors = await measureFloors(context, output, pinned, device);
    const [rgbMs, nv12Ms] = await measureFrames(context, output, [
      ["rgb", "RGB frame, page-locked", frame],
      ["nv12", "NV12 frame, page-locked", nv12],
      ["ordinary", "RGB frame, ordinary memory", image],
    ]);
    conclude(output, floors, rgbMs!, nv12Ms!);
    const overlapped = overlapOf(await tracedRun(context.source!, frame, { inFlight: 2, durationMs: TRACED_MS }));
    if (overlapped !== undefined) {
      const share = formatWithUnit(overlapped, "share");
      output.findings.push(
        `With two frames in flight ${share} of the copies' time another frame is computed meanwhile.`,
      );
    }
    const rates = await measureRates(context, output, frame);
    const most = Math.max(...COUNTS);
    promise(output, `frames/s with ${most} in flight`, rates.get(most)!, { least: LEAST_RATE, unit: "fps" });
    await besideTrtexec(context, output, rates);
    context.progress(0.8, "JPEG");
    await measureJpeg(context, output);
  },
};
