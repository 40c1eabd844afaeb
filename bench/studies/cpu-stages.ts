/** @module CPU stages: decoding, pre-processing and post-processing on the CPU, beside OpenCV and NumPy. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CpuBackend } from "../../src/accelerators/cpu/cpu-backend.ts";
import { createTensor, type Tensor } from "../../src/core/tensor.ts";
import { place, type Size } from "../../src/image/geometry.ts";
import { imageOf } from "../../src/image/image.ts";
import { ImageDecoder } from "../../src/image/image-decoder.ts";
import { YOLO_PREPROCESSING } from "../../src/image/preprocessing.ts";
import { Preprocessor } from "../../src/image/preprocessor.ts";
import type { DetectionBlock } from "../../src/model/rows.ts";
import { DEFAULT_MACHINE_OPTIONS, type Slot } from "../../src/runtime/backend.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import type { NmsOptions } from "../../src/tasks/detect/nms.ts";
import { type MaskedObjects, ProtoMasks, type Prototypes } from "../../src/tasks/segment/proto-masks.ts";
import { ScriptPeer } from "../peers/python-peer.ts";
import type { Study, StudyContext, StudyOutput } from "../study.ts";
import { keep } from "../support/keep.ts";
import { inRounds } from "../support/rounds.ts";
import { medianOf } from "../support/samples.ts";

const SIZE = 640;
const WARM_UP = 20;
const PEER_NAMES = {
  decode: "cv2.imdecode",
  preprocess: "cv2 and NumPy",
  blob: "cv2 and blobFromImage",
  postprocess: "NumPy and NMSBoxesBatched",
  masks: "NumPy and cv2.resize",
  maskBoxes: "NumPy and cv2.warpAffine under each box",
};
type PeerStage = keyof typeof PEER_NAMES | `blob-${string}`;

/** The peer's way in the report. */
function peerName(stage: PeerStage): string {
  if (stage in PEER_NAMES) return PEER_NAMES[stage as keyof typeof PEER_NAMES];
  return stage.startsWith("blob-1-") ? "cv2 and blobFromImage, one thread" : "cv2 and blobFromImage into a kept canvas";
}

/** Sizes of cameras and screens beside the image's own: their ratios to 640 are whole and even, or no whole number. */
const SIZES: readonly Size[] = [
  [1280, 720],
  [1366, 768],
  [3840, 2160],
];

/** A stage of ours, and what the peer runs beside it. */
interface Stage {
  readonly id: string;
  readonly name: string;
  readonly run: () => Promise<unknown> | unknown;
  readonly peers: readonly PeerStage[];
}

/** Noise of a size into the input, as the image itself. */
function sizeStage([width, height]: Size, preprocessor: Preprocessor, input: Tensor<"f32">): Stage {
  const data = new Uint8Array(width * height * 3);
  let state = 1;
  for (let at = 0; at < data.length; at++) {
    state = Math.imul(state, 0x5851_f42d) + 0x1405_7b7f;
    data[at] = state >>> 24;
  }
  const noise = imageOf(data, { width, height });
  const size = `${width}x${height}`;
  return {
    id: `preprocess-${size}`,
    name: `${size} to input`,
    run: () => preprocessor.run(noise, input, 0, preprocessor.place(noise, SIZE, SIZE)),
    peers: [`blob-${size}`, `blob-1-${size}`],
  };
}

/** Objects of which masks are made, in an image of 1920x1080. */
const OBJECTS = 30;
const MASKED_REGION = place(1920, 1080, SIZE, SIZE, "letterbox");

/** Prototypes and objects whose masks are made. */
interface MaskedImage {
  readonly prototypes: Prototypes;
  readonly objects: MaskedObjects;
}

/** Waves and boxes that look random and are the same in every run. Their masks have more edges than those of a model. */
function maskedImage(): MaskedImage {
  const channels = 32;
  const side = SIZE / 4;
  let state = 1;
  const random = (): number => {
    state = Math.imul(state, 0x5851_f42d) + 0x1405_7b7f;
    return (state >>> 8) / 2 ** 24;
  };
  const data = new Float32Array(channels * side * side);
  for (let channel = 0, to = 0; channel < channels; channel++) {
    const [alongX, alongY, phase] = [random() - 0.5, random() - 0.5, random() * 6];
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) data[to++] = Math.sin(x * alongX + y * alongY + phase);
  }
  const coefficients = Float32Array.from({ length: OBJECTS * channels }, () => random() - 0.5);
  const boxes = new Float32Array(OBJECTS * 4);
  for (let at = 0; at < OBJECTS * 4; at += 4) {
    const [width, height] = [60 + random() * 440, 100 + random() * 500];
    const [x, y] = [random() * (1920 - width), random() * (1080 - height)];
    boxes.set([x, y, x + width, y + height], at);
  }
  return {
    prototypes: { data, channels, height: side, width: side },
    objects: { count: OBJECTS, coefficients, boxes },
  };
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** The raw output of a YOLOv8 head is what the peer can post-process. */
async function headOutput(slot: Slot<NmsOptions, DetectionBlock>, folder: string): Promise<string | undefined> {
  const [tensor] = (await slot.readOutputs()).values();
  if (tensor?.dtype !== "f32" || tensor.shape.length !== 3 || tensor.shape[1] !== 84) return undefined;
  const path = join(folder, "output.f32");
  await Bun.write(path, tensor.data as Float32Array<ArrayBuffer>);
  return path;
}

/**
 * @param masks  path of what masks are made of
 * @param tensor where there is one to post-process
 */
async function startPeer(
  { options, image }: StudyContext,
  output: StudyOutput,
  masks: string,
  tensor: { readonly path: string; readonly params: NmsOptions } | undefined,
): Promise<ScriptPeer | undefined> {
  if (!options.hasPeers) return undefined;
  const { threshold = 0, iou = 0 } = tensor?.params ?? {};
  const settings = { image: image.path, size: SIZE, output: tensor?.path ?? "", threshold, iou, masks };
  const peer = await ScriptPeer.start(options.python, "opencv_stages.py", settings);
  if (typeof peer !== "string") return peer;
  output.leftOut.push(`OpenCV and NumPy beside ours: ${peer}`);
  return undefined;
}

/** The stages around a model. */
export const cpuStages: Study = {
  name: "cpu-stages",
  title: "CPU stages: beside OpenCV and NumPy",
  question:
    "What do decoding, pre-processing and post-processing take on the CPU, and what do OpenCV and NumPy take for the same?",
  needs: [],
  async run(context, output) {
    const { image, model, options } = context;
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-stages-"));
    using owned = new DisposableStack();
    owned.defer(() => rmSync(folder, { recursive: true }));
    const decoder = owned.use(ImageDecoder.create());
    const preprocessor = new Preprocessor(YOLO_PREPROCESSING);
    const input = createTensor("f32", [1, 3, SIZE, SIZE]);
    const { prototypes, objects } = maskedImage();
    const maskFile = join(folder, "masks.f32");
    await Bun.write(maskFile, Buffer.concat([prototypes.data, objects.coefficients, objects.boxes].map(bytesOf)));
    const protoMasks = new ProtoMasks();
    const stages: Stage[] = [
      {
        id: "decode",
        name: "JPEG to pixels",
        run: () => decoder.decode(image.bytes, image.path),
        peers: ["decode"],
      },
      {
        id: "preprocess",
        name: "pixels to input",
        run: () => preprocessor.run(image.image, input, 0, preprocessor.place(image.image, SIZE, SIZE)),
        peers: ["preprocess", "blob"],
      },
      ...SIZES.map((size) => sizeStage(size, preprocessor, input)),
      {
        id: "masks",
        name: `masks of ${OBJECTS} objects of 1920x1080`,
        run: () => protoMasks.finish(prototypes, objects, MASKED_REGION, "image"),
        peers: ["masks", "maskBoxes"],
      },
    ];
    let tensor: { readonly path: string; readonly params: NmsOptions } | undefined;
    if (model === undefined) output.leftOut.push("post-processing: it needs a model");
    else {
      const backend = await CpuBackend.load(
        model,
        new DetectTask(DEFAULT_DETECT_TASK_OPTIONS),
        DEFAULT_MACHINE_OPTIONS,
      );
      owned.defer(() => backend.close());
      const slot = backend.createSlot();
      owned.defer(() => slot.close());
      const { usualSize, idleParams: params } = backend.task;
      await slot.preprocess([image.image], usualSize);
      await slot.infer();
      const [block] = await slot.postprocess(params);
      if (block === undefined) throw new Error("The outputs of one image gave no rows to time");
      const path = await headOutput(slot, folder);
      tensor = path === undefined ? undefined : { path, params };
      stages.push({
        id: "postprocess",
        name: "output to boxes",
        run: () => slot.postprocess(params),
        peers: tensor === undefined ? [] : ["postprocess"],
      });
    }
    const rounds = options.isQuick ? 20 : 200;
    await using peer = await startPeer(context, output, maskFile, tensor);
    const samples = new Map<string, number[]>();
    const listOf = (id: string): number[] => samples.get(id) ?? samples.set(id, []).get(id)!;
    const contestants = stages.flatMap(({ id, run, peers }) => [
      {
        run: async () => {
          const started = performance.now();
          await run();
          listOf(id).push(performance.now() - started);
        },
      },
      ...(peer === undefined ? [] : peers).map((name) => ({
        run: async () => void listOf(`peer-${name}`).push(...(await peer!.run(1, name)).ms),
      })),
    ]);
    await inRounds(contestants, options.isQuick ? 3 : WARM_UP);
    for (const list of samples.values()) list.length = 0;
    await inRounds(contestants, rounds, (round) => {
      context.progress(round / rounds, `round ${round + 1} of ${rounds}`);
      return !context.isOver() || round < 3;
    });
    for (const { id, name, peers } of stages) {
      keep(output, id, `${name}, ours`, "ms", listOf(id));
      for (const peerStage of peers)
        keep(output, `peer-${peerStage}`, `${name}, ${peerName(peerStage)}`, "ms", listOf(`peer-${peerStage}`));
      const theirs = Math.min(
        ...peers.map((peerStage) => medianOf(listOf(`peer-${peerStage}`))).filter((value) => !Number.isNaN(value)),
      );
      if (Number.isFinite(theirs))
        output.findings.push(
          `${name}: ours takes ${(medianOf(listOf(id)) / theirs).toFixed(2)} times what the quicker of the peer's ways takes.`,
        );
    }
    if (peer !== undefined) output.findings.push(`The peer: ${peer.versions}.`);
    output.blocks.push({
      kind: "distribution",
      title: "Each stage",
      note: "Ours and the peer's in turns, stage by stage, within each round.",
      measurements: output.measurements.map(({ id }) => id),
    });
  },
};
