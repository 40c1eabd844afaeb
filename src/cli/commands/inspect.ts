/** @module Inspect command: what a model or a plan is, and what its outputs were recognised as. */

import { statSync } from "node:fs";
import { z } from "zod";
import { describedModel } from "../../accelerators/cpu/described-model.ts";
import { readModelFile } from "../../accelerators/tensorrt/model-file.ts";
import { BunTensorRtError, ModelError, message } from "../../core/errors.ts";
import { printableJson } from "../../core/shown.ts";
import { recogniseModel } from "../../heads/registry.ts";
import type { PreprocessingOptions } from "../../image/preprocessing.ts";
import { PREPROCESSING_OPTIONS, refusePadding } from "../../image/preprocessing-options.ts";
import { Session } from "../../onnxruntime/session.ts";
import { type ParsedArguments, parseFlags, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { formatInspection, type Inspection, inspectionJson } from "../format-inspection.ts";
import { formatPlan, inspectPlan, type PlanInspection, planJson, type SaidOfModel } from "../inspect-plan.ts";
import { findModel, isPlanFile } from "../load-detector.ts";
import { flagsOf, optionsFrom } from "../option-flags.ts";
import { paintOf } from "../terminal.ts";
import { toggle, wholeNumber } from "../values.ts";

const schema = z.object({
  json: toggle,
  head: z.string().min(1, "the name of a head").optional(),
  layers: toggle,
  device: wholeNumber(0, 1023).default(0),
  "allow-host-code": toggle,
});

type InspectFlags = z.infer<typeof schema>;

/** What is printed, and whether all is well. */
interface Report {
  readonly text: string;
  readonly json: unknown;
  readonly isGood: boolean;
}

async function inspectModel(file: string, said: SaidOfModel, signal: AbortSignal): Promise<Inspection> {
  await using session = await Session.load(file, { optimization: "disable" });
  const { model } = session;
  const { size: byteLength } = statSync(file);
  try {
    const source = JSON.stringify(file);
    const described = await describedModel(session, { source, signal });
    return { file, byteLength, model, recognition: recogniseModel(described, { ...said, source }) };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { file, byteLength, model, recognition: { problem: error.message } };
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
    message(`show the layers of ${JSON.stringify(file)}`, `that needs it loaded on a GPU: ${engine.problem}`, hint),
  );
}

/** Flags that say something of plans only. */
const PLAN_FLAGS: readonly string[] = ["layers", "device", "allow-host-code"];

async function reportOf(
  path: string,
  flags: InspectFlags,
  given: ParsedArguments["flags"],
  preprocessing: PreprocessingOptions | undefined,
  context: CommandContext,
): Promise<Report> {
  const paint = paintOf(context.output.hasColour);
  const said = { head: flags.head, preprocessing };
  if (await isPlanFile(path)) {
    const options = {
      device: flags.device,
      said,
      withLayers: flags.layers,
      hostCodeAllowed: flags["allow-host-code"],
    };
    const plan = await inspectPlan(await readModelFile(path), options);
    if (flags.layers) checkLayers(plan);
    return { text: formatPlan(plan, paint), json: planJson(plan), isGood: isGoodPlan(plan) };
  }
  const ofPlans = PLAN_FLAGS.find((name) => given[name] !== undefined);
  if (ofPlans !== undefined) {
    const found = `--${ofPlans} is for plans: ${JSON.stringify(path)} is a model`;
    throw refuse("inspect", ofPlans, found, "build it first: bun-tensorrt build --profiling-verbosity detailed");
  }
  const model = await inspectModel(path, said, context.signal);
  return {
    text: formatInspection(model, paint),
    json: inspectionJson(model),
    isGood: !("problem" in model.recognition),
  };
}

/** Run `inspect`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const flags = parseFlags(parsed, schema);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `Expected one model, got ${parsed.operands.length}`;
    throw refuse("inspect", "model", found, "bun-tensorrt inspect yolo11n");
  }
  const given = optionsFrom<PreprocessingOptions>(parsed, flagsOf(PREPROCESSING_OPTIONS));
  refusePadding(given, (name) => `--${name}`);
  const preprocessing = Object.keys(given).length === 0 ? undefined : given;
  const path = await findModel(word, context);
  const { text, json, isGood } = await reportOf(path, flags, parsed.flags, preprocessing, context);
  await context.output.write(flags.json ? `${printableJson(json, 2)}\n` : text);
  return isGood ? EXIT_OK : EXIT_FAILED;
}
