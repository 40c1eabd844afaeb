/** @module ConfigFile: the options of a worker from a file: TOML, YAML or JSON with comments. */

import { extname } from "node:path";
import { message, OptionError } from "../core/errors.ts";
import type { WorkerOptions } from "./worker-config.ts";

const { TOML, YAML, JSONC } = Bun;
const PARSERS: Readonly<Record<string, { parse(text: string): unknown }>> = {
  ".toml": TOML,
  ".yaml": YAML,
  ".yml": YAML,
  ".json": JSONC,
  ".jsonc": JSONC,
};

function refused(path: string, found: string, hint: string, cause?: unknown): OptionError {
  const text = message(`read the configuration ${JSON.stringify(path)}`, found, hint);
  return new OptionError(text, "config", cause === undefined ? {} : { cause });
}

/**
 * Read a file; what is in it is checked by `Worker.create` and `Worker.reload`.
 *
 * @param path its extension tells the format
 * @throws {OptionError} If it is missing, in no known format, or broken
 *
 * @example
 * ```ts
 * import { readConfigFile } from "bun-tensorrt/worker";
 *
 * const options = await readConfigFile("worker.toml");
 * console.log(options.input, options.threshold);
 * ```
 */
export async function readConfigFile(path: string): Promise<WorkerOptions> {
  const extension = extname(path).toLowerCase();
  const parser = PARSERS[extension];
  if (parser === undefined) {
    const known = Object.keys(PARSERS).join(", ");
    throw refused(path, `its extension must be one of ${known}, got ${JSON.stringify(extension)}`, "rename it");
  }
  let text: string;
  try {
    text = await Bun.file(path).text();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw refused(path, `it cannot be read (${code})`, "check the path and its permissions", error);
  }
  let parsed: unknown;
  try {
    parsed = parser.parse(text);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw refused(path, `it is not valid ${extension.slice(1).toUpperCase()} (${error.message})`, "correct it", error);
  }
  // An empty YAML or JSON file stands for no options.
  const options = parsed ?? {};
  if (typeof options !== "object" || Array.isArray(options)) {
    throw refused(path, "it must hold options by name", 'such as model = "yolo11n"');
  }
  return options as WorkerOptions;
}
