/** @module Shim: the C library that calls TensorRT's C++ objects, opened and tested with the first call to it. */

import { dlopen } from "bun:ffi";
import { copyFileSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import darwinArm64 from "../../native/prebuilt/darwin-arm64/libbun_tensorrt_shim.dylib" with { type: "file" };
import linuxArm64 from "../../native/prebuilt/linux-arm64/libbun_tensorrt_shim.so" with { type: "file" };
import linuxX64 from "../../native/prebuilt/linux-x64/libbun_tensorrt_shim.so" with { type: "file" };
import windowsX64 from "../../native/prebuilt/windows-x64/bun_tensorrt_shim.dll" with { type: "file" };
import { importedFile, openablePath } from "../core/embedded.ts";
import { LibraryLoadError, message } from "../core/errors.ts";
import type { LibrarySpec } from "./discovery.ts";
import { type NativeCalls, openLibrary } from "./library.ts";
import { addressOf, cString, readCString } from "./memory.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";
import { type BlockingName, SHIM_CONSTANTS, SHIM_METHODS, SHIM_SYMBOLS } from "./shim-symbols.ts";

/** The functions of the shim. */
export type Shim = NativeCalls<typeof SHIM_SYMBOLS>;

/** A method the shim knows: `CudaEngine.getNbIOTensors`, for nvinfer1::ICudaEngine::getNbIOTensors. */
export type MethodName = keyof typeof SHIM_METHODS;

/** Methods by the function of the shim that calls them; those with a function of their own are not among them. */
type Shaped = {
  [Name in MethodName as `bt_${(typeof SHIM_METHODS)[Name]}` extends keyof Shim
    ? Name
    : never]: Shim[`bt_${(typeof SHIM_METHODS)[Name]}` & keyof Shim];
};

/** A method that is called by its shape. */
export type ShapedMethod = keyof Shaped;

/** Those that return a pointer, or a text by its pointer; the others return a number or nothing. */
export type PointerMethod = {
  [Name in ShapedMethod]: null extends ReturnType<Shaped[Name]> ? Name : never;
}[ShapedMethod];

/** What a method takes, beside the library, the object and its own number. */
export type MethodArguments<Name extends ShapedMethod> =
  Parameters<Shaped[Name]> extends [unknown, unknown, unknown, ...infer Own] ? Own : never;

/** Every method, by its number. */
export const METHOD_NAMES: readonly MethodName[] = Object.keys(SHIM_METHODS) as MethodName[];

const IDS = new Map(METHOD_NAMES.map((name, id) => [name, id]));

/** A method's number in the shim. */
export function methodId(name: MethodName): number {
  return IDS.get(name)!;
}

/**
 * Call a method by the function of its shape.
 *
 * @returns what the shim returned, to be checked
 */
export function callMethod<Name extends ShapedMethod>(
  library: number,
  object: number,
  method: Name,
  values: MethodArguments<Name>,
): ReturnType<Shaped[Name]> {
  const call = shim()[`bt_${SHIM_METHODS[method]}` as "bt_i32"] as (...args: readonly unknown[]) => unknown;
  return call(library, object, methodId(method), ...values) as ReturnType<Shaped[Name]>;
}

/** `IBuilderConfig::setFlag`, as NVIDIA's documentation spells `BuilderConfig.setFlag`. */
export function nativeMethodName(name: MethodName): string {
  return `I${name.replace(".", "::")}`;
}

/** Room for what the dynamic linker says. */
export const ERROR_BYTES = 4096;

/** Results of the shim that are no counts. */
export const SHIM_STATUS: Readonly<Record<"ok" | "failed" | "noMethod" | "noDevice" | "badCall", number>> = {
  ok: SHIM_CONSTANTS.BT_OK,
  failed: SHIM_CONSTANTS.BT_FAILED,
  noMethod: SHIM_CONSTANTS.BT_NO_METHOD,
  noDevice: SHIM_CONSTANTS.BT_NO_DEVICE,
  badCall: SHIM_CONSTANTS.BT_BAD_CALL,
};

/// <reference path="../core/files.d.ts" />

/** The shim by the platform it is made for. */
const SHIMS: Readonly<Record<string, string>> = {
  "darwin-arm64": darwinArm64,
  "linux-arm64": linuxArm64,
  "linux-x64": linuxX64,
  "win32-x64": windowsX64,
};

const FILES: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ["libbun_tensorrt_shim.dylib"],
  linux: ["libbun_tensorrt_shim.so"],
  win32: ["bun_tensorrt_shim.dll"],
};

function ownShim(): string | undefined {
  const path = SHIMS[`${process.platform}-${process.arch}`];
  return path === undefined ? undefined : openablePath(importedFile(path));
}

/** Where the shim lies; also what `doctor` goes by. */
export const SHIM_SPEC: LibrarySpec = {
  name: "libbun_tensorrt_shim",
  variable: "BUN_TENSORRT_SHIM",
  own: ownShim,
  files: FILES[process.platform] ?? [],
  hint: "the package brings it for linux-x64, linux-arm64, windows-x64 and darwin-arm64; elsewhere set BUN_TENSORRT_SHIM to one that `bun run shim` built",
};

/** The value on both sides of a call that did not come through unharmed. */
interface Echo {
  readonly call: string;
  readonly sent: unknown;
  readonly received: unknown;
}

/** One call for each type of argument and result that the table uses: bun:ffi checks nothing against the prototype. */
function echoes(shim: Shim): Echo[] {
  const out = new BigUint64Array(new ArrayBuffer(6 * 8));
  const address = 2 ** 47 + 0x1_2345;
  shim.bt_echo_arguments(address, -7, 2 ** 32 - 1, -(2 ** 40), 2 ** 40 + 1, 0.1, out);
  const bits = BigInt(new Uint32Array(Float32Array.of(0.1).buffer)[0]!);
  const expected = [BigInt(address), -7n, 2n ** 32n - 1n, -(2n ** 40n), 2n ** 40n + 1n, bits];
  return [
    { call: "bt_abi_version", sent: SHIM_CONSTANTS.BT_ABI_VERSION, received: shim.bt_abi_version() },
    { call: "bt_method_count", sent: METHOD_NAMES.length, received: shim.bt_method_count() },
    { call: "bt_echo_i32", sent: -(2 ** 31), received: shim.bt_echo_i32(-(2 ** 31)) },
    { call: "bt_echo_i64", sent: -(2 ** 40), received: shim.bt_echo_i64(-(2 ** 40)) },
    { call: "bt_echo_pointer", sent: address, received: shim.bt_echo_pointer(address) },
    { call: "bt_echo_pointer(NULL)", sent: null, received: shim.bt_echo_pointer(null) },
    ...expected.map((sent, at) => ({
      call: `bt_echo_arguments[${at}]`,
      sent: BigInt.asUintN(64, sent),
      received: out[at],
    })),
  ];
}

/** @throws {LibraryLoadError} If the library is of another version, or a type of argument does not cross unharmed */
function selfTest(shim: Shim, path: string): void {
  for (const { call, sent, received } of echoes(shim)) {
    if (Object.is(sent, received)) continue;
    const hint =
      "it belongs to another version of the package: install the package again, or build it by `bun run shim`";
    const text = message(`use ${path}`, `in its self-test ${call} returned ${received} for ${sent}`, hint);
    throw new LibraryLoadError(text, SHIM_SPEC.name, [path]);
  }
}

let opened: Shim | undefined;
let openedPath = "";
/** Copies made by {@linkcode preloadByName}, kept as libraries are for the life of the process. */
const copies: unknown[] = [];

/**
 * The shim's functions. The first call opens and tests the library; TensorRT itself is not touched.
 *
 * @throws {LibraryLoadError} If the package has none for this platform, or it is of another version
 */
export function shim(): Shim {
  if (opened !== undefined) return opened;
  const { path, symbols } = openLibrary(SHIM_SPEC, SHIM_SYMBOLS);
  selfTest(symbols, path);
  opened = symbols;
  openedPath = path;
  return opened;
}

/**
 * Load a library so that a later `dlopen` of its bare name finds it, as TensorRT does with its builder resource.
 *
 * Windows gives whoever asks by a bare name the library of that name that is loaded. Others look for bare names in folders
 * that are fixed when the process starts, and beside the library that asks: so a copy of the shim asks, from a folder that
 * holds a link to the library.
 *
 * @param path absolute path of the library
 * @returns what the dynamic linker said against it, or `undefined` if it is loaded
 */
export function preloadByName(path: string): string | undefined {
  const name = cString(process.platform === "win32" ? path : basename(path));
  const error = new Uint8Array(new ArrayBuffer(ERROR_BYTES));
  if (shim().bt_preload(name, error, ERROR_BYTES) === SHIM_STATUS.ok) return undefined;
  if (process.platform === "win32") return readCString(addressOf(error));
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-"));
  try {
    const copy = join(folder, SHIM_SPEC.files[0]!);
    copyFileSync(openedPath, copy);
    symlinkSync(path, join(folder, basename(path)));
    const beside = dlopen(copy, { bt_preload: SHIM_SYMBOLS.bt_preload });
    copies.push(beside);
    const status = beside.symbols.bt_preload(name, error, ERROR_BYTES);
    return status === SHIM_STATUS.ok ? undefined : readCString(addressOf(error));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const blocking = new Map<BlockingName, OffThreadFunction>();

/**
 * A blocking function of the shim, to be called with numbers alone: addresses of memory that stays in place and
 * referenced until the promise settles.
 */
export function shimOffThread(name: BlockingName): OffThreadFunction {
  let call = blocking.get(name);
  if (call === undefined) {
    call = offThread(shim()[name].ptr, SHIM_SYMBOLS[name]);
    blocking.set(name, call);
  }
  return call;
}
