/** @module Registry: every known head, and what they make of a model. */

import { message, OptionError } from "../core/errors.ts";
import { nearestWord, unknownWord } from "../core/options.ts";
import { decodeAnchorMaps, decodeOffsetMaps } from "./anchor-decoder.ts";
import { ANCHOR_MAP_HEADS } from "./anchor-maps.ts";
import { dflMaps, dflMapsLogits } from "./distance-maps.ts";
import { efficientNms } from "./efficient-nms.ts";
import { efficientDet, efficientDetMaps, efficientDetRows } from "./efficientdet.ts";
import { centerface, retinaface, retinafacePlates, scrfd, scrfdBoxes, yunet } from "./faces.ts";
import { fastestdet } from "./fastestdet.ts";
import { FRACTIONS } from "./fractions.ts";
import type { Head, ModelSpec } from "./head.ts";
import { huggingFace, huggingFaceSoftmax } from "./hugging-face.ts";
import { libreYolo } from "./libreyolo.ts";
import { decodeDistanceMaps } from "./map-decoder.ts";
import { mask2former } from "./mask2former.ts";
import { MASKED_HEADS } from "./masked.ts";
import { maskRcnnMmdeploy, mmdet, mmrotate } from "./mmdeploy.ts";
import { nanodet, nanodetPlus, picodet } from "./nanodet.ts";
import { paddleDetection, paddleRtdetr, ppyoloePlanes, ppyoloeRaw } from "./paddle.ts";
import { movenet, rtmo, yoloNasPose, yoloNasPoseFlat, yoloNasPoseRaw } from "./people.ts";
import { qualcomm } from "./qualcomm.ts";
import { retinanet, retinanetRounded } from "./retinanet.ts";
import { rfDetr } from "./rf-detr.ts";
import { deimv2Imagenet, rtdetr } from "./rtdetr.ts";
import { rtdetrUltralytics, rtdetrUltralyticsRows } from "./rtdetr-ultralytics.ts";
import { damoYolo, damoYoloRows, yolov4 } from "./split.ts";
import { customVision, ssd, ssdPytorch } from "./ssd.ts";
import { combinedNms, combinedNmsYx, tfDetection, tfDetectionMasks, tfliteDetection } from "./tensorflow.ts";
import { keypointRcnn, maskRcnn, torchvision } from "./torchvision.ts";
import type { ModelTraits } from "./traits.ts";
import { yolact } from "./yolact.ts";
import { yolo, yoloObjectness, yoloTransposed } from "./yolo.ts";
import { deepstream, yoloEndToEnd, yoloNasFlat, yolov7Rows } from "./yolo-rows.ts";
import { yolov3Onnx } from "./yolov3-onnx.ts";
import { yolox, yoloxDecoded } from "./yolox.ts";

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
