/** @module Doctor command: what was found on this machine, and how to get what is missing. */

import { printableJson } from "../../core/shown.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { formatFindings, isHealthy } from "../doctor/finding.ts";
import { findAll } from "../doctor/probe.ts";
import { findModel } from "../load-detector.ts";
import { type InspectFlags, parseDoctorFlags, parseInspectFlags } from "../own-flags.ts";
import { paintOf } from "../terminal.ts";
import type { Report } from "./inspect.ts";

/** What `inspect` says of a model. */
async function modelReport(word: string, said: Partial<InspectFlags>, context: CommandContext): Promise<Report> {
  const { reportOf } = await import("./inspect.ts");
  const flags = { ...parseInspectFlags({ flags: {}, operands: [] }), ...said };
  return await reportOf(await findModel(word, context), flags, context);
}

/** Run `doctor`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output } = context;
  const { model: word, json, ...said } = parseDoctorFlags(parsed);
  refuseOperands("doctor", parsed);
  const findings = await findAll();
  const isReady = isHealthy(findings);
  if (!json) await output.write(formatFindings(findings, paintOf(output.hasColour)));
  // Without what detection needs a model cannot be looked at.
  const model = word === undefined || !isReady ? undefined : await modelReport(word, said, context);
  if (json) {
    const told = word === undefined ? findings : { findings, model: model?.json ?? null };
    await output.write(`${printableJson(told, 2)}\n`);
  } else if (model !== undefined) await output.write(`\n${model.text}`);
  return isReady && model?.isGood !== false ? EXIT_OK : EXIT_FAILED;
}
