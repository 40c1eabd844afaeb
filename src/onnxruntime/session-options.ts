/** @module SessionOptions: what callers may set of an ONNX Runtime session, checked once, and its own execution providers by name. */

import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { z } from "zod";
import { inShort, message, OnnxRuntimeError, OptionError, UnavailableError } from "../core/errors.ts";
import { type Filled, parseOptions } from "../core/options.ts";
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
function providerOf(choice: ProviderChoice): Provider {
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
function appendProviders(session: number, providers: readonly Provider[]): void {
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

/** How far the graph is rewritten when it is loaded. */
export type Optimization = "disable" | "basic" | "extended" | "all";

/**
 * Options of `Session.load`.
 *
 * @see onnxruntime.ai/docs/performance/tune-performance/threading.html
 */
export interface SessionOptions {
  /** Threads of one operator, the calling one included. Default: the physical cores this process may use. */
  readonly intraOpThreads?: number | undefined;
  /** Operators run at the same time; more than 1 helps only graphs with wide branches. Default 1. */
  readonly interOpThreads?: number | undefined;
  /** Default `"all"`. */
  readonly optimization?: Optimization | undefined;
  /** False: give memory back to the system after each run, which takes up to twice the time. Default true. */
  readonly arena?: boolean | undefined;
  /**
   * True: after a run the threads keep their cores busy for some 20 ms or more, waiting for the next, which then starts
   * sooner. False leaves the cores to others. Default true, unless `BUN_TENSORRT_SPINNING` is `off`.
   */
  readonly spinning?: boolean | undefined;
  /** Folder of the files that hold weights of a model from bytes. Beside a path they are found without it. */
  readonly weightsFolder?: string | undefined;
  /** True: leave out outputs of element types that no tensor here has, instead of refusing the model. Default false. */
  readonly ignoreUnreadable?: boolean | undefined;
  /**
   * Execution providers, the first one first; what none of them runs, the CPU does. They must be in the library, or it is an
   * `UnavailableError` that lists those which are. Default: the CPU's.
   *
   * @see onnxruntime.ai/docs/execution-providers for their options
   */
  readonly providers?: readonly ProviderChoice[] | undefined;
}

/** Complete options of a session. */
export interface SessionConfig extends Filled<Omit<SessionOptions, "providers" | "weightsFolder">> {
  readonly providers: readonly Provider[];
  readonly weightsFolder?: string | undefined;
}

const threads = z.int().min(1, "at least 1 thread").max(1024, "at most 1024 threads");

const PROVIDER = 'a name such as "cuda", or { name: "cuda", … } with its options';
const providerName = z.string(PROVIDER).min(1, PROVIDER);
const named = z.object({ name: providerName }).catchall(z.union([z.string(), z.number(), z.boolean()]));

const providerList: z.ZodType<readonly ProviderChoice[]> = z
  .array(z.union([providerName, named], PROVIDER), PROVIDER)
  .min(1, "at least one");

/** Says for every session of a process whether its threads keep their cores between runs. */
const VARIABLE = "BUN_TENSORRT_SPINNING";

function isSpinning(): boolean {
  const value = process.env[VARIABLE] || "on";
  if (value === "on" || value === "off") return value === "on";
  const found = `${VARIABLE} must be on or off, got ${JSON.stringify(value)}`;
  throw new OptionError(message("create a session", found, `unset ${VARIABLE}, or set it to one of them`), "spinning");
}

const schema = z.strictObject({
  intraOpThreads: threads.default(() => physicalCores()),
  interOpThreads: threads.default(1),
  optimization: z.enum(["disable", "basic", "extended", "all"], "disable, basic, extended or all").default("all"),
  arena: z.boolean("true or false").default(true),
  spinning: z.boolean("true or false").default(isSpinning),
  weightsFolder: z.string("a path").min(1, "a path").optional(),
  ignoreUnreadable: z.boolean("true or false").default(false),
  providers: providerList.default([]).transform((choices) => choices.map(providerOf)),
});

/** Check options and fill in the defaults. @throws {OptionError} If one is unknown or out of range */
export function parseSessionOptions(options: SessionOptions): SessionConfig {
  return parseOptions(schema, options, "create a session");
}

/** GraphOptimizationLevel. */
const LEVELS: Readonly<Record<Optimization, number>> = { disable: 0, basic: 1, extended: 2, all: 99 };

/** ExecutionMode: operators one after another, unless there are threads for more. */
const ORT_PARALLEL = 1;

function fill(pointer: number, config: SessionConfig): void {
  call("SetIntraOpNumThreads", pointer, config.intraOpThreads);
  call("SetSessionGraphOptimizationLevel", pointer, LEVELS[config.optimization]);
  if (config.interOpThreads > 1) {
    call("SetSessionExecutionMode", pointer, ORT_PARALLEL);
    call("SetInterOpNumThreads", pointer, config.interOpThreads);
  }
  appendProviders(pointer, config.providers);
  if (!config.arena) call("DisableCpuMemArena", pointer);
  const setEntry = (key: string, value: string): void =>
    call("AddSessionConfigEntry", pointer, cString(`session.${key}`), cString(value));
  if (config.weightsFolder !== undefined) {
    setEntry("model_external_initializers_file_folder_path", config.weightsFolder);
  }
  if (config.spinning) return;
  setEntry("intra_op.allow_spinning", "0");
  setEntry("inter_op.allow_spinning", "0");
}

/**
 * An `OrtSessionOptions *` that holds a configuration. Whoever calls releases it, once the session is made.
 *
 * @throws {OnnxRuntimeError} If a value is refused
 * @throws {UnavailableError} If the library lacks a provider
 */
export function createNativeSessionOptions(config: SessionConfig): number {
  const pointer = made("CreateSessionOptions");
  try {
    fill(pointer, config);
    return pointer;
  } catch (error) {
    openOnnxRuntime().api.ReleaseSessionOptions(pointer);
    throw error;
  }
}

/** Content of a small file, or `undefined` where the system has none such. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined;
  }
}

/** Cores by Linux' topology files: the processors of one core name the same siblings. */
function countCores(folder: string): number | undefined {
  if (process.platform !== "linux" || readText(`${folder}/online`) === undefined) return undefined;
  const cores = new Set<string>();
  for (const name of readdirSync(folder)) {
    if (!/^cpu\d+$/.test(name)) continue;
    const siblings = readText(`${folder}/${name}/topology/thread_siblings_list`);
    if (siblings !== undefined) cores.add(siblings);
  }
  return cores.size === 0 ? undefined : cores.size;
}

/** Whole processors a container may use, by its control group. */
function countQuota(path: string): number | undefined {
  const [quota, period] = (readText(path) ?? "max").split(" ").map(Number);
  if (quota === undefined || period === undefined || !(quota > 0)) return undefined;
  return Math.max(1, Math.floor(quota / period));
}

/**
 * Physical cores this process may use: two threads of one core only get in each other's way in matrix products.
 *
 * @param sysFolder  Linux' list of processors
 * @param quotaFile  the control group's limit
 */
export function physicalCores(sysFolder = "/sys/devices/system/cpu", quotaFile = "/sys/fs/cgroup/cpu.max"): number {
  const limits = [availableParallelism(), countCores(sysFolder), countQuota(quotaFile)];
  return Math.max(1, Math.min(...limits.filter((limit) => limit !== undefined)));
}
