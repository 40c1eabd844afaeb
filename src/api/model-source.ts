/** @module Model source: from what a caller names to a file or bytes. */

import { fileURLToPath } from "node:url";
import { findEntry } from "../catalogue/catalogue.ts";
import { pull } from "../catalogue/pull.ts";
import { isInstalled, licenceLine } from "../catalogue/store.ts";
import { ArgumentError, ModelError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";

/** A model to load, and what to call it in messages. */
export interface ModelSource {
  /** Path of a file, or the bytes of one. */
  readonly source: string | Uint8Array;
  readonly name: string;
}

/** The path of a `file:` URL; `null` is what could not be parsed. */
function pathOf(url: URL | null, text: string): string {
  const refuse = (found: string, hint: string, cause?: unknown): never => {
    throw new ModelError(message("load a model", found, hint), text, { cause });
  };
  if (url === null) return refuse(`${JSON.stringify(text)} is not a valid URL`, "give the path of the file");
  if (url.protocol !== "file:") {
    return refuse(
      `the URL must begin with file://, got ${url.protocol}//`,
      "download it and give the path or the bytes",
    );
  }
  try {
    return fileURLToPath(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(`${JSON.stringify(text)} is not a path (${reason})`, "give the path of the file", error);
  }
}

/**
 * Find out what a caller means: bytes, a path, a `file:` URL, or a name of the catalogue. A file of that name wins over
 * the catalogue. A name whose file is not on this machine is fetched, and its licence logged.
 *
 * @throws {ArgumentError} If it is anything else
 * @throws {ModelError} If a URL is none, or not one of a file on this machine
 * @throws {CatalogueError} If the file cannot be fetched
 */
export async function modelSource(model: string | URL | Uint8Array): Promise<ModelSource> {
  if (model instanceof Uint8Array) return { source: model, name: "from bytes" };
  const isUrl = model instanceof URL || /^[a-z][a-z\d+.-]+:\/\//i.test(model);
  if (isUrl) {
    const path = pathOf(model instanceof URL ? model : URL.parse(model), String(model));
    return { source: path, name: JSON.stringify(path) };
  }
  if (typeof model !== "string") {
    const received = model === null ? "null" : typeof model;
    const found = `it must be a path, a URL of a file, bytes or a name of the catalogue, got ${received}`;
    throw new ArgumentError(message("load a model", found, "give the bytes of anything else as a Uint8Array"));
  }
  const path = model;
  const entry = findEntry(path);
  if (entry?.kind === "model" && !(await Bun.file(path).exists())) {
    if (!isInstalled(entry)) logger.info(`Fetching ${licenceLine(entry)}`);
    return { source: await pull(entry), name: entry.name };
  }
  return { source: path, name: JSON.stringify(path) };
}
