/** @module Layouts `…-fractions`: heads whose boxes are fractions of the input where others have pixels, as exports through TensorFlow give. */

import type { DensePlan, Head, ModelSpec, RowsPlan } from "./head.ts";
import type { ModelTraits } from "./traits.ts";
import { yolo } from "./yolo.ts";
import { yoloEndToEnd } from "./yolo-end-to-end.ts";
import { yoloObjectness } from "./yolo-objectness.ts";
import { yoloTransposed } from "./yolo-transposed.ts";

/** Name of a layout's like with boxes in fractions. */
function fractionsOf(layout: string): string {
  return `${layout}-fractions`;
}

/** The layout with boxes as fractions of the input's width and height. Nothing in a file tells it from the other: name it. */
function inFractions<Plan extends DensePlan | RowsPlan>(layout: Head<Plan>): Head<Plan> {
  const name = fractionsOf(layout.name);
  return {
    name,
    summary: `as ${layout.name}, with boxes as fractions of the input (exports through TensorFlow); never recognised, name it`,
    recognise(traits: ModelTraits): ModelSpec<Plan> | undefined {
      const found = traits.forced ? layout.recognise(traits) : undefined;
      return found && { ...found, layout: name, plan: { ...found.plan, boxUnit: "fraction" } };
    },
    decode: layout.decode,
  };
}

/** One for each layout whose exporters write both. */
export const FRACTIONS: readonly Head[] = [
  inFractions(yolo),
  inFractions(yoloTransposed),
  inFractions(yoloObjectness),
  inFractions(yoloEndToEnd),
];

/** Name of the layout to read a model by whose boxes turned out to be fractions; `undefined` if there is none. */
export function layoutInFractions(layout: string): string | undefined {
  return FRACTIONS.find(({ name }) => name === fractionsOf(layout))?.name;
}
