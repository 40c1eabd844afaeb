/** @module NativeObject: an owned TensorRT object, and the calls its subclasses make by the shape of the method. */

import { Resource } from "../core/resource.ts";
import type { Device } from "../cuda/device.ts";
import { readCString } from "../ffi/memory.ts";
import { type MethodOf, methodId, nativeMethodName, shim } from "../ffi/shim.ts";
import type { TensorRtLibrary } from "./library.ts";

/** An object of TensorRT with one owner. Every accessor checks that it is open and that this version has the method. */
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

  protected i32(method: MethodOf<"i32">): number {
    return this.library.check(shim().bt_i32(this.library.handle, this.handle, methodId(method)), method);
  }

  protected i64(method: MethodOf<"i64">): number {
    return this.library.check(shim().bt_i64(this.library.handle, this.handle, methodId(method)), method);
  }

  protected i64At(method: MethodOf<"i64_at">, index: number): number {
    return this.library.check(shim().bt_i64_at(this.library.handle, this.handle, methodId(method), index), method);
  }

  protected bool(method: MethodOf<"bool">): boolean {
    return this.library.check(shim().bt_bool(this.library.handle, this.handle, methodId(method)), method) === 1;
  }

  protected text(method: MethodOf<"text">): string {
    return readCString(shim().bt_text(this.library.handle, this.handle, methodId(method)));
  }

  protected textAt(method: MethodOf<"text_at">, index: number): string {
    return readCString(shim().bt_text_at(this.library.handle, this.handle, methodId(method), index));
  }

  /** A pointer result. @throws {TensorRtError} If it is NULL */
  protected pointer(method: MethodOf<"pointer">, action: string): number {
    const pointer = shim().bt_pointer(this.library.handle, this.handle, methodId(method));
    if (pointer === null) throw this.#refused(method, action);
    return pointer;
  }

  /** @throws {TensorRtError} If the result is NULL */
  protected pointerAt(method: MethodOf<"pointer_at">, index: number, action: string): number {
    const pointer = shim().bt_pointer_at(this.library.handle, this.handle, methodId(method), index);
    if (pointer === null) throw this.#refused(method, action);
    return pointer;
  }

  protected setI32(method: MethodOf<"void_i32">, value: number): void {
    this.library.check(shim().bt_void_i32(this.library.handle, this.handle, methodId(method), value), method);
  }

  protected setBool(method: MethodOf<"void_bool">, value: boolean): void {
    this.library.check(shim().bt_void_bool(this.library.handle, this.handle, methodId(method), Number(value)), method);
  }

  /** @param value address of an object that outlives this one's use of it, or 0 for none */
  protected setPointer(method: MethodOf<"void_pointer">, value: number): void {
    this.library.check(shim().bt_void_pointer(this.library.handle, this.handle, methodId(method), value), method);
  }

  /** A method that says whether it took the value. @throws {TensorRtError} If it did not */
  protected trySetI32(method: MethodOf<"bool_i32">, value: number, action: string): void {
    const status = shim().bt_bool_i32(this.library.handle, this.handle, methodId(method), value);
    if (this.library.check(status, method) === 0) throw this.#refused(method, action);
  }

  #refused(method: Parameters<typeof nativeMethodName>[0], action: string): Error {
    if (!this.library.has(method)) return this.library.missing(method);
    return this.library.failure(action, nativeMethodName(method), -1);
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
