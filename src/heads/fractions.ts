/** @module Heads `…-fractions`: heads whose boxes are fractions of the input where others have pixels, as exports through TensorFlow give. */

import type { DensePlan, Head, ModelSpec, RowsPlan } from "./head.ts";
import type { ModelTraits } from "./traits.ts";
import { yolo } from "./yolo.ts";
import { yoloEndToEnd } from "./yolo-end-to-end.ts";
import { yoloObjectness } from "./yolo-objectness.ts";
import { yoloTransposed } from "./yolo-transposed.ts";

/** Name of a head's like with boxes in fractions. */
function fractionsOf(head: string): string {
  return `${head}-fractions`;
}

/** The head with boxes as fractions of the input's width and height. Nothing in a file tells it from the other: name it. */
function inFractions<Plan extends DensePlan | RowsPlan>(head: Head<Plan>): Head<Plan> {
  const name = fractionsOf(head.name);
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

/** One for each head whose exporters write both. */
export const FRACTIONS: readonly Head[] = [
  inFractions(yolo),
  inFractions(yoloTransposed),
  inFractions(yoloObjectness),
  inFractions(yoloEndToEnd),
];

/** Name of the head to read a model by whose boxes turned out to be fractions; `undefined` if there is none. */
export function headInFractions(head: string): string | undefined {
  return FRACTIONS.find(({ name }) => name === fractionsOf(head))?.name;
}
