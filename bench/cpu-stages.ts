/**
 * @module The CPU stages around a model, beside OpenCV and NumPy, and the model's share of the whole frame.
 *
 * Usage: `bun bench/cpu-stages.ts [PICTURE] [--model FILE] [--python PATH] [--rounds 200] [--json FILE]`.
 *
 * Both sides take turns, stage by stage, within each round, and every sample after the warm-up counts. The frames with
 * the model run afterwards, as its threads would disturb the stages. The model must be a YOLOv8 with an output
 * [1, 84, anchors]; without one, its stages are left out, as the peer is without Python, OpenCV or NumPy.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import sharp from "sharp";
import { createTensor } from "../src/core/tensor.ts";
import { PictureDecoder } from "../src/image/picture-decoder.ts";
import { YOLO_PREPROCESSING } from "../src/image/preprocessing.ts";
import { Preprocessor } from "../src/image/preprocessor.ts";
import type { Selection } from "../src/model/selection.ts";
import { DEFAULT_BACKEND_OPTIONS } from "../src/pipeline/backend.ts";
import { CpuBackend } from "../src/pipeline/cpu/cpu-backend.ts";
import { type PeerStage, PythonPeer } from "./cpu-stages-peer.ts";
import { Samples } from "./support/samples.ts";

const SIZE = 640;
const WARM_UP = 30;
const SELECTION: Selection = {
  threshold: 0.25,
  iou: 0.7,
  maxDetections: 300,
  classAgnostic: false,
  classIds: undefined,
};

/** A stage of ours; gives the number of boxes or rows it made. */
interface Stage {
  readonly name: string;
  readonly run: () => Promise<number>;
  /** What the peer runs beside it. */
  readonly peers: readonly PeerStage[];
}

const PEER_NAMES: Readonly<Record<PeerStage, string>> = {
  decode: "cv2.imdecode",
  preprocess: "cv2.resize, copyMakeBorder, NumPy",
  blob: "cv2.resize, copyMakeBorder, blobFromImage",
  postprocess: "NumPy, cv2.dnn.NMSBoxesBatched",
};

/** Median and tail, for the table. */
function columns(samples: Samples): string {
  return [0.5, 0.99].map((share) => samples.quantile(share).toFixed(3).padStart(9)).join("");
}

async function timed(samples: Samples, run: () => Promise<number>): Promise<number> {
  const started = performance.now();
  const count = await run();
  samples.all.push(performance.now() - started);
  return count;
}

/** A 1920x1080 JPEG where no photograph is at hand. */
async function generatePicture(path: string): Promise<void> {
  const data = new Uint8Array(1920 * 1080 * 3);
  for (let at = 0; at < data.length; at++) {
    const x = (at / 3) % 1920;
    const y = at / 5760;
    data[at] = 128 + 80 * Math.sin(x / 37 + (at % 3)) * Math.cos(y / 23) + (Math.imul(at, 2654435761) >>> 27);
  }
  await sharp(data, { raw: { width: 1920, height: 1080, channels: 3 } })
    .jpeg({ quality: 90 })
    .toFile(path);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: join(import.meta.dir, "../../shared/models/yolov8n_640.onnx") },
    python: { type: "string", default: "python3" },
    rounds: { type: "string", default: "200" },
    json: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const scratch = mkdtempSync(join(tmpdir(), "bun-tensorrt-stages-"));
let picture = positionals[0] ?? join(import.meta.dir, "../../shared/images/photos/street_1920x1080.jpg");
if (positionals[0] === undefined && !existsSync(picture)) {
  picture = join(scratch, "generated.jpg");
  await generatePicture(picture);
}
const bytes = await Bun.file(picture).bytes();

using decoder = PictureDecoder.create();
const image = await decoder.decode(bytes, picture);
const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
const input = createTensor("f32", [1, 3, SIZE, SIZE]);
const stages: Stage[] = [
  {
    name: "decode",
    run: async () => (await decoder.decode(bytes, picture)).height,
    peers: ["decode"],
  },
  {
    name: "pre-process",
    run: async () => {
      preprocessor.run(image, input, 0, preprocessor.place(image, SIZE, SIZE));
      return 1;
    },
    peers: ["preprocess", "blob"],
  },
];

const hasModel = existsSync(values.model);
if (!hasModel) console.log(`Left out the stages of the model: ${values.model} is not there`);
using backend = hasModel ? await CpuBackend.load(values.model, DEFAULT_BACKEND_OPTIONS) : undefined;
using slot = backend?.createSlot();
let output: string | null = null;
if (slot !== undefined) {
  await slot.detect([image], [SIZE, SIZE], SELECTION);
  const [tensor] = (await slot.readOutputs()).values();
  output = join(scratch, "output.f32");
  await Bun.write(output, tensor!.data as Float32Array<ArrayBuffer>);
  stages.push({
    name: "decode + NMS",
    run: async () => (await slot.postprocess(SELECTION))[0]!.count,
    peers: ["postprocess"],
  });
}

const { threshold, iou } = SELECTION;
const peer = await PythonPeer.start(values.python, { image: picture, size: SIZE, output, threshold, iou });
const [load] = loadavg();
console.log(
  `${relative(process.cwd(), picture)}, ${image.width}x${image.height}, ${bytes.length} bytes, input ${SIZE}`,
);
console.log(
  `${cpus()[0]!.model}, ${cpus().length} cores, load ${load!.toFixed(2)}, Bun ${Bun.version}, ${rounds} rounds`,
);
console.log(typeof peer === "string" ? `Left out the peer: ${peer}` : `Peer: ${peer.versions}`);

const ours = new Map(stages.map((stage) => [stage, { samples: new Samples(), count: 0 }]));
const theirs = new Map(
  stages.flatMap((stage) => stage.peers.map((name) => [name, { samples: new Samples(), count: 0 }])),
);
for (let round = -WARM_UP; round < rounds; round++) {
  if (round === 0) for (const { samples } of [...ours.values(), ...theirs.values()]) samples.all.length = 0;
  for (const stage of stages) {
    const mine = ours.get(stage)!;
    mine.count = await timed(mine.samples, stage.run);
    if (typeof peer === "string") continue;
    for (const name of stage.peers) {
      const other = theirs.get(name)!;
      const { ms, count } = await peer.run(name);
      other.samples.all.push(ms);
      other.count = count;
    }
  }
}
if (typeof peer !== "string") await peer[Symbol.asyncDispose]();

console.log("\nmilliseconds                                            median      p99");
for (const [stage, { samples, count }] of ours) {
  console.log(`${stage.name.padEnd(14)}${"bun-tensorrt".padEnd(38)}${columns(samples)}`);
  if (typeof peer === "string") continue;
  for (const name of stage.peers) {
    const other = theirs.get(name)!;
    const ratio = samples.quantile(0.5) / other.samples.quantile(0.5);
    const boxes = name === "postprocess" ? `, boxes ${count} and ${other.count}` : "";
    console.log(
      `${"".padEnd(14)}${PEER_NAMES[name].padEnd(38)}${columns(other.samples)}   ours / theirs ${ratio.toFixed(2)}${boxes}`,
    );
  }
}

const frame = { whole: new Samples(), run: new Samples(), share: new Samples() };
if (slot !== undefined) {
  for (let round = -3; round < Math.min(rounds, 60); round++) {
    if (round === 0) for (const samples of Object.values(frame)) samples.all.length = 0;
    const started = performance.now();
    const decoded = await slot.decode(bytes, 0, picture);
    await slot.preprocess([decoded], [SIZE, SIZE]);
    const before = performance.now();
    await slot.infer();
    const after = performance.now();
    await slot.postprocess(SELECTION);
    const whole = performance.now() - started;
    frame.whole.all.push(whole);
    frame.run.all.push(after - before);
    frame.share.all.push((after - before) / whole);
  }
  console.log(`${"whole frame".padEnd(14)}${backend!.description.padEnd(38)}${columns(frame.whole)}`);
  console.log(`${"".padEnd(14)}${"of it ONNX Runtime's run".padEnd(38)}${columns(frame.run)}`);
  console.log(
    `${"".padEnd(14)}${"its share, median".padEnd(38)}${(frame.share.quantile(0.5) * 100).toFixed(1).padStart(8)}%`,
  );
}

if (values.json !== undefined) {
  const stagesJson = stages.map((stage) => ({
    stage: stage.name,
    ours: ours.get(stage)!.samples,
    peers: Object.fromEntries(stage.peers.map((name) => [PEER_NAMES[name], theirs.get(name)!.samples])),
  }));
  const environment = {
    cpu: cpus()[0]!.model,
    cores: cpus().length,
    bun: Bun.version,
    peer: typeof peer === "string" ? peer : peer.versions,
  };
  await Bun.write(values.json, `${JSON.stringify({ environment, stages: stagesJson, frame }, null, 2)}\n`);
}
rmSync(scratch, { recursive: true });
