/**
 * @module Registry: every known head, those that read boxes as fractions of the input and those whose models have masks as
 * well among them, and what they make of a model.
 */

import { message, OptionError } from "../core/errors.ts";
import { nearestWord, unknownWord } from "../core/options.ts";
import type { TensorInfo } from "../core/tensor.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { decodeAnchorMaps, decodeOffsetMaps } from "./anchor-decoder.ts";
import { ANCHOR_MAP_HEADS } from "./anchor-maps.ts";
import { damoYolo, damoYoloRows, libreYolo, qualcomm, yolov4 } from "./corners.ts";
import { MASK_CHANNELS, prototypesOf } from "./dense-reading.ts";
import { dflMaps, dflMapsLogits, nanodet, nanodetPlus, picodet } from "./distance-maps.ts";
import { efficientDet, efficientDetMaps, efficientDetRows } from "./efficientdet.ts";
import { centerface, retinaface, retinafacePlates, scrfd, scrfdBoxes, yunet } from "./faces.ts";
import { fastestdet } from "./fastestdet.ts";
import {
  combinedNms,
  combinedNmsYx,
  keypointRcnn,
  maskRcnn,
  tfDetection,
  tfDetectionMasks,
  tfliteDetection,
  torchvision,
} from "./frameworks.ts";
import type { Head, ModelSpec } from "./head.ts";
import { huggingFace, huggingFaceSoftmax, mask2former } from "./hugging-face.ts";
import { decodeDistanceMaps } from "./map-decoder.ts";
import { efficientNms, maskRcnnMmdeploy, mmdet, mmrotate, yolov3Onnx } from "./nms-inside.ts";
import { paddleDetection, paddleRtdetr, ppyoloePlanes, ppyoloeRaw } from "./paddle.ts";
import { movenet, rtmo, yoloNasPose, yoloNasPoseFlat, yoloNasPoseRaw } from "./people.ts";
import type { ColumnsPlan, DecodePlan, DensePlan, RowsPlan } from "./plans.ts";
import { retinanet, retinanetRounded } from "./retinanet.ts";
import { rfDetr } from "./rf-detr.ts";
import { deimv2Imagenet, rtdetr, rtdetrUltralytics, rtdetrUltralyticsRows } from "./rtdetr.ts";
import { customVision, ssd, ssdPytorch, yolact } from "./ssd.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";
import { deepstream, yolo, yoloEndToEnd, yoloNasFlat, yoloObjectness, yoloTransposed, yolov7Rows } from "./yolo.ts";
import { yolox, yoloxDecoded } from "./yolox.ts";

type Masks = Pick<ModelSpec, "extras" | "masks">;

/**
 * A head with the masks of its models.
 *
 * @param other that such models may have as well: one that both fit has neither by itself
 */
function masked<Plan extends DecodePlan>(
  head: Head<Plan>,
  other: Head | undefined,
  find: (traits: ModelTraits, plan: Plan) => Masks | undefined,
): Head<Plan> {
  return {
    ...head,
    task: "segment",
    recognise(traits) {
      const spec = head.recognise(traits);
      const masks = spec && find(traits, spec.plan);
      if (spec === undefined || masks === undefined) return undefined;
      return !traits.forced && other?.recognise(traits) !== undefined ? undefined : { ...spec, ...masks };
    },
  };
}

/** Masks of prototypes, whose coefficients come after the classes of a row. */
function prototypes(rule: "ultralytics" | "yolov5") {
  return ({ model }: ModelTraits, plan: DensePlan): Masks | undefined => {
    const { output, order, channels } = plan;
    const first = plan.classChannel + plan.classes;
    const info = prototypesOf(model);
    if (info === undefined || channels !== first + MASK_CHANNELS) return undefined;
    const extra = { name: "coefficients", output, order, channels, first, length: MASK_CHANNELS } as const;
    return { extras: [extra], masks: { output: info.name, rule } };
  };
}

/** Masks of queries, a plane each. */
function planes(name: string) {
  return ({ model }: ModelTraits): Masks | undefined => {
    const info = findOutput(model, name, 4, FLOATS);
    return info && { masks: { output: info.name, rule: "logits" } };
  };
}

/** Heads of detectors for models that have masks as well. */
const MASKED_HEADS: readonly Head[] = [
  masked(yoloObjectness, yoloTransposed, prototypes("yolov5")),
  masked(yoloTransposed, yoloObjectness, prototypes("ultralytics")),
  masked(rfDetr, undefined, planes("masks")),
  masked(huggingFace, huggingFaceSoftmax, planes("pred_masks")),
  masked(huggingFaceSoftmax, huggingFace, planes("pred_masks")),
];

/** The head with boxes as fractions of the input's width and height. Nothing in a file tells it from the other: name it. */
function inFractions<Plan extends DensePlan | RowsPlan | ColumnsPlan>(head: Head<Plan>): Head<Plan> {
  const name = `${head.name}-fractions`;
  return {
    name,
    summary: `as ${head.name}, with boxes as fractions of the input (exports through TensorFlow); never recognised, name it`,
    recognise(traits: ModelTraits): ModelSpec<Plan> | undefined {
      const found = traits.forced ? head.recognise(traits) : undefined;
      return found && { ...found, head: name, plan: { ...found.plan, boxUnit: "fraction" } };
    },
    decode: head.decode,
  };
}

/** One for each head whose boxes are read in pixels as the model gives them. */
const FRACTIONS: readonly Head[] = [
  ...[yolo, yoloTransposed, yoloObjectness, libreYolo, damoYolo, yoloxDecoded, ppyoloeRaw].map(inFractions),
  ...[yoloEndToEnd, deepstream, yolov7Rows, yoloNasFlat, paddleRtdetr, paddleDetection].map(inFractions),
  ...[efficientNms, rtdetr, deimv2Imagenet].map(inFractions),
];

/** Name of the head to read a model by whose boxes turned out to be fractions; `undefined` if there is none. */
export function headInFractions(head: string): string | undefined {
  return FRACTIONS.find(({ name }) => name === `${head}-fractions`)?.name;
}

/** Heads of models that say more of an object than its box, and are told by their outputs. */
export const OBJECT_HEADS: readonly Head[] = [
  ...[yoloNasPoseFlat, yoloNasPose, yoloNasPoseRaw, movenet, rtmo, keypointRcnn],
  ...[centerface, yunet, scrfd, retinaface, retinafacePlates],
  mmrotate,
  ...[...MASKED_HEADS, yolact, maskRcnn, maskRcnnMmdeploy, tfDetectionMasks, mask2former],
];

/** Every head but those in fractions, in the order of the documentation; the order decides nothing. */
export const PLAIN_HEADS: readonly Head[] = [
  yolo,
  yoloTransposed,
  yoloObjectness,
  yoloEndToEnd,
  deepstream,
  yolov4,
  damoYolo,
  damoYoloRows,
  yolov7Rows,
  yoloNasFlat,
  libreYolo,
  yolox,
  yoloxDecoded,
  nanodet,
  nanodetPlus,
  picodet,
  fastestdet,
  rtdetr,
  deimv2Imagenet,
  rtdetrUltralytics,
  rtdetrUltralyticsRows,
  rfDetr,
  huggingFace,
  huggingFaceSoftmax,
  paddleRtdetr,
  paddleDetection,
  ppyoloeRaw,
  ppyoloePlanes,
  efficientNms,
  scrfdBoxes,
  mmdet,
  torchvision,
  tfDetection,
  tfliteDetection,
  ...[combinedNms, combinedNmsYx],
  qualcomm,
  yolov3Onnx,
  ...ANCHOR_MAP_HEADS,
  ...[dflMaps, dflMapsLogits],
  ...[retinanet, retinanetRounded],
  ...[efficientDet, efficientDetMaps, efficientDetRows],
  ssd,
  ssdPytorch,
  customVision,
  // A detector's boxes are not turned.
  ...OBJECT_HEADS.filter((head) => head.task !== "obb" && !MASKED_HEADS.includes(head)),
];

/** Every known head. */
export const HEADS: readonly Head[] = [...PLAIN_HEADS, ...FRACTIONS];

/** The head that a model was recognised by. @param own the caller's */
export function headOf({ head }: Pick<ModelSpec, "head">, own: readonly Head[] = []): Head {
  return OBJECT_HEADS.find(({ name }) => name === head) ?? headNamed(head, own);
}

/** What decodes the outputs of a model: its head, or of maps that take the place of what the head reads, their own decoder. */
export function decoderOf(spec: Pick<ModelSpec, "head" | "plan">, own: readonly Head[] = []): Head["decode"] {
  switch (spec.plan.kind) {
    case "anchor-maps":
      return decodeAnchorMaps as Head["decode"];
    case "distance-maps":
      return decodeDistanceMaps as Head["decode"];
    case "offset-maps":
      return decodeOffsetMaps as Head["decode"];
    default:
      return headOf(spec, own).decode;
  }
}

/** @throws {OptionError} If two heads of the caller's have one name, or one has that of a built-in head */
export function refuseTaken(own: readonly Head[]): void {
  const names = own.map(({ name }) => name);
  const isBuiltIn = (name: string): boolean => [...HEADS, ...OBJECT_HEADS].some((head) => head.name === name);
  const taken = names.find((name, at) => isBuiltIn(name) || names.indexOf(name) !== at);
  if (taken === undefined) return;
  const found = isBuiltIn(taken) ? "a built-in head has that name" : "two of the heads have that name";
  throw new OptionError(message(`take the head "${taken}"`, found, "give it another name"), "heads");
}

/** A head by name. @param own the caller's @throws {OptionError} If there is none; it names the nearest */
export function headNamed(name: string, own: readonly Head[] = []): Head {
  const head = [...own, ...HEADS].find((known) => known.name === name);
  if (head !== undefined) return head;
  const [names, plainNames] = [HEADS, PLAIN_HEADS].map((heads) => [...own, ...heads].map((known) => known.name));
  throw new OptionError(unknownWord("head", name, plainNames!, nearestWord(name, names!)), "head");
}

/** An input that the head does not fill would leave the model without it. */
export function isFedBy({ imageInput, sizeInputs }: ModelSpec, name: string): boolean {
  return name === imageInput || sizeInputs.some((input) => input.name === name);
}

/** What some heads make of a model, where they fill all of its inputs. */
export function readings(traits: ModelTraits, heads: readonly Head[]): ModelSpec[] {
  const found = heads.map((head) => head.recognise(traits)).filter((spec) => spec !== undefined);
  return found.filter((spec) => traits.model.inputs.every(({ name }) => isFedBy(spec, name)));
}

/** What some heads make of a model, where they fill its inputs and know all of its outputs, unless the caller named the head. */
export function fitting(traits: ModelTraits, heads: readonly Head[]): ModelSpec[] {
  return readings(traits, heads).filter(({ unexplained }) => traits.forced || unexplained.length === 0);
}

/**
 * Names of the heads by which a model can be read if the caller says so. Those in fractions are told of where boxes turn out
 * to be such. TensorFlow's detectors are like `efficient-nms`, but for the order of a box's numbers.
 */
export function nameable(traits: ModelTraits, own: readonly Head[] = []): string[] {
  const found = fitting({ ...traits, forced: true }, [...own, ...PLAIN_HEADS]).map(({ head }) => head);
  return traits.image.layout === "NHWC" ? found.filter((name) => name !== efficientNms.name) : found;
}

/** Names of those that are read from the same tensors as what was found, but only where they are named: `yolox-decoded` beside `yolox`. */
export function nameableBeside(found: readonly ModelSpec[], traits: ModelTraits): string[] {
  const isLike = ({ needsNms, anchors, unexplained }: ModelSpec): boolean =>
    unexplained.length === 0 &&
    found.some((one) => one.needsNms === needsNms && (one.anchors === undefined) === (anchors === undefined));
  const names = fitting({ ...traits, forced: true }, PLAIN_HEADS)
    .filter(isLike)
    .map(({ head }) => head);
  return names.filter((name) => !found.some(({ head }) => head === name));
}

/** Most heads that a message shows, but for those that may be named. */
const MOST_SHOWN = 8;

/** True where a head's summary has shapes of as many axes as the outputs have, and one output if that is all there is. */
function hasLikeOutputs({ summary }: Head, outputs: readonly TensorInfo[]): boolean {
  const axes = [...summary.replace(/; input .*/, "").matchAll(/\[([^\]]*)\]/g)].map(
    ([, shape = ""]) => shape.split(",").length,
  );
  const isAlone = /^one (raw map|output)\b/.test(summary);
  return isAlone === (outputs.length === 1) && outputs.every(({ shape }) => axes.includes(shape.length));
}

/**
 * What a message shows of the heads that a model was compared with, so that it stays on a screen: `yolo: one output …`, those that may
 * be named first, then those of like outputs. docs/models.md has all of them.
 */
export function likelyHeads(heads: readonly Head[], { outputs }: ModelInfo, names: readonly string[] = []): string[] {
  const named = heads.filter(({ name }) => names.includes(name));
  const like = heads.filter((head) => !named.includes(head) && (heads.length === 1 || hasLikeOutputs(head, outputs)));
  return [...named, ...like]
    .slice(0, Math.max(MOST_SHOWN, named.length))
    .map(({ name, summary }) => `${name}: ${summary}`);
}

/** A message's rows of the heads that a model was compared with: of all that are known those that {@linkcode likelyHeads} shows. */
export function headRows(heads: readonly Head[], model: ModelInfo, names: readonly string[]): string[] {
  if (heads !== HEADS) {
    const list = heads.length === 1 ? heads : heads.filter((head) => PLAIN_HEADS.includes(head));
    const rows = list.map(({ name, summary }) => `${name}: ${summary}`);
    if (list.length === heads.length) return rows;
    return [...rows, "…-fractions: as the head of that name, with boxes as fractions of the input"];
  }
  const likely = likelyHeads(PLAIN_HEADS, model, names);
  const before = likely.length > 0 ? "… and " : "none with such outputs; ";
  return [...likely, `${before}${PLAIN_HEADS.length - likely.length} more in docs/models.md`];
}
