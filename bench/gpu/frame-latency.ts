/**
 * @module One decoded frame to boxes on the GPU, beside the engine's raw time, the frame's own copy, and trtexec.
 *
 * Usage: `bun bench/gpu/frame-latency.ts PLAN [--frames 10000] [--size 1920x1080] [--trtexec PATH] [--json FILE]`.
 *
 * Raw time is the engine alone as a CUDA graph, by events. trtexec, where it is given, runs the same plan in between.
 */

import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { DeviceBuffer } from "../../src/cuda/device-buffer.ts";
import { Event } from "../../src/cuda/event.ts";
import { Graph } from "../../src/cuda/graph.ts";
import { PinnedBuffer } from "../../src/cuda/pinned-buffer.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { Detector } from "../../src/detector/detector.ts";
import { imageOf } from "../../src/image/image.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { Samples } from "../support/samples.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    frames: { type: "string", default: "10000" },
    size: { type: "string", default: "1920x1080" },
    trtexec: { type: "string" },
    json: { type: "string" },
  },
});
const [plan] = positionals;
if (plan === undefined) throw new Error("Usage: bun bench/gpu/frame-latency.ts PLAN [--frames N] [--trtexec PATH]");
const frames = Number(values.frames);
const [width = 1920, height = 1080] = values.size.split("x").map(Number);
const RAW_ROUNDS = 1000;
const WARM_UP = 200;

using device = Device.open(0);
using stream = Stream.create(device);
const on = { stream };

/** GPU milliseconds of what is enqueued, by events, once a call. */
async function gpuTimes(samples: Samples, rounds: number, enqueue: () => void): Promise<void> {
  using start = Event.create(device, { purpose: "timing" });
  using end = Event.create(device, { purpose: "timing" });
  for (let round = -WARM_UP; round < rounds; round++) {
    start.record(on);
    enqueue();
    end.record(on);
    end.synchronize();
    if (round >= 0) samples.all.push(end.elapsedMsSince(start));
  }
}

/** The engine alone, as a graph and without. */
async function measureEngine(graphed: Samples, plain: Samples): Promise<void> {
  using runtime = await Runtime.create({ device });
  using engine = await runtime.load(plan!);
  using context = await engine.createContext();
  using owned = new DisposableStack();
  for (const tensor of context.tensors) {
    const buffer = owned.use(DeviceBuffer.create(tensor.info.dtype, tensor.shape, { device }));
    tensor.setAddress(buffer.pointer);
  }
  context.enqueue(stream);
  stream.synchronize();
  using graph = Graph.capture("engine", () => context.enqueue(stream), on);
  using exec = graph.instantiate();
  await gpuTimes(graphed, RAW_ROUNDS, () => exec.launch(on));
  await gpuTimes(plain, RAW_ROUNDS, () => context.enqueue(stream));
}

/** Median GPU compute time that trtexec reports for the plan with a CUDA graph, in milliseconds. */
function trtexecTime(path: string): number {
  const args = [`--loadEngine=${plan}`, "--useCudaGraph", "--noDataTransfers", "--useSpinWait", "--duration=3"];
  const child = Bun.spawnSync([path, ...args], { stdout: "pipe", stderr: "pipe" });
  const text = child.stdout.toString() + child.stderr.toString();
  const median = /GPU Compute Time:.*?median = ([\d.]+) ms/.exec(text)?.[1];
  if (median === undefined) throw new Error(`trtexec failed with ${child.exitCode}:\n${text.slice(-2000)}`);
  return Number(median);
}

const raw = new Samples();
const plainRaw = new Samples();
const trtexec: number[] = [];
for (let round = 0; round < 2; round++) {
  await measureEngine(raw, plainRaw);
  if (values.trtexec !== undefined) trtexec.push(trtexecTime(values.trtexec));
}

const byteLength = width * height * 3;
using pinned = PinnedBuffer.create("u8", [byteLength], device);
for (let at = 0; at < byteLength; at++) pinned.data[at] = (at * 2654435761) >>> 24;
const copy = new Samples();
{
  using target = DeviceBuffer.create("u8", [byteLength], { device });
  await gpuTimes(copy, RAW_ROUNDS, () => copyToDevice(target, pinned, on));
}

await using detector = await Detector.load(plan, { backend: "gpu" });
const frame = imageOf(pinned.data, { width, height });
const pageable = imageOf(pinned.data.slice(), { width, height });
const latency = new Samples();
const pageableLatency = new Samples();
const stages = { preprocess: new Samples(), infer: new Samples(), postprocess: new Samples() };
for (let round = -WARM_UP; round < frames; round++) {
  const started = performance.now();
  const { timing } = await detector.detect(frame);
  const elapsed = performance.now() - started;
  if (round < 0) continue;
  latency.all.push(elapsed);
  for (const stage of ["preprocess", "infer", "postprocess"] as const) stages[stage].all.push(timing[stage]);
}
for (let round = -WARM_UP; round < Math.min(frames, 1000); round++) {
  const started = performance.now();
  await detector.detect(pageable);
  if (round >= 0) pageableLatency.all.push(performance.now() - started);
}

const floor = raw.quantile(0.5) + copy.quantile(0.5);
console.log(`${plan}, frame ${width}x${height}, ${detector.backend.description}`);
console.log(`${cpus()[0]!.model}, ${cpus().length} cores, Bun ${Bun.version}, ${frames} frames\n`);
console.log(`milliseconds                          p50      p90      p99      max`);
console.log(`engine alone, graph             ${raw}`);
console.log(`engine alone, no graph          ${plainRaw}`);
if (trtexec.length > 0) {
  const best = Math.min(...trtexec);
  const ratio = (raw.quantile(0.5) / best).toFixed(3);
  console.log(
    `trtexec, graph                  ${best.toFixed(3).padStart(9)}   ours / trtexec ${ratio}, all ${trtexec.join(", ")}`,
  );
}
console.log(`copy of the frame               ${copy}`);
console.log(`frame to boxes, pinned          ${latency}`);
console.log(`frame to boxes, pageable        ${pageableLatency}`);
console.log(`  of it before the launch       ${stages.preprocess}`);
console.log(`  of it launch to end of GPU    ${stages.infer}`);
console.log(`  of it reading the rows        ${stages.postprocess}`);
console.log(
  `\nfloor (engine + copy) ${floor.toFixed(3)} ms; over it at p50 ${(latency.quantile(0.5) - floor).toFixed(3)} ms`,
);
if (values.json !== undefined) {
  const result = {
    device: device.name,
    plan,
    width,
    height,
    raw,
    plainRaw,
    trtexec,
    copy,
    latency,
    pageableLatency,
    stages,
  };
  await Bun.write(values.json, `${JSON.stringify(result, null, 2)}\n`);
}
