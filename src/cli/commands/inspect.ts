/** @module Inspect command: what a model or a plan is, and what its outputs were recognised as. */

import { statSync } from "node:fs";
import { z } from "zod";
import { describedModel } from "../../accelerators/cpu/described-model.ts";
import { readModelFile } from "../../accelerators/tensorrt/model-file.ts";
import { BunTensorRtError, ModelError, message } from "../../core/errors.ts";
import { type OptionTable, shapeOf } from "../../core/options.ts";
import { printableJson } from "../../core/shown.ts";
import { recogniseModel } from "../../heads/registry.ts";
import type { PreprocessingOptions } from "../../image/preprocessing.ts";
import { PREPROCESSING_OPTIONS, refusePadding } from "../../image/preprocessing-options.ts";
import { Session } from "../../onnxruntime/session.ts";
import { type Flag, type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { formatInspection, type Inspection } from "../format-inspection.ts";
import { formatPlan, inspectPlan, type PlanInspection, planJson, type SaidOfModel } from "../inspect-plan.ts";
import { findModel, isPlanFile } from "../load-detector.ts";
import { flagsOf, type ValuesOf, valuesFrom } from "../option-flags.ts";
import { paintOf } from "../terminal.ts";
import { toggle, wholeNumber } from "../values.ts";

/** Flags that say something of plans only. */
const PLANS = {
  layers: {
    ...toggle,
    help: "show a plan's layers; more of them if it was built with --profiling-verbosity detailed",
  },
  device: {
    schema: wholeNumber(0, 1023).default(0),
    value: "N",
    help: "number of the GPU that a plan is loaded on",
  },
  allowHostCode: {
    ...toggle,
    help: "let a version-compatible plan run the code it brings: only if you trust it",
  },
} satisfies OptionTable;

const OWN = {
  json: { ...toggle, help: "as JSON; of a model: {file, byteLength, inputs, outputs, metadata, recognition}" },
  head: {
    schema: z.string().min(1, "the name of a head"),
    value: "NAME",
    help: "take it for this head",
    aliases: ["layout"],
  },
  preprocessing: {
    schema: z.strictObject(shapeOf(PREPROCESSING_OPTIONS)) as z.ZodType<PreprocessingOptions>,
    options: PREPROCESSING_OPTIONS,
  },
  ...PLANS,
} satisfies OptionTable;

/** In the order of the help. */
export const FLAGS: readonly Flag[] = flagsOf(OWN);

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
    const described = await describedModel(session, source, signal);
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
    message(`show the layers of ${JSON.stringify(file)}`, `the plan was not loaded on a GPU. ${engine.problem}`, hint),
  );
}

async function reportOf(
  path: string,
  flags: ValuesOf<typeof OWN>,
  given: ParsedArguments["flags"],
  context: CommandContext,
): Promise<Report> {
  const paint = paintOf(context.output.hasColour);
  const said = { head: flags.head, preprocessing: flags.preprocessing };
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
  const ofPlans = flagsOf(PLANS).find(({ name }) => given[name] !== undefined)?.name;
  if (ofPlans !== undefined) {
    const found = `--${ofPlans} is for plans: ${JSON.stringify(path)} is a model`;
    throw refuse(ofPlans, found, "build it first: bun-tensorrt build --profiling-verbosity detailed");
  }
  const inspection = await inspectModel(path, said, context.signal);
  const { file, byteLength, model, recognition } = inspection;
  const json = { file, byteLength, ...model, recognition };
  return { text: formatInspection(inspection, paint), json, isGood: !("problem" in recognition) };
}

/** Run `inspect`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const flags = valuesFrom(parsed, OWN);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `Expected one model, got ${parsed.operands.length}`;
    throw refuse("model", found, "bun-tensorrt inspect yolo11n");
  }
  refusePadding(flags.preprocessing, (name) => `--${name}`);
  const path = await findModel(word, context);
  const { text, json, isGood } = await reportOf(path, flags, parsed.flags, context);
  await context.output.write(flags.json ? `${printableJson(json, 2)}\n` : text);
  return isGood ? EXIT_OK : EXIT_FAILED;
}
