/** @module ModelFiles: what Hugging Face's files beside a model say, as far as several tasks read it. */

import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { logger } from "../core/log.ts";
import { type AnchorsTaken, anchorsIn } from "../heads/anchors.ts";
import { type ExporterConfig, mmdeployConfig, paddleConfig } from "../heads/exporter-config.ts";
import type { RecogniseOptions } from "../heads/head.ts";
import { evidentMap, type MapTaskName, type WeightsFamily } from "../heads/traits.ts";
import type { Size } from "../image/geometry.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing } from "../image/preprocessing.ts";
import { namesIn } from "../model/labels.ts";
import type { ModelInfo } from "../model/model-info.ts";

/** An object of a file. */
export type Json = Readonly<Record<string, unknown>>;

/** The files that lie beside a model, as far as they are there and hold an object. */
export interface ModelFiles {
  /** Of `preprocessor_config.json`. */
  readonly preprocessor: Json | undefined;
  /** Of `config.json`. */
  readonly config: Json | undefined;
}

/** More than any of these files holds. */
const MOST_BYTES = 2 ** 24;

/** True for an object that is no list. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param parse of its text; JSON if left out */
async function readObject(path: string, parse: (text: string) => unknown = JSON.parse): Promise<Json | undefined> {
  const file = Bun.file(path);
  if (!(await file.exists()) || file.size > MOST_BYTES) return undefined;
  try {
    const value = parse(await file.text());
    if (isObject(value)) return value;
    logger.warn(`Ignoring ${JSON.stringify(path)}: it holds no object`);
  } catch (error) {
    logger.warn(`Ignoring ${JSON.stringify(path)}: ${(error as Error).message}`);
  }
  return undefined;
}

/** What is known of a detector beside what its tensors and its metadata say. */
type DetectorFiles = Pick<RecogniseOptions, "anchorsBeside" | "namesBeside" | "exporterBeside" | "weightsOf">;

/** What a plan that was built here carries of its ONNX model: it may lie elsewhere, and names of weights are not in it. */
interface CarriedFiles {
  readonly files?: ModelFiles;
  readonly detector?: DetectorFiles;
}

/** What is known of an ONNX model beside what is in it, for its plan to carry. @param source path or bytes of the model */
export async function filesToCarry(source: string | Uint8Array): Promise<Json | undefined> {
  const [files, detector] = [await modelFiles(source), await detectorFiles(source)];
  const isKnown = files !== undefined || Object.values(detector).some((value) => value !== undefined);
  // Without what is not known, as a plan gives it back.
  return isKnown ? (JSON.parse(JSON.stringify({ files, detector })) as Json) : undefined;
}

async function carriedFiles(source: string | Uint8Array): Promise<CarriedFiles> {
  // The metadata in front of a plan begin with a brace, behind their length.
  const mayBePlan = typeof source === "string" ? !/\.onnx$/i.test(source) : source[4] === "{".charCodeAt(0);
  if (!mayBePlan) return {};
  const { readPlanOrigin } = await import("../tensorrt/plan-file.ts");
  return ((await readPlanOrigin(source))?.beside ?? {}) as CarriedFiles;
}

/**
 * Read the files beside a model, and those above it where its folder is called `onnx`, as Hugging Face's repositories have it; of a
 * plan without any, those that lay beside its ONNX model.
 *
 * @param source path of the model; bytes have nothing beside them
 */
export async function modelFiles(source: string | Uint8Array): Promise<ModelFiles | undefined> {
  return (await filesBeside(source)) ?? (await carriedFiles(source)).files;
}

async function filesBeside(source: string | Uint8Array): Promise<ModelFiles | undefined> {
  if (typeof source !== "string") return undefined;
  const folder = dirname(source);
  const folders = basename(folder) === "onnx" ? [folder, dirname(folder)] : [folder];
  for (const one of folders) {
    const [preprocessor, config] = await Promise.all(
      ["preprocessor_config.json", "config.json"].map((name) => readObject(join(one, name))),
    );
    if (preprocessor !== undefined || config !== undefined) return { preprocessor, config };
  }
  return undefined;
}

/**
 * What a detector's own files say: its anchors, its class names, how it was exported, and of which family its weights are.
 *
 * @param source path or bytes of the model
 */
export async function detectorFiles(source: string | Uint8Array): Promise<DetectorFiles> {
  const [anchors, names, exporter, weights, { detector: carried }] = await Promise.all([
    anchorsBeside(source),
    namesBeside(source),
    exporterBeside(source),
    weightsOf(source),
    carriedFiles(source),
  ]);
  return {
    anchorsBeside: anchors ?? carried?.anchorsBeside,
    namesBeside: names ?? carried?.namesBeside,
    exporterBeside: exporter ?? carried?.exporterBeside,
    weightsOf: weights ?? carried?.weightsOf,
  };
}

/** Bytes at the beginning of an ONNX file in which its nodes are, which name the weights that they read; the weights lie behind them. */
const MOST_OF_NODES = 2 ** 23;

/** Names that weights of a family have, and what is not among them. */
const NAMES_OF_WEIGHTS: readonly (readonly [family: WeightsFamily, names: RegExp, others?: RegExp])[] = [
  // RT-DETR and D-FINE of transformers; then DETR, YOLOS and Conditional DETR, Conditional and DAB-DETR, Deformable DETR.
  ["rtdetr", /[./]enc_score_head[./]|[./]encoder[./]aifi[./]/],
  ["detr", /[./](class_labels_classifier|ref_point_head|self_attn[./]sampling_offsets)[./]/],
  ["rtmdet", /bbox_head[./]rtm_cls[./]/],
  ["yolox", /bbox_head[./](head_module[./])?multi_level_conv_cls[./]/],
  // With a backbone other than Darknet it wants what most do; files of an old PyTorch name no layer of a backbone.
  ["yolov3", /backbone[./]conv_res_block\d/],
  ["yolov3-some", /bbox_head[./]convs_pred[./]/, /backbone[./](layer|conv_res_block)\d/],
  ["fcos", /bbox_head[./]conv_centerness[./]/],
  ["ssd", /bbox_head[./]cls_convs[./]\d[./]1\.weight/],
  ["ssd-vgg", /backbone[./]features[./]\d+\.weight/],
  ["mmyolo", /bbox_head[./]head_module[./]/, /[./]head_module[./](rtm_cls|multi_level_conv_cls|cls_stems)[./]/],
  ["mmyolo-rtmdet", /bbox_head[./]head_module[./]rtm_cls[./]/],
  ["mmyolo-ppyoloe", /bbox_head[./]head_module[./]cls_stems[./]/],
  ["damo-yolo", /(^|[^_])head[./]gfl_reg[./]/],
];

/** The family that the names of an ONNX file's weights are of; `undefined` if of none, or of several. */
async function weightsOf(source: string | Uint8Array): Promise<RecogniseOptions["weightsOf"]> {
  if (typeof source === "string" && !/\.onnx$/i.test(source)) return undefined;
  const file = typeof source === "string" ? Bun.file(source) : undefined;
  if (file !== undefined && !(await file.exists())) return undefined;
  const bytes = file === undefined ? (source as Uint8Array) : await file.slice(0, MOST_OF_NODES).bytes();
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, MOST_OF_NODES)).toString("latin1");
  const found = NAMES_OF_WEIGHTS.filter(([, names, others]) => names.test(text) && others?.test(text) !== true);
  return found.length === 1 ? found[0]![0] : undefined;
}

async function exporterBeside(source: string | Uint8Array): Promise<ExporterConfig | undefined> {
  if (typeof source !== "string") return undefined;
  const folder = dirname(source);
  const pipeline = await readObject(join(folder, "pipeline.json"));
  const found = pipeline && mmdeployConfig("pipeline.json", pipeline);
  if (found !== undefined) return found;
  for (const name of ["infer_cfg.yml", "inference.yml"]) {
    const content = await readObject(join(folder, name), Bun.YAML.parse);
    const config = content && paddleConfig(name, content);
    if (config !== undefined) return config;
  }
  const { preprocessor } = (await modelFiles(source)) ?? {};
  return preprocessor && transformersConfig(preprocessor);
}

/**
 * Of transformers' `preprocessor_config.json` of a detector. Images keep their ratio where it names edges, and are padded right and
 * below after levels are normalised; at the input's size, whatever the edges.
 */
function transformersConfig(content: Json): ExporterConfig {
  const { do_resize, size } = content;
  const { resize, assumptions, scale, mean, std } = levelsOf(content, BILINEAR);
  const edges = isObject(size) ? ["shortest_edge", "longest_edge", "max_height"].filter((name) => name in size) : [];
  const isKept = edges.length > 0 || do_resize === false;
  const pad = mean.map((value) => Math.min(255, Math.max(0, value / scale))) as [number, number, number];
  return {
    exporter: "transformers",
    file: "preprocessor_config.json",
    preprocessing: { fit: isKept ? "letterbox-top-left" : "stretch", resize, scale, mean, std, pad },
    assumptions,
  };
}

/** A line of a label file that begins with the number of its class. */
const NUMBERED = /^(\d+)[:\s]\s*(\S.*)$/;

/** The class names of a text: one a line, perhaps after their numbers, or a list or dict of Python or JSON. */
function namesOfText(text: string): readonly string[] | undefined {
  const lines = text.split("\n").map((line) => line.trim());
  while (lines.at(-1) === "") lines.pop();
  const numbered = lines.map((line) => NUMBERED.exec(line));
  // Numbers that leave some out are ids; in a list of house numbers they do not rise.
  const areNumbered = numbered.every((found, at) => found && Number(found[1]) > Number(numbered[at - 1]?.[1] ?? -1));
  if (!areNumbered || lines.length === 0) return namesIn(text) ?? (lines.length === 0 ? undefined : lines);
  return namesIn(`{${numbered.map((found) => `${found![1]}: ${JSON.stringify(found![2])}`).join(", ")}}`);
}

/** Names, task and points of `metadata.yaml` and `data.yaml`, as Ultralytics writes them. Data with points are of poses. */
function saidInYaml(text: string): Omit<NonNullable<RecogniseOptions["namesBeside"]>, "file"> | undefined {
  const content: unknown = Bun.YAML.parse(text);
  if (!isObject(content) || typeof content.names !== "object") return undefined;
  const names = namesIn(JSON.stringify(content.names));
  const { task, kpt_shape } = content;
  const [count, numbers] = Array.isArray(kpt_shape) ? kpt_shape : [];
  const hasPoints = Number.isInteger(count) && count > 0 && (numbers === 2 || numbers === 3);
  const keypointShape = hasPoints ? ([count, numbers] as const) : undefined;
  const said = typeof task === "string" ? task : hasPoints ? "pose" : undefined;
  return names && { names, task: said, keypointShape };
}

/** Files of a model's own name, and those that exporters write beside the only model of a folder. */
function labelFiles(stem: string, isOnly: boolean): readonly string[] {
  const own = [`${stem}.names`, `${stem}.labels`, `${stem}_labels.txt`];
  return isOnly ? [...own, "labels.txt", "classes.txt", "metadata.yaml", "data.yaml"] : own;
}

/** Names without the end that says what a file of a model is. */
function stemsOf(files: readonly string[]): ReadonlySet<string> {
  const models = files.filter((name) => /\.(onnx|plan|engine|trt)$/i.test(name));
  return new Set(models.map((name) => name.replace(/\.[^.]*$/, "")));
}

/**
 * The class names of a file beside a model: one of its own name, `labels.txt`, `classes.txt`, `metadata.yaml` or `data.yaml` where it
 * is the only model in its folder, or the `config.json` of transformers.
 *
 * @param source path of the model; bytes have nothing beside them
 */
async function namesBeside(source: string | Uint8Array): Promise<RecogniseOptions["namesBeside"]> {
  if (typeof source !== "string") return undefined;
  const [folder, stem] = [dirname(source), basename(source).replace(/\.[^.]*$/, "")];
  const listed = await readdir(folder).catch((): string[] => []);
  for (const name of labelFiles(stem, stemsOf(listed).size <= 1)) {
    if (!listed.includes(name)) continue;
    const file = Bun.file(join(folder, name));
    if (file.size > MOST_BYTES) continue;
    try {
      const text = await file.text();
      if (name.endsWith(".yaml")) {
        const said = saidInYaml(text);
        if (said !== undefined) return { file: name, ...said };
        continue;
      }
      const names = namesOfText(text);
      if (names !== undefined) return { file: name, names };
    } catch (error) {
      logger.warn(`Ignoring ${JSON.stringify(name)} beside ${source}: ${(error as Error).message}`);
    }
  }
  const names = labelsOfFiles(await modelFiles(source), undefined);
  return names && { file: "config.json", names, isOfOne: stemsOf(listed).size <= 1 };
}

/** Names of files beside a model that may have the anchors of its head, where the model's own has this name without its end. */
function anchorFiles(stem: string): readonly string[] {
  return [`${stem}.yaml`, `${stem}.cfg`, `${stem}_anchors.txt`, `anchors_${stem}.txt`, "anchors.txt"];
}

/** The anchors of a file beside a model: its `.yaml` or `.cfg`, or numbers alone. @param source path of the model */
async function anchorsBeside(source: string | Uint8Array): Promise<AnchorsTaken | undefined> {
  if (typeof source !== "string") return undefined;
  const stem = basename(source).replace(/\.[^.]*$/, "");
  for (const name of anchorFiles(stem)) {
    const file = Bun.file(join(dirname(source), name));
    if (!(await file.exists()) || file.size > MOST_BYTES) continue;
    const found = anchorsIn(await file.text());
    if (found !== undefined) return { ...found, from: "file", name };
  }
  return undefined;
}

/** True for a number that is finite. */
export function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** True for a side in pixels that a model may have. */
export function isSide(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) > 0 && (value as number) <= 16_384;
}

/** A number for each channel. */
export function tripleOf(value: unknown): readonly [number, number, number] | undefined {
  const isTriple = Array.isArray(value) && value.length === 3 && value.every(isNumber);
  return isTriple ? (value as [number, number, number]) : undefined;
}

/** `{ height, width }`, or one side. */
export function sizeOf(value: unknown): Size | undefined {
  if (isSide(value)) return [value, value];
  if (!isObject(value)) return undefined;
  return isSide(value.width) && isSide(value.height) ? [value.width, value.height] : undefined;
}

/** Pillow's number of the filter that detectors of transformers have. */
const BILINEAR = 2;

/** Pillow's numbers of its filters. */
const FILTERS: Readonly<Record<number, Preprocessing["resize"]>> = { 1: "lanczos", 2: "antialias", 3: "bicubic" };

/** How an image is resized, by a file. */
interface FoundFilter {
  readonly resize: Preprocessing["resize"];
  readonly assumptions: readonly string[];
}

/** The filter that a file names; where it is none of ours, what is taken in its place is an assumption. */
export function filterOf(known: Preprocessing["resize"] | undefined, said: unknown): FoundFilter {
  if (known !== undefined || said === undefined) return { resize: known ?? "antialias", assumptions: [] };
  return { resize: "antialias", assumptions: [`bilinear in place of its own filter ${JSON.stringify(said)}`] };
}

/** What transformers' `preprocessor_config.json` says of an image beside its size. @param usual its filter's number where it does not */
export function levelsOf(file: Json, usual?: number): FoundFilter & Pick<Preprocessing, "scale" | "mean" | "std"> {
  const { do_rescale, rescale_factor, do_normalize, image_mean, image_std, resample = usual } = file;
  const isNormalised = do_normalize !== false;
  return {
    ...filterOf(FILTERS[resample as number], resample),
    scale: do_rescale === false ? 1 : isNumber(rescale_factor) ? rescale_factor : 1 / 255,
    mean: isNormalised ? (tripleOf(image_mean) ?? IMAGENET_MEAN) : [0, 0, 0],
    std: isNormalised ? (tripleOf(image_std) ?? IMAGENET_STD) : [1, 1, 1],
  };
}

/** The task of a model that evidently is of maps: by itself, or where it does not say by the class that transformers has for it. */
export function mapTaskOf(model: ModelInfo, files: ModelFiles | undefined): MapTaskName | undefined {
  const evident = evidentMap(model);
  if (evident !== undefined || model.metadata.task !== undefined) return evident;
  const { architectures } = files?.config ?? {};
  const [name = ""] = Array.isArray(architectures) ? architectures.map(String) : [];
  if (name.endsWith("ForSemanticSegmentation")) return "semantic";
  return name.endsWith("ForDepthEstimation") ? "depth" : undefined;
}

/** The class names that the files have: transformers' `id2label`, timm's `label_names`; `undefined` if another number. @param classes `undefined` for any */
export function labelsOfFiles(
  files: ModelFiles | undefined,
  classes: number | undefined,
): readonly string[] | undefined {
  const { id2label, label_names } = files?.config ?? {};
  const names = isObject(id2label)
    ? Array.from({ length: Object.keys(id2label).length }, (_, id) => id2label[id])
    : label_names;
  if (!Array.isArray(names) || (classes ?? names.length) !== names.length) return undefined;
  return names.every((name) => typeof name === "string") ? names : undefined;
}
