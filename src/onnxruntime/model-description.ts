/** @module Model description: inputs, outputs and metadata, read from a session. */

import { ModelError } from "../core/errors.ts";
import { DTYPES, type DType, ELEMENT_TYPES, type TensorInfo } from "../core/tensor.ts";
import { cString, nativeView, OutCells, readCString } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { call, made } from "./environment.ts";
import { modelError } from "./model-source.ts";

/** What a model says of itself. Inputs and outputs are in the file's order. */
export interface ModelDescription {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Custom metadata, such as Ultralytics' `names` and `stride`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The number ONNX gives a dtype. */
export function elementTypeOf(dtype: DType): number {
  return ELEMENT_TYPES.indexOf(dtype);
}

/** ONNXType, by value. */
const KINDS: readonly string[] = ["unknown", "tensor", "sequence", "map", "opaque", "sparse tensor", "optional"];

/** Each look-up copies the whole map, so time grows with the square: 10,000 entries took 47 s. Exporters write a dozen. */
const MAX_METADATA_ENTRIES = 1000;

/** Copy a string the default allocator made, and free it. */
function takeString(owner: number, pointer: number): string {
  const text = readCString(pointer);
  call("AllocatorFree", owner, pointer);
  return text;
}

/** Shape of an `OrtTensorTypeAndShapeInfo *`; -1 where a dimension is open, and empty if even the rank is. */
function readShape(info: number): number[] {
  const rank = made("GetDimensionsCount", info);
  const dims = new BigInt64Array(new ArrayBuffer(Math.max(rank, 1) * 8));
  call("GetDimensions", info, dims, rank);
  return Array.from(dims.subarray(0, rank), (dim) => (dim < 0n ? -1 : Number(dim)));
}

/** dtype and shape out of an `OrtTypeInfo *`. */
function readTensorInfo(typeInfo: number, name: string, role: string, source: string): TensorInfo {
  const refuse = (found: string): never => {
    const rule = `${role} ${JSON.stringify(name)} must be a tensor of f32, f16, i64, i32, u16, u8, i8 or bool`;
    const isSigned = role === "input" && /\bi16$/.test(found);
    const hint = isSigned ? "; samples of images are u16: a Cast in the model makes i16 of them" : "";
    throw modelError(source, `${rule}, got ${found}`, `export the model with such a tensor there${hint}`);
  };
  const kind = made("GetOnnxTypeFromTypeInfo", typeInfo);
  if (kind !== 1) refuse(`a ${KINDS[kind] ?? `value of type ${kind}`}`);
  const info = made("CastTypeInfoToTensorInfo", typeInfo);
  const elementType = made("GetTensorElementType", info);
  const type = ELEMENT_TYPES[elementType] ?? `element type ${elementType}`;
  const dtype = DTYPES.find((one) => one === type) ?? refuse(`a tensor of ${type}`);
  return { name, dtype, shape: readShape(info) };
}

function readTensors(session: number, role: "Input" | "Output", source: string, isLenient = false): TensorInfo[] {
  const owner = made("GetAllocatorWithDefaultOptions");
  const indices = Array.from({ length: made(`SessionGet${role}Count`, session) }, (_, index) => index);
  return indices.flatMap((index) => {
    const name = takeString(owner, made(`SessionGet${role}Name`, session, index, owner));
    const info = made(`SessionGet${role}TypeInfo`, session, index);
    try {
      return [readTensorInfo(info, name, role.toLowerCase(), source)];
    } catch (error) {
      if (isLenient && error instanceof ModelError) return [];
      throw error;
    } finally {
      openOnnxRuntime().api.ReleaseTypeInfo(info);
    }
  });
}

/** The custom metadata map. Every string and the array of keys are freed as they are read. */
function readMetadata(session: number, source: string): Record<string, string> {
  const entries: [string, string][] = [];
  const handle = made("SessionGetModelMetadata", session);
  try {
    const owner = made("GetAllocatorWithDefaultOptions");
    const out = new OutCells(2);
    call("ModelMetadataGetCustomMetadataMapKeys", handle, owner, out.cells, out.cells.subarray(1));
    const [array, count] = [out.pointer(0), out.pointer(1)];
    if (array === 0) return {};
    const keys = Array.from(new BigUint64Array(nativeView(array, count * 8)), Number);
    call("AllocatorFree", owner, array);
    const names = keys.map((pointer) => takeString(owner, pointer));
    if (count > MAX_METADATA_ENTRIES) {
      const found = `its metadata may have at most ${MAX_METADATA_ENTRIES} entries, got ${count}`;
      throw modelError(source, found, "remove those nobody reads from its metadata_props");
    }
    for (const key of names) {
      const value = made("ModelMetadataLookupCustomMetadataMap", handle, owner, cString(key));
      if (value !== 0) entries.push([key, takeString(owner, value)]);
    }
  } finally {
    openOnnxRuntime().api.ReleaseModelMetadata(handle);
  }
  return Object.fromEntries(entries);
}

/**
 * Read what a model says of itself out of an `OrtSession *`.
 *
 * @param ignoresUnreadable leave out outputs that are no tensors of a known element type
 * @throws {ModelError} If an input or output is no tensor of a known element type, or there is too much metadata
 */
export function describeModel(session: number, source: string, ignoresUnreadable = false): ModelDescription {
  return {
    inputs: readTensors(session, "Input", source),
    outputs: readTensors(session, "Output", source, ignoresUnreadable),
    metadata: readMetadata(session, source),
  };
}
