/**
 * @module Values: an OrtValue over memory of the caller; where the outputs of a repeated Run call are written, and the tensors they are
 * read as.
 */

import { message, ShapeError } from "../core/errors.ts";
import {
  ARRAYS,
  bytesPerElement,
  createTensor,
  type DType,
  formatShape,
  isDynamic,
  type Shape,
  type Tensor,
  type TensorInfo,
  viewOf,
  volume,
} from "../core/tensor.ts";
import { addressOf, nativeView, OutCells } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { check, made } from "./environment.ts";
import { elementTypeOf } from "./model-source.ts";

/** OrtDeviceAllocator, OrtMemTypeDefault: plain memory of this machine. */
const DEVICE_ALLOCATOR = 0;
const DEFAULT_MEMORY = 0;

const out: OutCells = new OutCells(1);

/** Refuse a tensor whose array is not what its dtype and shape say: native code would read past its end. */
function assertTensor(tensor: Tensor, name: string): void {
  const { dtype, shape, data } = tensor;
  const array: unknown = data;
  const fail = (expected: string, actual: string): never => {
    const text = message(`use the tensor ${JSON.stringify(name)}`, `it needs ${expected}, got ${actual}`);
    throw new ShapeError(text, { tensor: name, expected, actual });
  };
  const wanted = Object.hasOwn(ARRAYS, dtype) ? ARRAYS[dtype] : fail("a known dtype", String(dtype));
  const isWhole = shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0);
  if (!isWhole) fail("whole dimensions, 0 or more", formatShape(shape));
  if (!(array instanceof wanted)) {
    fail(`a ${wanted.name} for ${dtype}`, Object.prototype.toString.call(array).slice(8, -1));
  }
  const length = volume(shape);
  if (data.length !== length) {
    fail(`${length} elements for ${dtype} ${formatShape(shape)}`, `${data.length} elements`);
  }
}

/**
 * An `OrtValue *` over a tensor's own memory. Whoever calls releases it, and keeps the tensor referenced until then.
 *
 * @throws {ShapeError} If the array is not what the dtype and shape say
 */
export function createValue(tensor: Tensor, name: string): number {
  assertTensor(tensor, name);
  const { dtype, shape, data } = tensor;
  const { api } = openOnnxRuntime();
  const dims = new OutCells(shape.length);
  for (const [axis, dim] of shape.entries()) dims.setPointer(axis, dim);
  // An empty tensor has no address; ONNX Runtime wants one all the same, and reads nothing there.
  const address = data.length === 0 ? dims.address : addressOf(data);
  const memory = made("CreateCpuMemoryInfo", DEVICE_ALLOCATOR, DEFAULT_MEMORY);
  const create = "CreateTensorWithDataAsOrtValue";
  const type = elementTypeOf(dtype);
  const status = api[create](memory, address, data.byteLength, dims.cells, shape.length, type, out.cells);
  api.ReleaseMemoryInfo(memory);
  check(status, create, `use the tensor ${JSON.stringify(name)}`);
  return out.pointer();
}

/** An output: written to memory of ours, or allocated by ONNX Runtime and seen through a view. */
interface Place {
  readonly info: TensorInfo;
  memory: Tensor | OutputView;
}

/**
 * The outputs of one Run call. Those of fixed shape are written to memory of this object; the others ONNX Runtime
 * allocates, and they are seen in place until the next run. A declaration without dimensions may stand for any rank.
 */
export class RunOutputs {
  readonly #api = openOnnxRuntime().api;
  /** `OrtValue *` of each output; NULL where ONNX Runtime is to allocate. */
  readonly values: OutCells;
  /** Outputs of the last run, by name. Empty before the first. */
  readonly tensors: Map<string, Tensor> = new Map();
  readonly #places: Place[] = [];
  readonly #hasArena: boolean;

  /** @param hasArena true if ONNX Runtime keeps the memory of outputs that were given back */
  constructor(infos: readonly TensorInfo[], hasArena: boolean) {
    this.values = new OutCells(infos.length);
    this.#hasArena = hasArena;
    try {
      for (const info of infos) this.#places.push(this.#prepare(info, this.#places.length));
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** Let ONNX Runtime allocate every output from now on. False if it does already. */
  unbind(): boolean {
    let hasChanged = false;
    for (const [index, place] of this.#places.entries()) {
      if (place.memory instanceof OutputView) continue;
      this.#release(index);
      place.memory = new OutputView(place.info.dtype);
      hasChanged = true;
    }
    return hasChanged;
  }

  /** Give the last run's outputs back, so that the next one lands in the same memory. */
  beforeRun(): void {
    for (let index = 0; index < this.#places.length; index++) {
      const { memory } = this.#places[index]!;
      if (!(memory instanceof OutputView)) continue;
      if (!this.#hasArena) memory.detach();
      this.#release(index);
    }
  }

  /** Read what a run that succeeded has left. @throws {OnnxRuntimeError} If a call fails */
  afterRun(): void {
    for (let index = 0; index < this.#places.length; index++) {
      const { info, memory } = this.#places[index]!;
      const tensor = memory instanceof OutputView ? memory.update(this.values.pointer(index)) : memory;
      if (this.tensors.get(info.name) !== tensor) this.tensors.set(info.name, tensor);
    }
  }

  /** The tensors as memory that stays: copies of what ONNX Runtime allocated, and what was written to memory of ours. */
  copy(): Map<string, Tensor> {
    const copies = new Map<string, Tensor>();
    for (const { info, memory } of this.#places) {
      const tensor = this.tensors.get(info.name);
      if (tensor === undefined) continue;
      const isLent = memory instanceof OutputView;
      copies.set(info.name, isLent ? ({ ...tensor, data: tensor.data.slice() } as Tensor) : tensor);
    }
    return copies;
  }

  /** Release every value, and empty the arrays over memory of ONNX Runtime. */
  free(): void {
    for (const [index, { memory }] of this.#places.entries()) {
      if (memory instanceof OutputView) memory.detach();
      this.#release(index);
    }
  }

  #prepare(info: TensorInfo, index: number): Place {
    if (isDynamic(info.shape) || info.shape.length === 0) return { info, memory: new OutputView(info.dtype) };
    const memory = createTensor(info.dtype, info.shape);
    this.values.setPointer(index, createValue(memory, info.name));
    return { info, memory };
  }

  #release(index: number): void {
    this.#api.ReleaseValue(this.values.pointer(index));
    this.values.setPointer(index, 0);
  }
}

/** More dimensions than any model has; a larger rank gets cells of its own. */
const COMMON_RANK = 8;

/**
 * One output whose memory is ONNX Runtime's. While frame after frame lands at the same address with the same shape, as
 * its arena sees to, the same tensor is handed out and nothing is allocated. The arena keeps its memory: what was handed
 * out can be read, if not trusted, while the next frame is computed. Without the arena it must be detached first.
 */
class OutputView {
  readonly #api = openOnnxRuntime().api;
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
    const api = this.#api;
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
