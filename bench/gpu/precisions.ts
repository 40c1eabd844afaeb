/**
 * @module Precisions: engines of converted models beside each other: how long the engine takes, how many images a second it does, in
 * which types its layers compute, and which of them take longest.
 *
 * Usage: `bun bench/gpu/precisions.ts MODEL.onnx… [--count 500] [--layers 8] [--plans FOLDER] [--json FILE]
 * [--optimization-level 3]`.
 *
 * Each model is built strongly typed, in the types that it says: give an FP16, an INT8 and an FP8 one of the same network. Engines run
 * as CUDA graphs; their times are interleaved.
 */

import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { Device } from "../../src/cuda/device.ts";
import { Stream } from "../../src/cuda/stream.ts";
import { type Engine, LayerProfiler } from "../../src/tensorrt/engine.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { medianOf } from "../support/samples.ts";
import { EngineRun, throughput } from "./engine-runs.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "500" },
    layers: { type: "string", default: "8" },
    plans: { type: "string" },
    json: { type: "string" },
    "optimization-level": { type: "string", default: "3" },
  },
});
if (positionals.length === 0) throw new Error("Usage: bun bench/gpu/precisions.ts MODEL.onnx… [--count 500]");
const count = Number(values.count);

/** Rounds between which the engines take turns. */
const ROUNDS = 5;
const THROUGHPUT_MS = 2000;
const PROFILED_RUNS = 50;

/** What of an engine is printed. */
interface Measured {
  readonly model: string;
  readonly planMiB: number;
  readonly buildSeconds: number;
  readonly layers: Readonly<Record<string, number>>;
  readonly times: number[];
  imagesPerSecond: number;
}

/** Layers by the type of their first output, such as `Int8`, as TensorRT's inspector says it. */
function layersByType(engine: Engine): Record<string, number> {
  using inspector = engine.createInspector();
  const found: Record<string, number> = {};
  for (const layer of inspector.information().Layers) {
    if (typeof layer === "string") continue;
    const outputs = layer.Outputs as readonly { readonly "Format/Datatype"?: string }[] | undefined;
    const format = outputs?.[0]?.["Format/Datatype"] ?? "";
    const type = /Int8|FP8|FP16|Half|FP32|Float|Int32|Int64|Bool/i.exec(format)?.[0] ?? "other";
    found[type] = (found[type] ?? 0) + 1;
  }
  return found;
}

/** The layers that take longest, one after the other. */
async function slowestLayers(engine: Engine, device: Device): Promise<readonly string[]> {
  using stream = Stream.create(device);
  using run = await EngineRun.create(device, engine, { stream });
  using profiler = LayerProfiler.create(run.context);
  for (let at = 0; at < PROFILED_RUNS; at++) {
    run.context.enqueue(stream);
    stream.synchronize();
    profiler.collect();
    if (at === 4) profiler.reset();
  }
  const layers = profiler.layers();
  const total = layers.reduce((sum, { meanMs }) => sum + meanMs, 0);
  return layers
    .sort((a, b) => b.meanMs - a.meanMs)
    .slice(0, Number(values.layers))
    .map(({ name, meanMs }) => `${(meanMs * 1000).toFixed(1)} us, ${((meanMs / total) * 100).toFixed(0)} %: ${name}`);
}

using device = Device.open(0);
using runtime = await Runtime.create();
const cache = new EngineCache(values.plans);
using owned = new DisposableStack();
const engines: { readonly measured: Measured; readonly engine: Engine; readonly run: EngineRun }[] = [];
for (const path of positionals) {
  const started = performance.now();
  const plan = await cache.obtain(
    await Bun.file(path).bytes(),
    { precision: "model", profilingVerbosity: "detailed", optimizationLevel: Number(values["optimization-level"]) },
    { device, source: path, path, timingCachePath: join(cache.folder, "precisions.timing") },
  );
  const buildSeconds = (performance.now() - started) / 1000;
  if (values.plans !== undefined) await Bun.write(join(values.plans, `${basename(path, ".onnx")}.plan`), plan.bytes);
  const engine = owned.use(await runtime.deserialize(plan.bytes, { source: path }));
  const run = owned.use(await EngineRun.create(device, engine));
  const planMiB = plan.bytes.byteLength / 2 ** 20;
  const measured = { model: path, planMiB, buildSeconds, layers: layersByType(engine), times: [], imagesPerSecond: 0 };
  engines.push({ measured, engine, run });
}
for (const { run } of engines) run.times("graph", count);
for (let round = 0; round < ROUNDS; round++) {
  for (const { run, measured } of engines) measured.times.push(...run.times("graph", Math.ceil(count / ROUNDS)));
}
for (const { engine, measured } of engines) {
  using first = await EngineRun.create(device, engine);
  using second = await EngineRun.create(device, engine);
  measured.imagesPerSecond = medianOf(throughput([first, second], THROUGHPUT_MS));
}
for (const { engine, measured } of engines) {
  const { model, planMiB, buildSeconds, layers, times, imagesPerSecond } = measured;
  const sorted = times.toSorted((a, b) => a - b);
  const last = sorted[Math.floor(sorted.length * 0.99)]!;
  const types = Object.entries(layers).map(([type, many]) => `${type} ${many}`);
  console.log(
    `${basename(model)}: ${medianOf(times).toFixed(4)} ms (99 %: ${last.toFixed(4)}), ${imagesPerSecond.toFixed(0)} images/s, ` +
      `plan ${planMiB.toFixed(1)} MiB, built in ${buildSeconds.toFixed(0)} s; layers: ${types.join(", ")}`,
  );
  for (const line of await slowestLayers(engine, device)) console.log(`  ${line}`);
}
if (values.json !== undefined) {
  const results = engines.map(({ measured }) => ({ ...measured, medianMs: medianOf(measured.times) }));
  await Bun.write(values.json, `${JSON.stringify(results, undefined, 1)}\n`);
}
