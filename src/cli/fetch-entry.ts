/** @module FetchEntry: a catalogue entry on this machine, fetched in front of the user's eyes where it is not there yet. */

import { existsSync } from "node:fs";
import { catalogue, DEFAULT_MODEL, findEntry } from "../catalogue/catalogue.ts";
import { type CatalogueEntry, licenceLine } from "../catalogue/entry.ts";
import { pull } from "../catalogue/pull.ts";
import { isInstalled } from "../catalogue/store.ts";
import { ModelError, message } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";
import { statsOf } from "../core/stats-of.ts";
import type { CommandContext } from "./command.ts";
import { Progress } from "./progress.ts";

/**
 * Make sure an entry is here. Before a download its licence is shown, whatever else is silent.
 *
 * @returns the path of its file
 * @throws {CatalogueError} If it cannot be fetched
 */
export async function fetchEntry(entry: CatalogueEntry, context: CommandContext): Promise<string> {
  const { terminal, signal } = context;
  if (!isInstalled(entry)) terminal.line(`Fetching ${licenceLine(entry)}`);
  const progress = new Progress(terminal, entry.name, "bytes");
  try {
    return await pull(entry, { signal, onProgress: (received, total) => progress.update(received, total) });
  } finally {
    progress.close();
  }
}

/**
 * The model file that a word on the command line stands for: a file of that path, else a catalogue entry.
 *
 * @param word default: the default model
 * @throws {ModelError} If it is neither
 * @throws {CatalogueError} If it cannot be fetched
 */
export async function findModel(word: string | undefined, context: CommandContext): Promise<string> {
  const name = word ?? DEFAULT_MODEL;
  const entry = findEntry(name);
  if (entry?.kind === "model") {
    // A folder of that name, such as one that results were written to, is no model.
    const isFile = word !== undefined && statsOf(word)?.isDirectory() === false;
    return isFile ? word : await fetchEntry(entry, context);
  }
  if (existsSync(name)) return name;
  const names = catalogue.filter(({ kind }) => kind === "model").map((one) => one.name);
  const near = nearestWord(name, names);
  const hint = near === undefined ? `name an ONNX file, or one of ${names.join(", ")}` : `did you mean ${near}?`;
  throw new ModelError(message(`load the model ${JSON.stringify(name)}`, "there is no such file", hint), name);
}
