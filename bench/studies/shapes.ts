/** @module Shapes: square and rectangular, small and large, batches, precisions, contexts side by side. */

import { Detector } from "../../src/api/detector.ts";
import { OutOfMemoryError, TensorRtError } from "../../src/core/errors.ts";
import { Device } from "../../src/cuda/device.ts";
import { rectangularSize } from "../../src/image/geometry.ts";
import type { Engine } from "../../src/tensorrt/engine.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { EngineRun, throughput } from "../gpu/engine-runs.ts";
import type { Line, LinePoint } from "../result.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { sharedFile } from "../subject.ts";
import { planOf } from "../support/engines.ts";
import { keep } from "../support/keep.ts";
import { kneeOf } from "../support/knee.ts";
import { timeCalls } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";
import { formatWithUnit } from "../support/units.ts";

const SIDES = [320, 480, 640, 960, 1280];
const BATCHES = [1, 2, 4, 8, 16, 32];
const CONTEXTS = [1, 2, 3, 4, 6, 8];
const STRIDE = 32;
/** Runs before a point is measured, and again to see how long one takes. */
const WARM_UP = 5;
/** Share of `durationMs` that one point takes. */
const POINT_SHARE = 0.15;
const DYNAMIC_MODEL = "models/yolov8n_640_dynamic.onnx";

function withKnee(name: string, points: readonly LinePoint[]): Line {
  const knee = kneeOf(points);
  return { name, points, ...(knee === undefined ? {} : { knee }) };
}

function dynamicModel({ options }: StudyContext): string | undefined {
  return options.dynamicModel ?? sharedFile(DYNAMIC_MODEL);
}

/** Rates and GPU times of one shape; `undefined` where the card has not the memory. */
async function measureShape(
  context: StudyContext,
  gpu: { device: Device; engine: Engine },
  shape: readonly number[],
): Promise<{ ms: number[]; rates: number[] } | undefined> {
  try {
    using run = await EngineRun.create(gpu.device, gpu.engine, { shape });
    run.times("graph", WARM_UP);
    const budgetMs = context.durationMs * POINT_SHARE;
    const affordable = Math.ceil(budgetMs / medianOf(run.times("graph", WARM_UP)));
    const [least, most] = context.options.isQuick ? [10, 30] : [20, 150];
    const ms = run.times("graph", Math.min(most, Math.max(least, affordable)));
    const rates = throughput([run], budgetMs, 5).map((rate) => rate * shape[0]!);
    return { ms, rates };
  } catch (error) {
    if (error instanceof OutOfMemoryError || error instanceof TensorRtError) return undefined;
    throw error;
  }
}

/** Contexts of one engine side by side, each on a stream of its own. */
async function sideBySide(
  context: StudyContext,
  output: StudyOutput,
  gpu: { device: Device; engine: Engine },
  name: string,
): Promise<void> {
  const points: LinePoint[] = [];
  const shape = (gpu.engine.inputs[0]?.shape ?? []).map((dim, axis) => (dim > 0 ? dim : axis === 0 ? 1 : 640));
  for (const count of CONTEXTS) {
    using owned = new DisposableStack();
    const runs: EngineRun[] = [];
    for (let at = 0; at < count; at++) runs.push(owned.use(await EngineRun.create(gpu.device, gpu.engine, { shape })));
    throughput(runs, context.durationMs * 0.05, 1);
    const rates = throughput(runs, context.durationMs * POINT_SHARE * 2, 8).map((rate) => rate * (shape[0] ?? 1));
    keep(output, `contexts-${count}`, `${name}, ${count} contexts side by side`, "fps", rates);
    points.push({ x: count, y: medianOf(rates), low: Math.min(...rates), high: Math.max(...rates) });
  }
  output.blocks.push({
    kind: "lines",
    title: "Contexts side by side",
    note: "One engine, its weights shared, a stream, a graph and activations for each context: frames that run at the same time fill what one leaves idle.",
    x: { label: "contexts", scale: "linear" },
    y: { label: "throughput", unit: "fps" },
    lines: [withKnee(name, points)],
  });
}

async function dynamicEngine(
  context: StudyContext,
  output: StudyOutput,
  gpu: { device: Device; runtime: Runtime },
  precision: "fp16" | "fp32",
): Promise<Engine | undefined> {
  const path = dynamicModel(context);
  if (path === undefined) {
    output.leftOut.push(
      `sizes and batches, ${precision}: they need an ONNX model with open size and batch: --dynamic-model`,
    );
    return undefined;
  }
  const most = SIDES.at(-1)!;
  // A rectangular input has a shorter side than the smallest square.
  const least = SIDES[0]! / 2;
  const images = { min: [1, 3, least, least], opt: [8, 3, 640, 640], max: [BATCHES.at(-1)!, 3, most, most] };
  const cache = new EngineCache();
  const bytes = await Bun.file(path).bytes();
  if (context.options.isQuick) {
    output.leftOut.push(`sizes and batches, ${precision}: --quick builds no engine`);
    return undefined;
  }
  const plan = await cache.obtain(
    bytes,
    { precision, profiles: [{ images }] },
    {
      device: gpu.device,
      source: path,
      path,
      onProgress: ({ fraction, phase }) =>
        context.progress(0, `building ${precision}, ${(fraction * 100).toFixed(0)} %: ${phase.name}`),
    },
  );
  return gpu.runtime.deserialize(plan.bytes, { source: plan.path });
}

async function sizesAndBatches(
  context: StudyContext,
  output: StudyOutput,
  gpu: { device: Device; runtime: Runtime },
): Promise<void> {
  const rates: Line[] = [];
  const delays: Line[] = [];
  const bySize: Line[] = [];
  const { width, height } = context.image.image;
  for (const precision of ["fp16", "fp32"] as const) {
    if (context.isOver()) {
      output.leftOut.push(`sizes and batches, ${precision}: the minutes of --max-minutes were over`);
      continue;
    }
    using engine = await dynamicEngine(context, output, gpu, precision);
    if (engine === undefined) continue;
    const label = precision.toUpperCase();
    const point = async (
      id: string,
      name: string,
      shape: readonly number[],
    ): Promise<{ ms: number; rate: number } | undefined> => {
      context.progress(0.2, name);
      const measured = await measureShape(context, { device: gpu.device, engine }, shape);
      if (measured === undefined) {
        output.leftOut.push(`${name}: the card has not the memory`);
        return undefined;
      }
      keep(output, `rate-${id}`, name, "fps", measured.rates);
      keep(output, `gpu-${id}`, name, "ms", measured.ms);
      return { ms: medianOf(measured.ms), rate: medianOf(measured.rates) };
    };
    for (const side of [320, 640, 1280]) {
      const line = { rate: [] as { x: number; y: number }[], ms: [] as { x: number; y: number }[] };
      for (const batch of BATCHES) {
        const got = await point(`${precision}-${side}-b${batch}`, `${label}, ${side}x${side}, batch ${batch}`, [
          batch,
          3,
          side,
          side,
        ]);
        if (got === undefined) break;
        line.rate.push({ x: batch, y: got.rate });
        line.ms.push({ x: batch, y: got.ms });
      }
      if (line.rate.length === 0) continue;
      rates.push(withKnee(`${label}, ${side}x${side}`, line.rate));
      delays.push({ name: `${label}, ${side}x${side}`, points: line.ms });
    }
    const square: { x: number; y: number }[] = [];
    const rectangular: { x: number; y: number }[] = [];
    for (const side of SIDES) {
      const [w, h] = rectangularSize(width, height, { longSide: side, stride: STRIDE });
      const whole = await point(`${precision}-square-${side}`, `${label}, ${side}x${side}, one image`, [
        1,
        3,
        side,
        side,
      ]);
      const part = await point(`${precision}-rect-${side}`, `${label}, ${w}x${h}, one image`, [1, 3, h, w]);
      if (whole !== undefined) square.push({ x: side, y: whole.ms });
      if (part !== undefined) rectangular.push({ x: side, y: part.ms });
    }
    bySize.push(
      { name: `${label}, square`, points: square },
      { name: `${label}, the frame's ratio`, points: rectangular },
    );
  }
  if (rates.length === 0) return;
  const x = { label: "images in a batch", scale: "log2" } as const;
  output.blocks.push(
    {
      kind: "lines",
      title: "Throughput by batch",
      note: `Engine alone with a graph, images per second. One dynamic engine a precision covers all points: built for 1 to 32 images of up to 1280x1280, best at 8 of 640x640, so points far from there may be slower than an engine of their own.`,
      x,
      y: { label: "throughput", unit: "fps" },
      lines: rates,
    },
    {
      kind: "lines",
      title: "Time of a batch",
      note: "GPU time of one batch by events: what the first image of a full batch waits for.",
      x,
      y: { label: "GPU time", unit: "ms" },
      lines: delays,
    },
    {
      kind: "lines",
      title: "Square against the frame's own ratio",
      note: `One image of ${width}x${height}: the square input is mostly padding, the rectangular one hardly.`,
      x: { label: "longer side", scale: "linear" },
      y: { label: "GPU time", unit: "ms" },
      lines: bySize,
    },
  );
}

/** The run's own model, where it leaves its size open. */
async function openModel({ model }: StudyContext): Promise<string | undefined> {
  if (model === undefined) return undefined;
  await using detector = await Detector.load(model, { backend: "cpu" });
  return detector.recognition.fixedSize === undefined ? model : undefined;
}

async function onCpu(context: StudyContext, output: StudyOutput): Promise<void> {
  const path = dynamicModel(context) ?? (await openModel(context));
  if (path === undefined) {
    output.leftOut.push("sizes: they need an ONNX model with open size: --dynamic-model");
    return;
  }
  const sides = context.options.isQuick ? [320] : [320, 480, 640];
  const { image } = context.image;
  const lines = [
    { name: "square", points: [] as LinePoint[] },
    { name: "the frame's ratio", points: [] as LinePoint[] },
  ];
  for (const [at, size] of sides.entries()) {
    for (const [line, rectangular] of [false, true].entries()) {
      context.progress(at / sides.length, `${size}, ${lines[line]!.name}`);
      await using detector = await Detector.load(path, { backend: "cpu", size, rectangular });
      const samples = await timeCalls(() => detector.detect(image), {
        warmUp: 2,
        count: context.options.isQuick ? 8 : 40,
        isOver: context.isOver,
      });
      keep(output, `${rectangular ? "rect" : "square"}-${size}`, `${size}, ${lines[line]!.name}`, "ms", samples);
      lines[line]!.points.push({ x: size, y: medianOf(samples) });
    }
  }
  output.blocks.push({
    kind: "lines",
    title: "Square against the frame's own ratio",
    note: `One decoded image of ${image.width}x${image.height} to boxes on the CPU: the square input is mostly padding, the rectangular one hardly.`,
    x: { label: "longer side", scale: "linear" },
    y: { label: "frame to boxes", unit: "ms" },
    lines,
  });
  output.leftOut.push("batches, precisions and contexts side by side: they need a GPU");
}

/** Which shape pays. */
export const shapes: Study = {
  name: "shapes",
  title: "Shapes: size, ratio, batch, precision, contexts",
  question:
    "What do input size, the frame's own ratio, batches, FP16 and parallel contexts bring, and where does more stop to pay?",
  needs: ["model"],
  async run(context, output) {
    if (context.kind === "cpu") {
      await onCpu(context, output);
      return;
    }
    using device = Device.open(0);
    using runtime = await Runtime.create({ device });
    {
      using engine = await runtime.deserialize(await planOf(context, device), {
        source: context.source ?? "the engine",
      });
      const name = engine.source.split("/").at(-1)!;
      await sideBySide(context, output, { device, engine }, name);
    }
    await sizesAndBatches(context, output, { device, runtime });
    const best = output.measurements
      .filter(({ unit }) => unit === "fps")
      .toSorted((a, b) => medianOf(b.samples) - medianOf(a.samples))[0];
    if (best !== undefined)
      output.findings.push(`Most images per second: ${best.name}, ${formatWithUnit(medianOf(best.samples), "fps")}.`);
  },
};
