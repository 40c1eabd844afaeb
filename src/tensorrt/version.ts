/** @module TensorRtVersion: what getInferLibVersion() says, and which slot table follows from it. */

import { LibraryLoadError, message } from "../core/errors.ts";
import { cString } from "../ffi/memory.ts";
import { ERROR_BYTES, shim } from "../ffi/shim.ts";
import { type SlotTable, TENSORRT_10, TENSORRT_11, TENSORRT_RTX } from "./abi.ts";

/** TensorRT, or TensorRT-RTX: the one for GeForce and RTX cards that compiles its kernels on the user's machine. */
export type TensorRtFamily = "TensorRT" | "TensorRT-RTX";

/** Version of a library. */
export interface TensorRtVersion {
  readonly family: TensorRtFamily;
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** Number of the build, 26 in 10.6.0.26; `undefined` where the library does not tell. */
  readonly build: number | undefined;
  /** `10.6.0` */
  readonly release: string;
  /** `TensorRT 10.6.0` */
  readonly text: string;
}

/** Numbers below are TensorRT 8 and 9, with another scale; up to the next one, TensorRT-RTX. */
const FIRST_RTX = 10_000;
const FIRST_TENSORRT = 100_000;

/**
 * Read a version number.
 *
 * @param number what getInferLibVersion() returned: 100600 for TensorRT 10.6.0, 10701 for TensorRT-RTX 1.7.1, 8601 for 8.6.1
 * @param build  what getInferLibBuildVersion() returned; negative where the library lacks it
 */
export function parseVersion(number: number, build = -1): TensorRtVersion {
  const family = number >= FIRST_RTX && number < FIRST_TENSORRT ? "TensorRT-RTX" : "TensorRT";
  const scale = number < FIRST_RTX ? 1000 : 10_000;
  const major = Math.floor(number / scale);
  const minor = Math.floor((number % scale) / 100);
  const patch = number % 100;
  const release = `${major}.${minor}.${patch}`;
  const known = build < 0 ? undefined : build;
  return { family, major, minor, patch, build: known, release, text: `${family} ${release}` };
}

function tableOf({ family, major, minor }: TensorRtVersion): SlotTable | undefined {
  if (family === "TensorRT-RTX") return major === 1 && minor >= 5 ? TENSORRT_RTX : undefined;
  if (major === 10) return TENSORRT_10;
  return major === 11 ? TENSORRT_11 : undefined;
}

/** Why a version cannot be used, one clause; `undefined` for those that can. Another may lie behind it. */
export function versionFault(version: TensorRtVersion): string | undefined {
  if (tableOf(version) !== undefined) return undefined;
  return `it must be TensorRT 10 or 11, or TensorRT-RTX 1.5 or a later 1.x, got ${version.text}`;
}

/**
 * The slot table of a version. No library checks what it is called by, so a version without a table is refused here.
 *
 * @param path of the library, for the message
 * @throws {LibraryLoadError} If the version is unknown, or a TensorRT-RTX before 1.5
 */
export function slotTableOf(version: TensorRtVersion, path: string): SlotTable {
  const table = tableOf(version);
  if (table !== undefined) return table;
  const isOldRtx = version.family === "TensorRT-RTX" && version.major === 1;
  const hint = isOldRtx
    ? "releases before 1.5 have another binary interface under the same file name: install 1.5 or later"
    : "install one of these versions, or update this package";
  throw new LibraryLoadError(message(`use ${path}`, versionFault(version)!, hint), "libnvinfer", [path]);
}

/** File of a runtime without a builder: `libnvinfer_lean.so.10`. */
export function runtimeFile(name: "lean" | "dispatch", major: number): string {
  return process.platform === "win32" ? `nvinfer_${name}_${major}.dll` : `libnvinfer_${name}.so.${major}`;
}

/** Lean runtimes by their file: opened once, and kept open as every library is. */
const leanRuntimes = new Map<string, TensorRtVersion>();

/** @returns `undefined` if it is not there */
function leanRuntime(file: string): TensorRtVersion | undefined {
  let version = leanRuntimes.get(file);
  if (version !== undefined) return version;
  const error = new Uint8Array(new ArrayBuffer(ERROR_BYTES));
  const handle = shim().bt_library_open(cString(file), error, ERROR_BYTES);
  if (handle === null) return undefined;
  version = parseVersion(shim().bt_library_version(handle), shim().bt_library_build(handle));
  leanRuntimes.set(file, version);
  return version;
}

/**
 * What is wrong with the lean runtime that a builder puts into version-compatible plans. It takes the one of its name, and one of
 * another release cannot read the engine that it comes with.
 *
 * @param version of the builder
 * @returns one clause; `undefined` if it is of the same release
 */
export function leanFault({ family, major, release }: TensorRtVersion): string | undefined {
  // TensorRT-RTX has none.
  if (family !== "TensorRT") return undefined;
  const file = runtimeFile("lean", major);
  const found = leanRuntime(file);
  if (found === undefined) return `${file} is not there`;
  return found.family === family && found.release === release ? undefined : `${file} is of ${found.text}`;
}
