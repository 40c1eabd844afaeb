/** @module Head `libreyolo`: the YOLO heads of LibreYOLO's exports, whose boxes are corners, and which of its families have which head. */

import { YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { densePlan, readClasses } from "./dense-reading.ts";
import { type DensePlan, defineHead, type Head } from "./head.ts";

/** Heads of its families whose pre-processing is known, by `model_family`; the others have outputs that look alike. */
const HEAD_OF: Readonly<Record<string, string>> = {
  yolo9: "libreyolo",
  yolox: "yolox",
  rfdetr: "rf-detr",
  dfine: "hugging-face",
  deim: "hugging-face",
  rtdetr: "hugging-face",
  rtdetrv4: "hugging-face",
};

/** The family that LibreYOLO's metadata names; `undefined` if another exporter wrote the file. */
export function libreYoloFamily(metadata: Readonly<Record<string, string>>): string | undefined {
  return metadata.libreyolo_version === undefined ? undefined : (metadata.model_family ?? "").toLowerCase();
}

/** The one head that a family of LibreYOLO may have; `undefined` if it is not known. */
export function headOfLibreYolo(family: string): string | undefined {
  return Object.hasOwn(HEAD_OF, family) ? HEAD_OF[family] : undefined;
}

/** Boxes x1, y1, x2, y2 in input pixels; probabilities; top-left letterbox since its version 1.2, whose metadata says so. */
export const libreYolo: Head<DensePlan> = defineHead(
  "libreyolo",
  "one output [N, 4+classes, anchors] or turned round: x1, y1, x2, y2 in pixels, a probability a class (LibreYOLO)",
  decodeDense,
  (traits) => {
    const { metadata } = traits.model;
    const isOne = libreYoloFamily(metadata) !== undefined && metadata.letterbox_pad === "topleft";
    const found = traits.forced || isOne ? readClasses(traits, 4) : undefined;
    return (
      found && {
        ...found.parts,
        preprocessing: { ...YOLO_PREPROCESSING, fit: "letterbox-top-left" },
        plan: { ...densePlan(found.reading, found.parts.classes, "class"), boxForm: "corners" },
      }
    );
  },
);
