/** @module ONNX Runtime binding: the library is found, tested and bound at the first use, then kept. */

import { type FFIFunction, linkSymbols } from "bun:ffi";
import { type LibrarySpec, openLibrary, selfTest } from "./library.ts";
import { addressOf, nativeView, OutCells, readCString } from "./memory.ts";
import { setNativeVariable } from "./native-environment.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";
import { ORT_API, ORT_API_BASE, ORT_API_VERSION, ORT_EXPORTS } from "./onnxruntime-symbols.ts";

const FILES: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  linux: ["libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.so.1.*"],
  darwin: ["libonnxruntime.1.dylib", "libonnxruntime.dylib", "libonnxruntime.1.*.dylib"],
};

/** Where ONNX Runtime may lie: the npm package onnxruntime-node (its library alone, never its addon), Python's wheel, the system. */
export const ONNXRUNTIME: LibrarySpec = {
  name: "onnxruntime",
  variable: "BUN_TENSORRT_ONNXRUNTIME",
  files: FILES[process.platform] ?? [],
  npm: [["onnxruntime-node", `bin/napi-v6/${process.platform}/${process.arch}`]],
  python: ["onnxruntime/capi"],
  hint: `bun add onnxruntime-node, or name the file of an ONNX Runtime 1.${ORT_API_VERSION} or newer in BUN_TENSORRT_ONNXRUNTIME`,
};

/** ONNX Runtime, ready to be called. */
export interface OnnxRuntimeLibrary {
  /** Of the file. */
  readonly path: string;
  /** `1.30.0` */
  readonly version: string;
  /** The C API, by its C names. Calls block; a returned status is the caller's to check and release. */
  readonly api: BoundTable<typeof ORT_API>;
  /** `CreateSession` on a worker thread; resolves with the status. */
  readonly createSession: OffThreadFunction;
  /** `CreateSessionFromArray` on a worker thread; resolves with the status. */
  readonly createSessionFromArray: OffThreadFunction;
  /** `Run` on a worker thread; resolves with the status. */
  readonly run: OffThreadFunction;
}

/**
 * From 1.29 on, ONNX Runtime for Linux and macOS reports to its makers: unless this is set before the library is opened, it
 * writes a device id and an event store below `~/.cache/Microsoft` and looks up its collector. No option turns it on again.
 */
const NO_TELEMETRY = { name: "ORT_DISABLE_TELEMETRY", value: "1" } as const;

let library: OnnxRuntimeLibrary | undefined;

function bind(): OnnxRuntimeLibrary {
  // Windows has no such variable: there `DisableTelemetryEvents` alone does it.
  if (process.platform !== "win32") setNativeVariable(NO_TELEMETRY.name, NO_TELEMETRY.value);
  const { path, symbols } = openLibrary(ONNXRUNTIME, ORT_EXPORTS, ({ OrtGetApiBase }) =>
    testOnnxRuntime(OrtGetApiBase() as number | null),
  );
  const { GetApi, GetVersionString } = bindTable(symbols.OrtGetApiBase() as number, ORT_API_BASE);
  const table = GetApi(ORT_API_VERSION) as number;
  const at = (name: keyof typeof ORT_API): number => memberAddress(table, ORT_API[name].index);
  const pointers = (count: number) => Array.from({ length: count }, () => "pointer" as const);
  return {
    path,
    version: readCString(GetVersionString()),
    api: bindTable(table, ORT_API),
    createSession: offThread(at("CreateSession"), "pointer", pointers(4)),
    createSessionFromArray: offThread(at("CreateSessionFromArray"), "pointer", [
      ...pointers(2),
      "size",
      ...pointers(2),
    ]),
    run: offThread(at("Run"), "pointer", [...pointers(4), "size", "pointer", "size", "pointer"]),
  };
}

/**
 * The process's ONNX Runtime. The first call finds, tests and binds it.
 *
 * @throws {LibraryLoadError} If none is found, or none passes the self-test; it lists every path tried
 */
export function openOnnxRuntime(): OnnxRuntimeLibrary {
  library ??= bind();
  return library;
}

const ORT_INVALID_ARGUMENT = 2;
const FLOAT = 1;
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

type Api = BoundTable<typeof ORT_API>;

/** A status made from a code and a text gives both back. */
function echoStatus(api: Api): string {
  const text = new TextEncoder().encode("bun-tensorrt self-test\0");
  const status = api.CreateStatus(ORT_INVALID_ARGUMENT, text);
  const found = `${api.GetErrorCode(status)} ${readCString(api.GetErrorMessage(status))}`;
  api.ReleaseStatus(status);
  return found;
}

/**
 * A tensor over memory of ours, seven arguments with sizes and enums among the pointers, gives back what was put in.
 *
 * @param byteLength of the data that is claimed to be there
 */
function echoTensor(api: Api, byteLength: number): string {
  const out = new OutCells(4);
  const data = new Float32Array(new ArrayBuffer(24));
  const shape = new BigInt64Array([2n, 3n]);
  const failed = (status: number | null): string => {
    const found = `code ${api.GetErrorCode(status)}`;
    api.ReleaseStatus(status);
    return found;
  };
  let status = api.CreateCpuMemoryInfo(DEVICE_ALLOCATOR, DEFAULT_MEMORY, out.cells);
  if (status !== null) return failed(status);
  const memory = out.pointer();
  status = api.CreateTensorWithDataAsOrtValue(memory, data, byteLength, shape, 2, FLOAT, out.cells);
  api.ReleaseMemoryInfo(memory);
  if (status !== null) return failed(status);
  const value = out.pointer();
  status = api.GetTensorMutableData(value, out.cells);
  if (status !== null) return failed(status);
  const isSame = out.pointer() === addressOf(data);
  status = api.GetTensorTypeAndShape(value, out.cells);
  if (status !== null) return failed(status);
  const info = out.pointer();
  out.clear();
  status = api.GetTensorElementType(info, out.cells);
  if (status !== null) return failed(status);
  const type = out.i32();
  status = api.GetDimensions(info, out.cells, 2);
  if (status !== null) return failed(status);
  const found = `type ${type} [${out.pointer(0)}, ${out.pointer(1)}] ${isSame ? "in place" : "elsewhere"}`;
  api.ReleaseTensorTypeAndShapeInfo(info);
  api.ReleaseValue(value);
  return found;
}

/**
 * Prove an ONNX Runtime that was just opened; takes microseconds.
 *
 * @param base address of its OrtApiBase, `null` for NULL
 * @returns what is wrong, one clause; `undefined` if nothing is
 */
export function testOnnxRuntime(base: number | null): string | undefined {
  if (base === null) return "OrtGetApiBase returned NULL";
  const { GetApi, GetVersionString } = bindTable(base, ORT_API_BASE);
  const version = readCString(GetVersionString());
  const [, major, minor] = /^(\d+)\.(\d+)\.\d+/.exec(version) ?? [];
  if (major === undefined) return `its version has an unknown form: ${JSON.stringify(version)}`;
  if (major !== "1" || Number(minor) < ORT_API_VERSION) {
    return `it must be version 1.${ORT_API_VERSION} or newer, below 2: ${version}`;
  }
  const address = GetApi(ORT_API_VERSION);
  if (address === null) return `version ${version} has no API ${ORT_API_VERSION}`;
  const api = bindTable(address, ORT_API);
  return selfTest([
    {
      what: "CreateStatus, GetErrorCode and GetErrorMessage echo a code and a text",
      expected: `${ORT_INVALID_ARGUMENT} bun-tensorrt self-test`,
      run: () => echoStatus(api),
    },
    {
      what: "CreateTensorWithDataAsOrtValue makes a tensor over memory of ours",
      expected: "type 1 [2, 3] in place",
      run: () => echoTensor(api, 24),
    },
    {
      what: "CreateTensorWithDataAsOrtValue refuses memory that is too short",
      expected: /^code [1-9]/,
      run: () => echoTensor(api, 20),
    },
  ]);
}

/** C types of a parameter or result: pointers and `size_t` travel as numbers below 2^53. */
export type NativeType = "ptr" | "usize" | "i32" | "u32" | "void";

/** One member of the struct. */
export interface TableMember {
  /** Its place, counted in pointers from the start. */
  readonly index: number;
  readonly args: readonly NativeType[];
  readonly returns: NativeType;
}

/** The members of a struct that are called, by their C names. */
export type FunctionTable = Readonly<Record<string, TableMember>>;

/** A pointer is an address, or a view over an explicit ArrayBuffer; `null` and 0 are NULL. */
type Argument<T extends NativeType> = T extends "ptr" ? number | ArrayBufferView | null : number;

/** A returned pointer is a number, `null` for NULL. */
type Result<T extends NativeType> = T extends "void" ? undefined : T extends "ptr" ? number | null : number;

type Arguments<Types extends readonly NativeType[]> = { -readonly [Index in keyof Types]: Argument<Types[Index]> };

/** Functions to call, one a member. */
export type BoundTable<Table extends FunctionTable> = {
  readonly [Name in keyof Table]: (...args: Arguments<Table[Name]["args"]>) => Result<Table[Name]["returns"]>;
};

/**
 * Read the address of a member.
 *
 * @param table address of the struct
 * @param index place of the member, counted in pointers
 */
export function memberAddress(table: number, index: number): number {
  const [low = 0, high = 0] = new Uint32Array(nativeView(table + index * 8, 8));
  return low + high * 2 ** 32;
}

/**
 * Make the members of a struct callable. The struct must live as long as the process.
 *
 * @param address of the struct
 * @param table   members and their C prototypes; nothing checks them against the library
 */
export function bindTable<Table extends FunctionTable>(address: number, table: Table): BoundTable<Table> {
  const functions: Record<string, FFIFunction> = {};
  for (const [name, { index, args, returns }] of Object.entries(table)) {
    functions[name] = { ptr: memberAddress(address, index), args, returns } as unknown as FFIFunction;
  }
  return linkSymbols(functions).symbols as unknown as BoundTable<Table>;
}
