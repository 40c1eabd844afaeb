/** @module ONNX Runtime binding: the library is found, tested and bound at the first use, then kept. */

import { type FFIFunction, linkSymbols } from "bun:ffi";
import { FULL_INSTALL, nativePart } from "../core/embedded.ts";
import type { LibrarySpec } from "./discovery.ts";
import { setNativeVariable } from "./libc.ts";
import { type NativeCalls, openLibrary, type Prototype, selfTest } from "./library.ts";
import { addressOf, nativeView, OutCells, readCString } from "./memory.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";

/**
 * The version of the table that is asked for. Versions only append members, and a library of version 1.N hands out
 * tables 1 to N. Every member below is there from 1.12 on; 1.17.0 is the oldest release the tests were run with.
 */
const ORT_API_VERSION = 17;

/** The one exported symbol. */
const EXPORTS = {
  OrtGetApiBase: { args: [], returns: "ptr" }, // const OrtApiBase *
} as const;

/** OrtApiBase, which never changes. */
const ORT_API_BASE = {
  GetApi: { index: 0, args: ["u32"], returns: "ptr" }, // version; NULL if it is unknown
  GetVersionString: { index: 1, args: [], returns: "ptr" },
} as const;

/**
 * OrtApi, in the order of its members.
 *
 * @see github.com/microsoft/onnxruntime, include/onnxruntime/core/session/onnxruntime_c_api.h
 */
export const ORT_API = {
  CreateStatus: { index: 0, args: ["i32", "ptr"], returns: "ptr" }, // code, msg
  GetErrorCode: { index: 1, args: ["ptr"], returns: "i32" }, // status
  GetErrorMessage: { index: 2, args: ["ptr"], returns: "ptr" }, // status, which owns the text
  CreateEnv: { index: 3, args: ["i32", "ptr", "ptr"], returns: "ptr" }, // log_severity_level, logid, out
  DisableTelemetryEvents: { index: 6, args: ["ptr"], returns: "ptr" }, // env
  // env, model_path (wchar_t on Windows), options, out
  CreateSession: { index: 7, args: ["ptr", "ptr", "ptr", "ptr"], returns: "ptr" },
  // env, model_data, model_data_length, options, out
  CreateSessionFromArray: { index: 8, args: ["ptr", "ptr", "usize", "ptr", "ptr"], returns: "ptr" },
  // session, run_options, input_names, inputs, input_len, output_names, output_names_len, outputs (NULL: to be allocated)
  Run: { index: 9, args: ["ptr", "ptr", "ptr", "ptr", "usize", "ptr", "usize", "ptr"], returns: "ptr" },
  CreateSessionOptions: { index: 10, args: ["ptr"], returns: "ptr" }, // options
  SetSessionExecutionMode: { index: 13, args: ["ptr", "i32"], returns: "ptr" }, // options, execution_mode
  DisableCpuMemArena: { index: 19, args: ["ptr"], returns: "ptr" }, // options
  // options, graph_optimization_level
  SetSessionGraphOptimizationLevel: { index: 23, args: ["ptr", "i32"], returns: "ptr" },
  SetIntraOpNumThreads: { index: 24, args: ["ptr", "i32"], returns: "ptr" }, // options, intra_op_num_threads
  SetInterOpNumThreads: { index: 25, args: ["ptr", "i32"], returns: "ptr" }, // options, inter_op_num_threads
  SessionGetInputCount: { index: 30, args: ["ptr", "ptr"], returns: "ptr" }, // session, out
  SessionGetOutputCount: { index: 31, args: ["ptr", "ptr"], returns: "ptr" }, // session, out
  SessionGetInputTypeInfo: { index: 33, args: ["ptr", "usize", "ptr"], returns: "ptr" }, // session, index, type_info
  SessionGetOutputTypeInfo: { index: 34, args: ["ptr", "usize", "ptr"], returns: "ptr" }, // session, index, type_info
  // session, index, allocator, value (freed with AllocatorFree)
  SessionGetInputName: { index: 36, args: ["ptr", "usize", "ptr", "ptr"], returns: "ptr" },
  // session, index, allocator, value (freed with AllocatorFree)
  SessionGetOutputName: { index: 37, args: ["ptr", "usize", "ptr", "ptr"], returns: "ptr" },
  CreateRunOptions: { index: 39, args: ["ptr"], returns: "ptr" }, // out
  RunOptionsSetTerminate: { index: 46, args: ["ptr"], returns: "ptr" }, // options
  RunOptionsUnsetTerminate: { index: 47, args: ["ptr"], returns: "ptr" }, // options
  // info, p_data (stays the caller's), p_data_len (in bytes), shape, shape_len, type, out
  CreateTensorWithDataAsOrtValue: {
    index: 49,
    args: ["ptr", "ptr", "usize", "ptr", "usize", "i32", "ptr"],
    returns: "ptr",
  },
  GetTensorMutableData: { index: 51, args: ["ptr", "ptr"], returns: "ptr" }, // value, out
  // type_info, out (not to be freed; NULL if it is no tensor)
  CastTypeInfoToTensorInfo: { index: 55, args: ["ptr", "ptr"], returns: "ptr" },
  GetOnnxTypeFromTypeInfo: { index: 56, args: ["ptr", "ptr"], returns: "ptr" }, // type_info, out
  GetTensorElementType: { index: 60, args: ["ptr", "ptr"], returns: "ptr" }, // info, out
  GetDimensionsCount: { index: 61, args: ["ptr", "ptr"], returns: "ptr" }, // info, out
  GetDimensions: { index: 62, args: ["ptr", "ptr", "usize"], returns: "ptr" }, // info, dim_values, dim_values_length
  GetTensorTypeAndShape: { index: 65, args: ["ptr", "ptr"], returns: "ptr" }, // value, out
  CreateCpuMemoryInfo: { index: 69, args: ["i32", "i32", "ptr"], returns: "ptr" }, // type, mem_type, out
  AllocatorFree: { index: 76, args: ["ptr", "ptr"], returns: "ptr" }, // ort_allocator, p
  GetAllocatorWithDefaultOptions: { index: 78, args: ["ptr"], returns: "ptr" }, // out (not to be freed)
  ReleaseEnv: { index: 92, args: ["ptr"], returns: "void" },
  ReleaseStatus: { index: 93, args: ["ptr"], returns: "void" },
  ReleaseMemoryInfo: { index: 94, args: ["ptr"], returns: "void" },
  ReleaseSession: { index: 95, args: ["ptr"], returns: "void" },
  ReleaseValue: { index: 96, args: ["ptr"], returns: "void" },
  ReleaseRunOptions: { index: 97, args: ["ptr"], returns: "void" },
  ReleaseTypeInfo: { index: 98, args: ["ptr"], returns: "void" },
  ReleaseTensorTypeAndShapeInfo: { index: 99, args: ["ptr"], returns: "void" },
  ReleaseSessionOptions: { index: 100, args: ["ptr"], returns: "void" },
  SessionGetModelMetadata: { index: 111, args: ["ptr", "ptr"], returns: "ptr" }, // session, out
  // model_metadata, allocator, key, value (freed with AllocatorFree; NULL if there is no such key)
  ModelMetadataLookupCustomMetadataMap: { index: 116, args: ["ptr", "ptr", "ptr", "ptr"], returns: "ptr" },
  ReleaseModelMetadata: { index: 118, args: ["ptr"], returns: "void" },
  // model_metadata, allocator, keys (the array and each key are freed with AllocatorFree), num_keys
  ModelMetadataGetCustomMetadataMapKeys: { index: 123, args: ["ptr", "ptr", "ptr", "ptr"], returns: "ptr" },
  // out_ptr (freed with ReleaseAvailableProviders), provider_length
  GetAvailableProviders: { index: 125, args: ["ptr", "ptr"], returns: "ptr" },
  ReleaseAvailableProviders: { index: 126, args: ["ptr", "i32"], returns: "ptr" }, // ptr, providers_length
  // options, config_key, config_value
  AddSessionConfigEntry: { index: 130, args: ["ptr", "ptr", "ptr"], returns: "ptr" },
  // options, provider_options
  SessionOptionsAppendExecutionProvider_TensorRT_V2: { index: 170, args: ["ptr", "ptr"], returns: "ptr" },
  CreateTensorRTProviderOptions: { index: 171, args: ["ptr"], returns: "ptr" }, // out
  // provider_options, keys, values, num_keys
  UpdateTensorRTProviderOptions: { index: 172, args: ["ptr", "ptr", "ptr", "usize"], returns: "ptr" },
  ReleaseTensorRTProviderOptions: { index: 174, args: ["ptr"], returns: "void" },
  // options, provider_options
  SessionOptionsAppendExecutionProvider_CUDA_V2: { index: 204, args: ["ptr", "ptr"], returns: "ptr" },
  CreateCUDAProviderOptions: { index: 205, args: ["ptr"], returns: "ptr" }, // out
  // provider_options, keys, values, num_keys
  UpdateCUDAProviderOptions: { index: 206, args: ["ptr", "ptr", "ptr", "usize"], returns: "ptr" },
  ReleaseCUDAProviderOptions: { index: 208, args: ["ptr"], returns: "void" },
  // options, provider_name, keys, values, num_keys
  SessionOptionsAppendExecutionProvider: { index: 216, args: ["ptr", "ptr", "ptr", "ptr", "usize"], returns: "ptr" },
} as const;

const FILES: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  linux: ["libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.so.1.*"],
  darwin: ["libonnxruntime.1.dylib", "libonnxruntime.dylib", "libonnxruntime.1.*.dylib"],
  win32: ["onnxruntime.dll"],
};

/** How the packages of the speech toolkit call this platform. */
const TOOLKIT_PLATFORM = `${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;

/**
 * Machines without an ONNX Runtime that this package is tried with. What they have of their own is used all the same.
 *
 * @param platform     as `process.platform` spells it
 * @param architecture as `process.arch` spells it
 */
export function onnxRuntimeUnavailable(
  platform: string = process.platform,
  architecture: string = process.arch,
): LibrarySpec["unavailable"] {
  if (platform !== "darwin" || architecture !== "x64") return undefined;
  return {
    found: "this is an Intel Mac (darwin-x64), for which ONNX Runtime is no longer made",
    hint: `use Apple silicon or Linux, or set BUN_TENSORRT_ONNXRUNTIME to a library of your own, 1.${ORT_API_VERSION} or newer`,
  };
}

/**
 * Where ONNX Runtime may lie: npm's onnxruntime-node, where the user has added it (its library only, never its addon); the
 * cache, where `bun-tensorrt install onnxruntime` puts Microsoft's; the package of this platform that is installed by
 * default, which has it beside a speech toolkit; Python's wheel; the system. See "ONNX Runtime from a package of the platform" in
 * docs/architecture.md.
 */
export const ONNXRUNTIME: LibrarySpec = {
  name: "onnxruntime",
  variable: "BUN_TENSORRT_ONNXRUNTIME",
  own: () => nativePart("onnxruntime"),
  files: FILES[process.platform] ?? [],
  npm: [["onnxruntime-node", `bin/napi-v6/${process.platform}/${process.arch}`]],
  bundled: [[`sherpa-onnx-${TOOLKIT_PLATFORM}`, "."]],
  python: ["onnxruntime/capi"],
  isNeeded: true,
  unavailable: onnxRuntimeUnavailable(),
  hint: `${FULL_INSTALL}; BUN_TENSORRT_ONNXRUNTIME may name the file of another, 1.${ORT_API_VERSION} or newer`,
};

/** ONNX Runtime, ready to be called. */
export interface OnnxRuntimeLibrary {
  /** Of the file. */
  readonly path: string;
  /** `1.30.0` */
  readonly version: string;
  /** The C API, by its C names. Calls block; a returned status is the caller's to check and release. */
  readonly api: NativeCalls<typeof ORT_API>;
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
  const { path, symbols } = openLibrary(ONNXRUNTIME, EXPORTS, ({ OrtGetApiBase }) => testOnnxRuntime(OrtGetApiBase()));
  const { GetApi, GetVersionString } = bindTable(symbols.OrtGetApiBase()!, ORT_API_BASE);
  const api = bindTable(GetApi(ORT_API_VERSION)!, ORT_API);
  return {
    path,
    version: readCString(GetVersionString()),
    api,
    createSession: offThread(api.CreateSession.ptr, ORT_API.CreateSession),
    createSessionFromArray: offThread(api.CreateSessionFromArray.ptr, ORT_API.CreateSessionFromArray),
    run: offThread(api.Run.ptr, ORT_API.Run),
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

type Api = NativeCalls<typeof ORT_API>;

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
  if (major === undefined) return `its version has an unknown form, ${JSON.stringify(version)}`;
  if (major !== "1" || Number(minor) < ORT_API_VERSION) {
    return `it must be version 1.${ORT_API_VERSION} or newer, below 2, got ${version}`;
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

/** The members of a struct that are called, by their C names, each with its place, counted in pointers from the start. */
type FunctionTable = Readonly<Record<string, Prototype & { readonly index: number }>>;

/**
 * Make the members of a struct callable. The struct must live as long as the process.
 *
 * @param address of the struct
 * @param table   members and their C prototypes; nothing checks them against the library
 */
export function bindTable<Table extends FunctionTable>(address: number, table: Table): NativeCalls<Table> {
  const functions = Object.entries(table).map(([name, { index, ...prototype }]) => {
    const [low = 0, high = 0] = new Uint32Array(nativeView(address + index * 8, 8));
    return [name, { ...prototype, ptr: low + high * 2 ** 32 }];
  });
  const members = Object.fromEntries(functions) as Record<string, FFIFunction>;
  return linkSymbols(members).symbols as unknown as NativeCalls<Table>;
}
