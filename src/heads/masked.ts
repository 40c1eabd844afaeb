/** @module Masked heads: heads of detectors whose models have masks as well. */

import { MASK_CHANNELS, prototypesOf } from "./dense-reading.ts";
import type { Head, ModelSpec } from "./head.ts";
import { huggingFace, huggingFaceSoftmax } from "./hugging-face.ts";
import type { DecodePlan, DensePlan } from "./plans.ts";
import { rfDetr } from "./rf-detr.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";
import { yoloObjectness, yoloTransposed } from "./yolo.ts";

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
export const MASKED_HEADS: readonly Head[] = [
  masked(yoloObjectness, yoloTransposed, prototypes("yolov5")),
  masked(yoloTransposed, yoloObjectness, prototypes("ultralytics")),
  masked(rfDetr, undefined, planes("masks")),
  masked(huggingFace, huggingFaceSoftmax, planes("pred_masks")),
  masked(huggingFaceSoftmax, huggingFace, planes("pred_masks")),
];
