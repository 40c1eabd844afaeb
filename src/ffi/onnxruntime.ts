/** @module ONNX Runtime binding: the library is found, tested and bound at the first use, then kept. */

import { readCString } from "./cstring.ts";
import { type BoundTable, bindTable, memberAddress } from "./function-table.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";
import { setNativeVariable } from "./native-environment.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";
import { testOnnxRuntime } from "./onnxruntime-self-test.ts";
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
