/** @module Heads `…-fractions`: heads whose boxes are fractions of the input where others have pixels, as exports through TensorFlow give. */

import { efficientNms } from "./efficient-nms.ts";
import type { ColumnsPlan, DensePlan, Head, ModelSpec, RowsPlan } from "./head.ts";
import { libreYolo } from "./libreyolo.ts";
import { paddleDetection, paddleRtdetr, ppyoloeRaw } from "./paddle.ts";
import { deimv2Imagenet, rtdetr } from "./rtdetr.ts";
import { damoYolo } from "./split.ts";
import type { ModelTraits } from "./traits.ts";
import { yolo, yoloObjectness, yoloTransposed } from "./yolo.ts";
import { deepstream, yoloEndToEnd, yoloNasFlat, yolov7Rows } from "./yolo-rows.ts";
import { yoloxDecoded } from "./yolox.ts";

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
export const FRACTIONS: readonly Head[] = [
  ...[yolo, yoloTransposed, yoloObjectness, libreYolo, damoYolo, yoloxDecoded, ppyoloeRaw].map(inFractions),
  ...[yoloEndToEnd, deepstream, yolov7Rows, yoloNasFlat, paddleRtdetr, paddleDetection].map(inFractions),
  ...[efficientNms, rtdetr, deimv2Imagenet].map(inFractions),
];

/** Name of the head to read a model by whose boxes turned out to be fractions; `undefined` if there is none. */
export function headInFractions(head: string): string | undefined {
  return FRACTIONS.find(({ name }) => name === `${head}-fractions`)?.name;
}
