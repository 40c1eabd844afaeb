/** @module SampleResult: a made-up run on a GPU in which every kind of chart, and every fate of a study, occurs. */

import type { BenchResult, Block, Measurement, StudyResult, TimelineSpan, Unit } from "../../bench/result.ts";

/** Numbers from 0 to 1 that look like chance and are the same every time. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Samples around a median, with a tail to the right. */
export function sampleMeasurement(
  id: string,
  median: number,
  options: { readonly unit?: Unit; readonly count?: number; readonly name?: string } = {},
): Measurement {
  const { unit = "ms", count = 600, name = id } = options;
  const random = chance(id.length * 7919 + count);
  const samples = Array.from(
    { length: count },
    () => median * (0.985 + 0.03 * random() + (random() > 0.985 ? random() * 0.5 : 0)),
  );
  return { id, name, unit, better: unit === "fps" ? "higher" : "lower", samples };
}

/** A study that went well, but for what is overridden. */
export function sampleStudy(name: string, parts: Partial<StudyResult> = {}): StudyResult {
  return {
    name,
    title: `${name}: a study`,
    question: `What does "${name}" <say> & why?`,
    status: "done",
    seconds: 1.5,
    findings: [],
    leftOut: [],
    checks: [],
    measurements: [],
    blocks: [],
    ...parts,
  };
}

function timelineOf(slots: number, frames: number): Block {
  const lanes = [
    "JS thread",
    ...Array.from({ length: slots }, (_, slot) =>
      ["copy in", "compute", "copy out"].map((what) => `${slot + 1}: ${what}`),
    ).flat(),
  ];
  const spans: TimelineSpan[] = [];
  for (let frame = 0; frame < frames; frame++) {
    const start = frame * 0.24;
    const lane = 1 + (frame % slots) * 3;
    spans.push({ lane: 0, name: "enqueue", frame, start, end: start + 0.012 });
    spans.push({ lane, name: "copy in", frame, start: start + 0.02, end: start + 0.135 });
    spans.push({ lane: lane + 1, name: "compute", frame, start: start + 0.14, end: start + 0.14 + 0.22 * slots });
    spans.push({
      lane: lane + 2,
      name: "copy out",
      frame,
      start: start + 0.15 + 0.22 * slots,
      end: start + 0.157 + 0.22 * slots,
    });
  }
  return {
    kind: "timeline",
    title: `parallel streams, ${slots} in flight`,
    note: "Frames out of the middle of a run, by GPU events.",
    lanes,
    spans,
  };
}

const WAYS = [
  sampleMeasurement("decoded", 0.6, { count: 4000, name: "decoded, page-locked" }),
  sampleMeasurement("pageable", 0.967, { count: 2000, name: "decoded, ordinary" }),
  sampleMeasurement("bytes", 1.92, { count: 2000, name: "JPEG bytes" }),
  sampleMeasurement("file", 2.05, { count: 2000, name: "file" }),
];

const RAW = [
  sampleMeasurement("raw-graph", 0.451, { count: 2000, name: "engine alone, CUDA graph" }),
  sampleMeasurement("raw-plain", 0.561, { count: 2000, name: "engine alone, no graph" }),
];

function parts(decode: number): { stage: string; value: number }[] {
  return [
    ...(decode > 0 ? [{ stage: "decode", value: decode }] : []),
    { stage: "JS before the launch", value: 0.003 },
    { stage: "copy in", value: 0.115 },
    { stage: "infer", value: 0.451 },
    { stage: "copy out", value: 0.003 },
    { stage: "preprocess, postprocess, launch, wait", value: 0.028 },
  ];
}

/** A whole run. */
export const SAMPLE_RESULT: BenchResult = {
  schema: "bun-tensorrt-bench/1",
  isComplete: true,
  environment: {
    date: "2026-11-21T12:00:00.000Z",
    commit: "0123456789ab",
    command: "bun run bench",
    bun: "1.4.5",
    system: "Debian, x64",
    cpu: "a CPU",
    cores: 16,
    load: 0.5,
    runtime: "TensorRT 10.6.0, NVIDIA H200",
    cuda: "13.0",
    gpu: {
      name: "NVIDIA H200",
      driver: "580.159.04",
      memory: "143771 MiB",
      before: { "SM clock": "345 MHz", temperature: "31" },
      after: { "SM clock": "1980 MHz", temperature: "44" },
    },
    model: { name: "yolov8n_640.onnx", bytes: 12_861_541, sha256: "ab".repeat(32) },
    engine: { name: "yolov8n_640_fp16.plan", bytes: 9_000_000, sha256: "cd".repeat(32) },
    image: { name: "street.jpg", bytes: 650_000, sha256: "ef".repeat(32), width: 1920, height: 1080 },
    isQuick: false,
  },
  studies: [
    sampleStudy("latency", {
      measurements: [...WAYS, ...RAW],
      findings: ["Everything beside engine and copy takes 0.034 ms at the median."],
      checks: [
        { claim: "p50 at most engine + copy + 0.08 ms", found: "0.600 ms", wanted: "at most 0.646 ms", isMet: true },
        {
          claim: "p99 at most p50 + 0.1 ms over 4000 frames",
          found: "0.720 ms",
          wanted: "at most 0.700 ms",
          isMet: false,
        },
      ],
      blocks: [
        {
          kind: "distribution",
          title: "From the call to the boxes",
          note: "Every frame's time.",
          measurements: WAYS.map(({ id }) => id),
        },
        {
          kind: "stages",
          title: "What the time is made of",
          note: "Medians.",
          unit: "ms",
          bars: WAYS.map(({ name, id }) => ({ name, parts: parts({ bytes: 1.32, file: 1.45 }[id] ?? 0) })),
        },
      ],
    }),
    sampleStudy("streams", {
      measurements: [1, 2, 4, 8].map((count) =>
        sampleMeasurement(`rate-parallel-page-locked-graph-${count}`, Math.min(4100, 1700 * count ** 0.75), {
          unit: "fps",
          count: 60,
          name: `parallel streams, ${count} in flight`,
        }),
      ),
      blocks: [
        {
          kind: "lines",
          title: "Throughput",
          note: "Frames a second.",
          x: { label: "frames in flight", scale: "log2" },
          y: { label: "throughput", unit: "fps" },
          lines: ["one stream", "copy streams apart", "parallel streams"].map((name, at) => ({
            name,
            points: [1, 2, 3, 4, 8].map((x) => ({
              x,
              y: Math.min(2100 + at * 950, 1600 * x ** 0.8),
              low: Math.min(2050 + at * 900, 1500 * x ** 0.8),
              high: Math.min(2200 + at * 1000, 1700 * x ** 0.8),
            })),
            knee: 2 + at,
          })),
        },
        timelineOf(3, 40),
      ],
    }),
    sampleStudy("peers", { status: "skipped", reason: "it needs a model: none was given" }),
    sampleStudy("jpeg", {
      status: "failed",
      reason: "Cannot decode <this>\nHint: another way",
      leftOut: ["nvJPEG: the library is not there"],
    }),
    sampleStudy("levers", {
      blocks: [
        {
          kind: "table",
          title: "With and without",
          note: "Medians.",
          columns: ["lever", "gain", "boxes"],
          rows: [
            ["CUDA graph", "1.24×", 30],
            ["nvJPEG", null, 12.5],
          ],
        },
      ],
    }),
  ],
};
