/** @module Off-thread calls: blocking native functions run on koffi's worker threads, so that the JS thread goes on. */

import { createRequire } from "node:module";
import type { TypeObject } from "koffi";
import { addonError, installedFile, loadAddon, nativeParts } from "../core/embedded.ts";
import { BunTensorRtError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import type { NativeType, Prototype } from "./library.ts";

type Koffi = typeof import("koffi");

/** koffi before this version of Bun aborts at the first garbage collection. */
const OLDEST_BUN = "1.4.0";

/** What koffi calls the types. */
const SPELLING: Readonly<Record<NativeType, string>> = {
  ptr: "uintptr_t",
  usize: "size_t",
  i32: "int32_t",
  u32: "uint32_t",
  i64: "int64_t",
  i64_fast: "int64_t",
  u64: "uint64_t",
  f32: "float",
  f64: "double",
  void: "void",
};

/**
 * A native function that runs on a worker thread and resolves with its result. Pointers are numbers: whoever calls keeps
 * the memory behind them alive and in place until the promise settles, so it must be native or over an explicit ArrayBuffer.
 */
export type OffThreadFunction = (...args: readonly number[]) => Promise<number>;

/** koffi's own form of an asynchronous call. */
interface AsyncFunction {
  async(...args: readonly [...number[], (error: Error | null, result: number) => void]): void;
}

/** koffi refuses from 256 calls at once on; Bun's pool has a thread a core, so nothing is lost below that. */
const MOST_AT_ONCE = 128;

/**
 * Stack of a call: what a thread has on Linux, and what libraries count on. koffi's own 128 KiB end the process when
 * TensorRT walks a deep model.
 */
const STACK_BYTES = 8 * 2 ** 20;

/** Stacks that are kept for the next call, as many as koffi allows: to map and unmap one costs more than the call. */
const KEPT_STACKS = 32;

/** koffi, what was made callable through it, and the calls that it runs. */
interface Workers {
  readonly koffi: Koffi;
  /** By signature. */
  readonly prototypes: Map<string, TypeObject>;
  /** By address and signature. */
  readonly functions: Map<string, AsyncFunction>;
  running: number;
  readonly waiting: (() => void)[];
}

/**
 * Of the process rather than of this file, which `bun --hot` evaluates anew: the addon makes another instance of itself each time
 * it is required, with stacks and types of its own, and frees none.
 */
const WORKERS = Symbol.for("bun-tensorrt.off-thread");
const processWide = globalThis as { [WORKERS]?: Workers };

/** There is one koffi in a process, and whoever loads a library first settles how it is set up. */
function setUp(loaded: Koffi): void {
  const stackBytes = Number(loaded.config().async_stack_size);
  try {
    loaded.config({ async_stack_size: Math.max(stackBytes, STACK_BYTES), resident_async_pools: KEPT_STACKS });
  } catch (error) {
    if (stackBytes < STACK_BYTES) {
      const found = `other code has used koffi before, with stacks of ${stackBytes} bytes instead of ${STACK_BYTES}`;
      const hint = `call koffi.config({ async_stack_size: ${STACK_BYTES} }) in front of its first koffi.load()`;
      throw new BunTensorRtError(message("call native code off the JS thread", found, hint), { cause: error });
    }
    logger.debug("koffi was set up by other code of this process, and stays as it is");
  }
}

/** @throws {LibraryLoadError} If it is neither installed nor part of the program, or does not open */
function openKoffi(): Koffi {
  const brought = nativeParts.koffi === undefined ? undefined : loadAddon(nativeParts.koffi);
  if (brought !== undefined) return brought as Koffi;
  const installed = installedFile("koffi");
  if (installed === undefined) throw addonError("koffi");
  try {
    return createRequire(import.meta.url)(installed) as Koffi;
  } catch (error) {
    throw addonError("koffi", error);
  }
}

/** koffi is an addon: it is loaded with the first off-thread function, so that importing the package loads nothing. */
function loadKoffi(): Koffi {
  if (!Bun.semver.satisfies(Bun.version, `>=${OLDEST_BUN}`)) {
    const found = `Bun must be ${OLDEST_BUN} or newer, got ${Bun.version}`;
    throw new BunTensorRtError(message("call native code off the JS thread", found, "update Bun"));
  }
  const loaded = openKoffi();
  setUp(loaded);
  // koffi keeps stacks only once it has loaded a library; our functions are addresses. This one is the process itself.
  loaded.load(null);
  return loaded;
}

function makeWorkers(): Workers {
  return { koffi: loadKoffi(), prototypes: new Map(), functions: new Map(), running: 0, waiting: [] };
}

/** A call has settled: the one that waits longest may begin. */
function settle(workers: Workers): void {
  workers.running -= 1;
  workers.waiting.shift()?.();
}

function start(
  workers: Workers,
  native: AsyncFunction,
  args: readonly number[],
  resolve: (result: number) => void,
  reject: (error: Error) => void,
): void {
  workers.running += 1;
  try {
    native.async(...args, (error, result) => {
      settle(workers);
      if (error === null) resolve(result);
      else reject(error);
    });
  } catch (error) {
    settle(workers);
    reject(error as Error);
  }
}

/** The native function as koffi calls it, made once an address. */
function callable(
  { koffi, prototypes, functions }: Workers,
  address: number,
  { args, returns }: Prototype,
): AsyncFunction {
  const types = args.map((type) => SPELLING[type]);
  const signature = `${SPELLING[returns]} (${types.join(", ")})`;
  const key = `${address} ${signature}`;
  let native = functions.get(key);
  if (native !== undefined) return native;
  let prototype = prototypes.get(signature);
  if (prototype === undefined) {
    prototype = koffi.proto(SPELLING[returns], types);
    prototypes.set(signature, prototype);
  }
  native = koffi.decode(BigInt(address), prototype) as AsyncFunction;
  functions.set(key, native);
  return native;
}

/**
 * Make a native function callable off the JS thread.
 *
 * Calls run on Bun's pool, which has one thread a core and also reads files: more calls than cores wait for each other,
 * so none may wait for another to begin.
 *
 * @param address of the function: `ptr` of a bound one, or what `dlsym` returned
 * @see koffi's documentation, "Asynchronous calls"
 */
export function offThread(address: number, prototype: Prototype): OffThreadFunction {
  processWide[WORKERS] ??= makeWorkers();
  const workers = processWide[WORKERS];
  const native = callable(workers, address, prototype);
  return (...numbers) =>
    new Promise((resolve, reject) => {
      if (workers.running < MOST_AT_ONCE) start(workers, native, numbers, resolve, reject);
      else workers.waiting.push(() => start(workers, native, numbers, resolve, reject));
    });
}
