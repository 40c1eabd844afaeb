/** @module ModelFiles: what Hugging Face's files beside a model say, as far as several tasks read it. */

import { logger } from "../core/log.ts";
import { type AnchorsTaken, anchorsIn } from "../heads/anchors.ts";
import type { ExporterConfig, RecogniseOptions } from "../heads/head.ts";
import { evidentMap, type MapTaskName } from "../heads/traits.ts";
import { mmdeployConfig, paddleConfig } from "../heads/with-said.ts";
import type { Size } from "../image/geometry.ts";
import { IMAGENET_MEAN, IMAGENET_STD, type Preprocessing } from "../image/preprocessing.ts";
import { type ModelInfo, namesIn } from "../model/model-info.ts";
import {
  anchorFiles,
  type Beside,
  inputsOfLevels,
  labelFiles,
  MOST_OF_NODES,
  type ModelFolder,
  modelFolder,
  weightsFamily,
} from "../onnx/beside.ts";

/** An object of a file. */
export type Json = Readonly<Record<string, unknown>>;

/** The files that lie beside a model, as far as they are there and hold an object, and what its nodes tell. */
export interface ModelFiles {
  /** Of `preprocessor_config.json`. */
  readonly preprocessor: Json | undefined;
  /** Of `config.json`. */
  readonly config: Json | undefined;
  /** Inputs whose levels the model scales itself. */
  readonly levelsIn?: readonly string[] | undefined;
}

/** True for an object that is no list. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param parse of its text; JSON if left out */
function objectIn(
  { texts }: ModelFolder,
  name: string,
  parse: (text: string) => unknown = JSON.parse,
): Json | undefined {
  const text = texts[name];
  if (text === undefined) return undefined;
  try {
    const value = parse(text);
    if (isObject(value)) return value;
    logger.warn(`Ignoring ${JSON.stringify(name)} beside the model: it holds no object`);
  } catch (error) {
    logger.warn(`Ignoring ${JSON.stringify(name)} beside the model: ${(error as Error).message}`);
  }
  return undefined;
}

/** What is known of a detector beside what its tensors and its metadata say. */
type DetectorFiles = Pick<
  RecogniseOptions,
  "anchorsBeside" | "namesBeside" | "exporterBeside" | "weightsOf" | "levelsIn"
>;

/** What a plan that was built here carries of its ONNX model; `undefined` of other models. */
async function carriedBy(source: string | Uint8Array): Promise<Beside | undefined> {
  // The metadata in front of a plan begin with a brace, behind their length.
  const mayBePlan = typeof source === "string" ? !/\.onnx$/i.test(source) : source[4] === "{".charCodeAt(0);
  if (!mayBePlan) return undefined;
  const { readPlanOrigin } = await import("../tensorrt/plan-file.ts");
  const origin = await readPlanOrigin(source);
  return origin && (origin.beside ?? {});
}

/** The folder that a model lies in, then the one that the ONNX model of a plan lay in, where they have files that are read. */
async function foldersOf(source: string | Uint8Array, carried: Beside | undefined): Promise<readonly ModelFolder[]> {
  const own = typeof source === "string" ? await modelFolder(source) : undefined;
  return [own, carried?.folder].filter((folder) => folder !== undefined);
}

/** What the first has that has anything. */
function firstIn<Found>(
  folders: readonly ModelFolder[],
  find: (folder: ModelFolder) => Found | undefined,
): Found | undefined {
  for (const folder of folders) {
    const found = find(folder);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Read the files beside a model, and those above it where its folder is called `onnx`, as Hugging Face's repositories have it; of a
 * plan without any, those that lay beside its ONNX model.
 *
 * @param source path of the model; bytes have nothing beside them
 */
export async function modelFiles(source: string | Uint8Array): Promise<ModelFiles | undefined> {
  const carried = await carriedBy(source);
  const files = firstIn(await foldersOf(source, carried), filesIn);
  const levelsIn = carried === undefined ? await levelsInOf(source, await nodesOf(source)) : carried.levelsIn;
  return levelsIn === undefined ? files : { preprocessor: undefined, config: undefined, ...files, levelsIn };
}

function filesIn(folder: ModelFolder): ModelFiles | undefined {
  const preprocessor = objectIn(folder, "preprocessor_config.json");
  const config = objectIn(folder, "config.json");
  return preprocessor === undefined && config === undefined ? undefined : { preprocessor, config };
}

/**
 * What a detector's own files say: its anchors, its class names, how it was exported, of which family its weights are, and which levels it
 * scales itself.
 *
 * @param source path or bytes of the model
 */
export async function detectorFiles(source: string | Uint8Array): Promise<DetectorFiles> {
  const carried = await carriedBy(source);
  const folders = await foldersOf(source, carried);
  const nodes = carried === undefined ? await nodesOf(source) : undefined;
  return {
    anchorsBeside: firstIn(folders, anchorsOf),
    namesBeside: firstIn(folders, namesOf),
    exporterBeside: firstIn(folders, exporterIn),
    weightsOf: carried === undefined ? nodes && weightsFamily(nodes.bytes) : carried.weightsOf,
    levelsIn: carried === undefined ? await levelsInOf(source, nodes) : carried.levelsIn,
  };
}

/** The bytes of a model with its nodes. */
interface Nodes {
  readonly bytes: Uint8Array;
  /** Whether these are all bytes of the model. */
  readonly isWhole: boolean;
}

/** @returns `undefined` of what is no ONNX model by its name */
async function nodesOf(source: string | Uint8Array): Promise<Nodes | undefined> {
  if (typeof source !== "string") return { bytes: source, isWhole: true };
  const file = Bun.file(source);
  if (!/\.onnx$/i.test(source) || !(await file.exists())) return undefined;
  return { bytes: await file.slice(0, MOST_OF_NODES).bytes(), isWhole: file.size <= MOST_OF_NODES };
}

async function levelsInOf(
  source: string | Uint8Array,
  nodes: Nodes | undefined,
): Promise<readonly string[] | undefined> {
  if (nodes === undefined) return undefined;
  const found = inputsOfLevels(nodes.bytes, nodes.isWhole) ?? inputsOfLevels(await Bun.file(source as string).bytes());
  return found?.length === 0 ? undefined : found;
}

function exporterIn(folder: ModelFolder): ExporterConfig | undefined {
  const pipeline = objectIn(folder, "pipeline.json");
  const found = pipeline && mmdeployConfig("pipeline.json", pipeline);
  if (found !== undefined) return found;
  for (const name of ["infer_cfg.yml", "inference.yml"]) {
    const content = objectIn(folder, name, Bun.YAML.parse);
    const config = content && paddleConfig(name, content);
    if (config !== undefined) return config;
  }
  const preprocessor = objectIn(folder, "preprocessor_config.json");
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

/**
 * The class names of a file beside a model: one of its own name, `labels.txt`, `classes.txt`, `metadata.yaml` or `data.yaml` where it
 * is the only model in its folder, or the `config.json` of transformers.
 */
function namesOf(folder: ModelFolder): RecogniseOptions["namesBeside"] {
  for (const file of labelFiles(folder)) {
    const text = folder.texts[file];
    if (text === undefined) continue;
    try {
      const said = file.endsWith(".yaml") ? saidInYaml(text) : undefined;
      const names = file.endsWith(".yaml") ? said?.names : namesOfText(text);
      if (names !== undefined) return { file, ...said, names };
    } catch (error) {
      logger.warn(`Ignoring ${JSON.stringify(file)} beside the model: ${(error as Error).message}`);
    }
  }
  const names = labelsOfFiles(filesIn(folder), undefined);
  return names && { file: "config.json", names, isOfOne: folder.isOnly };
}

/** The anchors of a file beside a model: its `.yaml` or `.cfg`, or numbers alone. */
function anchorsOf(folder: ModelFolder): AnchorsTaken | undefined {
  for (const name of anchorFiles(folder)) {
    const found = anchorsIn(folder.texts[name] ?? "");
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
