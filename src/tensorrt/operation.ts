/** @module Operation: calls that run off the JS thread, and hold open what they work on until they have ended. */

import { Resource } from "../core/resource.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import { type MethodName, SHIM_STATUS, shimOffThread } from "../ffi/shim.ts";
import type { BlockingName } from "../ffi/shim-symbols.ts";
import type { TensorRtLibrary } from "./library.ts";

/** Keeps its parent from being closed while native code works on it. */
class Operation extends Resource {
  constructor(action: string, parent: Resource) {
    super(action, parent);
  }

  protected override release(): void {}
}

/** A call that blocks. */
export interface BlockingCall {
  readonly name: BlockingName;
  /** Numbers alone. */
  readonly args: readonly number[];
  /** What it works on; it cannot be closed meanwhile. */
  readonly on: readonly (Resource | undefined)[];
  /** What the arguments point into, kept referenced meanwhile. */
  readonly memory?: readonly unknown[];
  /** For messages: `build an engine`. */
  readonly action: string;
}

/**
 * Run a call off the JS thread, passing on TensorRT's log meanwhile.
 *
 * @returns its status, to be checked
 */
export async function runOffThread(library: TensorRtLibrary, blocking: BlockingCall): Promise<number> {
  const { name, args, on, memory, action } = blocking;
  using held = new DisposableStack();
  for (const resource of on) {
    resource?.assertOpen(action);
    if (resource !== undefined) held.use(new Operation(action, resource));
  }
  held.adopt(memory, () => {});
  // What went wrong before is not this call's.
  library.log.takeErrors();
  held.use(library.log.watch());
  return await shimOffThread(name)(...args);
}

/**
 * Run a call that makes an object, and takes where to write its address as the last parameter.
 *
 * @param blocking.call the method, or function, for messages: `createInferBuilder`
 * @returns address of the object, which the caller owns
 * @throws {TensorRtError} If it failed
 */
export async function createOffThread(
  library: TensorRtLibrary,
  blocking: BlockingCall & { readonly call: MethodName | "createInferBuilder" | "createInferRuntime" },
): Promise<number> {
  const out = new OutCells(1);
  const args = [...blocking.args, out.address];
  const status = await runOffThread(library, { ...blocking, args });
  if (status !== SHIM_STATUS.ok) throw library.failure(blocking.action, blocking.call, status);
  return out.pointer();
}

/** Alignment that TensorRT's readers may count on. */
const ALIGNMENT = 16;
/** Smaller arrays may be moved by the JavaScript engine while a call runs. */
const SMALL_BYTES = 4096;

/** The bytes themselves, or a copy where they might be moved or begin at an odd address. @param bytes at least one */
export function stableBytes(bytes: Uint8Array): Uint8Array {
  if (bytes.byteLength >= SMALL_BYTES && addressOf(bytes) % ALIGNMENT === 0) return bytes;
  const copy = new Uint8Array(new ArrayBuffer(bytes.byteLength));
  copy.set(bytes);
  return copy;
}
