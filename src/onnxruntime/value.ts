/** @module Value: an OrtValue over memory of the caller. */

import { message, ShapeError } from "../core/errors.ts";
import { ARRAYS, formatShape, type Tensor, volume } from "../core/tensor.ts";
import { addressOf, OutCells } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { check, made } from "./environment.ts";
import { elementTypeOf } from "./model-description.ts";

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
