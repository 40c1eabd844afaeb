/** @module Library: find a shared library on this machine and open it once, lazily; a failure lists every path tried. */

import { type Library as BunLibrary, dlopen, type FFIFunction } from "bun:ffi";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { LibraryLoadError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cacheFolder } from "../core/paths.ts";

/** Where a library may lie, and what to say when it is nowhere. */
export interface LibrarySpec {
  /** For messages and logs: `onnxruntime`. */
  readonly name: string;
  /** Environment variable that holds the path of the file, or of its folder; it wins over everything else. */
  readonly variable: string;
  /** File names, best first: `libonnxruntime.so.1`. */
  readonly files: readonly string[];
  /** Folders inside an npm package: `["onnxruntime-node", "bin/napi-v6/linux/x64"]`. */
  readonly npm?: readonly (readonly [packageName: string, folder: string])[];
  /** Folders below a Python site-packages folder: `nvidia/cuda_runtime/lib`. */
  readonly python?: readonly string[];
  /** Further absolute folders: `/usr/local/cuda/lib64`. */
  readonly folders?: readonly string[];
  /** What to do about it, one sentence. */
  readonly hint: string;
}

/** A table of C prototypes, one entry a symbol. */
export type SymbolTable = Readonly<Record<string, FFIFunction>>;

/** A library that was opened, and the path it was found at. */
export interface OpenLibrary<Table extends SymbolTable> {
  readonly path: string;
  readonly symbols: BunLibrary<Table>["symbols"];
}

/** Kept for the life of the process: a library that native objects live in must never be unloaded. */
const opened = new Map<string, BunLibrary<SymbolTable>>();

function npmFolders(spec: LibrarySpec): string[] {
  const found: string[] = [];
  for (const [packageName, folder] of spec.npm ?? []) {
    try {
      found.push(join(dirname(Bun.resolveSync(`${packageName}/package.json`, import.meta.dir)), folder));
    } catch {
      // Bun throws a ResolveMessage that is no Error class of its own; its absence is listed as a path tried.
      found.push(join("node_modules", packageName, folder));
    }
  }
  return found;
}

function pythonFolders(spec: LibrarySpec): string[] {
  if (spec.python === undefined) return [];
  const roots: string[] = [];
  const environment = process.env.VIRTUAL_ENV ?? process.env.CONDA_PREFIX;
  const prefixes = [environment, "/usr/local", "/usr", join(process.env.HOME ?? "/root", ".local")];
  for (const prefix of prefixes) {
    const lib = prefix === undefined ? undefined : join(prefix, "lib");
    if (lib === undefined || !existsSync(lib)) continue;
    for (const entry of readdirSync(lib)) {
      if (!entry.startsWith("python3")) continue;
      roots.push(join(lib, entry, "site-packages"), join(lib, entry, "dist-packages"));
    }
  }
  return roots.filter((root) => existsSync(root)).flatMap((root) => spec.python!.map((folder) => join(root, folder)));
}

/** Folders the dynamic linker looks in, and `""`, which leaves the search to it. */
function systemFolders(): string[] {
  const architecture = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const fromEnvironment = (process.env.LD_LIBRARY_PATH ?? "").split(":").filter((folder) => folder !== "");
  if (process.platform !== "linux") return ["", "/usr/local/lib", "/opt/homebrew/lib"];
  return [...fromEnvironment, "", `/usr/lib/${architecture}`, "/usr/lib64", "/usr/local/lib"];
}

/**
 * Every path at which a library is looked for, in order: the environment variable, npm packages, the catalogue's cache,
 * Python's site-packages, the given folders, then the system's. A bare file name is left to the dynamic linker.
 */
export function candidatePaths(spec: LibrarySpec): string[] {
  const named = process.env[spec.variable];
  if (named !== undefined && named !== "") {
    return spec.files.some((file) => named.endsWith(file)) || !isFolder(named)
      ? [resolve(named)]
      : spec.files.map((file) => resolve(named, file));
  }
  const folders = [
    ...npmFolders(spec),
    join(cacheFolder(), "lib"),
    ...pythonFolders(spec),
    ...(spec.folders ?? []),
    ...systemFolders(),
  ];
  return folders.flatMap((folder) => spec.files.map((file) => (folder === "" ? file : join(folder, file))));
}

function isFolder(path: string): boolean {
  try {
    readdirSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return false;
  }
}

/**
 * Find a library and bind a table of its symbols. The first call opens it, later ones reuse it.
 *
 * @param spec  where it may lie
 * @param table the C prototypes to bind; a symbol that the library lacks is an error
 * @returns the symbols and the path of the file
 * @throws {LibraryLoadError} If no candidate can be opened; it lists each one with its reason
 */
export function openLibrary<Table extends SymbolTable>(spec: LibrarySpec, table: Table): OpenLibrary<Table> {
  const tried: string[] = [];
  for (const candidate of candidatePaths(spec)) {
    const isPath = candidate.includes("/");
    if (isPath && !existsSync(candidate)) {
      tried.push(`${candidate}: no such file`);
      continue;
    }
    const path = isPath ? realpathSync(candidate) : candidate;
    const known = opened.get(`${spec.name}\0${path}`);
    if (known !== undefined) return { path, symbols: known.symbols as BunLibrary<Table>["symbols"] };
    try {
      const library = dlopen(path, table as Record<string, FFIFunction>);
      opened.set(`${spec.name}\0${path}`, library);
      logger.debug(`Opened ${spec.name}: ${path}`);
      return { path, symbols: library.symbols as BunLibrary<Table>["symbols"] };
    } catch (error) {
      tried.push(`${candidate}: ${(error as Error).message}`);
    }
  }
  const list = tried.map((line) => `\n  ${line}`).join("");
  throw new LibraryLoadError(
    message(`load the library ${spec.name}`, `as it was found at none of these paths:${list}`, spec.hint),
    spec.name,
    tried,
  );
}
