/**
 * @module Library: open a shared library once, lazily, at the first of its paths that is good, which its file tells
 * before it is opened; a failure lists every path tried.
 */

import { dlopen, type FFIFunction } from "bun:ffi";
import { closeSync, existsSync, fstatSync, openSync, readSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { embedHint, executionHint, IS_BUNDLED } from "../core/embedded.ts";
import { LibraryLoadError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { kindOf, readIfThere } from "../core/paths.ts";
import { candidatePaths, type LibrarySpec } from "./discovery.ts";

/** "\x7fELF" */
const ELF_MAGIC = 0x464c457f;
/** e_ident's EI_CLASS and EI_DATA for 64-bit little-endian, the only kind this package opens. */
const CLASS_64_LITTLE = 0x0102;
/** "MZ" */
const DOS_MAGIC = 0x5a4d;
/** "PE\0\0" */
const PE_MAGIC = 0x4550;
const HEADER_BYTES = 64;

/** Processors by their number in the header, as Bun calls them: e_machine of ELF, Machine of PE. */
const MACHINES: Readonly<Record<"ELF" | "PE", ReadonlyMap<number, string>>> = {
  ELF: new Map([
    [62, "x64"],
    [183, "arm64"],
  ]),
  PE: new Map([
    [0x8664, "x64"],
    [0xaa64, "arm64"],
  ]),
};

/** What a header says. */
interface LibraryFile {
  readonly format: "ELF" | "PE";
  readonly machine: string;
  /** Bytes that the system maps, or that tell it what to map. */
  readonly byteLength: number;
}

/**
 * Look for what is wrong with a library before it is opened: an end that is not there, as after a download that broke
 * off, another system, or another processor.
 *
 * @param path of a file
 * @param on   the machine that is to open it
 * @returns what is wrong, one clause; `undefined` for a good library and for whatever is none of 64 bits of Linux or Windows,
 * which the dynamic linker judges itself
 * @see https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.pheader.html
 * @see https://learn.microsoft.com/windows/win32/debug/pe-format
 */
export function libraryFault(
  path: string,
  on: { readonly platform: NodeJS.Platform; readonly arch: string } = process,
): string | undefined {
  const stats = statSync(path);
  // Who opens a pipe waits for one who writes to it.
  if (!stats.isFile()) return `it is ${kindOf(stats)}, not a file`;
  const descriptor = openSync(path, "r");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(descriptor, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return undefined;
    const file = elfFile(descriptor, header) ?? peFile(descriptor, header);
    if (file === undefined) return undefined;
    const isForWindows = file.format === "PE";
    if (isForWindows !== (on.platform === "win32")) return `it is made for ${isForWindows ? "Windows" : "Linux"}`;
    if (file.machine !== on.arch) return `it is made for ${file.machine}, and this is ${on.arch}`;
    const { size } = fstatSync(descriptor);
    return file.byteLength > size
      ? `it is cut short: it must have ${file.byteLength} bytes and has ${size}`
      : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/** Type of a program header whose bytes are mapped into memory. */
const PT_LOAD = 1;

function elfFile(descriptor: number, header: Buffer): LibraryFile | undefined {
  if (header.readUInt32LE(0) !== ELF_MAGIC || header.readUInt16LE(4) !== CLASS_64_LITTLE) return undefined;
  const machine = MACHINES.ELF.get(header.readUInt16LE(18)) ?? "another processor";
  const start = Number(header.readBigUInt64LE(32));
  const entryBytes = header.readUInt16LE(54);
  const table = Buffer.alloc(entryBytes * header.readUInt16LE(56));
  let byteLength = start + table.length;
  if (readSync(descriptor, table, 0, table.length, start) === table.length) {
    for (let at = 0; at + 40 <= table.length; at += entryBytes) {
      if (table.readUInt32LE(at) !== PT_LOAD) continue;
      byteLength = Math.max(byteLength, Number(table.readBigUInt64LE(at + 8)) + Number(table.readBigUInt64LE(at + 32)));
    }
  }
  return { format: "ELF", machine, byteLength };
}

/** Bytes of a COFF header with the signature in front of it, and of an entry of the table of sections. */
const COFF_BYTES = 24;
const SECTION_BYTES = 40;

function peFile(descriptor: number, header: Buffer): LibraryFile | undefined {
  if (header.readUInt16LE(0) !== DOS_MAGIC) return undefined;
  const start = header.readUInt32LE(60);
  const coff = Buffer.alloc(COFF_BYTES);
  if (readSync(descriptor, coff, 0, COFF_BYTES, start) < COFF_BYTES || coff.readUInt32LE(0) !== PE_MAGIC)
    return undefined;
  const machine = MACHINES.PE.get(coff.readUInt16LE(4)) ?? "another processor";
  const sections = start + COFF_BYTES + coff.readUInt16LE(20);
  const table = Buffer.alloc(coff.readUInt16LE(6) * SECTION_BYTES);
  let byteLength = sections + table.length;
  if (readSync(descriptor, table, 0, table.length, sections) === table.length) {
    for (let at = 0; at < table.length; at += SECTION_BYTES) {
      byteLength = Math.max(byteLength, table.readUInt32LE(at + 16) + table.readUInt32LE(at + 20));
    }
  }
  return { format: "PE", machine, byteLength };
}

/** ERROR_MOD_NOT_FOUND, as Bun says it on Windows: of the library itself, or of one that it is linked against. */
const NOT_FOUND = "error code 126";

/** How a line about a path ends where nothing is. */
const NOWHERE = ": no such file";

/** What to do about musl: libraries that are for glibc cannot be mended there. */
export const MUSL_HINT = "use an image with glibc, such as debian:bookworm-slim or oven/bun:slim";

/**
 * True if this program was started by musl's dynamic linker, as in Alpine's containers.
 *
 * @param maps what Linux says of the process's memory
 */
export function isMusl(
  maps: string = (process.platform === "linux" ? readIfThere("/proc/self/maps") : undefined) ?? "",
): boolean {
  return /\/ld-musl-[\w.-]+$/m.test(maps);
}

/** C types of a parameter or result; pointers and sizes travel as numbers below 2^53. Those of 64 bits are the shim's. */
export type NativeType = "ptr" | "usize" | "i32" | "u32" | "f32" | "f64" | "i64" | "i64_fast" | "u64" | "void";

/** The C prototype of a function. */
export interface Prototype {
  readonly args: readonly NativeType[];
  readonly returns: NativeType;
}

/** A table of C prototypes, one entry a symbol. */
export type SymbolTable = Readonly<Record<string, Prototype>>;

/**
 * What a pointer parameter takes: a handle or address below 2^53, or NULL, or a view over an ArrayBuffer of its own. The
 * library may use a view until the call returns, never after.
 */
type PointerArgument = number | ArrayBufferView | null;

type Arguments<Types extends readonly NativeType[]> = {
  -readonly [At in keyof Types]: Types[At] extends "ptr" ? PointerArgument : number;
};

/** An address is a number, and null for NULL. */
type Result<Type extends NativeType> = Type extends "void" ? undefined : Type extends "ptr" ? number | null : number;

/** The functions of a table, each with its address for calls off the JS thread. */
export type NativeCalls<Table extends SymbolTable> = {
  readonly [Name in keyof Table]: ((...args: Arguments<Table[Name]["args"]>) => Result<Table[Name]["returns"]>) & {
    readonly ptr: number;
  };
};

/** A library that was opened, and the path it was found at. */
export interface OpenLibrary<Table extends SymbolTable> {
  readonly path: string;
  readonly symbols: NativeCalls<Table>;
}

/**
 * Every library that was loaded, and those in use by name and path. None is ever unloaded: its own threads and objects stay.
 */
const loaded: unknown[] = [];
const opened = new Map<string, unknown>();

/** True for a path; a bare file name is left to the dynamic linker. */
function isPath(candidate: string): boolean {
  return basename(candidate) !== candidate;
}

/** Why the dynamic linker did not open a file, without the path that it and Bun put before that. */
function reasonOf({ message: text }: Error, candidate: string): string {
  const reason = text.replace(/^Failed to open library "[^"]*": /, "");
  return reason.startsWith(`${candidate}: `) ? reason.slice(candidate.length + 2) : reason;
}

/** True if a library is not there at all, rather than one that it is linked against. */
function isAbsent(candidate: string, reason: string): boolean {
  if (isPath(candidate)) return false;
  const [place, ...rest] = reason.split(": cannot open shared object file: No such file");
  // Bun looks for a bare name in the working folder at last, and tells of that.
  return (
    reason === NOT_FOUND ||
    /^cannot open .*: No such file/.test(reason) ||
    (rest.length > 0 && place === resolve(candidate))
  );
}

/** A line for each path that was tried; names that are nowhere in a folder share one. */
function linesOf(tried: readonly string[]): string[] {
  const lines = new Map<string, string[]>();
  for (const line of tried) {
    const path = line.endsWith(NOWHERE) ? line.slice(0, -NOWHERE.length) : undefined;
    const folder = path === undefined ? line : dirname(path);
    lines.set(folder, [...(lines.get(folder) ?? []), ...(path === undefined ? [] : [basename(path)])]);
  }
  return [...lines].map(([folder, names]) => {
    if (names.length === 0) return folder;
    if (folder === ".") return `the dynamic linker: no ${names.join(", ")}`;
    return names.length === 1 ? `${join(folder, names[0]!)}${NOWHERE}` : `${folder}: no ${names.join(", ")}`;
  });
}

/**
 * Find a library and bind a table of its symbols. The first call opens it, later ones reuse it; a file that cannot be
 * opened, or fails the probe, is passed over with a log line.
 *
 * @param spec  where it may lie
 * @param table the C prototypes to bind; a symbol that the library lacks is an error. One library has one table
 * @param probe run once on a library that was just opened
 * @returns the symbols and the path of the file
 * @throws {LibraryLoadError} If no candidate can be used; it lists each one with its reason
 */
export function openLibrary<Table extends SymbolTable>(
  spec: LibrarySpec,
  table: Table,
  probe?: (symbols: NativeCalls<Table>) => string | undefined,
): OpenLibrary<Table> {
  const tried: string[] = [];
  const needsGlibc = (): boolean => spec.hasMuslBuild !== true && isMusl();
  const ignored: string[] = [];
  const unfit = new Set<string>();
  const refuse = (candidate: string, reason: string): void => {
    tried.push(`${candidate}: ${reason}`);
    if (isPath(candidate)) ignored.push(`Ignoring ${spec.name} at ${candidate}: ${reason}`);
  };
  const tellIgnored = (): void => {
    for (const line of ignored) logger.warn(line);
  };
  for (const candidate of candidatePaths(spec)) {
    const hasFolder = isPath(candidate);
    if (hasFolder && !existsSync(candidate)) {
      tried.push(`${candidate}${NOWHERE}`);
      continue;
    }
    if (!hasFolder && spec.isOfSystem !== true && existsSync(candidate)) {
      refuse(candidate, "the working folder has a file of this name, and Bun may take it for the system's");
      continue;
    }
    if (unfit.has(candidate)) {
      refuse(candidate, "one of the folders above has something of this name that is no file");
      continue;
    }
    const path = hasFolder ? realpathSync(candidate) : candidate;
    const known = opened.get(`${spec.name}\0${path}`);
    if (known !== undefined) return { path, symbols: known as NativeCalls<Table> };
    try {
      let fault = hasFolder ? libraryFault(path) : undefined;
      if (fault !== undefined) {
        // The dynamic linker opens the first of a name, and would wait for one who writes to a pipe.
        if (!statSync(path).isFile()) unfit.add(basename(candidate));
        refuse(candidate, fault);
        continue;
      }
      const library = dlopen(path, table as unknown as Record<string, FFIFunction>);
      loaded.push(library);
      const symbols = library.symbols as unknown as NativeCalls<Table>;
      fault = probe?.(symbols);
      if (fault !== undefined) {
        refuse(candidate, fault);
        continue;
      }
      opened.set(`${spec.name}\0${path}`, symbols);
      tellIgnored();
      logger.debug(`Opened ${spec.name}: ${path}`);
      return { path, symbols };
    } catch (error) {
      const reason = reasonOf(error as Error, candidate);
      if (isAbsent(candidate, reason)) tried.push(`${candidate}${NOWHERE}`);
      else refuse(candidate, reason === NOT_FOUND ? "a library that it is linked against is missing" : reason);
    }
  }
  if (needsGlibc()) {
    const found = "this system has musl (Alpine Linux), and the library is made for glibc";
    throw new LibraryLoadError(message(`load the library ${spec.name}`, found, MUSL_HINT), spec.name, tried);
  }
  if (spec.unavailable !== undefined) {
    const { found, hint } = spec.unavailable;
    throw new LibraryLoadError(message(`load the library ${spec.name}`, found, hint), spec.name, tried);
  }
  if (spec.isNeeded !== true) tellIgnored();
  const list = linesOf(tried)
    .map((line) => `\n  ${line}`)
    .join("");
  throw new LibraryLoadError(
    message(`load the library ${spec.name}`, `it was found at none of these paths:${list}`, hintOf(spec, tried)),
    spec.name,
    tried,
  );
}

/**
 * Load a library that others are linked against: from then on the dynamic linker knows its name, and looks in no folder.
 *
 * @param symbol one that it has, a function
 */
export function preload(path: string, symbol: string): void {
  loaded.push(dlopen(path, { [symbol]: {} }));
}

/** A bundle is mostly where npm's packages are not; a file that may not be executed needs no other. */
function hintOf({ npm, own, hint, variable }: LibrarySpec, tried: readonly string[]): string {
  const execution = executionHint(tried.join("\n"));
  if (execution !== undefined) return execution;
  // What it names wins over every other place, where the library may well be.
  if (process.env[variable]) return `unset ${variable}, or let it name the file of such a library`;
  return IS_BUNDLED && npm !== undefined ? embedHint(own?.() !== undefined) : hint;
}

/** One call, or a few that belong together, whose answer is known. */
interface SelfTestVector {
  /** What is proven: `GetErrorCode and GetErrorMessage echo CreateStatus`. */
  readonly what: string;
  readonly expected: string | RegExp;
  /** Make the calls; returns what was found. */
  readonly run: () => string;
}

/**
 * Run vectors in order, and stop at the first that fails: the later ones may rely on it.
 *
 * @returns what failed, one clause that fits into a `LibraryLoadError`; `undefined` if all is well
 */
export function selfTest(vectors: readonly SelfTestVector[]): string | undefined {
  for (const { what, expected, run } of vectors) {
    const found = run();
    const holds = typeof expected === "string" ? found === expected : expected.test(found);
    if (!holds) return `self-test failed: ${what}: expected ${expected}, found ${JSON.stringify(found)}`;
  }
  return undefined;
}
