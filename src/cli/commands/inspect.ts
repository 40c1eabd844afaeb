/**
 * @module Inspect command: what a model or a plan is, what its outputs were recognised as, and what of it would run where. A plan
 * tells its header anywhere, the engine inside on a GPU.
 */

import { statSync } from "node:fs";
import { openedSession } from "../../accelerators/opened-model.ts";
import { openedEngine } from "../../accelerators/tensorrt/gpu-backend.ts";
import { type ModelFile, readModelFile } from "../../accelerators/tensorrt/model-file.ts";
import {
  BunTensorRtError,
  LibraryLoadError,
  ModelError,
  message,
  PlanMismatchError,
  TensorRtError,
} from "../../core/errors.ts";
import { printable, printableJson } from "../../core/log.ts";
import { formatShape, formatTensorInfo, isDynamic } from "../../core/tensor.ts";
import { formatBytes } from "../../core/units.ts";
import { cudaUnavailable, Device } from "../../cuda/device.ts";
import { nvJpegLibrary } from "../../ffi/nvidia-libraries.ts";
import { findTurboJpeg } from "../../ffi/turbojpeg.ts";
import { ownHeads } from "../../heads/own-head.ts";
import { type Shaping, shapingOf } from "../../heads/shaping-config.ts";
import { readTraits } from "../../heads/traits.ts";
import { formatFp32Nodes, fp32NodesOf } from "../../onnx/fp32-nodes.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { HardwareCompatibility } from "../../tensorrt/build-options.ts";
import type { Engine, EngineInformation } from "../../tensorrt/engine.ts";
import { formatPlanIo } from "../../tensorrt/io-formats.ts";
import { openTensorRt, type TensorRtLibrary, tensorRtSpec } from "../../tensorrt/library.ts";
import { type PlanFile, readPlan } from "../../tensorrt/plan-file.ts";
import { Runtime } from "../../tensorrt/runtime.ts";
import type { EngineTensor } from "../../tensorrt/tensor-info.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { whyUnusable } from "../findings.ts";
import {
  type AnySpec,
  confidenceOf,
  formatInspection,
  hostPartOf,
  type Inspection,
  type ModelRuns,
  metadataLines,
  problemOf,
  recognitionLines,
  recognitionOf,
  type SaidOfModel,
  shapeOf,
  taskOf,
} from "../inspection.ts";
import { findModel, isPlanFile, ownHeadsOf, usualChoice } from "../load-detector.ts";
import { type InspectFlags, parseInspectFlags } from "../own-flags.ts";
import { alignRows, type Paint, paintOf, section } from "../terminal.ts";

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

/** What is said of a plan. */
type PlanFlags = Pick<InspectFlags, "device" | "layers" | "allowHostCode">;

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
  said: SaidOfModel,
  flags: PlanFlags,
): Promise<EngineFacts> {
  using device = Device.open(flags.device);
  using runtime = await Runtime.create({ library, device, hostCodeAllowed: flags.allowHostCode });
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
    recognition: await recognise(engine, file, said),
    layers: flags.layers ? layersOf(engine) : undefined,
  };
}

/**
 * Look into a plan.
 *
 * @throws {ModelError} If the file is empty or cut short
 * @throws {OptionError} If there is no such head
 * @throws {ArgumentError} If there is no such GPU
 */
async function inspectPlan(file: ModelFile, said: SaidOfModel, flags: PlanFlags): Promise<PlanInspection> {
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
    return { ...inspection, engine: await readEngine(file, library, said, flags) };
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
    ["compute capability", capabilities.length === 0 ? undefined : capabilities.map((one) => one.join(".")).join(", ")],
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

/** What decodes JPEG files; sharp decodes the rest. */
function jpegDecoder(isGpu: boolean): string {
  const onCpu = findTurboJpeg() instanceof LibraryLoadError ? "sharp" : "libturbojpeg";
  if (!isGpu) return onCpu;
  try {
    nvJpegLibrary();
    return "nvJPEG";
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return onCpu;
  }
}

/** Where the parts of a model run with `--backend auto`; `undefined` where it runs nowhere. */
async function runsOf(spec: AnySpec): Promise<ModelRuns | undefined> {
  const choice = await usualChoice();
  if (choice === undefined) return undefined;
  const { registration, fault } = choice;
  const task = taskOf(spec);
  const kept = hostPartOf(spec)?.what;
  const isGpu = registration.machine === "GPU" && kept === undefined;
  const why = kept === undefined ? fault?.reason : `${kept} has no part for a GPU`;
  const isOwn = "plan" in spec && spec.plan.kind === "own";
  const isFinishedByHost = !isGpu || isOwn || ["classify", "semantic", "depth"].includes(task);
  return {
    decode: `JPEG: ${jpegDecoder(isGpu)}; others: sharp`,
    preprocess: isGpu ? "GPU" : "CPU",
    model: isGpu ? "GPU: TensorRT" : "CPU: ONNX Runtime",
    postprocess: isFinishedByHost ? "CPU" : "GPU",
    ...(isGpu || why === undefined ? {} : { why }),
  };
}

/** What is printed, and whether all is well. */
export interface Report {
  readonly text: string;
  readonly json: unknown;
  readonly isGood: boolean;
}

async function inspectModel(file: string, said: SaidOfModel, signal: AbortSignal): Promise<Inspection> {
  await using session = await Session.load(file, { optimization: "disable" });
  const { model } = session;
  const { size: byteLength } = statSync(file);
  const longestSide = Math.max(
    0,
    ...model.inputs.filter(({ shape }) => shape.length === 4).flatMap(({ shape }) => shape),
  );
  const bytes = await Bun.file(file).bytes();
  const inFp32 = (built: Uint8Array): string => formatFp32Nodes(fp32NodesOf(built, { longestSide }));
  try {
    const source = JSON.stringify(file);
    const opened = openedSession(session, source, signal);
    const recognition = await recognitionOf(opened, file, said);
    const { shape, built = bytes } = "plan" in recognition ? await shapeOf(bytes, opened, recognition, file) : {};
    const runs = await runsOf(recognition);
    return { file, byteLength, model, recognition, runs, shape, fp32: inFp32(built) };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { file, byteLength, model, recognition: problemOf(error), fp32: inFp32(bytes) };
  }
}

/**
 * A plan that was only read in part, for want of a GPU, is a good one; one that does not load is not, and neither is one
 * that told nothing at all.
 */
function isGoodPlan({ engine, plan }: PlanInspection): boolean {
  const hasTold = plan.header !== undefined || plan.origin !== undefined || Object.keys(plan.metadata).length > 0;
  if ("problem" in engine) return engine.isMissingGpu && hasTold;
  return !("problem" in engine.recognition);
}

/** @throws {BunTensorRtError} If layers were asked for and cannot be had */
function checkLayers({ engine, file }: PlanInspection): void {
  if (!("problem" in engine)) return;
  const hint = "without --layers it shows what the file itself tells";
  throw new BunTensorRtError(
    message(`show the layers of ${JSON.stringify(file)}`, `the plan was not loaded on a GPU. ${engine.problem}`, hint),
  );
}

/** What a model or a plan is. @throws {OptionError} If a flag is for plans, and it is none */
export async function reportOf(path: string, flags: InspectFlags, context: CommandContext): Promise<Report> {
  const paint = paintOf(context.output.hasColour);
  const own = await ownHeadsOf(flags.head);
  const heads = own.heads && ownHeads(own.heads);
  const { task, keypointShape, anchors, labels, preprocessing } = flags;
  const head = heads === undefined ? flags.head : own.head;
  const said = { head, heads, task, keypointShape, anchors, labels, preprocessing };
  if (await isPlanFile(path)) {
    const plan = await inspectPlan(await readModelFile(path), said, flags);
    if (flags.layers) checkLayers(plan);
    return { text: formatPlan(plan, paint), json: planJson(plan), isGood: isGoodPlan(plan) };
  }
  const { ofPlans } = flags;
  if (ofPlans !== undefined) {
    const found = `--${ofPlans} is for plans: ${JSON.stringify(path)} is a model`;
    throw refuse(ofPlans, found, `build it first: bunx bun-tensorrt build ${path} --profiling-verbosity detailed`);
  }
  const inspection = await inspectModel(path, said, context.signal);
  const { file, byteLength, model, recognition, runs, shape, fp32 } = inspection;
  const told =
    "problem" in recognition
      ? { task: readTraits(model)?.task ?? null, confidence: null }
      : { task: taskOf(recognition), confidence: confidenceOf(recognition), runs };
  const json = { file, byteLength, ...model, ...told, recognition, shape, fp32 };
  return { text: formatInspection(inspection, paint), json, isGood: !("problem" in recognition) };
}

/** Run `inspect`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const flags = parseInspectFlags(parsed);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `Expected one model, got ${parsed.operands.length}`;
    throw refuse("model", found, "bunx bun-tensorrt inspect yolo11n");
  }
  const path = await findModel(word, context);
  const { text, json, isGood } = await reportOf(path, flags, context);
  await context.output.write(flags.json ? `${printableJson(json, 2)}\n` : text);
  return isGood ? EXIT_OK : EXIT_FAILED;
}
