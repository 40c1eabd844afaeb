/** @module Inspection: what a model is recognised as, whatever its task, and what is told of it as text and as JSON. */

import { parseImageModelOptions } from "../api/image-model-config.ts";
import { ModelError } from "../core/errors.ts";
import { printable } from "../core/log.ts";
import { formatTensorInfo, type TensorInfo } from "../core/tensor.ts";
import { refuseUnreadAnchors } from "../heads/anchor-maps.ts";
import type { AnchorsTaken } from "../heads/anchors.ts";
import type { ModelSpec, RecogniseOptions } from "../heads/head.ts";
import { hostReason } from "../heads/host-plan.ts";
import { mapsRead } from "../heads/map-readings.ts";
import { type ObjectSpec, recogniseAny } from "../heads/object-reading.ts";
import { ownHeadFor } from "../heads/recognition.ts";
import { shapeModel } from "../heads/shaping.ts";
import { type Shaping, shapingOf } from "../heads/shaping-config.ts";
import { isByUltralytics, type ObjectTaskName } from "../heads/traits.ts";
import { isSize, type Resized } from "../image/geometry.ts";
import type { Preprocessing } from "../image/preprocessing.ts";
import type { ModelInfo } from "../model/model-info.ts";
import type { OpenedModel } from "../runtime/task.ts";
import type { ClassifierPreprocessingOptions } from "../tasks/classify/classifier-recipe.ts";
import { type ClassifierSpec, recogniseClassifier, seemsClassifier } from "../tasks/classify/classifier-recognition.ts";
import { DEPTH, type DepthSpec } from "../tasks/depth/depth-task.ts";
import { isImageSized } from "../tasks/detect/detect-task.ts";
import { declaresImages, type ImageModelSpec, type PixelTensor } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { detectorFiles, labelsOfFiles, mapTaskOf, modelFiles } from "../tasks/model-files.ts";
import { hostOnly } from "../tasks/objects/object-task.ts";
import { SEMANTIC, type SemanticSpec } from "../tasks/semantic/semantic-task.ts";
import { alignRows, type Paint, section } from "./terminal.ts";

/** What a model was recognised as. Of one of oriented boxes the upright ones around them may be wanted. */
export type AnySpec =
  | ModelSpec
  | (ObjectSpec & { readonly isUpright?: true })
  | ClassifierSpec
  | SemanticSpec
  | DepthSpec
  | ImageSpec;

/** What a model that makes images of images was recognised as. */
interface ImageSpec extends ImageModelSpec {
  readonly task: "image";
  readonly assumptions: readonly string[];
}

/** Where the parts of a model run on this machine. */
export interface ModelRuns {
  readonly decode: string;
  readonly preprocess: string;
  readonly model: string;
  readonly postprocess: string;
  /** Why nothing runs on a GPU; `undefined` where something does. */
  readonly why?: string;
}

/** The task of a model. */
export function taskOf(spec: AnySpec): string {
  if ("activation" in spec) return "classify";
  return "task" in spec && !("isUpright" in spec) ? spec.task : "detect";
}

/**
 * How sure a recognition is: `certain`; `assumed`, where nothing in the model tells what is done to an image; `likely`, where its
 * tensors fit other heads as well, and its metadata do not tell who exported it.
 */
export function confidenceOf(spec: AnySpec): "certain" | "assumed" | "likely" {
  if ("alternatives" in spec && spec.alternatives.length > 0) return "likely";
  return spec.assumptions.length > 0 ? "assumed" : "certain";
}

/** A model that was looked at. */
export interface Inspection {
  readonly file: string;
  readonly byteLength: number;
  readonly model: ModelInfo;
  /** The head, or what a classifier is, or the reason why it is neither. */
  readonly recognition: AnySpec | { readonly problem: string };
  /** Where its parts run; `undefined` if it was not recognised, or nowhere. */
  readonly runs?: ModelRuns | undefined;
  /** How an engine's model is cut at the maps of its head, or why it is not; `undefined` where there is no head. */
  readonly shape?: ShapeTold | undefined;
  /** Nodes that an FP16 engine computes in FP32, for people; the empty string for none. */
  readonly fp32?: string | undefined;
}

/** How a model was or will be cut, or why not. */
type ShapeTold = Pick<Shaping, "plan" | "extras"> | { readonly reason: string };

/** `at 6 maps, strides 8, 16, 32`: where a model is cut. */
function describeShape(shape: ShapeTold): string {
  if ("reason" in shape) return `as exported: ${printable(shape.reason)}`;
  const strides = shape.plan.levels.map(({ stride }) => stride);
  return `cut at ${mapsRead(shape).size} maps, strides ${strides.join(", ")}; --no-shape builds it as exported`;
}

const LONGEST_VALUE = 100;

function shorten(text: string): string {
  const line = printable(text.replace(/\s+/g, " "));
  return line.length <= LONGEST_VALUE ? line : `${line.slice(0, LONGEST_VALUE - 1)}…`;
}

/** `NCHW f32, levels / 255`: what a tensor holds of an image. */
function describeNumbers({
  layout,
  dtype,
  scale,
  mean,
  std,
}: Pick<PixelTensor, "layout" | "dtype" | "scale"> & Readonly<Record<"mean" | "std", readonly number[]>>): string[] {
  const share = scale > 1 ? `levels × ${scale}` : `levels / ${Math.round(10 / scale) / 10}`;
  const parts = [`${layout} ${dtype}`, scale === 1 ? "levels 0 to 255" : share];
  if (mean.some((value) => value !== 0)) parts.push(`mean ${mean.join(", ")}`);
  if (std.some((value) => value !== 1)) parts.push(`std ${std.join(", ")}`);
  return parts;
}

/** `bilinear, RGB, NCHW f32, levels / 255` */
function describeLevels(preprocessing: Omit<Preprocessing, "fit" | "pad">): string[] {
  const { resize, colour, mean, std, fourth, levels } = preprocessing;
  const all = fourth === undefined ? { mean, std } : { mean: [...mean, fourth.mean], std: [...std, fourth.std] };
  const parts = [resize, colour, ...describeNumbers({ ...preprocessing, ...all })];
  return levels === undefined ? parts : [...parts, `16-bit samples ${levels.join(" to ")}`];
}

/** `letterbox, RGB, NCHW f32, levels / 255`: what is done to an image, in one line. */
function describePreprocessing(preprocessing: Preprocessing): string {
  const { fit, pad } = preprocessing;
  const parts = [fit, ...describeLevels(preprocessing)];
  if (fit !== "stretch") parts.push(`padded with ${pad[0] === pad[1] && pad[1] === pad[2] ? pad[0] : pad.join(", ")}`);
  return parts.join(", ");
}

/** What a classifier's values are, and what is done to them. */
function describeScores({ scores, activation }: ClassifierSpec): string {
  const kind = scores === undefined ? "not known" : scores === "fractions" ? "from 0 to 1, not 1 in all" : scores;
  return activation === "none" ? `${kind}: taken as they are` : `${kind}: ${activation} makes them probabilities`;
}

/** What an image is resized to. */
function describeResized(resized: Resized): string {
  if (typeof resized === "number") return `shorter side ${resized}`;
  if (isSize(resized)) return `stretched to ${resized.join("x")}`;
  return `${resized.fit === "cover" ? "so that it covers" : "whole, within"} ${resized.size.join("x")}`;
}

function classifierRows(spec: ClassifierSpec): string[][] {
  const { reason, preprocessing, size, fixedSize, assumptions } = spec;
  const { resized } = preprocessing;
  const isCut = !isSize(resized) || resized.join() !== size.join();
  const image = describeLevels(preprocessing);
  return [
    ["task", "classify"],
    ["because of", printable(reason)],
    ["input size", fixedSize === undefined ? `open; ${size.join("x")} unless --size says` : size.join("x")],
    ["image", [describeResized(resized), ...(isCut ? [`its middle ${size.join("x")}`] : []), ...image].join(", ")],
    ...assumptions.map((assumption) => ["assumed", assumption]),
    [
      "if it is another",
      "say so: --fit, --resize, --crop, --rounding, --colour, --scale, --mean, --std, --pad of `classify`",
    ],
    ["scores", describeScores(spec)],
    ["classes", describeClasses(spec)],
  ];
}

function mapRows(spec: SemanticSpec | DepthSpec): string[][] {
  const { task, reason, size, fixedSize, multiple, preprocessing, assumptions } = spec;
  const open = multiple === undefined ? "unless --size says" : `in the ratio of the image, a multiple of ${multiple}`;
  return [
    ["task", task],
    ["because of", printable(reason)],
    ["input size", fixedSize === undefined ? `open; ${size.join("x")} ${open}` : size.join("x")],
    ["image", describePreprocessing(preprocessing)],
    ...assumptions.map((assumption) => ["assumed", assumption]),
    spec.task === "depth" ? ["depth", spec.kind] : ["classes", describeClasses(spec)],
  ];
}

/** `RGB, NCHW f32, levels / 255` */
function describePixels(tensor: PixelTensor): string {
  return [tensor.channels, ...describeNumbers(tensor)].join(", ");
}

function imageRows({ input, output, scale, fixedWidth, fixedHeight, assumptions }: ImageSpec): string[][] {
  const side = (value: number | undefined): string => String(value ?? "any");
  return [
    ["task", "image: it makes images of images, load it with `ImageModel`; on a command line run `transform`"],
    ["because of", `${printable(input.name)} takes an image, and ${printable(output.name)} is one`],
    ["input size", `${side(fixedWidth)}x${side(fixedHeight)}`],
    ["takes", describePixels(input)],
    ["makes", `${describePixels(output)}, ${scale === 1 ? "as large" : `${scale} times as wide and high`}`],
    ...assumptions.map((assumption) => ["assumed", assumption]),
    [
      "if it is another",
      "say so: --layout, --colour, --range, --output-layout, --output-colour, --output-range of `transform`",
    ],
  ];
}

function describeClasses({ labels, classes }: ClassifierSpec | SemanticSpec): string {
  return `${classes ?? "not known how many"}${labels.length === 0 ? ", not named" : `: ${shorten(labels.join(", "))}`}`;
}

/** `yolov7, by --anchors: 12,16, 19,36, …`: which anchors, and who said them. */
function describeAnchors({ values, from, name }: AnchorsTaken): string {
  const known = name ?? "numbers";
  const source = {
    option: `${known}, by --anchors`,
    metadata: "the model's metadata",
    file: `${printable(known)} beside the model`,
    head: name === undefined ? "the head's own" : `${name}, the head's own`,
  }[from];
  const pairs = Array.from({ length: values.length / 2 }, (_, at) => `${values[2 * at]},${values[2 * at + 1]}`);
  return `${source}: ${pairs.join(", ")}`;
}

/** What of a model runs on the CPU only, why, and which export does not; `undefined` if nothing does. */
export function hostPartOf(spec: AnySpec): (ReturnType<typeof hostOnly> & { readonly why?: string }) | undefined {
  if (!("plan" in spec)) return undefined;
  const { head, plan } = spec;
  const reason = hostReason(plan);
  if (reason !== undefined) return { what: `the head "${head}"`, why: reason.what, help: reason.help };
  return "task" in spec ? hostOnly(spec, {}) : undefined;
}

function recognitionRows(recognition: AnySpec): string[][] {
  if ("activation" in recognition) return classifierRows(recognition);
  if ("multiple" in recognition) return mapRows(recognition);
  if ("input" in recognition) return imageRows(recognition);
  const { head, alternatives, reason, preprocessing, assumptions, labels, fixedSize, preferredSize, stride, needsNms } =
    recognition;
  const usual = isImageSized(recognition, { size: undefined })
    ? "that of each image"
    : `made for ${preferredSize.join("x")}`;
  const size = fixedSize?.join("x") ?? `open, a multiple of ${stride}; ${usual}`;
  const task = taskOf(recognition);
  const kept = hostPartOf(recognition);
  return [
    ["task", kept === undefined ? task : `${task}, on the CPU`],
    ["head", head],
    ...(kept === undefined
      ? []
      : [["not on a GPU", `${kept.why ?? kept.what}${kept.help === undefined ? "" : `: ${kept.help}`}`]]),
    ["because of", printable(reason)],
    ...(alternatives.length === 0
      ? []
      : [["other heads", `${alternatives.join(", ")}: if it has one, say so by --head`]]),
    ...(recognition.anchors === undefined ? [] : [["anchors", describeAnchors(recognition.anchors)]]),
    ["input size", size],
    ["image", describePreprocessing(preprocessing)],
    ...assumptions.map((assumption) => ["assumed", assumption]),
    ["if it is another", "say so: --fit, --resize, --colour, --scale, --mean, --std, --pad (option `preprocessing`)"],
    ["classes", labels.length === 0 ? "not known" : `${labels.length}: ${shorten(labels.join(", "))}`],
    ["NMS", needsNms ? "needed" : "not needed: the model's rows are final"],
  ];
}

/** Keys and values of a model's metadata, long ones cut. */
export function metadataLines(metadata: Readonly<Record<string, string>>, paint: Paint): string[] {
  const rows = Object.entries(metadata).map(([key, value]) => [paint("cyan", printable(key)), shorten(value)]);
  return section(paint("bold", "Metadata"), alignRows(rows));
}

/** What a model was recognised as, or why it was not. */
export function recognitionLines(recognition: Inspection["recognition"], paint: Paint, shape?: ShapeTold): string[] {
  if ("problem" in recognition) return section("Not recognised", recognition.problem.split("\n").map(printable));
  const told = shape === undefined ? [] : [["engine", describeShape(shape)]];
  const rows = [...recognitionRows(recognition), ["confidence", confidenceOf(recognition)], ...told];
  return section(paint("bold", "Recognised"), alignRows(rows));
}

function runsLines(runs: ModelRuns | undefined, paint: Paint): string[] {
  if (runs === undefined) return [];
  const { decode, preprocess, model, postprocess, why } = runs;
  const rows = [
    ["decoding", decode],
    ["pre-processing", preprocess],
    ["model", printable(why === undefined ? model : `${model}, as ${why}`)],
    ["post-processing", postprocess],
  ];
  return section(paint("bold", "Runs here"), alignRows(rows));
}

/** For people. */
export function formatInspection(inspection: Inspection, paint: Paint): string {
  const { file, model, recognition, runs, shape, fp32 } = inspection;
  const tensors = (infos: readonly TensorInfo[]): string[] => infos.map((info) => printable(formatTensorInfo(info)));
  const lines = [
    paint("bold", printable(file)),
    ...section(paint("bold", "Inputs"), tensors(model.inputs)),
    ...section(paint("bold", "Outputs"), tensors(model.outputs)),
    ...metadataLines(model.metadata, paint),
    ...recognitionLines(recognition, paint, shape),
    ...runsLines(runs, paint),
    ...section(paint("bold", "In FP16"), fp32 ? [`stays in FP32: ${fp32}`] : []),
  ];
  return `${lines.join("\n")}\n`;
}

/** Where a model was cut, or is when an engine is built of it; or why it is not. @returns also the model that is built */
export async function shapeOf(
  bytes: Uint8Array,
  opened: OpenedModel,
  spec: ModelSpec,
  file: string,
): Promise<{ readonly shape: ShapeTold; readonly built: Uint8Array }> {
  const done = shapingOf(opened.model, opened.source);
  if (done !== undefined) return { shape: done, built: bytes };
  const outcome = await shapeModel(bytes, await opened.described(undefined), spec, file);
  return "reason" in outcome ? { shape: outcome, built: bytes } : { shape: outcome.shaping, built: outcome.model };
}

/** What the caller of `inspect` says of a model: its head or task, and what it wants done to an image. */
export type SaidOfModel = Pick<
  RecogniseOptions,
  "head" | "heads" | "anchors" | "labels" | "keypointShape" | "preprocessing"
> & { readonly task: "detect" | ObjectTaskName | undefined };

/** Why a model is not read, as `--json` gives it. */
interface ModelProblem {
  /** All of it, as it is printed. */
  readonly problem: string;
  readonly hint: string | undefined;
  /** Heads that may be named for it by `--head`. */
  readonly readings: readonly string[];
}

/** The parts of an error: the hint is its last line, where there is one. */
export function problemOf({ message: problem, readings }: ModelError): ModelProblem {
  return { problem, hint: /\nHint: (.*)$/s.exec(problem)?.[1], readings };
}

/** What is said that holds of classifiers as well. */
function levelsOf({ preprocessing }: SaidOfModel): ClassifierPreprocessingOptions | undefined {
  if (preprocessing === undefined) return undefined;
  const { fit: _, pad: __, ...levels } = preprocessing;
  return levels;
}

/** What a model is. @param file beside which those of a classifier are looked for @throws {ModelError} If nothing that is known */
export async function recognitionOf(
  opened: OpenedModel,
  file: string | Uint8Array,
  said: SaidOfModel,
): Promise<AnySpec> {
  const files = await modelFiles(file);
  const { task, ...named } = said;
  const isSaid = (said.head ?? task) !== undefined || ownHeadFor(opened.model, said) !== undefined;
  const map = isSaid ? undefined : mapTaskOf(opened.model, files);
  if (map !== undefined) {
    refuseUnreadAnchors({}, { ...said, source: opened.source });
    const options = { files, preprocessing: said.preprocessing };
    return map === "depth" ? DEPTH.recognise(opened, options) : SEMANTIC.recognise(opened, options);
  }
  const isClassifier = !isSaid && (await seemsClassifier(opened));
  if (isClassifier) {
    refuseUnreadAnchors({}, { ...said, source: opened.source });
    return recogniseClassifier(opened, { files, labels: said.labels, preprocessing: levelsOf(said) });
  }
  const labelsBeside = labelsOfFiles(files, undefined);
  const beside = { labelsBeside, ...(await detectorFiles(file)) };
  try {
    const options = { ...named, ...beside, source: opened.source };
    const found = recogniseAny(await opened.described(undefined), options, task);
    // Whose tensors may be another's is told by the name of who exported it.
    const spec = !isSaid && isByUltralytics(opened.model.metadata) ? { ...found, alternatives: [] } : found;
    return task === "detect" && "task" in spec ? { ...spec, isUpright: true } : spec;
  } catch (error) {
    const image = error instanceof ModelError && !isSaid ? await imageSpecOf(opened) : undefined;
    if (image === undefined) throw error;
    return image;
  }
}

const ASSUMED_OF_RANGE =
  "values from 0 to 1, as nothing in the model tells; for others give `range` (`--range` of `transform`)";

/** What a model makes of images; `undefined` if it evidently makes none, or what it makes cannot be told. */
async function imageSpecOf(opened: OpenedModel): Promise<ImageSpec | undefined> {
  const areAllMaps = opened.model.outputs.every(({ shape }) => shape.length === 4);
  if (!areAllMaps || !declaresImages(opened.model)) return undefined;
  try {
    const { spec } = await new ImageTask(parseImageModelOptions({})).recognise(opened);
    const { tiling: _, ...image } = spec;
    const isTold = image.input.dtype === "u8";
    return { task: "image", ...image, assumptions: isTold ? [] : [ASSUMED_OF_RANGE] };
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}
