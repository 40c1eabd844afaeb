/** @module Providers: ONNX Runtime's own execution providers, by name and with their options. */

import { inShort, message, OnnxRuntimeError, UnavailableError } from "../core/errors.ts";
import { CStrings, cString, nativeView, OutCells, readCString } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { call, made } from "./environment.ts";

/** An execution provider of ONNX Runtime by name, `cuda` or `CUDAExecutionProvider`; with options of its own, an object. */
export type ProviderChoice = string | { readonly name: string; readonly [option: string]: string | number | boolean };

/** A provider, its options as it takes them. */
export interface Provider {
  readonly name: string;
  readonly options: Readonly<Record<string, string>>;
}

/** What a provider is asked for as. Booleans are 1 and 0 in the C API. */
export function providerOf(choice: ProviderChoice): Provider {
  const { name, ...options } = typeof choice === "string" ? { name: choice } : choice;
  const entries = Object.entries(options).map(([key, value]) => [
    key,
    String(value === true ? 1 : value === false ? 0 : value),
  ]);
  return { name, options: Object.fromEntries(entries) };
}

/** The execution providers of the library, in its own order: `CUDAExecutionProvider`, `CPUExecutionProvider`. */
export function availableProviders(): string[] {
  const { api } = openOnnxRuntime();
  const found = new OutCells(2);
  call("GetAvailableProviders", found.cells, found.cells.subarray(1));
  const array = found.pointer();
  const count = found.i32(1);
  try {
    return Array.from(new BigUint64Array(nativeView(array, count * 8)), (name) => readCString(Number(name)));
  } finally {
    api.ReleaseAvailableProviders(array, count);
  }
}

/** `cuda` of `CUDAExecutionProvider`. */
function shortName(name: string): string {
  return name.replace(/ExecutionProvider$/, "").toLowerCase();
}

/** Those that have options of their own in the C API, by their short names. */
const OWN_CALLS = { cuda: "CUDA", tensorrt: "TensorRT" } as const;

/** Names that the generic call takes otherwise than the list has them. */
const SPELLINGS: Readonly<Record<string, string>> = {
  azure: "AZURE",
  dml: "DML",
  webgpu: "WebGPU",
  xnnpack: "XNNPACK",
};

/** Append one that the library has. @throws {OnnxRuntimeError} If it refuses it, or an option of it */
function appendProvider(session: number, name: string, options: Readonly<Record<string, string>>): void {
  const keys = new CStrings(Object.keys(options));
  const values = new CStrings(Object.values(options));
  const count = keys.texts.length;
  const own = OWN_CALLS[shortName(name) as keyof typeof OWN_CALLS];
  if (own === undefined) {
    const bare = SPELLINGS[shortName(name)] ?? name.replace(/ExecutionProvider$/, "");
    call("SessionOptionsAppendExecutionProvider", session, cString(bare), keys.cells, values.cells, count);
    return;
  }
  const native = made(`Create${own}ProviderOptions`);
  try {
    if (count > 0) call(`Update${own}ProviderOptions`, native, keys.cells, values.cells, count);
    call(`SessionOptionsAppendExecutionProvider_${own}_V2`, session, native);
  } finally {
    openOnnxRuntime().api[`Release${own}ProviderOptions`](native);
  }
}

/**
 * Append execution providers to an `OrtSessionOptions *`.
 *
 * @throws {UnavailableError} If the library lacks one; it lists those that it has
 * @throws {OnnxRuntimeError} If one refuses its options
 */
export function appendProviders(session: number, providers: readonly Provider[]): void {
  if (providers.length === 0) return;
  const present = availableProviders();
  for (const { name, options } of providers) {
    const full = present.find((one) => shortName(one) === shortName(name));
    if (full === undefined) {
      throw lacksProvider(`has no provider ${JSON.stringify(name)}, only ${present.map(shortName).join(", ")}`);
    }
    // The CPU's is there without being asked for, and last.
    if (shortName(full) === "cpu") continue;
    try {
      appendProvider(session, full, options);
    } catch (error) {
      // The list holds what the library was built for; the provider itself is a file of its own.
      if (!(error instanceof OnnxRuntimeError) || !/failed to load (shared )?library/i.test(error.message)) throw error;
      throw lacksProvider(`has the provider ${JSON.stringify(name)} without its files (${inShort(error)})`, error);
    }
  }
}

function lacksProvider(what: string, cause?: OnnxRuntimeError): UnavailableError {
  const { version, path } = openOnnxRuntime();
  const hint =
    (cause === undefined ? "bun add onnxruntime-node, which has more of them, or " : "") +
    "name the library of a build that has it in BUN_TENSORRT_ONNXRUNTIME, or leave it out of `providers`";
  const text = message("create a session", `ONNX Runtime ${version} at ${path} ${what}`, hint);
  return new UnavailableError(text, "providers", cause === undefined ? {} : { cause });
}
