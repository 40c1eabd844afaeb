/** @module Version command: which release this is, and with `--json` of everything it runs on. */

import manifest from "../../../package.json" with { type: "json" };
import { printableJson } from "../../core/shown.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { findAll } from "../doctor/probe.ts";

/** Run `version`. @returns the exit code */
export async function run(parsed: ParsedArguments, { output }: CommandContext): Promise<number> {
  refuseOperands("version", parsed);
  if (parsed.flags.json !== true) {
    await output.write(`${manifest.version}\n`);
    return EXIT_OK;
  }
  const found = (await findAll()).filter(
    ({ name, version, path }) => name !== "Bun" && (version ?? path) !== undefined,
  );
  const libraries = found.map(({ name, version, path }) => ({ name, version, path }));
  const platform = `${process.platform}-${process.arch}`;
  const facts = { version: manifest.version, bun: Bun.version, platform, libraries };
  await output.write(`${printableJson(facts, 2)}\n`);
  return EXIT_OK;
}
