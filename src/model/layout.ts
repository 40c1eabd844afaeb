/** @module Layout: the contract of one output layout: how it is recognised, and how its output is decoded. */

import type { Tensor, TensorInfo } from "../core/tensor.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { Candidates } from "./candidates.ts";
import type { RowExtra } from "./detection-block.ts";
import type { ModelTraits } from "./model-traits.ts";
import type { DecodePlan } from "./plan.ts";

/** What a layout was recognised by, and all that follows from it. Plain data: it can be printed, stored and compared. */
export interface Recognition<Plan extends DecodePlan = DecodePlan> {
  /** Name of the layout, as `--layout` takes it. */
  readonly layout: string;
  /** Why, in one clause: `output0: f32 [1, 84, 8400]; 80 class names`. */
  readonly reason: string;
  /**
   * Outputs that the layout knows nothing of: they may be what shows that it is another model. Empty unless the caller
   * named the layout.
   */
  readonly unexplained: readonly TensorInfo[];
  /** Name of the input that takes the picture. */
  readonly imageInput: string;
  /** Further inputs that are filled with the input's own size, and in which form; empty for most models. */
  readonly sizeInputs: readonly SizeInput[];
  readonly preprocessing: Preprocessing;
  /**
   * What was assumed of the pre-processing because models of several families have these tensors, each with what to do if
   * it is wrong; empty where the model tells, or the caller did.
   */
  readonly assumptions: readonly string[];
  /**
   * One name a class, by class id; ids without a name are empty strings. A model may give ids beyond the last name: read
   * it through `labelOf`.
   */
  readonly labels: readonly string[];
  /** Both sides of a dynamic input are multiples of it. */
  readonly stride: number;
  /** The input's size in pixels where the model fixes it; `undefined` where height or width is dynamic. */
  readonly fixedSize: readonly [width: number, height: number] | undefined;
  /** The fixed size, else the one the model was exported for (`imgsz`), else 640 × 640. */
  readonly preferredSize: readonly [width: number, height: number];
  /** False where the model's rows are final: only a threshold and a maximum count apply. */
  readonly needsNms: boolean;
  /** What the decoder needs to know: the CPU decodes by it, the GPU chooses and fills its kernel by it. */
  readonly plan: Plan;
  /** What is fetched for each row that was kept; nothing where it is left out. */
  readonly extras?: readonly RowExtra[];
}

/** An input that tells the model the size of the picture; it gets the input's size, so that boxes are input pixels. */
export interface SizeInput {
  readonly name: string;
  readonly dtype: "i64" | "i32" | "f32";
  /**
   * What a row, [N, 2], holds: [width, height], [height, width], or the scale factors [1, 1].
   * `mask` is no row: it is [N, height, width] of ones, at the input's size unless the model declares another.
   */
  readonly content: "width-height" | "height-width" | "ones" | "mask";
}

/** Where the rows of a batch are decoded from. */
export interface DecodeInput {
  /** Every output by name. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** Which picture of the batch. */
  readonly index: number;
  /** Size of the model's input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
  /** Rows with a lower score are left out; compared in f32. */
  readonly threshold: number;
}

/** One output layout: a file of `layouts/` exports one. */
export interface Layout<Plan extends DecodePlan = DecodePlan> {
  /** kebab-case, as `--layout` takes it. */
  readonly name: string;
  /** The tensors it wants, in one line, for messages: `[N, 4+classes, anchors], boxes cx cy w h`. */
  readonly summary: string;
  /**
   * Recognise a model by metadata, names and shapes, never by the order of its tensors. Where `traits.forced` is true
   * the caller named this layout: what the shapes leave open is then settled in its favour.
   *
   * @returns `undefined` if the model is another one
   */
  recognise(traits: ModelTraits): Recognition<Plan> | undefined;
  /**
   * Append the candidates of one picture, xyxy in input pixels. The CPU reference of the GPU's kernel.
   *
   * @throws {ShapeError} If an output has another shape or dtype than the plan says
   * @throws {ModelError} If the values cannot be what the plan says, such as a class id that is no whole number
   */
  decode(plan: Plan, input: DecodeInput, candidates: Candidates): void;
}
