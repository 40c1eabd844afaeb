/** @module Head: the contract of one output layout: how it is recognised, and how its output is decoded. */

import { formatTensorInfo, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { plural } from "../core/units.ts";
import type { Preprocessing, PreprocessingOptions, PreprocessingSaid } from "../image/preprocessing.ts";
import { COCO_91, labelsFor } from "../model/model-info.ts";
import type { Candidates, RowExtra } from "../model/rows.ts";
import type { Anchors, AnchorsTaken } from "./anchors.ts";
import { type MaskSource, withOpenRows } from "./host-plan.ts";
import { assumedOfFourth, preprocessingFor } from "./image-input.ts";
import type { DecodePlan } from "./plans.ts";
import type { ModelTraits, ObjectTaskName } from "./traits.ts";

/** The points of an object. */
export interface KeypointForm {
  readonly count: number;
  /** Numbers a point: x and y in input pixels, and perhaps a score. */
  readonly numbers: 2 | 3;
  /** One a point; empty where the model tells none. */
  readonly names: readonly string[];
  /** True where the family moves points beyond the edge of the image onto it; else they stay where the model saw them. */
  readonly isClipped?: boolean;
}

/** What a model was recognised by, and all that follows from it. Plain data: it can be printed, stored and compared. */
export interface ModelSpec<Plan extends DecodePlan = DecodePlan> {
  /** Name of the head, the output layout, as `--head` takes it. */
  readonly head: string;
  /** Why, in one clause: `output0: f32 [1, 84, 8400]; 80 class names`. */
  readonly reason: string;
  /** Names of the other heads that the model's tensors fit, if the caller says that it has one of them. */
  readonly alternatives: readonly string[];
  /** Outputs that the head knows nothing of, which may show that it is another model. Empty unless the caller named the head. */
  readonly unexplained: readonly TensorInfo[];
  /** Name of the input that takes the image. */
  readonly imageInput: string;
  /** Further inputs that are filled with the input's own size, and in which form; empty for most models. */
  readonly sizeInputs: readonly SizeInput[];
  readonly preprocessing: Preprocessing;
  /**
   * What was assumed of the pre-processing, or of boxes with anchors, because models of several families have these tensors, each with what to do if
   * it is wrong; empty where the model tells, or the caller did.
   */
  readonly assumptions: readonly string[];
  /**
   * One name a class, by class id; ids without a name are empty strings. A model may give ids beyond the last name: read
   * it through `labelOf`.
   */
  readonly labels: readonly string[];
  /** That those names were assumed, and what to do about it; left out where the caller, the model or a file tells them, or its classes are counted. */
  readonly assumedNames?: string | undefined;
  /** Both sides of a dynamic input are multiples of it. */
  readonly stride: number;
  /** The input's size in pixels where the model fixes it; `undefined` where height or width is dynamic. */
  readonly fixedSize: readonly [width: number, height: number] | undefined;
  /** The fixed size, else the one the model was exported for (`imgsz`), else 640 × 640. */
  readonly preferredSize: readonly [width: number, height: number];
  /** True where a dynamic input is as large as the image, in whole strides, unless the caller says a size. */
  readonly isImageSized?: boolean | undefined;
  /** False where the model's rows are final: only a threshold and a maximum count apply. */
  readonly needsNms: boolean;
  /** What the decoder needs to know: the CPU decodes by it, the GPU chooses and fills its kernel by it. */
  readonly plan: Plan;
  /** The IoU threshold that the family's own NMS has, where it is not the usual one. */
  readonly usualIou?: number | undefined;
  /** What is fetched for each row that was kept; nothing where it is left out. */
  readonly extras?: readonly RowExtra[];
  /** The points of its objects; none where it is left out. */
  readonly keypoints?: KeypointForm | undefined;
  /** The anchors of raw maps, and who said them; left out where the head reads none. */
  readonly anchors?: AnchorsTaken;
  /** Where the masks of its objects come from; it has none where it is left out. */
  readonly masks?: MaskSource | undefined;
}

/** An input that tells the model the size of the image; it gets the input's size, so that boxes are input pixels. */
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
  /** Which image of the batch. */
  readonly index: number;
  /** Size of the model's input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
  /** Where the image ends in the input, right and below; left out: with it. */
  readonly imageRight?: number | undefined;
  readonly imageBottom?: number | undefined;
  /** Rows with a lower score are left out; compared in f32. */
  readonly threshold: number;
  /** The candidates that it is decoded to, of whose `extras` a head of the caller's makes use. */
  readonly pushed?: Pick<Candidates, "extras">;
  /** @internal True for numbers of chance, by which a cut is proved: nothing is concluded from them as from a model's first image. */
  readonly isOfChance?: boolean | undefined;
}

/** One output layout. */
export interface Head<Plan extends DecodePlan = DecodePlan> {
  /** kebab-case, as `--head` takes it. */
  readonly name: string;
  /** The tensors it wants, in one line, for messages: `[N, 4+classes, anchors], boxes cx cy w h`. */
  readonly summary: string;
  /** The task of models that say more of an object than its box. */
  readonly task?: ObjectTaskName | undefined;
  /**
   * Recognise a model by metadata, names and shapes, never by the order of its tensors. Where `traits.forced` is true
   * the caller named this head: what the shapes leave open is then settled in its favour.
   *
   * @returns `undefined` if the model is another one
   */
  recognise(traits: ModelTraits): ModelSpec<Plan> | undefined;
  /**
   * Append the candidates of one image, xyxy in input pixels. The CPU reference of the GPU's kernel.
   *
   * @throws {ShapeError} If an output has another shape or dtype than the plan says
   * @throws {ModelError} If the values cannot be what the plan says, such as a class id that is no whole number
   */
  decode(plan: Plan, input: DecodeInput, candidates: Candidates): void;
}

/** What a head decides; the rest follows from the traits. */
export interface ModelSpecParts<Plan extends DecodePlan>
  extends Pick<ModelSpec<Plan>, "needsNms" | "plan" | "usualIou" | "extras" | "keypoints" | "masks" | "isImageSized">,
    Partial<Pick<ModelSpec, "sizeInputs" | "assumptions" | "labels" | "assumedNames" | "stride" | "anchors">> {
  /** The outputs that told, in the order of the plan. */
  readonly outputs: readonly TensorInfo[];
  /** Further outputs that the head knows, and that change nothing of how it is read; any other makes it another model. */
  readonly auxiliary?: readonly TensorInfo[];
  /** What the family wants done to an image. */
  readonly preprocessing: Preprocessing;
  /** Number of classes; left out where the outputs do not tell. */
  readonly classes?: number;
  /** Class names of the family, where neither the caller nor the model gives any. */
  readonly names?: readonly string[];
  /** The size that models of the family with a dynamic input are made for. */
  readonly preferredSize?: readonly [width: number, height: number];
}

/** What is said where nobody tells the class names of a model. @param classes as many as it has, where the outputs tell */
function assumedNamesOf(classes: number | undefined): string | undefined {
  if (classes === undefined) return "COCO's 80 class names, as the model does not tell its own: give `labels`";
  if (classes !== COCO_91.length) return undefined;
  return (
    "the names of COCO's 91 ids, as the model has 91 classes and does not tell their names: one that was trained on other data may " +
    "keep their number; give `labels`"
  );
}

/** Complete what a head decides. @param head its name */
export function specOf<Plan extends DecodePlan>(
  head: string,
  traits: ModelTraits,
  parts: ModelSpecParts<Plan>,
): ModelSpec<Plan> {
  const { outputs, auxiliary = [], preprocessing, classes, names: ofFamily, preferredSize, ...decided } = parts;
  const { image, names, stride, forced } = traits;
  const { shapesAt } = traits.model;
  const isTold = names !== undefined || ofFamily !== undefined || decided.labels !== undefined;
  const assumedNames = assumedNamesOf(classes);
  const at = shapesAt === undefined ? "" : ` at ${shapesAt.join("x")}`;
  const known = names === undefined ? "no class names" : plural(names.length, "class name");
  return {
    head,
    reason: `${outputs.map(formatTensorInfo).join(", ")}${at}; ${forced ? "named by the caller" : known}`,
    alternatives: [],
    unexplained: traits.model.outputs.filter((info) => !outputs.includes(info) && !auxiliary.includes(info)),
    imageInput: image.name,
    sizeInputs: [],
    preprocessing: preprocessingFor(image, preprocessing),
    labels: labelsFor(classes, names ?? ofFamily),
    ...(isTold || assumedNames === undefined ? {} : { assumedNames }),
    stride,
    fixedSize: image.fixedSize,
    preferredSize: image.fixedSize ?? preferredSize ?? traits.preferredSize,
    ...decided,
    plan: withOpenRows(decided.plan, traits.model),
    assumptions: [...assumedOfFourth(image, preprocessing), ...(decided.assumptions ?? [])],
  };
}

/**
 * A head of what it takes to tell one from another.
 *
 * @param find what it decides about a model; `undefined` if that is another one
 * @param task of its models, if they say more of an object than its box
 */
export function defineHead<Plan extends DecodePlan>(
  name: string,
  summary: string,
  decode: Head<Plan>["decode"],
  find: (traits: ModelTraits) => ModelSpecParts<Plan> | undefined,
  task?: ObjectTaskName,
): Head<Plan> {
  return {
    name,
    summary,
    task,
    decode,
    recognise(traits: ModelTraits): ModelSpec<Plan> | undefined {
      const parts = find(traits);
      return parts && specOf(name, traits, parts);
    },
  };
}

/** What a file that mmdeploy, PaddleDetection or transformers writes beside a model says of an image, and of its classes. */
export interface ExporterConfig {
  readonly exporter: "mmdeploy" | "PaddleDetection" | "transformers";
  /** Its name. */
  readonly file: string;
  readonly preprocessing: PreprocessingSaid;
  readonly labels?: readonly string[] | undefined;
  /** What is done otherwise than it says. */
  readonly assumptions: readonly string[];
}

/** Class names of a file beside a model. */
interface NamesBeside {
  readonly file: string;
  readonly names: readonly string[];
  /** True: the model is the only one in its folder. */
  readonly isOfOne?: boolean | undefined;
  /** The task that it says the model has, and of a pose model its points. */
  readonly task?: string | undefined;
  readonly keypointShape?: RecogniseOptions["keypointShape"];
}

/** What the caller knows better than the model. */
export interface RecogniseOptions extends Pick<ModelTraits, "weightsOf"> {
  /** Name of the head, and after a colon that of the output it is, where there are several: `yolo:output0`. Recognised if left out. */
  readonly head?: string | undefined;
  /** Heads of the caller's: those that know a model for their own come before all others. */
  readonly heads?: readonly Head[] | undefined;
  /** What is done to an image, where it is not the head's way. */
  readonly preprocessing?: PreprocessingOptions | undefined;
  /** Class names by id; they also say how many classes there are. Default: the metadata's, else COCO's where they fit. */
  readonly labels?: readonly string[] | undefined;
  /** Those of `config.json` beside the model, where neither the caller nor the model gives any: of transformers' masks only. */
  readonly labelsBeside?: readonly string[] | undefined;
  /** Widths and heights of the anchors of raw maps, or the family that has them. */
  readonly anchors?: Anchors | undefined;
  /** Those of a file beside the model, where neither the caller nor the model gives any. */
  readonly anchorsBeside?: AnchorsTaken | undefined;
  /** What a file of mmdeploy's or PaddleDetection's beside the model says. */
  readonly exporterBeside?: ExporterConfig | undefined;
  /** Inputs whose levels the model scales itself. */
  readonly levelsIn?: readonly string[] | undefined;
  /** Class names of a file beside the model, where neither the caller nor the model gives any, and they fit. */
  readonly namesBeside?: NamesBeside | undefined;
  /** True: nothing is logged of what was assumed. */
  readonly isSilent?: boolean | undefined;
  /** Points of an object, and numbers a point, of a pose model whose metadata does not say it. */
  readonly keypointShape?: readonly [count: number, numbers: 2 | 3] | undefined;
  /** What to call the model in messages. */
  readonly source?: string | undefined;
  /** What it is to be used as, in messages; a detector if left out. */
  readonly noun?: string | undefined;
}

/** How a caller says that a model has a head: `head: "yolo"` in code, or a flag. @param names one or more */
export function naming(names: readonly string[]): string {
  const [first, ...others] = names;
  const also = others.length === 0 ? "" : `, or ${others.map((name) => JSON.stringify(name)).join(" or ")}`;
  return `\`head: ${JSON.stringify(first)}\` (\`--head ${first}\`)${also}`;
}

/** How a caller says what is done to an image: in code, or by flags. */
export function saying(preprocessing: PreprocessingOptions): string {
  const entries = Object.entries(preprocessing) as [string, string | number | readonly number[]][];
  const isShare = (value: unknown): boolean => value === 1 / 255;
  const codeOf = (value: unknown): string | undefined =>
    isShare(value) ? "1 / 255" : JSON.stringify(value)?.replaceAll(",", ", ");
  const code = entries.map(([name, value]) => `${name}: ${codeOf(value)}`);
  const flags = entries.map(([name, value]) => `--${name} ${isShare(value) ? "1/255" : value}`);
  return `\`preprocessing: { ${code.join(", ")} }\` (\`${flags.join(" ")}\`)`;
}
