/** @module NativeObject: an owned TensorRT object, the calls it makes by the shape of a method, and those that block. */

import { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import { addressOf, nativeView, OutCells } from "../ffi/memory.ts";
import {
  callMethod,
  type MethodArguments,
  type MethodName,
  type PointerMethod,
  SHIM_STATUS,
  type ShapedMethod,
  shim,
  shimOffThread,
} from "../ffi/shim.ts";
import type { BlockingName } from "../ffi/shim-symbols.ts";
import type { TensorRtLibrary } from "./library.ts";

/** An object of TensorRT with one owner. Every call checks that it is open and that this version has the method. */
export abstract class NativeObject extends Resource {
  readonly library: TensorRtLibrary;
  readonly #handle: number;

  protected constructor(label: string, library: TensorRtLibrary, handle: number, parent?: Resource) {
    super(label, parent);
    this.library = library;
    this.#handle = handle;
  }

  /** Address of the object. Borrowed: valid while it is open. @throws {ClosedError} If it is closed */
  get handle(): number {
    this.assertOpen("use a TensorRT object");
    return this.#handle;
  }

  /** Call a method that returns a number (1 for true), or nothing. */
  protected call<Name extends Exclude<ShapedMethod, PointerMethod>>(
    method: Name,
    ...values: MethodArguments<Name>
  ): number {
    return this.library.call(this.handle, method, ...values);
  }

  /** Call a method that says whether it took a value. @throws {TensorRtError} If it did not */
  protected callOrFail<Name extends Exclude<ShapedMethod, PointerMethod>>(
    action: string,
    method: Name,
    ...values: MethodArguments<Name>
  ): void {
    if (this.call(method, ...values) !== 1) throw this.library.failure(action, method);
  }

  /** Call a method that returns a text. */
  protected text<Name extends PointerMethod>(method: Name, ...values: MethodArguments<Name>): string {
    return this.library.text(this.handle, method, ...values);
  }

  /** Call a method that returns an object. @throws {TensorRtError} If it returns NULL */
  protected pointer<Name extends PointerMethod>(
    action: string,
    method: Name,
    ...values: MethodArguments<Name>
  ): number {
    const pointer = callMethod(this.library.handle, this.handle, method, values);
    if (pointer !== null) return pointer;
    throw this.library.has(method) ? this.library.failure(action, method) : this.library.missing(method);
  }

  /** The device whose memory the object holds, and is freed on; `undefined` where it holds none, or CUDA's device 0. */
  protected get home(): Device | undefined {
    return undefined;
  }

  /** Free the object by its destructor; the parser has one of its own. */
  protected destroy(handle: number): void {
    shim().bt_destroy(handle);
  }

  protected override release(): void {
    try {
      // TensorRT frees on the device that is current, which may be another one by now.
      this.home?.makeCurrent();
    } finally {
      this.destroy(this.#handle);
      this.library.log.drain();
    }
  }
}

/** Memory in TensorRT's hands, such as a plan, freed by `close()`. */
export class HostMemory extends NativeObject {
  readonly byteLength: number;

  /** @internal Take over an IHostMemory. @param label what it holds */
  constructor(label: string, handle: number, parent: NativeObject) {
    super(label, parent.library, handle, parent);
    this.byteLength = this.call("HostMemory.size");
  }

  /** The memory itself. Borrowed: reading it after `close()` is an error nobody can catch. */
  view(): Uint8Array<ArrayBuffer> {
    if (this.byteLength === 0) return new Uint8Array();
    return new Uint8Array(nativeView(this.pointer(`read ${this.label}`, "HostMemory.data"), this.byteLength));
  }

  /** A copy that is the caller's. */
  copy(): Uint8Array<ArrayBuffer> {
    return this.view().slice();
  }
}

/** Keeps its parent from being closed while native code works on it. */
class Operation extends Resource {
  constructor(action: string, parent: Resource) {
    super(action, parent);
  }

  protected override release(): void {}
}

/** A call that blocks. */
interface BlockingCall {
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

/** Run a call off the JS thread, passing on TensorRT's log meanwhile. @returns its status, to be checked */
export async function runOffThread(library: TensorRtLibrary, blocking: BlockingCall): Promise<number> {
  const { name, args } = blocking;
  return withLog(library, blocking, () => shimOffThread(name)(...args));
}

/** Work that goes on off the JS thread: what it works on stays open, and TensorRT's log is passed on meanwhile. */
export async function withLog<T>(
  library: TensorRtLibrary,
  { on, memory, action }: Omit<BlockingCall, "name" | "args">,
  work: () => Promise<T>,
): Promise<T> {
  using held = new DisposableStack();
  for (const resource of on) {
    resource?.assertOpen(action);
    if (resource !== undefined) held.use(new Operation(action, resource));
  }
  // Referenced until the call has ended.
  held.adopt(memory, () => {});
  // What went wrong before is not this call's.
  library.log.takeErrors();
  held.use(library.log.watch());
  return await work();
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
