/** @module BufferView: a borrowed piece of device memory. */

import { bytesPerElement, type DType } from "../core/dtype.ts";
import { ArgumentError, message } from "../core/errors.ts";
import type { DevicePtr } from "../core/handle.ts";
import { formatShape, type Shape, volume } from "../core/shape.ts";

/** Device memory, whoever owns it: what copies and kernels take. */
export interface DeviceMemory {
  /** Address of the first byte. */
  readonly pointer: DevicePtr;
  readonly byteLength: number;
}

/** Typed device memory, whoever owns it. */
export interface TypedDeviceMemory<T extends DType = DType> extends DeviceMemory {
  readonly dtype: T;
  readonly shape: Shape;
  /** Number of elements. */
  readonly length: number;
}

/** A part of memory that someone else owns and frees: there is no `close`. */
export class BufferView<T extends DType = DType> implements TypedDeviceMemory<T> {
  readonly dtype: T;
  readonly shape: Shape;
  readonly length: number;
  readonly byteLength: number;
  readonly #source: DeviceMemory;
  readonly #offsetBytes: number;

  private constructor(dtype: T, shape: Shape, source: DeviceMemory, offsetBytes: number) {
    this.dtype = dtype;
    this.shape = shape;
    this.length = volume(shape);
    this.byteLength = this.length * bytesPerElement(dtype);
    this.#source = source;
    this.#offsetBytes = offsetBytes;
  }

  /**
   * A part of typed memory. Keeps the source referenced, so the owner's `close()` is seen.
   *
   * @param offset elements before it
   * @throws {ArgumentError} If it reaches beyond the source
   */
  static of<T extends DType>(source: TypedDeviceMemory<T>, shape: Shape, offset = 0): BufferView<T> {
    const end = offset + volume(shape);
    if (!Number.isInteger(offset) || offset < 0 || end > source.length) {
      const found = `the memory has ${source.length} elements: elements ${offset} to ${end} of ${source.dtype}`;
      throw new ArgumentError(message(`view a part ${formatShape(shape)} of device memory`, found));
    }
    return new BufferView(source.dtype, shape, source, offset * bytesPerElement(source.dtype));
  }

  /**
   * Memory of another library, such as a decoder's output. The caller makes sure that it outlives the view.
   *
   * @param pointer device address, not 0
   */
  static wrap<T extends DType>(pointer: number, dtype: T, shape: Shape): BufferView<T> {
    if (pointer === 0) throw new ArgumentError(message("view device memory", "its address is NULL"));
    const byteLength = volume(shape) * bytesPerElement(dtype);
    return new BufferView(dtype, shape, { pointer: pointer as DevicePtr, byteLength }, 0);
  }

  /** Address of the first byte. @throws {ClosedError} If the owner has freed the memory */
  get pointer(): DevicePtr {
    return (this.#source.pointer + this.#offsetBytes) as DevicePtr;
  }
}
