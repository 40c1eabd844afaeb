/** @module Off-thread calls: blocking native functions run on koffi's worker threads, so that the JS thread goes on. */

import { createRequire } from "node:module";
import type { TypeObject } from "koffi";
import { message } from "../core/errors.ts";

type Koffi = typeof import("koffi");

/** koffi before this version of Bun aborts at the first garbage collection. */
const OLDEST_BUN = "1.4.0";

/**
 * C types of a parameter or result. Pointers travel as numbers: whoever calls keeps the memory behind them alive and
 * in place until the promise settles, so it must be native or over an explicit ArrayBuffer.
 */
export type OffThreadType = "pointer" | "size" | "i32" | "u32" | "void";

const SPELLING: Readonly<Record<OffThreadType, string>> = {
  pointer: "uintptr_t",
  size: "size_t",
  i32: "int32_t",
  u32: "uint32_t",
  void: "void",
};

/** A native function that runs on a worker thread and resolves with its result. */
export type OffThreadFunction = (...args: readonly number[]) => Promise<number>;

let koffi: Koffi | undefined;
const prototypes = new Map<string, TypeObject>();

/** koffi is an addon: it is loaded with the first off-thread function, so that importing the package loads nothing. */
function loadKoffi(): Koffi {
  if (!Bun.semver.satisfies(Bun.version, `>=${OLDEST_BUN}`)) {
    throw new Error(
      message(
        "call native code off the JS thread",
        `as Bun must be ${OLDEST_BUN} or newer: ${Bun.version}`,
        "update Bun",
      ),
    );
  }
  return createRequire(import.meta.url)("koffi") as Koffi;
}

/**
 * Make a native function callable off the JS thread.
 *
 * @param address    of the function, from a function table or `dlsym`
 * @param returns    C type of the result
 * @param parameters C types of the parameters, in order
 * @see koffi's documentation, "Asynchronous calls"
 */
export function offThread(
  address: number,
  returns: OffThreadType,
  parameters: readonly OffThreadType[],
): OffThreadFunction {
  koffi ??= loadKoffi();
  const types = parameters.map((type) => SPELLING[type]);
  const signature = `${SPELLING[returns]} (${types.join(", ")})`;
  let prototype = prototypes.get(signature);
  if (prototype === undefined) {
    prototype = koffi.proto(`off_thread_${prototypes.size}`, SPELLING[returns], types);
    prototypes.set(signature, prototype);
  }
  const native = koffi.decode(BigInt(address), prototype) as { async(...args: readonly unknown[]): void };
  return (...args) =>
    new Promise((resolve, reject) => {
      native.async(...args, (error: Error | null, result: number) => {
        if (error === null) resolve(result);
        else reject(error);
      });
    });
}
