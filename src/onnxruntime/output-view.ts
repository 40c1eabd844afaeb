/** @module Output view: a tensor that ONNX Runtime allocated, seen in place. */

import { bytesPerElement, type DType, viewOf } from "../core/dtype.ts";
import { type Shape, volume } from "../core/shape.ts";
import type { Tensor } from "../core/tensor.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { nativeView } from "../ffi/pointer.ts";
import { OutCells } from "../ffi/scratch.ts";
import { check } from "./check.ts";

/** More dimensions than any model has; a larger rank gets cells of its own. */
const COMMON_RANK = 8;

/**
 * One output whose memory is ONNX Runtime's. While frame after frame lands at the same address with the same shape, as
 * its arena sees to, the same tensor is handed out and nothing is allocated. The arena keeps its memory: what was handed
 * out can be read, if not trusted, while the next frame is computed. Without the arena it must be detached first.
 */
export class OutputView {
  readonly #dtype: DType;
  readonly #out: OutCells = new OutCells(1);
  #dims: OutCells = new OutCells(COMMON_RANK);
  #tensor: Tensor | undefined;
  #address = 0;

  constructor(dtype: DType) {
    this.#dtype = dtype;
  }

  /**
   * The tensor of a value, without a copy: valid until the value is released, whose owner then calls `update` with the
   * next one, or `detach`.
   *
   * @param value `OrtValue *` of this output
   * @throws {OnnxRuntimeError} If a call fails
   */
  update(value: number): Tensor {
    const { api } = openOnnxRuntime();
    const out = this.#out;
    check(api.GetTensorMutableData(value, out.cells), "GetTensorMutableData");
    const address = out.pointer();
    check(api.GetTensorTypeAndShape(value, out.cells), "GetTensorTypeAndShape");
    const info = out.pointer();
    let rank: number;
    try {
      check(api.GetDimensionsCount(info, out.cells), "GetDimensionsCount");
      rank = out.pointer();
      if (rank > this.#dims.cells.length) this.#dims = new OutCells(rank);
      check(api.GetDimensions(info, this.#dims.cells, rank), "GetDimensions");
    } finally {
      api.ReleaseTensorTypeAndShapeInfo(info);
    }
    const current = this.#tensor;
    if (current !== undefined && address === this.#address && this.#hasShape(current.shape, rank)) return current;
    this.detach();
    const shape = Array.from({ length: rank }, (_, axis) => this.#dims.pointer(axis));
    const length = volume(shape);
    const byteLength = length * bytesPerElement(this.#dtype);
    const buffer = byteLength === 0 ? new ArrayBuffer(0) : nativeView(address, byteLength);
    const tensor: Tensor = { dtype: this.#dtype, shape, data: viewOf(this.#dtype, buffer, 0, length) };
    this.#tensor = tensor;
    this.#address = address;
    return tensor;
  }

  /** Empty the array that was handed out last, so that nobody reads memory that was freed or used again. */
  detach(): void {
    this.#tensor?.data.buffer.transfer(0);
    this.#tensor = undefined;
  }

  #hasShape(shape: Shape, rank: number): boolean {
    if (shape.length !== rank) return false;
    for (let axis = 0; axis < rank; axis++) {
      if (this.#dims.pointer(axis) !== shape[axis]) return false;
    }
    return true;
  }
}
