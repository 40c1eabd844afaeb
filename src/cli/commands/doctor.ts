/** @module Doctor command: what was found on this machine, and how to get what is missing. */

import { printableJson } from "../../core/shown.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { formatFindings, isHealthy } from "../doctor/finding.ts";
import { findAll } from "../doctor/probe.ts";
import { paintOf } from "../terminal.ts";

/** Run `doctor`. @returns the exit code */
export async function run(parsed: ParsedArguments, { output }: CommandContext): Promise<number> {
  refuseOperands("doctor", parsed);
  const findings = await findAll();
  const text =
    parsed.flags.json === true
      ? `${printableJson(findings, 2)}\n`
      : formatFindings(findings, paintOf(output.hasColour));
  await output.write(text);
  return isHealthy(findings) ? EXIT_OK : EXIT_FAILED;
}
