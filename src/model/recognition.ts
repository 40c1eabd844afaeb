/** @module Recognition: puts together what follows from a recognised layout. */

import { formatTensorInfo, type TensorInfo } from "../core/tensor.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import { preprocessingFor } from "./image-input.ts";
import { labelsFor } from "./labels.ts";
import type { Layout, Recognition, SizeInput } from "./layout.ts";
import type { ModelTraits } from "./model-traits.ts";
import type { DecodePlan } from "./plan.ts";

/** What a layout decides; the rest follows from the traits. */
export interface RecognitionParts<Plan extends DecodePlan> {
  /** The outputs that told, in the order of the plan. */
  readonly outputs: readonly TensorInfo[];
  /** Further outputs that the layout knows, and that change nothing of how it is read; any other makes it another model. */
  readonly auxiliary?: readonly TensorInfo[];
  /** What the family wants done to a picture. */
  readonly preprocessing: Preprocessing;
  /** Number of classes; `undefined` where the outputs do not tell. */
  readonly classes: number | undefined;
  readonly needsNms: boolean;
  readonly plan: Plan;
  readonly sizeInputs?: readonly SizeInput[];
  /** See {@linkcode Recognition.assumptions}. */
  readonly assumptions?: readonly string[];
}

/** What a layout was recognised by, and all that follows from it. */
export function recognition<Plan extends DecodePlan>(
  layout: Pick<Layout, "name">,
  traits: ModelTraits,
  parts: RecognitionParts<Plan>,
): Recognition<Plan> {
  const { outputs, auxiliary = [], preprocessing, classes, needsNms, plan, sizeInputs = [], assumptions = [] } = parts;
  const { image, names, stride, preferredSize } = traits;
  const { shapesAt } = traits.model;
  const at = shapesAt === undefined ? "" : ` at ${shapesAt.join("x")}`;
  const known = names === undefined ? "no class names" : `${names.length} class names`;
  return {
    layout: layout.name,
    reason: `${outputs.map(formatTensorInfo).join(", ")}${at}; ${traits.forced ? "named by the caller" : known}`,
    unexplained: traits.model.outputs.filter((info) => !outputs.includes(info) && !auxiliary.includes(info)),
    imageInput: image.name,
    sizeInputs,
    preprocessing: preprocessingFor(image, preprocessing),
    assumptions,
    labels: labelsFor(classes, names),
    stride,
    fixedSize: image.fixedSize,
    preferredSize,
    needsNms,
    plan,
  };
}
