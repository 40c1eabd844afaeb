/**
 * @module Objects: what points and oriented boxes cost a frame on the GPU: latencies of a model as it is, and as a detector of the
 * same engine that reads its boxes alone, in turns. Both are loaded several times, either first in turns: where an engine comes to
 * lie in memory changes its time by as much as what is looked for.
 *
 * Usage: `bun bench/gpu/objects.bench.ts [model.onnx|PLAN]... [--loads 7]`; by default the models of `../shared`
 */

import { parseArgs } from "node:util";
import { GpuBackend } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { Detector } from "../../src/api/detector.ts";
import { parseDetectorOptions } from "../../src/api/detector-config.ts";
import { OrientedDetector, PoseEstimator } from "../../src/api/object-model.ts";
import type { ModelSpec } from "../../src/heads/head.ts";
import { evidentTask, type ObjectSpec, recogniseObjects } from "../../src/heads/object-reading.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import { DEFAULT_MACHINE_OPTIONS } from "../../src/runtime/backend.ts";
import type { Task } from "../../src/runtime/task.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, engineShapes, RecognisedDetector } from "../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import { ObjectTask } from "../../src/tasks/objects/object-task.ts";
import { findImage, sharedFile } from "../subject.ts";
import { pageLocked } from "../support/page-locked.ts";
import { inRounds, timeCalls } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";

const ROUNDS = 4;
const FRAMES = 150;
const WARM_UP = 150;
const THRESHOLDS = [0.9999, 0.25, 0.05];
/** What is asked for, in milliseconds. */
const MOST_BEYOND_BOXES_MS = 0.02;

const FILES = [
  "models/tasks/yolo11n-obb-coco_640.onnx",
  "models/tasks/layouts/yolo26-obb_e2e.onnx",
  "models/tasks/yolo11n-pose_640_nms.onnx",
  "models/tasks/layouts/yolo26-pose_raw.onnx",
];

const OPTIONS = {
  ...DEFAULT_MACHINE_OPTIONS,
  build: { ...DEFAULT_MACHINE_OPTIONS.build, precision: "fp16" },
  streams: "one",
  inFlight: 1,
} as const;

/** Reads the boxes of a model of objects, and nothing else of it. */
const boxesTask: Task<ModelSpec, NmsOptions, DetectionBlock> = {
  name: "detect",
  action: "load a detector",
  async recognise(opened) {
    const model = await opened.described(undefined);
    const {
      extras: _,
      keypoints: __,
      ...spec
    } = recogniseObjects(model, evidentTask(model)! as "obb" | "pose", {
      source: opened.source,
    });
    return new RecognisedDetector<ModelSpec>(spec, opened, DEFAULT_DETECT_TASK_OPTIONS);
  },
  engineShapes: ({ model }) => engineShapes(model.metadata, DEFAULT_DETECT_TASK_OPTIONS),
};

/** Which task the metadata of a model says, or its outputs. */
async function taskOf(path: string): Promise<"obb" | "pose"> {
  const backend = await GpuBackend.load(path, boxesTask, OPTIONS);
  try {
    return evidentTask(backend.model) === "obb" ? "obb" : "pose";
  } finally {
    backend.close();
  }
}

/** A frame of 1920x1080 pixels that is full of an image. */
function filledWith({ data, width, height }: Image): Image {
  const [wide, high] = [1920, 1080];
  const pixels = new Uint8Array(wide * high * 3);
  for (let y = 0; y < high; y++) {
    const from = (y % height) * width * 3;
    for (let x = 0; x < wide; x += width) {
      const count = Math.min(width, wide - x) * 3;
      pixels.set(data.subarray(from, from + count), (y * wide + x) * 3);
    }
  }
  return imageOf(pixels, { width: wide, height: high });
}

const text = (value: number): string => value.toFixed(4).padStart(8);

async function compare(path: string, frames: Readonly<Record<"obb" | "pose", Image>>): Promise<void> {
  const task = await taskOf(path);
  const frame = frames[task];
  const config = parseDetectorOptions({});
  const load = <Spec, Output>(wanted: Task<Spec, NmsOptions, Output>): Promise<GpuBackend<Spec, NmsOptions, Output>> =>
    GpuBackend.load(path, wanted, OPTIONS);
  const rows = THRESHOLDS.map((threshold) => ({
    threshold,
    boxes: [] as number[],
    whole: [] as number[],
    counts: [0, 0],
  }));
  // The first pair warms the code of both ways, and is not counted.
  for (let at = -1; at < loads; at++) {
    const loadObjects = () => load<ObjectSpec, DetectionBlock>(new ObjectTask(task, DEFAULT_DETECT_TASK_OPTIONS));
    let objects = at % 2 === 0 ? await loadObjects() : undefined;
    await using boxes = new Detector({ backends: [await load(boxesTask)], config, name: path });
    objects ??= await loadObjects();
    const opened = { backends: [objects], config, name: path };
    await using whole = task === "obb" ? new OrientedDetector(opened) : new PoseEstimator(opened);
    for (const row of rows) await measure(boxes, whole, frame, at < 0 ? { ...row, boxes: [], whole: [] } : row);
  }
  for (const { threshold, boxes, whole, counts } of rows) {
    const beyond = medianOf(whole.map((time, at) => time - boxes[at]!));
    console.log(
      `  ${String(threshold).padEnd(7)} boxes ${text(medianOf(boxes))} (${counts[0]} found)   ${task} ${text(medianOf(whole))} ` +
        `(${counts[1]} found)   beyond ${text(beyond)} of ${whole.map((time, at) => (time - boxes[at]!).toFixed(3)).join(" ")}, ` +
        `at most ${MOST_BEYOND_BOXES_MS}: ${beyond <= MOST_BEYOND_BOXES_MS ? "kept" : "NOT KEPT"}`,
    );
  }
}

/** Adds the medians of both ways, of a pair that was loaded together. */
async function measure(
  detector: Detector,
  objects: OrientedDetector | PoseEstimator,
  frame: Image,
  into: { readonly threshold: number; boxes: number[]; whole: number[]; counts: number[] },
): Promise<void> {
  const { threshold } = into;
  const ways = [
    async () => (await detector.detect(frame, { threshold })).detections.length,
    async () => (await objects.detect(frame, { threshold })).objects.length,
  ];
  const contestants = ways.map((run, at) => {
    const samples: number[] = [];
    return {
      samples,
      async run() {
        into.counts[at] = await run();
        samples.push(...(await timeCalls(run, { warmUp: samples.length === 0 ? WARM_UP : 0, count: FRAMES })));
      },
    };
  });
  await inRounds(contestants, ROUNDS);
  into.boxes.push(medianOf(contestants[0]!.samples));
  into.whole.push(medianOf(contestants[1]!.samples));
}

const { values, positionals: given } = parseArgs({
  allowPositionals: true,
  options: { loads: { type: "string", default: "7" } },
});
const loads = Number(values.loads);
const models = given.length > 0 ? given : FILES.map(sharedFile).filter((path) => path !== undefined);
using owned = new DisposableStack();
const imageAt = async (path: string | undefined): Promise<Image> => (await findImage({ image: path })).image;
const frames = {
  obb: pageLocked(await imageAt(undefined), owned),
  // The usual street has nobody in it.
  pose: pageLocked(filledWith(await imageAt(sharedFile("images/photos/bus.jpg"))), owned),
};
console.log(
  `FP16, 1920x1080, page-locked; medians of ${loads} loads, each p50 of ${ROUNDS * FRAMES} frames, ms, by threshold`,
);
for (const model of models) {
  console.log(model);
  await compare(model, frames);
}
