/** @module Model description: inputs, outputs and metadata, read from a session. */

import { ModelError, message } from "../core/errors.ts";
import type { DType, TensorInfo } from "../core/tensor.ts";
import { cString, nativeView, OutCells, readCString } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { check } from "./environment.ts";

/** What a model says of itself. Inputs and outputs are in the file's order. */
export interface ModelDescription {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Custom metadata, such as Ultralytics' `names` and `stride`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** ONNXType, by value. */
const KINDS: readonly string[] = ["unknown", "tensor", "sequence", "map", "opaque", "sparse tensor", "optional"];

/** Each look-up copies the whole map, so time grows with the square: 10,000 entries took 47 s. Exporters write a dozen. */
const MAX_METADATA_ENTRIES = 1000;

const out: OutCells = new OutCells(2);

/** The default allocator, which hands out strings; the library's own, never freed. */
function allocator(): number {
  check(openOnnxRuntime().api.GetAllocatorWithDefaultOptions(out.cells), "GetAllocatorWithDefaultOptions");
  return out.pointer();
}

/** Copy a string the allocator made, and free it. */
function takeString(owner: number, pointer: number): string {
  const text = readCString(pointer);
  check(openOnnxRuntime().api.AllocatorFree(owner, pointer), "AllocatorFree");
  return text;
}

/** Shape of an `OrtTensorTypeAndShapeInfo *`; -1 where a dimension is open, and empty if even the rank is. */
function readShape(info: number): number[] {
  const { api } = openOnnxRuntime();
  check(api.GetDimensionsCount(info, out.cells), "GetDimensionsCount");
  const rank = out.pointer();
  const dims = new BigInt64Array(new ArrayBuffer(Math.max(rank, 1) * 8));
  check(api.GetDimensions(info, dims, rank), "GetDimensions");
  return Array.from(dims.subarray(0, rank), (dim) => (dim < 0n ? -1 : Number(dim)));
}

/** dtype and shape out of an `OrtTypeInfo *`. */
function readTensorInfo(typeInfo: number, name: string, role: string, source: string): TensorInfo {
  const { api } = openOnnxRuntime();
  const refuse = (found: string): never => {
    throw new ModelError(
      message(
        `load the model ${JSON.stringify(source)}`,
        `${role} ${JSON.stringify(name)} must be a tensor of f32, f16, i64, i32, u8, i8 or bool, got ${found}`,
        "export the model with such a tensor there",
      ),
      source,
    );
  };
  out.clear();
  check(api.GetOnnxTypeFromTypeInfo(typeInfo, out.cells), "GetOnnxTypeFromTypeInfo");
  const kind = out.i32();
  if (kind !== 1) refuse(`a ${KINDS[kind] ?? `value of type ${kind}`}`);
  check(api.CastTypeInfoToTensorInfo(typeInfo, out.cells), "CastTypeInfoToTensorInfo");
  const info = out.pointer();
  check(api.GetTensorElementType(info, out.cells), "GetTensorElementType");
  const elementType = out.i32();
  const dtype = dtypeOf(elementType) ?? refuse(`a tensor of ${elementTypeName(elementType)}`);
  return { name, dtype, shape: readShape(info) };
}

/** The calls that ask for inputs and those that ask for outputs. */
const CALLS = {
  input: { count: "SessionGetInputCount", name: "SessionGetInputName", type: "SessionGetInputTypeInfo" },
  output: { count: "SessionGetOutputCount", name: "SessionGetOutputName", type: "SessionGetOutputTypeInfo" },
} as const;

function readTensors(session: number, role: "input" | "output", source: string): TensorInfo[] {
  const { api } = openOnnxRuntime();
  const calls = CALLS[role];
  check(api[calls.count](session, out.cells), calls.count);
  const count = out.pointer();
  const owner = allocator();
  return Array.from({ length: count }, (_, index) => {
    check(api[calls.name](session, index, owner, out.cells), calls.name);
    const name = takeString(owner, out.pointer());
    check(api[calls.type](session, index, out.cells), calls.type);
    const info = out.pointer();
    try {
      return readTensorInfo(info, name, role, source);
    } finally {
      api.ReleaseTypeInfo(info);
    }
  });
}

/** The custom metadata map. Every string and the array of keys are freed as they are read. */
function readMetadata(session: number, source: string): Record<string, string> {
  const { api } = openOnnxRuntime();
  const entries: [string, string][] = [];
  check(api.SessionGetModelMetadata(session, out.cells), "SessionGetModelMetadata");
  const handle = out.pointer();
  try {
    const owner = allocator();
    out.clear();
    const call = "ModelMetadataGetCustomMetadataMapKeys";
    check(api[call](handle, owner, out.cells, out.cells.subarray(1)), call);
    const array = out.pointer(0);
    const count = out.pointer(1);
    if (array === 0) return {};
    const keys = Array.from(new BigUint64Array(nativeView(array, count * 8)), Number);
    check(api.AllocatorFree(owner, array), "AllocatorFree");
    const names = keys.map((pointer) => takeString(owner, pointer));
    if (count > MAX_METADATA_ENTRIES) {
      const found = `its metadata may have at most ${MAX_METADATA_ENTRIES} entries, got ${count}`;
      const hint = "remove those nobody reads from its metadata_props";
      throw new ModelError(message(`load the model ${JSON.stringify(source)}`, found, hint), source);
    }
    for (const key of names) {
      const lookup = "ModelMetadataLookupCustomMetadataMap";
      check(api[lookup](handle, owner, cString(key), out.cells), lookup);
      const value = out.pointer();
      if (value !== 0) entries.push([key, takeString(owner, value)]);
    }
  } finally {
    api.ReleaseModelMetadata(handle);
  }
  return Object.fromEntries(entries);
}

/**
 * Read what a model says of itself.
 *
 * @param session `OrtSession *`
 * @param source  path of the model, for messages
 * @throws {ModelError} If an input or output is no tensor, or has an element type the library does not know, or if there
 * are more than 1000 entries of metadata
 * @throws {OnnxRuntimeError} If a call fails
 */
export function describeModel(session: number, source: string): ModelDescription {
  return {
    inputs: readTensors(session, "input", source),
    outputs: readTensors(session, "output", source),
    metadata: readMetadata(session, source),
  };
}

/** ONNXTensorElementDataType, by value. */
const NAMES: readonly string[] = [
  "undefined",
  "f32",
  "u8",
  "i8",
  "u16",
  "i16",
  "i32",
  "i64",
  "string",
  "bool",
  "f16",
  "f64",
  "u32",
  "u64",
  "complex64",
  "complex128",
  "bf16",
  "f8e4m3fn",
  "f8e4m3fnuz",
  "f8e5m2",
  "f8e5m2fnuz",
  "u4",
  "i4",
];

const ELEMENT_TYPES: Readonly<Record<DType, number>> = { f32: 1, u8: 2, i8: 3, i32: 6, i64: 7, bool: 9, f16: 10 };

/** The number ONNX gives a dtype. */
export function elementTypeOf(dtype: DType): number {
  return ELEMENT_TYPES[dtype];
}

/** Name of an element type, for messages; it is a dtype where {@linkcode dtypeOf} knows it. */
export function elementTypeName(elementType: number): string {
  return NAMES[elementType] ?? `element type ${elementType}`;
}

/** The dtype of an element type, or `undefined` if the library has none for it. */
export function dtypeOf(elementType: number): DType | undefined {
  const name = elementTypeName(elementType);
  return name in ELEMENT_TYPES ? (name as DType) : undefined;
}
