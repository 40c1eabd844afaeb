/**
 * @module Beside: what is known of an ONNX model that its plan would lose: small files in its folder, the family of its weights, and inputs
 * whose levels it scales itself.
 */

import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { logger } from "../core/log.ts";
import { statsOf } from "../core/paths.ts";
import { OnnxTensor, readNode, tensorOf } from "./messages.ts";
import { contentsOf } from "./wire.ts";

/** The DETRs that want ImageNet's mean and deviation, and those that want levels in 0–1. */
export type DetrFamily = "detr" | "rtdetr";

/** What of OpenMMLab wants another pre-processing than most of MMDetection. */
export type OpenMmlabFamily =
  | "rtmdet"
  | "yolox"
  | "yolov3"
  | "yolov3-some"
  | "fcos"
  | "ssd"
  | "ssd-vgg"
  | "mmyolo"
  | "mmyolo-rtmdet"
  | "mmyolo-ppyoloe";

/** What the names of a model's weights tell. */
export type WeightsFamily = DetrFamily | OpenMmlabFamily | "damo-yolo";

/** The files in the folder of a model that may say how it is read: class names, pre-processing, anchors. */
export interface ModelFolder {
  /** The model's name without its ending, which some of the files have too. */
  readonly stem: string;
  /** Whether it is the only model there: files that name none are of it then. */
  readonly isOnly: boolean;
  /** What is in the files, by their names. */
  readonly texts: Readonly<Record<string, string>>;
}

/** What is known of an ONNX model that its plan would lose. */
export interface Beside {
  /** Left out where no such file is there. */
  readonly folder?: ModelFolder;
  /** Left out where the names of the weights tell none. */
  readonly weightsOf?: WeightsFamily;
  /** Inputs whose levels the model scales itself; left out where there are none. */
  readonly levelsIn?: readonly string[];
}

/** More than any of these files holds: the `config.json` of 21,843 classes has 2 MB. */
const MOST_BYTES = 2 ** 22;

/** What transformers writes, into the folder above where that of the model is called `onnx`, as Hugging Face's repositories have it. */
const TRANSFORMERS_FILES: readonly string[] = ["preprocessor_config.json", "config.json"];

/** What mmdeploy and PaddleDetection write. */
const EXPORTER_FILES: readonly string[] = ["pipeline.json", "infer_cfg.yml", "inference.yml"];

/** Files of class names, the likeliest first: of a model's own name, and those that exporters write beside the only model of a folder. */
export function labelFiles({ stem, isOnly }: Pick<ModelFolder, "stem" | "isOnly">): readonly string[] {
  const own = [`${stem}.names`, `${stem}.labels`, `${stem}_labels.txt`];
  return isOnly ? [...own, "labels.txt", "classes.txt", "metadata.yaml", "data.yaml"] : own;
}

/** Files that may have the anchors of a model's head, the likeliest first. */
export function anchorFiles({ stem }: Pick<ModelFolder, "stem">): readonly string[] {
  return [`${stem}.yaml`, `${stem}.cfg`, `${stem}_anchors.txt`, `anchors_${stem}.txt`, "anchors.txt"];
}

/** Whether a folder has no other model, but for other forms of this one. */
function isAlone(stem: string, files: readonly string[]): boolean {
  const models = files.filter((name) => /\.(onnx|plan|engine|trt)$/i.test(name));
  return models.every((name) => name.replace(/\.[^.]*$/, "") === stem);
}

function ignore(path: string, reason: string): void {
  logger.warn(`Ignoring ${JSON.stringify(path)}: ${reason}`);
}

async function textsIn(folder: string, names: readonly string[]): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of names) {
    const path = join(folder, name);
    try {
      const stats = statsOf(path);
      if (stats === undefined || !stats.isFile()) continue;
      if (stats.size <= MOST_BYTES) texts[name] = await Bun.file(path).text();
      else ignore(path, `it has ${stats.size} bytes, ${MOST_BYTES} at most are read`);
    } catch (error) {
      ignore(path, (error as Error).message);
    }
  }
  return texts;
}

/**
 * Read the files beside a model that may say how it is read.
 *
 * @param path of the model, of which nothing is read
 * @returns `undefined` where there are none
 */
export async function modelFolder(path: string): Promise<ModelFolder | undefined> {
  const [folder, stem] = [dirname(path), basename(path).replace(/\.[^.]*$/, "")];
  const listed = await readdir(folder).catch((): string[] => []);
  const named = { stem, isOnly: isAlone(stem, listed) };
  const known = new Set([...TRANSFORMERS_FILES, ...EXPORTER_FILES, ...labelFiles(named), ...anchorFiles(named)]);
  const own = await textsIn(
    folder,
    [...known].filter((name) => listed.includes(name)),
  );
  const isAbove = basename(folder) === "onnx" && !TRANSFORMERS_FILES.some((name) => name in own);
  const texts = { ...own, ...(isAbove ? await textsIn(dirname(folder), TRANSFORMERS_FILES) : {}) };
  return Object.keys(texts).length === 0 ? undefined : { ...named, texts };
}

/** Bytes at the beginning of an ONNX file in which its nodes are, which name the weights that they read; the weights lie behind them. */
export const MOST_OF_NODES: number = 2 ** 23;

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

/** The family that the names of a model's weights are of; `undefined` if of none, or of several. @param model bytes of an ONNX file, or its first {@linkcode MOST_OF_NODES} */
export function weightsFamily(model: Uint8Array): WeightsFamily | undefined {
  const text = Buffer.from(model.buffer, model.byteOffset, Math.min(model.length, MOST_OF_NODES)).toString("latin1");
  const found = NAMES_OF_WEIGHTS.filter(([, names, others]) => names.test(text) && others?.test(text) !== true);
  return found.length === 1 ? found[0]![0] : undefined;
}

/** Fields of ModelProto and GraphProto. */
const MODEL_GRAPH = 7;
const GRAPH = { node: 1, initializer: 5 } as const;

/** The graph of a model, as far as it goes in the bytes. */
function graphIn(model: Uint8Array): Uint8Array {
  const reader = new BinaryReader(model);
  try {
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      if (number === MODEL_GRAPH && type === WireType.LengthDelimited) {
        const length = reader.uint32();
        return model.subarray(reader.pos, reader.pos + length);
      }
      reader.skip(type);
    }
  } catch (error) {
    // Bytes that are no model are the loader's to refuse.
    if (!(error instanceof Error)) throw error;
  }
  return model.subarray(0, 0);
}

/** Operators that leave the values of an image as they are, or take some of them. */
const KEEPING: ReadonlySet<string> = new Set(
  "Cast Clip Gather Identity Pad Reshape Resize Slice Squeeze Transpose Unsqueeze".split(" "),
);

/** A mean, a deviation or a range from here on is one of levels 0–255: those of values in 0–1 are at most 1. */
const LEAST_OF_LEVELS = 16;

/** What a constant does that only makes sense of levels in 0–255, by the operator. */
const OF_LEVELS: Readonly<Record<string, (value: number) => boolean>> = {
  Div: (value) => value >= LEAST_OF_LEVELS,
  Mul: (value) => value > 0 && value <= 1 / LEAST_OF_LEVELS,
  Sub: (value) => value >= LEAST_OF_LEVELS,
  Add: (value) => value <= -LEAST_OF_LEVELS,
};

/**
 * Inputs whose levels a model scales itself: the first that it does with their values is to divide by a range of 0–255, or to take a mean
 * from them that is one of such levels.
 *
 * @param model   bytes of an ONNX file, or its first {@linkcode MOST_OF_NODES}
 * @param isWhole false for those
 * @returns `undefined` where what decides lies further on
 */
export function inputsOfLevels(model: Uint8Array, isWhole = true): readonly string[] | undefined {
  const graph = graphIn(model);
  const constants = new Map<string, OnnxTensor | undefined>();
  /** Of tensors that hold what an input holds, its name; of others that nodes make, nothing. */
  const inputOf = new Map<string, string | undefined>();
  const found = new Set<string>();
  let hasWeights = false;
  let isOpen = false;
  const valuesOf = (name: string): readonly number[] => {
    if (inputOf.has(name)) return constants.get(name)?.values() ?? [];
    if (!hasWeights) {
      for (const tensor of [...contentsOf(graph, GRAPH.initializer)].map((bytes) => new OnnxTensor(bytes)))
        constants.set(tensor.name, tensor);
      hasWeights = true;
    }
    isOpen ||= !isWhole && !constants.has(name);
    return constants.get(name)?.values() ?? [];
  };
  for (const bytes of contentsOf(graph, GRAPH.node)) {
    const { op, inputs, outputs, ...node } = readNode(bytes);
    const [first = "", second = ""] = inputs;
    const held = (name: string): string | undefined => (inputOf.has(name) ? inputOf.get(name) : name);
    for (const output of outputs) inputOf.set(output, KEEPING.has(op) ? held(first) : undefined);
    if (op === "Constant") constants.set(outputs[0]!, tensorOf({ op, inputs, outputs, ...node }, "value"));
    const isOfLevels = OF_LEVELS[op];
    if (isOfLevels === undefined) continue;
    const orders = op === "Mul" || op === "Add" ? [inputs, [second, first]] : [inputs];
    for (const [operand = "", constant = ""] of orders) {
      const image = held(operand);
      const values = image === undefined ? [] : valuesOf(constant);
      if (image !== undefined && values.length > 0 && values.every(isOfLevels)) found.add(image);
    }
  }
  return isOpen ? undefined : [...found];
}

/**
 * What is known of an ONNX model that its plan would lose, for the plan to carry: it may be moved away from the files.
 *
 * @param model bytes of an `.onnx` file
 * @param path  of that file; bytes alone have nothing beside them
 * @returns `undefined` where there is nothing
 */
export async function besideOf(model: Uint8Array, path: string | undefined): Promise<Beside | undefined> {
  const folder = path === undefined ? undefined : await modelFolder(path);
  const weightsOf = weightsFamily(model);
  const levelsIn = inputsOfLevels(model) ?? [];
  if (folder === undefined && weightsOf === undefined && levelsIn.length === 0) return undefined;
  return { ...(folder && { folder }), ...(weightsOf && { weightsOf }), ...(levelsIn.length > 0 && { levelsIn }) };
}

/** True for what {@linkcode besideOf} gives; facts of another form beside it are no matter. */
export function isBeside(value: unknown): value is Beside {
  if (!isRecord(value)) return false;
  const { folder, weightsOf, levelsIn } = value;
  if (weightsOf !== undefined && typeof weightsOf !== "string") return false;
  if (levelsIn !== undefined && !(Array.isArray(levelsIn) && levelsIn.every((name) => typeof name === "string")))
    return false;
  if (folder === undefined) return true;
  if (!isRecord(folder) || typeof folder.stem !== "string" || typeof folder.isOnly !== "boolean") return false;
  return isRecord(folder.texts) && Object.values(folder.texts).every((text) => typeof text === "string");
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
