/** @module Models command: list, fetch and find what the catalogue has. */

import { catalogue, findEntry } from "../../catalogue/catalogue.ts";
import { type CatalogueEntry, entryPath, isInstalled } from "../../catalogue/store.ts";
import { CatalogueError, message, OptionError } from "../../core/errors.ts";
import { printableJson } from "../../core/log.ts";
import { unknownWord } from "../../core/options.ts";
import { formatBytes } from "../../core/units.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { fetchEntry } from "../load-detector.ts";
import { alignRows, type Paint, paintOf } from "../terminal.ts";

/** An entry and whether it is on this machine. */
interface ListedEntry {
  readonly entry: CatalogueEntry;
  readonly isInstalled: boolean;
}

/** The catalogue as a table. Pure. */
function formatCatalogue(listed: readonly ListedEntry[], paint: Paint): string {
  const head = ["name", "kind", "size", "here", "licence", "what it is"].map((title) => paint("dim", title));
  const rows = listed.map(({ entry, isInstalled: isHere }) => [
    paint("cyan", entry.name),
    entry.task ?? entry.kind,
    formatBytes(entry.byteLength),
    isHere ? paint("green", "yes") : "no",
    entry.licence,
    entry.description,
  ]);
  const lines = alignRows([head, ...rows], ["left", "left", "right"]);
  return `${lines.join("\n")}\n`;
}

function entryNamed(name: string): CatalogueEntry {
  const entry = findEntry(name);
  if (entry !== undefined) return entry;
  const names = catalogue.map((one) => one.name);
  throw new OptionError(unknownWord("catalogue entry", name, names), name);
}

async function list(isJson: boolean, { output }: CommandContext): Promise<number> {
  const listed = catalogue.map((entry) => ({ entry, isInstalled: isInstalled(entry) }));
  if (isJson) {
    const rows = listed.map(({ entry, isInstalled: isHere }) => ({
      ...entry,
      isInstalled: isHere,
      path: entryPath(entry),
    }));
    await output.write(`${printableJson(rows, 2)}\n`);
  } else {
    await output.write(formatCatalogue(listed, paintOf(output.hasColour)));
  }
  return EXIT_OK;
}

async function pullAll(names: readonly string[], context: CommandContext): Promise<number> {
  const entries = names.map(entryNamed);
  for (const entry of entries) await context.output.write(`${await fetchEntry(entry, context)}\n`);
  return EXIT_OK;
}

async function path(names: readonly string[], { output }: CommandContext): Promise<number> {
  for (const entry of names.map(entryNamed)) {
    if (!isInstalled(entry)) {
      const hint = `run: bunx bun-tensorrt models pull ${entry.name}`;
      throw new CatalogueError(
        message(`give the path of ${JSON.stringify(entry.name)}`, "it is not on this machine yet", hint),
        entry.name,
      );
    }
    await output.write(`${entryPath(entry)}\n`);
  }
  return EXIT_OK;
}

/** Run `models`. @returns the exit code */
export async function run({ flags, operands }: ParsedArguments, context: CommandContext): Promise<number> {
  const [action = "list", ...names] = operands;
  if (action !== "list" && action !== "pull" && action !== "path") {
    throw new OptionError(unknownWord("action", action, ["list", "pull", "path"]), action);
  }
  if (action === "list" && names.length > 0) {
    const found = `Unexpected argument ${JSON.stringify(names[0])}: models list takes no names`;
    throw refuse(action, found, "bunx bun-tensorrt models list shows all of them");
  }
  if (action === "list") return await list(flags.json === true, context);
  if (names.length === 0)
    throw refuse(
      action,
      `Missing name: models ${action} takes one or more`,
      "bunx bun-tensorrt models list shows the names",
    );
  return action === "pull" ? await pullAll(names, context) : await path(names, context);
}
