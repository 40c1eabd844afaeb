/**
 * @module Objects: what points and oriented boxes cost a frame on the GPU: latencies of a model as it is, and as a detector of the
 * same engine that reads its boxes alone, in turns.
 *
 * Usage: `bun bench/gpu/objects.bench.ts [model.onnx|PLAN]...`; by default the models of `../shared`
 */

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
import { inRounds } from "../support/rounds.ts";
import { summarise } from "../support/samples.ts";

const ROUNDS = 10;
const FRAMES = 300;
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
    return new RecognisedDetector<ModelSpec>(spec, opened.source, DEFAULT_DETECT_TASK_OPTIONS);
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
  const objects = await load<ObjectSpec, DetectionBlock>(new ObjectTask(task, DEFAULT_DETECT_TASK_OPTIONS));
  const opened = { backends: [objects], config, name: path };
  await using whole = task === "obb" ? new OrientedDetector(opened) : new PoseEstimator(opened);
  await using boxes = new Detector({ backends: [await load(boxesTask)], config, name: path });
  for (const threshold of [0.9999, 0.25, 0.05]) {
    const samples: { boxes: number[]; whole: number[] } = { boxes: [], whole: [] };
    const ways = [
      { into: samples.boxes, run: async () => (await boxes.detect(frame, { threshold })).detections.length },
      { into: samples.whole, run: async () => (await whole.detect(frame, { threshold })).objects.length },
    ];
    const counts = [];
    for (const { run } of ways) {
      for (let at = 0; at < 200; at++) await run();
      counts.push(await run());
    }
    const contestants = ways.map(({ into, run }) => ({
      async run() {
        for (let at = 0; at < FRAMES; at++) {
          const started = performance.now();
          await run();
          into.push(performance.now() - started);
        }
      },
    }));
    await inRounds(contestants, ROUNDS);
    const [plain, more] = [summarise(samples.boxes), summarise(samples.whole)];
    const beyond = more.p50 - plain.p50;
    console.log(
      `  ${String(threshold).padEnd(7)} boxes ${text(plain.p50)} (p99 ${text(plain.p99)}, ${counts[0]} found)` +
        `   ${task} ${text(more.p50)} (p99 ${text(more.p99)}, ${counts[1]} found)   beyond ${text(beyond)}, at most ` +
        `${MOST_BEYOND_BOXES_MS}: ${beyond <= MOST_BEYOND_BOXES_MS ? "kept" : "NOT KEPT"}`,
    );
  }
}

const given = process.argv.slice(2);
const models = given.length > 0 ? given : FILES.map(sharedFile).filter((path) => path !== undefined);
using owned = new DisposableStack();
const imageAt = async (path: string | undefined): Promise<Image> => (await findImage({ image: path })).image;
const frames = {
  obb: pageLocked(await imageAt(undefined), owned),
  // The usual street has nobody in it.
  pose: pageLocked(filledWith(await imageAt(sharedFile("images/photos/bus.jpg"))), owned),
};
console.log(`FP16, 1920x1080, page-locked; p50 of ${ROUNDS * FRAMES} frames each, ms, by threshold`);
for (const model of models) {
  console.log(model);
  await compare(model, frames);
}
