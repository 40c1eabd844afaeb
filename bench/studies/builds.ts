/** @module Builds: what an engine costs before its first frame: building, the caches, workspace and optimisation level. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { engineOptions } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { readModelFile } from "../../src/accelerators/tensorrt/model-file.ts";
import { Device } from "../../src/cuda/device.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import type { BuildOptions } from "../../src/tensorrt/build-options.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { EngineRun } from "../gpu/engine-runs.ts";
import type { Cell } from "../result.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { keep } from "../support/keep.ts";
import { medianOf } from "../support/samples.ts";

const MIB = 1024 * 1024;
const WORKSPACES_MIB = [1, 16, 64, 1024];
/** Lower levels than TensorRT's own, 3, which is the first build. */
const LEVELS = [0, 1, 2];
const RUNS = 300;

/** One way to come to an engine. */
interface Way {
  readonly id: string;
  readonly name: string;
  readonly options: BuildOptions;
  /** Builds that share a timing cache know what the ones before them measured. */
  readonly timing: string;
  /** Ask for the same plan again, which is in the cache then. */
  readonly isAgain?: boolean;
}

const FIRST: Way = { id: "cold", name: "first build, no timing cache", options: {}, timing: "own" };

/** The most telling first: the minutes may be over at any time. */
const WAYS: readonly Way[] = [
  FIRST,
  { ...FIRST, id: "warm", name: "built again, timing cache there" },
  { ...FIRST, id: "hit", name: "from the engine cache", isAgain: true },
  ...WORKSPACES_MIB.map(
    (mib): Way => ({
      id: `workspace-${mib}`,
      name: `workspace of ${mib} MiB, timing cache there`,
      options: { memoryPools: { workspace: mib * MIB } },
      timing: FIRST.timing,
    }),
  ),
  ...LEVELS.map(
    (level): Way => ({
      id: `level-${level}`,
      name: `optimisation level ${level}, no timing cache`,
      options: { optimizationLevel: level },
      timing: `level-${level}`,
    }),
  ),
];

async function measure(
  { context, device, runtime, cache }: { context: StudyContext; device: Device; runtime: Runtime; cache: EngineCache },
  way: Way,
  output: StudyOutput,
): Promise<Cell[]> {
  const path = context.model!;
  const file = await readModelFile(path);
  const shapes = engineOptions(file, new DetectTask(DEFAULT_DETECT_TASK_OPTIONS), { precision: undefined });
  const started = performance.now();
  const plan = await cache.obtain(
    file.bytes,
    { ...shapes, ...way.options },
    {
      device,
      source: path,
      path,
      rebuild: way.isAgain !== true,
      timingCachePath: join(cache.folder, `${way.timing}.timing`),
      onProgress: ({ fraction, phase }) =>
        context.progress(0.5, `${way.name}, ${(fraction * 100).toFixed(0)} %: ${phase.name}`),
    },
  );
  const obtained = performance.now();
  using engine = await runtime.deserialize(plan.bytes, { source: plan.path });
  const loadMs = performance.now() - obtained;
  const shape = (engine.inputs[0]?.shape ?? []).map((dim, axis) => (dim > 0 ? dim : axis === 0 ? 1 : 640));
  using run = await EngineRun.create(device, engine, { shape });
  run.times("graph", RUNS);
  const times = run.times("graph", RUNS);
  keep(output, `build-${way.id}`, `${way.name}: until the plan is there`, "ms", [obtained - started]);
  keep(output, `load-${way.id}`, `${way.name}: deserialising it`, "ms", [loadMs]);
  keep(output, `gpu-${way.id}`, `${way.name}: the engine, CUDA graph`, "ms", times);
  return [
    way.name,
    (obtained - started) / 1000,
    loadMs,
    plan.bytes.length / MIB,
    engine.deviceMemoryBytes() / MIB,
    engine.layerCount,
    medianOf(times),
  ];
}

/** Building engines, and using them again. */
export const builds: Study = {
  name: "builds",
  title: "Builds: before the first frame",
  question:
    "What does an engine cost to build and to load, and what do the caches, workspace and optimisation level bring?",
  needs: ["gpu", "model"],
  async run(context, output) {
    const why = context.options.isQuick
      ? "--quick builds no engine"
      : context.model === undefined
        ? "they need an ONNX model: --model"
        : undefined;
    if (why !== undefined) {
      output.leftOut.push(`all builds: ${why}`);
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-builds-"));
    using owned = new DisposableStack();
    owned.defer(() => rmSync(folder, { recursive: true }));
    const device = owned.use(Device.open(0));
    const runtime = owned.use(await Runtime.create({ device }));
    const cache = new EngineCache(folder);
    const rows: Cell[][] = [];
    for (const way of WAYS) {
      if (context.isOver()) output.leftOut.push(`${way.name}: the minutes of --max-minutes were over`);
      else rows.push(await measure({ context, device, runtime, cache }, way, output));
    }
    output.blocks.push({
      kind: "table",
      title: "Until the engine runs",
      note: "One build each. Context memory is what one frame in flight needs for activations and workspace; contexts on one stream share it.",
      columns: [
        "",
        "plan there, s",
        "deserialised, ms",
        "plan, MiB",
        "context memory, MiB",
        "layers",
        "engine p50, ms",
      ],
      rows,
    });
  },
};
