/** @module Inspect command: what a model or a plan is, what its outputs were recognised as, and what of it would run where. */

import { statSync } from "node:fs";
import { chooseAccelerator } from "../../accelerators/accelerator.ts";
import { openedSession } from "../../accelerators/cpu/described-model.ts";
import { readModelFile } from "../../accelerators/tensorrt/model-file.ts";
import { BunTensorRtError, LibraryLoadError, ModelError, message, UnavailableError } from "../../core/errors.ts";
import { printableJson } from "../../core/shown.ts";
import { nvJpegLibrary } from "../../ffi/nvidia-decoders.ts";
import { findTurboJpeg } from "../../ffi/turbojpeg.ts";
import type { ModelSpec } from "../../heads/head.ts";
import { ownHeads } from "../../heads/own-head.ts";
import { shapingOf } from "../../heads/shaped.ts";
import { shapeModel } from "../../heads/shaping.ts";
import { readTraits } from "../../heads/traits.ts";
import { formatFp32Nodes, fp32NodesOf } from "../../onnx/fp32-nodes.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { OpenedModel } from "../../runtime/task.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import {
  type AnySpec,
  confidenceOf,
  formatInspection,
  hostPartOf,
  type Inspection,
  type ModelRuns,
  type ShapeTold,
  taskOf,
} from "../format-inspection.ts";
import {
  formatPlan,
  inspectPlan,
  type PlanInspection,
  planJson,
  problemOf,
  recognitionOf,
  type SaidOfModel,
} from "../inspect-plan.ts";
import { findModel, isPlanFile, ownHeadsOf } from "../load-detector.ts";
import { type InspectFlags, parseInspectFlags } from "../own-flags.ts";
import { paintOf } from "../terminal.ts";

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

/** What is chosen where nothing else is said; `undefined` where the environment asks for what this machine has not. */
async function usualChoice() {
  try {
    return await chooseAccelerator("auto");
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return undefined;
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

/** Where a model was cut, or is when an engine is built of it; or why it is not. @returns also the model that is built */
async function shapeOf(
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
  const said = {
    head: heads === undefined ? flags.head : own.head,
    heads,
    anchors: flags.anchors,
    labels: flags.labels,
    preprocessing: flags.preprocessing,
  };
  if (await isPlanFile(path)) {
    const options = {
      device: flags.device,
      said,
      withLayers: flags.layers,
      hostCodeAllowed: flags.allowHostCode,
    };
    const plan = await inspectPlan(await readModelFile(path), options);
    if (flags.layers) checkLayers(plan);
    return { text: formatPlan(plan, paint), json: planJson(plan), isGood: isGoodPlan(plan) };
  }
  const { ofPlans } = flags;
  if (ofPlans !== undefined) {
    const found = `--${ofPlans} is for plans: ${JSON.stringify(path)} is a model`;
    throw refuse(ofPlans, found, "build it first: bunx bun-tensorrt build --profiling-verbosity detailed");
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
