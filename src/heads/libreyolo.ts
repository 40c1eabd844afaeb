/** @module Head `libreyolo`: the YOLO heads of LibreYOLO's exports, whose boxes are corners, and which of its families have which head. */

import { type Preprocessing, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { decodeDense } from "./dense.ts";
import { densePlan, readClasses } from "./dense-reading.ts";
import { type DensePlan, defineHead, type Head } from "./head.ts";
import { type SplitOutputs, splitOutputs, splitParts } from "./split.ts";
import type { ModelTraits } from "./traits.ts";

/** Heads of its families whose pre-processing is known, by `model_family`; the others have outputs that look alike. */
const HEAD_OF: Readonly<Record<string, string>> = {
  yolo9: "libreyolo",
  yolo9_p2: "libreyolo",
  yolo9_e2e: "libreyolo",
  yolonas: "libreyolo",
  yolo7: "libreyolo",
  picodet: "libreyolo",
  ppyoloe: "libreyolo",
  rtmdet: "libreyolo",
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

/** ImageNet's mean and deviation of levels, RGB. */
const MEAN = [123.675, 116.28, 103.53] as const;
const STD = [58.395, 57.12, 57.375] as const;

const STRETCHED: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1, mean: MEAN, std: STD };

const TOP_LEFT: Preprocessing = { ...YOLO_PREPROCESSING, fit: "letterbox-top-left" };

/** What is done to an image, by family; YOLOv9's weights tell themselves where it is padded. */
const PREPROCESSING_OF: Readonly<Record<string, Preprocessing>> = {
  yolo7: { ...TOP_LEFT, resize: "antialias" },
  yolonas: { ...YOLO_PREPROCESSING, resize: "antialias" },
  picodet: STRETCHED,
  ppyoloe: STRETCHED,
  rtmdet: {
    ...TOP_LEFT,
    resize: "antialias",
    colour: "BGR",
    scale: 1,
    mean: [103.53, 116.28, 123.675],
    std: [57.375, 57.12, 58.395],
  },
};

/** Where `letterbox_pad` says that the image lies: in the corner, or since version 1.6 in the middle. */
const PADDED: Readonly<Record<string, Preprocessing>> = { topleft: TOP_LEFT, center: YOLO_PREPROCESSING };

/** What the family wants done to an image; `undefined` if its metadata does not tell. */
function preprocessingOf(metadata: Readonly<Record<string, string>>): Preprocessing | undefined {
  const family = libreYoloFamily(metadata) ?? "";
  if (Object.hasOwn(PREPROCESSING_OF, family)) return PREPROCESSING_OF[family];
  return family === "" ? undefined : PADDED[metadata.letterbox_pad ?? ""];
}

const ASSUMED_OF_YOLO_NAS =
  "an image fills the input; LibreYOLO leaves two pixels at each end of an input of 640, which moves boxes by less than one of its pixels";

/** Boxes and then scores in two outputs, under names that mean the opposite. */
function findPair({ model }: ModelTraits): SplitOutputs | undefined {
  const pair = splitOutputs(model);
  // Of four classes nothing but the order tells.
  const [boxes, scores] = model.outputs;
  return pair?.scores.shape[2] === 4 ? { boxes: boxes!, scores: scores! } : pair;
}

/**
 * Boxes x1, y1, x2, y2 in input pixels; probabilities. YOLOv9 says since version 1.2 how an image is padded; the other families have
 * one way each. PP-YOLOE and YOLO-NAS have boxes and scores in two outputs. The end-to-end YOLOv9 has one box an object, without NMS;
 * of an anchor the best class counts.
 *
 * @see https://github.com/LibreYOLO/libreyolo (libreyolo/models, libreyolo/export/onnx.py)
 */
export const libreYolo: Head<DensePlan> = defineHead(
  "libreyolo",
  "one output [N, 4+classes, anchors] or turned round: x1, y1, x2, y2 in pixels, a probability a class (LibreYOLO)",
  decodeDense,
  (traits) => {
    const { metadata } = traits.model;
    const known = preprocessingOf(metadata);
    if (known === undefined && !traits.forced) return undefined;
    const preprocessing = known ?? TOP_LEFT;
    const family = libreYoloFamily(metadata);
    const pair = family === "ppyoloe" || family === "yolonas" ? findPair(traits) : undefined;
    const parts = pair && splitParts(traits, pair, "pixels");
    if (parts !== undefined) {
      return {
        ...parts,
        preprocessing,
        ...(family === "yolonas" ? { assumptions: [ASSUMED_OF_YOLO_NAS], usualIou: 0.7 } : {}),
      };
    }
    // Its poses and oriented boxes have other outputs.
    const found = family === "yolonas" ? undefined : readClasses(traits, 4);
    return (
      found && {
        ...found.parts,
        preprocessing,
        ...(family === "yolo9_e2e" ? { needsNms: false } : {}),
        plan: { ...densePlan(found.reading, found.parts.classes, "class"), boxForm: "corners" },
      }
    );
  },
);
