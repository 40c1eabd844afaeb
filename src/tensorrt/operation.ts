/** @module Operation: a call that runs off the JS thread, and holds open what it works on until it has ended. */

import { Resource } from "../core/resource.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import { type MethodName, SHIM_STATUS, shimOffThread } from "../ffi/shim.ts";
import type { BlockingName } from "../ffi/shim-symbols.ts";
import type { TensorRtLibrary } from "./library.ts";

/** Keeps a resource from being closed while native code works on it. */
export class Operation extends Resource {
  private constructor(label: string, parent: Resource) {
    super(label, parent);
  }

  /** @param label what runs: `build of Network` */
  static on(parent: Resource, label: string): Operation {
    return new Operation(label, parent);
  }

  protected override release(): void {}
}

/** What a blocking call needs to be told apart in an error. */
export interface BlockingCall {
  readonly name: BlockingName;
  /** Numbers alone; the out-parameter is appended. */
  readonly args: readonly number[];
  /** What the arguments point into, kept referenced until the call has ended. */
  readonly keep: readonly unknown[];
  readonly action: string;
  /** `IRuntime::deserializeCudaEngine` */
  readonly call: string;
  /** Told apart where the version lacks it. */
  readonly method?: MethodName;
}

/**
 * Run a call that makes an object off the JS thread, passing on TensorRT's log meanwhile.
 *
 * @returns address of the object, which the caller owns
 * @throws {TensorRtError} If it failed
 */
export async function createOffThread(library: TensorRtLibrary, blocking: BlockingCall): Promise<number> {
  const out = new OutCells(1);
  // What went wrong before is not this call's.
  library.log.takeErrors();
  using _watch = library.log.watch();
  const memory = [out, ...blocking.keep];
  const status = await shimOffThread(blocking.name)(...blocking.args, addressOf(out.cells));
  // Read after the call, so that what the arguments point into is referenced until then.
  if (memory.length > 0 && status === SHIM_STATUS.ok) return out.pointer();
  if (blocking.method !== undefined) library.check(status, blocking.method, blocking.action);
  throw library.failure(blocking.action, blocking.call, status);
}
