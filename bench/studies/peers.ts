/** @module Peers: the same frame and plan through Ultralytics, trtutils, trtexec, ONNX Runtime and PyTorch, in turns with ours. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PinnedBuffer } from "../../src/cuda/buffers.ts";
import { Device } from "../../src/cuda/device.ts";
import { imageOf } from "../../src/image/image.ts";
import type { ImageSource } from "../../src/image/source.ts";
import { readOnnxMetadata } from "../../src/onnx/model.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { forUltralytics, type PeerAnswer, type PeerSettings, ScriptPeer } from "../peers/python-peer.ts";
import { runTrtexec } from "../peers/trtexec.ts";
import type { StagesBlock } from "../result.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { planOf } from "../support/engines.ts";
import { keep, promise } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";

const ROUNDS = 10;
const WARM_UP_FRAMES = 20;
const LEAST_OVER_ULTRALYTICS = 3;
const LEAST_OVER_TRTUTILS = 1.5;

/** A peer that is a script. */
interface Rival {
  readonly id: string;
  readonly name: string;
  readonly script: string;
  readonly where: readonly ("cpu" | "gpu")[];
  readonly settings?: PeerSettings;
  /** Whether it goes from a frame to boxes, and so stands beside ours. */
  readonly isWhole: boolean;
}

const RIVALS: readonly Rival[] = [
  {
    id: "ultralytics",
    name: "Ultralytics, TensorRT",
    script: "ultralytics_tensorrt.py",
    where: ["gpu"],
    isWhole: true,
  },
  {
    id: "trtutils",
    name: "trtutils, no decoding of the head",
    script: "trtutils_peer.py",
    where: ["gpu"],
    settings: { complete: false },
    isWhole: true,
  },
  {
    id: "trtutils-complete",
    name: "trtutils, NumPy decode + NMS",
    script: "trtutils_peer.py",
    where: ["gpu"],
    settings: { complete: true },
    isWhole: true,
  },
  {
    id: "ultralytics-torch",
    name: "Ultralytics, PyTorch FP16",
    script: "ultralytics_torch.py",
    where: ["gpu"],
    isWhole: true,
  },
  {
    id: "onnxruntime",
    name: "ONNX Runtime, OpenCV, NumPy",
    script: "onnxruntime_peer.py",
    where: ["cpu", "gpu"],
    isWhole: true,
  },
  {
    id: "pytorch",
    name: "PyTorch forward, FP16, eager",
    script: "pytorch_forward.py",
    where: ["gpu"],
    settings: { graph: false },
    isWhole: false,
  },
  {
    id: "pytorch-graph",
    name: "PyTorch forward, FP16, CUDA graph",
    script: "pytorch_forward.py",
    where: ["gpu"],
    settings: { graph: true },
    isWhole: false,
  },
];

interface Entry {
  readonly id: string;
  readonly name: string;
  readonly isWhole: boolean;
  readonly samples: number[];
  boxes: number;
  /** Milliseconds by stage, where the library says them. */
  readonly stages: Map<string, number[]>;
  readonly run: (count: number) => Promise<PeerAnswer>;
}

/** The plan as trtexec and trtutils read it, and as Ultralytics does. */
async function writePlans(context: StudyContext, folder: string): Promise<PeerSettings> {
  using device = Device.open(0);
  const { exportedEngine } = context.options;
  const bytes = exportedEngine === undefined ? await planOf(context, device) : await Bun.file(exportedEngine).bytes();
  const { plan } = readPlan(bytes, "the engine");
  const onnx = context.model === undefined ? undefined : await Bun.file(context.model).bytes();
  const metadata = {
    task: "detect",
    stride: "32",
    batch: "1",
    imgsz: "[640, 640]",
    ...(onnx === undefined ? {} : readOnnxMetadata(onnx)),
  };
  const paths = { bare_plan: join(folder, "bare.engine"), ultralytics_plan: join(folder, "ultralytics.engine") };
  await Bun.write(paths.bare_plan, plan as Uint8Array<ArrayBuffer>);
  await Bun.write(paths.ultralytics_plan, forUltralytics(plan, metadata));
  return paths;
}

async function startRivals(
  context: StudyContext,
  output: StudyOutput,
  folder: string,
  owned: AsyncDisposableStack,
): Promise<Entry[]> {
  const { kind, options, image, model } = context;
  const entries: Entry[] = [];
  const plans = kind === "gpu" ? await writePlans(context, folder) : {};
  for (const [at, rival] of RIVALS.entries()) {
    if (!rival.where.includes(kind)) {
      output.leftOut.push(`${rival.name}: it needs a GPU`);
      continue;
    }
    if (rival.id === "onnxruntime" && model === undefined) {
      output.leftOut.push(`${rival.name}: it needs an ONNX model`);
      continue;
    }
    context.progress((at / RIVALS.length) * 0.4, `starting ${rival.name}`);
    const settings = {
      kind,
      image: image.path,
      onnx: model ?? "",
      size: 640,
      threshold: 0.25,
      iou: 0.7,
      ...plans,
      ...rival.settings,
    };
    const peer = await ScriptPeer.start(options.python, rival.script, settings);
    if (typeof peer === "string") {
      output.leftOut.push(`${rival.name}: ${peer}`);
      continue;
    }
    owned.use(peer);
    output.findings.push(`${rival.name}: ${peer.note} (${peer.versions}).`);
    entries.push({ ...rival, samples: [], boxes: 0, stages: new Map(), run: (count) => peer.run(count) });
  }
  return entries;
}

async function ours(context: StudyContext, owned: AsyncDisposableStack): Promise<Entry[]> {
  const { image, kind } = context;
  const detector = await context.load({ inFlight: 1 });
  owned.use(detector);
  const entry = (id: string, name: string, source: ImageSource): Entry => ({
    id,
    name,
    isWhole: true,
    samples: [],
    boxes: 0,
    stages: new Map(),
    run: async (count) => {
      const ms: number[] = [];
      const stages = { preprocess: [] as number[], inference: [] as number[], postprocess: [] as number[] };
      let boxes = 0;
      for (let at = 0; at < count; at++) {
        const started = performance.now();
        const { detections, timing } = await detector.detect(source);
        ms.push(performance.now() - started);
        boxes = detections.length;
        stages.preprocess.push(timing.preprocess);
        stages.inference.push(timing.infer);
        stages.postprocess.push(timing.postprocess);
      }
      return { ms, boxes, stages };
    },
  });
  if (kind === "cpu") return [entry("ours", "bun-tensorrt", image.image)];
  const device = Device.open(0);
  owned.defer(() => device.close());
  const pinned = PinnedBuffer.create("u8", [image.image.data.length], device);
  owned.defer(() => pinned.close());
  pinned.data.set(image.image.data);
  return [
    entry("ours", "bun-tensorrt, ordinary memory", image.image),
    entry("ours-pinned", "bun-tensorrt, page-locked memory", imageOf(pinned.data, image.image)),
  ];
}

async function trtexecAlone(context: StudyContext, output: StudyOutput, folder: string): Promise<void> {
  const { trtexec } = context.options;
  if (trtexec === undefined) {
    output.leftOut.push("trtexec: it is not there: --trtexec names it");
    return;
  }
  const seconds = Math.max(1, Math.round(context.durationMs / 1000));
  const rows: (string | number | null)[][] = [];
  for (const hasGraph of [true, false]) {
    const report = await runTrtexec(trtexec, join(folder, "bare.engine"), {
      streams: 1,
      hasGraph,
      hasTransfers: true,
      seconds,
    });
    rows.push([hasGraph ? "CUDA graph" : "no graph", report.computeMs, report.latencyMs, report.rate]);
  }
  output.blocks.push({
    kind: "table",
    title: "trtexec on the same plan",
    note: "What NVIDIA's tool reports of the engine alone, input and output tensors copied, one stream: no frame, no pre-processing, no NMS.",
    columns: ["", "GPU compute, ms", "latency, ms", "inferences/s"],
    rows,
  });
}

function conclude(output: StudyOutput, entries: readonly Entry[]): void {
  for (const { id, name, samples } of entries) keep(output, id, name, "ms", samples);
  const whole = entries.filter(({ isWhole }) => isWhole);
  const base = medianOf(whole[0]!.samples);
  output.blocks.push(
    {
      kind: "distribution",
      title: "A decoded frame to boxes",
      note: "The same frame and the same plan (ONNX Runtime: the same model), each in its turn in every round, the others idle.",
      measurements: whole.filter(({ samples }) => samples.length > 0).map(({ id }) => id),
    },
    {
      kind: "table",
      title: "Beside ours",
      note: "Ours in ordinary memory is 1: that is where the peers' frames lie as well.",
      columns: ["", "p50 ms", "times ours", "boxes"],
      rows: whole.map(({ name, samples, boxes }) => [name, medianOf(samples), medianOf(samples) / base, boxes]),
    },
  );
  const bars = whole.filter(({ stages }) => stages.size > 0).map(ownClock);
  if (bars.length > 1) {
    output.blocks.push({
      kind: "stages",
      title: "Where each says its time goes",
      note: 'Medians by each library\'s own clock. "inference" of bun-tensorrt on a GPU is the copy of the frame, pre-processing, the engine, decoding, NMS and the copy of the boxes in one launch. "around them" is what the call takes beyond.',
      unit: "ms",
      bars,
    });
  }
  const forward = entries.filter(({ isWhole, samples }) => !isWhole && samples.length > 0);
  if (forward.length > 0) {
    output.blocks.push({
      kind: "distribution",
      title: "PyTorch's forward pass",
      note: "GPU time alone, by events: what the study latency has of the engine is its counterpart.",
      measurements: forward.map(({ id }) => id),
    });
  }
  for (const [id, name, least] of [
    ["ultralytics", "Ultralytics on the same plan", LEAST_OVER_ULTRALYTICS],
    ["trtutils-complete", "trtutils on the same plan, frame to boxes", LEAST_OVER_TRTUTILS],
  ] as const) {
    const rival = entries.find((entry) => entry.id === id);
    if (rival === undefined || rival.samples.length === 0) continue;
    const found = medianOf(rival.samples) / base;
    promise(output, `${name}: times as long as ours`, found, { least, unit: "count" });
  }
}

/** What a call is made of, and the rest of it. */
function ownClock({ name, samples, stages }: Entry): StagesBlock["bars"][number] {
  const parts = [...stages].map(([stage, values]) => ({ stage, value: medianOf(values) }));
  const rest = medianOf(samples) - parts.reduce((sum, { value }) => sum + value, 0);
  return { name, parts: [...parts, { stage: "around them", value: Math.max(0, rest) }] };
}

/** The same work by others. */
export const peers: Study = {
  name: "peers",
  title: "Peers: the same frame through others",
  question: "How long do Ultralytics, trtutils, ONNX Runtime and PyTorch take for the same frame on the same plan?",
  needs: ["model"],
  async run(context, output) {
    if (!context.options.hasPeers) {
      output.leftOut.push("all of them: --no-peers was given");
      return;
    }
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-peers-"));
    await using owned = new AsyncDisposableStack();
    owned.defer(() => rmSync(folder, { recursive: true }));
    const entries = [...(await ours(context, owned)), ...(await startRivals(context, output, folder, owned))];
    const isGpu = context.kind === "gpu";
    const perRound = isGpu ? (context.options.isQuick ? 20 : 100) : context.options.isQuick ? 2 : 10;
    const failed = new Set<Entry>();
    const turn = async (entry: Entry, count: number): Promise<void> => {
      if (failed.has(entry)) return;
      try {
        const { ms, boxes, stages = {} } = await entry.run(count);
        entry.samples.push(...ms);
        for (const [stage, samples] of Object.entries(stages)) {
          entry.stages.set(stage, [...(entry.stages.get(stage) ?? []), ...samples]);
        }
        entry.boxes = boxes;
      } catch (error) {
        failed.add(entry);
        output.leftOut.push(`${entry.name}, from some round on: ${(error as Error).message}`);
      }
    };
    for (const entry of entries) await turn(entry, isGpu ? WARM_UP_FRAMES : 1);
    for (const entry of entries) {
      entry.samples.length = 0;
      entry.stages.clear();
    }
    await inRounds(
      entries.map((entry) => ({ run: () => turn(entry, perRound) })),
      ROUNDS,
      (round) => {
        context.progress(0.4 + (round / ROUNDS) * 0.6, `round ${round + 1} of ${ROUNDS}`);
        return !context.isOver() || round === 0;
      },
    );
    conclude(output, entries);
    if (isGpu) await trtexecAlone(context, output, folder);
  },
};
