/** @module Heads `centerface`, `retinaface`, `scrfd` and `yunet`: faces with five points, and plates with four, before NMS. */

import { ModelError, message } from "../core/errors.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { cellCount, USUAL_STRIDES } from "./dense-reading.ts";
import { decodeFaces } from "./face-grid.ts";
import { defineHead, type Head, type ModelSpecParts } from "./head.ts";
import type { FaceLevel, FacesPlan } from "./host-plan.ts";
import { FLOATS, findOutput, isFloat, type ModelTraits } from "./traits.ts";

/** By the person's own sides, as COCO's are: the right eye is on the left of an image. */
const FACE_KEYPOINTS: readonly string[] = ["right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner"];

/** Levels as they are, padded with black right and below. */
const LEVELS: Preprocessing = { ...YOLO_PREPROCESSING, fit: "letterbox-top-left", scale: 1, pad: [0, 0, 0] };

/** Numbers of an anchor's points. */
const POINT_NUMBERS = FACE_KEYPOINTS.length * 2;

/** What is found, and its points; without any it is told by its box. */
interface Kind {
  readonly label: string;
  readonly points?: readonly string[];
}

const FACE: Kind = { label: "face", points: FACE_KEYPOINTS };

/** Of a plate, as its reader sees it. */
const PLATE: Kind = { label: "plate", points: ["bottom_right", "bottom_left", "top_left", "top_right"] };

type FaceParts = Pick<ModelSpecParts<FacesPlan>, "outputs" | "preprocessing" | "usualIou" | "isImageSized"> &
  Pick<FacesPlan, "levels">;

function faceHead(
  form: FacesPlan["form"],
  summary: string,
  find: (traits: ModelTraits) => FaceParts | undefined,
  { name, label, points }: Kind & { readonly name: string } = { name: form, ...FACE },
): Head<FacesPlan> {
  const pointCount = points?.length ?? 0;
  return defineHead(
    name,
    summary,
    decodeFaces,
    (traits) => {
      const found = find(traits);
      if (found === undefined) return undefined;
      const { levels, ...parts } = found;
      return {
        ...parts,
        classes: 1,
        names: [label],
        needsNms: true,
        ...(points && { keypoints: { count: pointCount, numbers: 2, names: points } }),
        plan: { kind: "faces", form, pointCount, levels },
      };
    },
    points && "pose",
  );
}

/** Names that are numbers, as the exporter of PyTorch gives them, grow in the order of the graph. */
function byNumber(outputs: readonly TensorInfo[]): readonly TensorInfo[] | undefined {
  if (outputs.some(({ name }) => !/^\d+$/.test(name))) return undefined;
  return [...outputs].sort((a, b) => Number(a.name) - Number(b.name));
}

const CENTERFACE_STRIDE = 4;
/** Channels of the maps in the order of the graph, faces, sizes, offsets and points, and what they are called. */
const CENTERFACE_CHANNELS: readonly number[] = [1, 2, 2, POINT_NUMBERS];
const CENTERFACE_NAMES: readonly RegExp[] = [/heat|score/i, /scale|size|^wh$/i, /off/i, /lm|landm|points|kps/i];
/** A published file declares the input that it was traced with, 32x32: nothing is found at such a size. */
function refuseTraced(size: readonly [number, number]): void {
  if (Math.max(...size) >= 64) return;
  const found = `CenterFace's file declares the input it was traced with, ${size.join("x")} pixels, in which there is room for no face`;
  const hint =
    "the network takes any size: leave batch, height and width of its input and outputs open in the file (`dim_param` in the " +
    "Python package onnx)";
  throw new ModelError(message("use the model as a pose model", found, hint), "centerface");
}

/**
 * Images are stretched to their own size in whole 32 pixels, RGB: at a smaller one small faces are lost.
 *
 * @see https://github.com/Star-Clouds/CenterFace
 */
export const centerface: Head<FacesPlan> = faceHead(
  "centerface",
  "maps [N, 1|2|2|10, height/4, width/4], in this order by names or numbers: faces, sizes, offsets, points (CenterFace)",
  ({ model, image }) => {
    const maps = model.outputs.filter((info) => isFloat(info) && info.shape.length === 4);
    if (maps.length !== CENTERFACE_CHANNELS.length) return undefined;
    const found = byNumber(maps) ?? CENTERFACE_NAMES.map((name) => maps.find((map) => name.test(map.name)));
    if (found.some((map, at) => map?.shape[1] !== CENTERFACE_CHANNELS[at])) return undefined;
    if (image.fixedSize !== undefined) refuseTraced(image.fixedSize);
    const outputs = found as TensorInfo[];
    const [scores, boxes, offsets, points] = outputs.map(({ name }) => name) as [string, string, string, string];
    const level = { stride: CENTERFACE_STRIDE, sizes: [CENTERFACE_STRIDE], scores, boxes, offsets, points };
    const preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1 } as const;
    return { outputs, levels: [level], preprocessing, usualIou: 0.3, isImageSized: true };
  },
);

/** Mean of the channels, blue first. */
const RETINAFACE_MEAN = [104, 117, 123] as const;
/** What its own exporter calls boxes, scores and points, whose last axis it leaves open. */
const RETINAFACE_NAMES: Readonly<Record<string, number>> = { output: 4, outputt: 2, outputtt: POINT_NUMBERS };

/** The outputs of BGR levels less the mean, of two anchors a cell of strides 8, 16 and 32. @param smallest side of an anchor */
function retinafaceParts(
  { model, shapesAt, forced }: ModelTraits,
  pointNumbers: number,
  smallest: number,
): FaceParts | undefined {
  const { outputs } = model;
  if (outputs.length !== 3 || outputs.some((info) => !isFloat(info) || info.shape.length !== 3)) return undefined;
  const rows = cellCount(...shapesAt, USUAL_STRIDES) * 2;
  const isOther = (count: number): boolean => count !== rows && (count >= 0 || !forced);
  if (outputs.some(({ shape }) => isOther(shape[1]!) || shape[1] !== outputs[0]!.shape[1])) return undefined;
  const found = [4, 2, pointNumbers].map((numbers) =>
    outputs.find(({ name, shape }) => (shape[2]! < 0 ? RETINAFACE_NAMES[name] : shape[2]) === numbers),
  );
  if (found.some((info) => info === undefined)) return undefined;
  const [boxes, scores, points] = (found as TensorInfo[]).map(({ name }) => name) as [string, string, string];
  const levels = USUAL_STRIDES.map((stride, at) => {
    return { stride, sizes: [smallest * 4 ** at, 2 * smallest * 4 ** at], scores, boxes, points };
  });
  const preprocessing = { ...LEVELS, colour: "BGR", mean: RETINAFACE_MEAN, pad: RETINAFACE_MEAN } as const;
  return { outputs, levels, preprocessing, usualIou: 0.4 };
}

/** Anchors of 16 and 32, 64 and 128, 256 and 512 pixels. @see https://github.com/biubug6/Pytorch_Retinaface */
export const retinaface: Head<FacesPlan> = faceHead(
  "retinaface",
  "three outputs [N, anchors, 4|2|10]: boxes, scores and points beside two anchors a cell of strides 8, 16, 32 (RetinaFace)",
  (traits) => retinafaceParts(traits, POINT_NUMBERS, 16),
);

/** RetinaFace as it is trained for number plates: their corners, and anchors of 24 and 48, 96 and 192, 384 and 768 pixels. */
export const retinafacePlates: Head<FacesPlan> = faceHead(
  "retinaface",
  "as retinaface, [N, anchors, 4|2|8], of number plates: their corners from the bottom right on, clockwise (RetinaFace for plates)",
  (traits) => retinafaceParts(traits, PLATE.points!.length * 2, 24),
  { name: "retinaface-plates", ...PLATE },
);

/** Numbers of an anchor in outputs of each kind, in the order of the graph: score, box, points. */
const SCRFD_NUMBERS: readonly number[] = [1, 4, POINT_NUMBERS];
const SCRFD_NAMES: readonly string[] = ["score", "bbox", "kps"];
const SCRFD_ANCHORS = 2;

/**
 * The outputs of each stride: told by names, by their rows, or by numbers of which those of a stride follow one another.
 *
 * @param kinds of outputs a stride has: three, or two without points
 */
function scrfdLevels(
  { outputs }: ModelInfo,
  size: readonly [number, number],
  kinds: number,
): readonly (readonly TensorInfo[])[] | undefined {
  const isOf = ({ shape }: TensorInfo, kind: number): boolean => shape.at(-1) === SCRFD_NUMBERS[kind];
  const names = SCRFD_NAMES.slice(0, kinds);
  const named = USUAL_STRIDES.map((stride) =>
    names.map((name, kind) => outputs.find((info) => info.name === `${name}_${stride}` && isOf(info, kind))),
  );
  const byRows = USUAL_STRIDES.map((stride) => {
    const rows = cellCount(...size, [stride]) * SCRFD_ANCHORS;
    return names.map((_, kind) => outputs.find((info) => info.shape.at(-2) === rows && isOf(info, kind)));
  });
  const numbered = byNumber(outputs);
  const byOrder = numbered && USUAL_STRIDES.map((_, level) => numbered.slice(level * kinds, (level + 1) * kinds));
  const isWhole = (levels: readonly (readonly (TensorInfo | undefined)[])[]): boolean =>
    new Set(levels.flat()).size === outputs.length &&
    levels.every((level) => level.every((info, kind) => info !== undefined && isOf(info, kind)));
  const found = [named, byRows, byOrder ?? []].find(isWhole);
  return found as readonly (readonly TensorInfo[])[] | undefined;
}

function scrfdParts({ model, shapesAt }: ModelTraits, kinds: number): FaceParts | undefined {
  const { outputs } = model;
  const count = USUAL_STRIDES.length * kinds;
  if (outputs.length !== count || outputs.some((info) => !isFloat(info) || !/^[23]$/.test(`${info.shape.length}`)))
    return undefined;
  const found = scrfdLevels(model, shapesAt, kinds);
  if (found === undefined) return undefined;
  const levels = found.map((level, at): FaceLevel => {
    const [scores = "", boxes = "", points] = level.map(({ name }) => name);
    const stride = USUAL_STRIDES[at]!;
    return {
      stride,
      sizes: new Array(SCRFD_ANCHORS).fill(stride),
      scores,
      boxes,
      ...(points !== undefined && { points }),
    };
  });
  const mean = [127.5, 127.5, 127.5] as const;
  return { outputs: found.flat(), levels, preprocessing: { ...LEVELS, mean, std: [128, 128, 128] }, usualIou: 0.4 };
}

/** @see https://github.com/deepinsight/insightface (detection/scrfd) */
export const scrfd: Head<FacesPlan> = faceHead(
  "scrfd",
  "nine outputs [N, anchors, 1|4|10], or without N: score, bbox and kps of two anchors a cell of strides 8, 16, 32 (SCRFD)",
  (traits) => scrfdParts(traits, SCRFD_NUMBERS.length),
);

/** SCRFD trained without points: the models whose names have no `kps`. */
export const scrfdBoxes: Head<FacesPlan> = faceHead(
  "scrfd",
  "as scrfd, six outputs [N, anchors, 1|4]: scores and boxes of faces (SCRFD without points)",
  (traits) => scrfdParts(traits, SCRFD_NUMBERS.length - 1),
  { name: "scrfd-boxes", label: FACE.label },
);

/** What the outputs of each stride are called, and their numbers of a cell. */
const YUNET_OUTPUTS = [
  ["cls", 1],
  ["obj", 1],
  ["bbox", 4],
  ["kps", POINT_NUMBERS],
] as const;

/** BGR levels. @see https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet */
export const yunet: Head<FacesPlan> = faceHead(
  "yunet",
  "outputs cls_, obj_, bbox_ and kps_ of strides 8, 16, 32: [N, cells, 1|1|4|10] (YuNet of 2023)",
  ({ model }) => {
    const found = USUAL_STRIDES.flatMap((stride) =>
      YUNET_OUTPUTS.map(([name]) => findOutput(model, `${name}_${stride}`, 3, FLOATS)),
    );
    if (found.some((info, at) => info?.shape[2] !== YUNET_OUTPUTS[at % 4]![1])) return undefined;
    const levels = USUAL_STRIDES.map((stride) => ({
      stride,
      sizes: [stride],
      scores: `cls_${stride}`,
      objectness: `obj_${stride}`,
      boxes: `bbox_${stride}`,
      points: `kps_${stride}`,
    }));
    return { outputs: found as TensorInfo[], levels, preprocessing: { ...LEVELS, colour: "BGR" }, usualIou: 0.3 };
  },
);
