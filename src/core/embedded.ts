/** @module Embedded: files that a bundle or executable brings with it, as paths that the system can open. */

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import { BunTensorRtError, LibraryLoadError, message } from "./errors.ts";
import { cacheFolder, statsOf } from "./paths.ts";
import { systemReason, writeWholeSync } from "./whole-file.ts";

/** True in the output of `bun build`, where this module has no file of its own any more. */
export const IS_BUNDLED: boolean = import.meta.file !== "embedded.ts";

/** True for a path inside an executable of `bun build --compile`: Bun reads it, the system does not know it. */
export function isEmbedded(path: string): boolean {
  return /^(\/\$bunfs\/|[a-z]:[\\/]~BUN[\\/])/i.test(path);
}

/**
 * The path of a file that was imported `with { type: "file" }`. In a bundle the import says `./name`, which means the folder
 * of the bundle, and the system would take it for that of the process.
 */
export function importedFile(path: string): string {
  return isAbsolute(path) ? path : join(import.meta.dir, path);
}

/** True if a file can be read and holds exactly these bytes: another one of its name was cut short, or changed. */
function holds(path: string, bytes: Uint8Array): boolean {
  try {
    return statsOf(path)?.size === bytes.length && readFileSync(path).equals(bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return false;
  }
}

/**
 * Files of an executable, copied to the cache beside each other, under the hash of their contents. Each is whole or not there; a
 * copy that is there is compared with the original before it is used.
 *
 * @param files by the name of the copy
 * @returns the path of the first
 * @throws {BunTensorRtError} If the cache cannot be written
 */
function unpack(files: readonly (readonly [name: string, path: string])[]): string {
  const contents = files.map(([name, path]) => [name, readFileSync(path)] as const);
  const hash = contents.reduce((seed, [, bytes]) => BigInt(Bun.hash(bytes, seed)), 0n);
  const folder = join(cacheFolder(), "embedded", hash.toString(16).padStart(16, "0"));
  for (const [name, bytes] of contents) {
    const copy = join(folder, name);
    if (holds(copy, bytes)) continue;
    try {
      mkdirSync(folder, { recursive: true });
      writeWholeSync(copy, bytes);
    } catch (error) {
      // Windows does not let go of a library that another start of the program has just written and opened.
      if (holds(copy, bytes)) continue;
      const hint = "make it writable, or set BUN_TENSORRT_CACHE to a folder that is";
      const found = `it is inside the executable and must be copied to ${folder}, ${systemReason(error as Error)}`;
      throw new BunTensorRtError(message(`open ${name}`, found, hint), { cause: error });
    }
  }
  return join(folder, files[0]![0]);
}

/**
 * A path that native code can open: a file inside an executable is copied to the cache.
 *
 * @param path what {@linkcode importedFile} returned; any other path is returned as it is
 * @throws {BunTensorRtError} If the cache cannot be written
 */
export function openablePath(path: string): string {
  return isEmbedded(path) ? unpack([[basename(path), path]]) : path;
}

/** A library in front and what it looks for beside itself, by their own names: in a bundle their paths have others. */
export type NativeFiles = Readonly<Record<string, string>>;

/** Native parts of other packages that a bundle or executable brings with it; `bun-tensorrt/embed` finds them when it is built. */
interface NativeParts {
  /** ONNX Runtime's library. */
  readonly onnxruntime?: NativeFiles | undefined;
  /** The library that sharp's addon is linked against. */
  readonly libvips?: NativeFiles | undefined;
  /** Loads koffi; `undefined` where it was not brought. */
  readonly koffi?: () => unknown;
  /** Loads sharp, where libvips was brought; that must be in the process already. */
  readonly sharp?: () => unknown;
}

/** What was brought. */
export const nativeParts: { -readonly [Name in keyof NativeParts]: NativeParts[Name] } = {};

/** The platforms that `bun-tensorrt/embed` knows the packages of. */
const EMBEDDABLE: readonly string[] = ["linux-x64", "linux-arm64", "win32-x64", "darwin-arm64"];

/** What brings the packages of this platform, all of which are optional dependencies. */
export const FULL_INSTALL = "run `bun install --force` without --omit=optional";

/**
 * What to do where a library is there and the system may not execute it.
 *
 * @param reason the dynamic linker's own words, with the path in front of them
 * @returns `undefined` for every other reason
 */
export function executionHint(reason: string): string | undefined {
  const [, refused] = /([^\s"]+): failed to map segment from shared object/.exec(reason) ?? [];
  if (refused === undefined) return undefined;
  return refused.startsWith(`${cacheFolder()}/`)
    ? "set BUN_TENSORRT_CACHE to a folder that can be written and allows execution (no noexec)"
    : `mount the file system of ${dirname(refused)} so that it allows execution (no noexec)`;
}

/**
 * What to do where a native part of a bundle is missing or does not open.
 *
 * @param isBrought true where the bundle has it
 */
export function embedHint(isBrought: boolean): string {
  const { platform, arch } = process;
  if (!EMBEDDABLE.includes(`${platform}-${arch}`) || (isBrought && platform !== "linux"))
    return "run the program from its source, or a bundle below the node_modules of its packages";
  if (isBrought)
    return "install what it is linked against: glibc 2.28 or newer, libstdc++6 and libgcc-s1 on Debian and Ubuntu";
  return nativeParts.sharp === undefined
    ? 'import "bun-tensorrt/embed" in the program and build it again'
    : `install the packages of this platform, bun install --os=${platform} --cpu=${arch}, and build the program again`;
}

/**
 * The path of a part, which the system can open; `undefined` where it was not brought.
 *
 * @throws {BunTensorRtError} If it is inside the executable, and the cache cannot be written
 */
export function nativePart(name: "onnxruntime" | "libvips"): string | undefined {
  const part = nativeParts[name];
  if (part === undefined) return undefined;
  const files = Object.entries(part).map(([file, path]) => [file, importedFile(path)] as const);
  const [, library] = files[0]!;
  // Windows knows a library by the name of its file.
  return isEmbedded(library) || process.platform === "win32" ? unpack(files) : library;
}

/**
 * Load addons of an executable from copies in the cache. Bun's own way is a new copy in the folder for temporary files at each start,
 * which must allow execution then.
 *
 * @param load requires the addon
 */
export function loadAddon<T>(load: () => T): T {
  const { dlopen } = process;
  process.dlopen = (module: object, path: string, ...flags: readonly number[]) =>
    Reflect.apply(dlopen, process, [module, openablePath(path), ...flags]);
  try {
    return load();
  } finally {
    process.dlopen = dlopen;
  }
}

/** Folders with a `node_modules`: above this file, above the executable, and above the working folder. */
function packageRoots(): string[] {
  const folders: string[] = [];
  for (let folder of [import.meta.dir, dirname(process.execPath), process.cwd()]) {
    for (; dirname(folder) !== folder; folder = dirname(folder)) {
      // With Bun's isolated linker only the packages of the program itself lie in node_modules; the others are below .bun.
      folders.push(folder, join(folder, "node_modules/.bun"));
    }
  }
  return folders;
}

/**
 * Find a package that is installed, also from a bundle that left it where it is.
 *
 * @param specifier of a module or a file in a package
 * @returns the path of the file, `undefined` where there is none
 */
export function installedFile(specifier: string): string | undefined {
  const [name] = /^(@[^/]+\/)?[^/]+/.exec(specifier)!;
  // Looked for by hand in a bundle: where a folder has no node_modules, Bun would fetch any version of the package by itself.
  const root = IS_BUNDLED
    ? packageRoots().find((folder) => existsSync(join(folder, "node_modules", name)))
    : import.meta.dir;
  if (root === undefined) return undefined;
  try {
    return Bun.resolveSync(specifier, root);
  } catch (error) {
    if ((error as { readonly code?: string }).code === "ERR_MODULE_NOT_FOUND") return undefined;
    throw error;
  }
}

/** True for what the bundler puts in the place of a `require` that it has not found. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("Cannot require module");
}

/**
 * The error for an addon that cannot be used.
 *
 * @param cause what was thrown when it was opened; `undefined` where it is not there at all
 */
export function addonError(name: "koffi" | "sharp", cause?: unknown): LibraryLoadError {
  const [reason = ""] = (cause instanceof Error ? cause.message : String(cause)).split("\nPossible solutions:");
  const found = cause === undefined ? "it is not installed" : `its addon does not open (${reason})`;
  const isBrought = cause !== undefined && !isMissing(cause);
  const execution = executionHint(reason);
  const hint = IS_BUNDLED || execution !== undefined ? (execution ?? embedHint(isBrought)) : FULL_INSTALL;
  return new LibraryLoadError(message(`load the library ${name}`, found, hint), name, [name], { cause });
}
