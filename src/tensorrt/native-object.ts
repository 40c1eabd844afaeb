/** @module NativeObject: an owned TensorRT object, and the calls its subclasses make by the shape of the method. */

import { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import { nativeView } from "../ffi/memory.ts";
import { callMethod, type MethodArguments, type PointerMethod, type ShapedMethod, shim } from "../ffi/shim.ts";
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
