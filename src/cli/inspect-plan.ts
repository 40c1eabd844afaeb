/** @module InspectPlan: what a plan tells of itself: its header anywhere, the engine inside on a GPU. */

import { openedEngine } from "../accelerators/tensorrt/gpu-backend.ts";
import type { ModelFile } from "../accelerators/tensorrt/model-file.ts";
import { parseImageModelOptions } from "../api/image-model-config.ts";
import { LibraryLoadError, ModelError, PlanMismatchError, TensorRtError } from "../core/errors.ts";
import { printable } from "../core/shown.ts";
import { formatShape, formatTensorInfo, isDynamic } from "../core/tensor.ts";
import { formatBytes } from "../core/units.ts";
import { cudaUnavailable, Device } from "../cuda/device.ts";
import { refuseUnreadAnchors } from "../heads/anchor-maps.ts";
import type { RecogniseOptions } from "../heads/head.ts";
import { recogniseAny } from "../heads/object-reading.ts";
import { ownHeadFor } from "../heads/recognition.ts";
import { type Shaping, shapingOf } from "../heads/shaped.ts";
import type { OpenedModel } from "../runtime/task.ts";
import type { ClassifierPreprocessingOptions } from "../tasks/classify/classifier-recipe.ts";
import { recogniseClassifier, seemsClassifier } from "../tasks/classify/classifier-recognition.ts";
import { DEPTH } from "../tasks/depth/depth-task.ts";
import { declaresImages } from "../tasks/image/image-recognition.ts";
import { ImageTask } from "../tasks/image/image-task.ts";
import { detectorFiles, labelsOfFiles, mapTaskOf, modelFiles } from "../tasks/model-files.ts";
import { SEMANTIC } from "../tasks/semantic/semantic-task.ts";
import type { HardwareCompatibility } from "../tensorrt/build-options.ts";
import type { Engine, EngineInformation } from "../tensorrt/engine.ts";
import { formatPlanIo } from "../tensorrt/io-formats.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../tensorrt/library.ts";
import { type ComputeCapability, type PlanFile, readPlan } from "../tensorrt/plan-file.ts";
import { Runtime } from "../tensorrt/runtime.ts";
import type { EngineTensor } from "../tensorrt/tensor-info.ts";
import { whyUnusable } from "./doctor/gpu.ts";
import { type AnySpec, type ImageSpec, metadataLines, recognitionLines } from "./format-inspection.ts";
import { alignRows, type Paint, section } from "./terminal.ts";

/** What an engine tells once it is loaded. */
export interface EngineFacts {
  /** The GPU and the version it was loaded with. */
  readonly loadedBy: string;
  readonly inputs: readonly EngineTensor[];
  readonly outputs: readonly EngineTensor[];
  readonly profileCount: number;
  readonly layerCount: number;
  readonly auxStreamCount: number;
  /** What a context needs for activations. */
  readonly deviceMemoryBytes: number;
  readonly hardwareCompatibility: HardwareCompatibility;
  readonly isRefittable: boolean;
  /** The head, or the reason why there is none. */
  readonly recognition: AnySpec | { readonly problem: string };
  /** In TensorRT's own form; `undefined` unless it was asked for. */
  readonly layers: EngineInformation["Layers"] | undefined;
}

/** A plan that was looked at. */
export interface PlanInspection {
  readonly file: string;
  readonly byteLength: number;
  readonly plan: Omit<PlanFile, "plan">;
  /** The engine, or why it could not be loaded: for want of a GPU, or because it does not fit this one. */
  readonly engine: EngineFacts | { readonly problem: string; readonly isMissingGpu: boolean };
}

/** What the caller of `inspect` says of a model: its head, and what it wants done to an image. */
export type SaidOfModel = Pick<RecogniseOptions, "head" | "heads" | "anchors" | "labels" | "preprocessing">;

/** How a plan is inspected. */
interface InspectPlanOptions {
  /** Number of the GPU. */
  readonly device: number;
  /** What the caller knows better than the model. */
  readonly said: SaidOfModel;
  /** Ask for the layers. */
  readonly withLayers: boolean;
  /** Let a version-compatible plan run the code it brings. */
  readonly hostCodeAllowed: boolean;
}

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
  const isSaid = said.head !== undefined || ownHeadFor(opened.model, said) !== undefined;
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
    return recogniseAny(await opened.described(undefined), { ...said, ...beside, source: opened.source });
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

async function recognise(engine: Engine, file: ModelFile, said: SaidOfModel): Promise<EngineFacts["recognition"]> {
  try {
    return await recognitionOf(openedEngine(engine, JSON.stringify(engine.source)), file.path ?? file.bytes, said);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return problemOf(error);
  }
}

function layersOf(engine: Engine): EngineInformation["Layers"] {
  using inspector = engine.createInspector();
  return inspector.information().Layers;
}

async function readEngine(
  file: ModelFile,
  library: TensorRtLibrary,
  options: InspectPlanOptions,
): Promise<EngineFacts> {
  using device = Device.open(options.device);
  using runtime = await Runtime.create({ library, device, hostCodeAllowed: options.hostCodeAllowed });
  using engine = await runtime.deserialize(file.bytes, { source: file.source });
  return {
    loadedBy: `${library.version.text}, ${device.name}`,
    inputs: engine.inputs,
    outputs: engine.outputs,
    profileCount: engine.profileCount,
    layerCount: engine.layerCount,
    auxStreamCount: engine.auxStreamCount,
    deviceMemoryBytes: engine.deviceMemoryBytes(),
    hardwareCompatibility: engine.hardwareCompatibility,
    isRefittable: engine.isRefittable,
    recognition: await recognise(engine, file, options.said),
    layers: options.withLayers ? layersOf(engine) : undefined,
  };
}

/**
 * Look into a plan.
 *
 * @throws {ModelError} If the file is empty or cut short
 * @throws {OptionError} If there is no such head
 * @throws {ArgumentError} If there is no such GPU
 */
export async function inspectPlan(file: ModelFile, options: InspectPlanOptions): Promise<PlanInspection> {
  const { metadata, header, origin } = readPlan(file.bytes, file.source);
  const inspection = { file: file.source, byteLength: file.bytes.byteLength, plan: { metadata, header, origin } };
  const missing = (problem: string): PlanInspection => ({ ...inspection, engine: { problem, isMissingGpu: true } });
  const unusable = cudaUnavailable();
  if (unusable !== undefined) return missing(unusable);
  let library: TensorRtLibrary;
  try {
    library = openTensorRt(header === undefined ? {} : { family: header.family });
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return missing(`${header?.family ?? "TensorRT"} ${whyUnusable(error, tensorRtSpec())}`);
  }
  try {
    return { ...inspection, engine: await readEngine(file, library, options) };
  } catch (error) {
    const isPlan = error instanceof PlanMismatchError || error instanceof TensorRtError || error instanceof ModelError;
    if (!isPlan) throw error;
    return { ...inspection, engine: { problem: error.message, isMissingGpu: false } };
  }
}

/** Which GPUs it runs on beside the one it was built for. */
const COMPATIBILITY: ReadonlyMap<string, string> = new Map([
  ["none", "that alone"],
  ["ampere-plus", "every GPU from Ampere on"],
  ["same-compute-capability", "every GPU of that compute capability"],
]);

function formatCapabilities(capabilities: readonly ComputeCapability[]): string {
  return capabilities.map((one) => one.join(".")).join(", ");
}

/** Layers of an FP16 engine that are named; the JSON has all. */
const NAMED_LAYERS = 4;

function formatFp32Layers(names: readonly string[] = []): string | undefined {
  if (names.length === 0) return undefined;
  const rest = names.length > NAMED_LAYERS ? `, and ${names.length - NAMED_LAYERS} more` : "";
  return `${names.slice(0, NAMED_LAYERS).join(", ")}${rest}`;
}

/** What stands before the engine, as far as it says anything. */
function headerRows({ plan, byteLength }: PlanInspection): string[][] {
  const { header, origin } = plan;
  const capabilities = origin?.computeCapabilities ?? header?.computeCapabilities ?? [];
  const version = header === undefined ? origin?.tensorRt : `${header.family} ${header.release}.${header.build}`;
  const rows: (readonly [string, string | undefined])[] = [
    ["built by", version ?? "unknown: its header has an unknown form"],
    ["made with", origin === undefined ? "another program than bun-tensorrt" : "bun-tensorrt"],
    ["compute capability", capabilities.length === 0 ? undefined : formatCapabilities(capabilities)],
    ["built on", origin?.gpu],
    ["runs on", origin === undefined ? undefined : COMPATIBILITY.get(origin.hardwareCompatibility ?? "none")],
    ["precision", origin?.precision],
    ["images and maps", origin?.io && formatPlanIo(origin.io)],
    ["in FP32", formatFp32Layers(origin?.fp32Layers)],
    ["size", formatBytes(byteLength)],
  ];
  return rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, printable(value)]]));
}

function tensorLines(tensor: EngineTensor): string[] {
  const { profiles, formatText, location, isShapeInput, shape } = tensor;
  const facts = [formatText, ...(location === "host" ? ["in host memory"] : []), ...(isShapeInput ? ["a shape"] : [])];
  const ranges = profiles.map(({ min, opt, max }, at) => {
    const title = profiles.length === 1 ? "" : `profile ${at}: `;
    return `  ${title}${formatShape(min)} to ${formatShape(max)}, best at ${formatShape(opt)}`;
  });
  return [
    `${printable(formatTensorInfo(tensor))}  ${printable(facts.join(", "))}`,
    ...(isDynamic(shape) ? ranges : []),
  ];
}

function engineRows(engine: EngineFacts): string[][] {
  return [
    ["loaded by", engine.loadedBy],
    ["layers", String(engine.layerCount)],
    ["profiles", String(engine.profileCount)],
    ["streams", String(engine.auxStreamCount + 1)],
    ["device memory", `${formatBytes(engine.deviceMemoryBytes)} for the activations of one context`],
    ["refittable", engine.isRefittable ? "yes" : "no"],
  ];
}

/** Number, name and, where the plan was built to tell, type and tactic of each layer. */
function layerRows(layers: NonNullable<EngineFacts["layers"]>, paint: Paint): string[][] {
  const text = (value: unknown): string => (typeof value === "string" ? printable(value) : "");
  const rows = layers.map((layer, at) => {
    if (typeof layer === "string") return [String(at), printable(layer), "", ""];
    return [String(at), text(layer.Name), text(layer.LayerType), text(layer.TacticName)];
  });
  return [["", "name", "type", "tactic"].map((title) => paint("dim", title)), ...rows];
}

function engineLines(engine: PlanInspection["engine"], shape: Shaping | undefined, paint: Paint): string[] {
  if ("problem" in engine) {
    const [first = "", ...rest] = engine.problem.split("\n").map(printable);
    const said = engine.isMissingGpu
      ? `Inputs, outputs, profiles, layers and the head need a GPU: ${first}`
      : `It could not be loaded: ${first}`;
    return section(paint("bold", "Engine"), [said, ...rest]);
  }
  const layers = engine.layers === undefined ? [] : alignRows(layerRows(engine.layers, paint), ["right"]);
  return [
    ...section(paint("bold", "Inputs"), engine.inputs.flatMap(tensorLines)),
    ...section(paint("bold", "Outputs"), engine.outputs.flatMap(tensorLines)),
    ...section(paint("bold", "Engine"), alignRows(engineRows(engine))),
    ...recognitionLines(engine.recognition, paint, shape),
    ...section(paint("bold", "Layers"), layers),
  ];
}

/** For people. */
export function formatPlan(inspection: PlanInspection, paint: Paint): string {
  const lines = [
    paint("bold", printable(inspection.file)),
    ...section(paint("bold", "Plan"), alignRows(headerRows(inspection))),
    ...metadataLines(inspection.plan.metadata, paint),
    ...engineLines(inspection.engine, shapingOf(inspection.plan, JSON.stringify(inspection.file)), paint),
  ];
  return `${lines.join("\n")}\n`;
}

/** For programs: everything, nothing shortened. */
export function planJson({ file, byteLength, plan, engine }: PlanInspection): unknown {
  const { metadata, header, origin } = plan;
  return { file, byteLength, header, origin, metadata, engine };
}
