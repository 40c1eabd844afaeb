/**
 * @module Slices: a 3840x2160 image in slices and as a whole, all in one run of the engine, beside SAHI over Ultralytics on the same
 * plan, where Python has them.
 *
 * Usage: `bun bench/gpu/slices.bench.ts PLAN [image] [--count 200] [--sahi-count 20] [--python python3] [--json FILE]`.
 *
 * The plan is that of a model with an open batch, built as it was exported:
 * `build yolov8n_640_dynamic.onnx --batch 1,33,33 --size 640 --no-shape -o PLAN`. Without an image of that size, the street of
 * `../shared` lies in it four times.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Detector } from "../../src/api/detector.ts";
import { type Image, imageOf } from "../../src/image/image.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { forUltralytics, ScriptPeer } from "../peers/python-peer.ts";
import { findImage } from "../subject.ts";
import { pageLocked } from "../support/page-locked.ts";
import { timeCalls } from "../support/rounds.ts";
import { summarise } from "../support/samples.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "200" },
    "sahi-count": { type: "string", default: "20" },
    python: { type: "string", default: "python3" },
    json: { type: "string" },
  },
});
const [plan, named] = positionals;
if (plan === undefined) throw new Error("Usage: bun bench/gpu/slices.bench.ts PLAN [image]");

const [WIDTH, HEIGHT] = [3840, 2160];
const SIZE = 640;
const OVERLAP = 0.2;
const THRESHOLD = 0.25;
const ROUNDS = 4;

/** An image as often beside and below itself as there is room. */
function tiled(image: Image): Image {
  const data = new Uint8Array(WIDTH * HEIGHT * 3);
  for (let y = 0; y < HEIGHT; y++) {
    const from = (y % image.height) * image.pitchBytes;
    for (let x = 0; x < WIDTH; x += image.width) {
      const bytes = Math.min(image.width, WIDTH - x) * 3;
      data.set(image.data.subarray(from, from + bytes), (y * WIDTH + x) * 3);
    }
  }
  return imageOf(data, { width: WIDTH, height: HEIGHT });
}

/** Slices along a side: a step of what they do not share, and the last at the edge. */
const along = (side: number): number => Math.ceil((side - SIZE) / (SIZE - Math.floor(SIZE * OVERLAP))) + 1;

const slices = along(WIDTH) * along(HEIGHT);
const folder = mkdtempSync(join(tmpdir(), "slices-"));
using _folder = { [Symbol.dispose]: () => rmSync(folder, { recursive: true }) };
const whole = tiled((await findImage({ image: named })).image);
using owned = new DisposableStack();
const frame = pageLocked(whole, owned);
await using detector = await Detector.load(plan, {
  backend: "gpu",
  batch: slices + 1,
  threshold: THRESHOLD,
  slices: { size: SIZE, overlap: OVERLAP },
});

const picture = join(folder, "image.ppm");
await Bun.write(picture, Buffer.concat([Buffer.from(`P6\n${WIDTH} ${HEIGHT}\n255\n`), whole.data]));
const metadata = { task: "detect", stride: 32, batch: slices, imgsz: [SIZE, SIZE], names: detector.labels };
const engine = join(folder, "plan.engine");
await Bun.write(engine, forUltralytics(readPlan(await Bun.file(plan).bytes(), plan).plan, metadata));
const settings = {
  image: picture,
  ultralytics_plan: engine,
  threshold: THRESHOLD,
  size: SIZE,
  overlap: OVERLAP,
  batch: slices,
};
const sahi = await ScriptPeer.start(values.python, "sahi_slices.py", settings);
await using _sahi = typeof sahi === "string" ? undefined : sahi;

let boxes = 0;
const ours = {
  name: `bun-tensorrt, ${slices} slices and the whole in a run`,
  samples: [] as number[],
  boxes: () => boxes,
  run: async () => {
    const detect = async () => {
      boxes = (await detector.detect(frame)).detections.length;
    };
    ours.samples.push(...(await timeCalls(detect, { warmUp: 10, count: Number(values.count) / ROUNDS })));
  },
};
const ways: { name: string; samples: number[]; boxes: () => number; run: () => Promise<void> }[] = [ours];
if (typeof sahi === "string") console.log(`SAHI is left out: ${sahi}`);
else {
  console.log(sahi.versions);
  for (const batch of [slices, 1]) {
    let found = 0;
    const samples: number[] = [];
    const run = async (): Promise<void> => {
      const { ms, boxes: many } = await sahi.run(Math.ceil(Number(values["sahi-count"]) / ROUNDS), String(batch));
      found = many;
      samples.push(...ms);
    };
    ways.push({ name: `SAHI, Ultralytics, batches of ${batch}`, samples, boxes: () => found, run });
  }
}
for (let round = 0; round < ROUNDS; round++) for (const way of ways) await way.run();

const first = summarise(ours.samples).p50;
for (const { name, samples, boxes: found } of ways) {
  const { p50, p99 } = summarise(samples);
  console.log(
    `${name.padEnd(52)} p50 ${p50.toFixed(3)} ms, p99 ${p99.toFixed(3)}, ${(p50 / first).toFixed(1)} times ours, ${found()} boxes`,
  );
}
if (values.json !== undefined) {
  const results = ways.map(({ name, samples, boxes: found }) => ({ name, samples, boxes: found() }));
  await Bun.write(values.json, `${JSON.stringify({ slices, results }, undefined, 1)}\n`);
}
