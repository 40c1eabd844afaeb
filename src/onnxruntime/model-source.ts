/**
 * @module ModelSource: a file or bytes a session is made from, and what to say when they are no model; then inputs, outputs and metadata, as
 * the session has them.
 */

import { closeSync, openSync, readSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { ModelError, message, type OnnxRuntimeError } from "../core/errors.ts";
import { kindOf } from "../core/paths.ts";
import { DTYPES, type DType, ELEMENT_TYPES, type TensorInfo } from "../core/tensor.ts";
import { cString, nativeView, OutCells, readCString } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { createNode, type OnnxNode, OnnxTensor } from "../onnx/messages.ts";
import { OnnxModel } from "../onnx/model.ts";
import { elementTypes, isOnnxOperator } from "../onnx/operators.ts";
import { call, made } from "./environment.ts";

/** What other kinds of file begin with. */
const LOOKALIKES: readonly (readonly [head: string, kind: string, hint: string])[] = [
  ["version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"],
  ["PK\u0003\u0004", "a ZIP archive, as PyTorch's .pt files are", "export the model to ONNX first"],
  ["<!DOCTYPE", "an HTML page", "download the file itself, not the page about it"],
  ["<html", "an HTML page", "download the file itself, not the page about it"],
  ["ftrt", "a TensorRT plan", "load it on the GPU backend"],
];

/** What to do about a refusal, by what ONNX Runtime says; it has one code for most of them. */
const HINTS: readonly (readonly [pattern: RegExp, hint: string])[] = [
  [/protobuf parsing failed/i, "the file is not an ONNX model, or it is truncated: get it again"],
  [
    /not a registered function\/op|No Op registered/,
    "ONNX Runtime does not know this operator, which is mostly a TensorRT plugin: export the model without it",
  ],
  [/Unsupported model IR version/, "save the model with an older version of the onnx package"],
  [/Opset \d+ is under development/, "export the model with an older opset"],
  [
    /external data|GetFileLength for .* failed|cannot get file size|model_path must not be empty/i,
    "its weights lie in files of their own: load it by its path, with those files where it says",
  ],
  [/External initializer: .* (out of bounds|in full)/, "a file of its weights is truncated: get it again"],
  [/ORT_NOT_IMPLEMENTED/, "export the model with operators and element types ONNX Runtime has on the CPU"],
];

/** What is done with a model, for messages. */
export function loadAction(source: string): string {
  return `load the model ${JSON.stringify(source)}`;
}

/** An error about a model, with the action filled in. */
export function modelError(source: string, found: string, hint?: string, cause?: unknown): ModelError {
  const text = message(loadAction(source), found, hint);
  return new ModelError(text, source, cause === undefined ? undefined : { cause });
}

/** The first bytes of a file, as Latin-1. */
function headOf(path: string): string {
  const bytes = Buffer.alloc(64);
  const file = openSync(path, "r");
  try {
    return bytes.toString("latin1", 0, readSync(file, bytes));
  } finally {
    closeSync(file);
  }
}

/**
 * Look at a file before ONNX Runtime does.
 *
 * @returns its first bytes
 * @throws {ModelError} If it is not there, a folder, a pipe or device, empty or not readable
 */
export function inspectModelFile(path: string): string {
  try {
    const stats = statSync(path);
    if (stats.isDirectory()) throw modelError(path, "it is a folder", "name the .onnx file in it");
    if (!stats.isFile()) throw modelError(path, `it is ${kindOf(stats)}`, "write the model to a file first");
    if (stats.size === 0) throw modelError(path, "it is empty", "get the file again");
    return headOf(path);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (code === "ENOENT") throw modelError(path, "there is no such file", "check the path", error);
    throw modelError(path, `it cannot be read (${code})`, undefined, error);
  }
}

const QUANTISER = "QuantizeLinear";
const PIECE_BYTES = 4 * 2 ** 20;

/** True if a file has a quantiser, which most models have not: it is read in pieces. False too where it cannot be read. */
async function hasQuantiser(path: string): Promise<boolean> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return false;
  try {
    const overlap = QUANTISER.length - 1;
    const piece = Buffer.alloc(overlap + PIECE_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(piece, overlap, PIECE_BYTES);
      if (bytesRead === 0) return false;
      if (piece.subarray(0, overlap + bytesRead).includes(QUANTISER)) return true;
      piece.copyWithin(0, bytesRead, bytesRead + overlap);
    }
  } finally {
    await file.close();
  }
}

/**
 * A model whose quantisers ONNX Runtime would run wrongly, made right: those that read FP16 cut fractions off (1.28), while those of
 * FP32 round to the nearest. They read FP32 instead. It also takes a Relu away that stands before a QuantizeLinear of FP8, as if that
 * had no numbers below zero: a Max with zero stays.
 *
 * @param model a path, or bytes
 * @returns `undefined` for a model that it runs as it is
 */
export async function withRightQuantisers(model: string | Uint8Array): Promise<Uint8Array | undefined> {
  const isPath = typeof model === "string";
  if (
    isPath
      ? !(await hasQuantiser(model))
      : !Buffer.from(model.buffer, model.byteOffset, model.length).includes(QUANTISER)
  )
    return undefined;
  const onnx = OnnxModel.readIf(isPath ? await Bun.file(model).bytes() : model);
  if (onnx === undefined) return undefined;
  const { graph } = onnx;
  const types = elementTypes(graph);
  const taken = new Set(types.keys());
  let count = 0;
  const asFloat = (name: string): readonly [OnnxNode, string] => {
    let free = `${name}_rounded`;
    while (taken.has(free)) free = `${free}_`;
    taken.add(free);
    count++;
    return [createNode("Cast", [name], [free], { to: ELEMENT_TYPES.indexOf("f32") }), free];
  };
  const producers = graph.producers();
  const isQuantiser = (node: OnnxNode): boolean => node.op === QUANTISER && isOnnxOperator(node);
  const isToFp8 = (node: OnnxNode): boolean => types.get(node.inputs[2]!)?.startsWith("f8") === true;
  const toFp8 = graph.nodes.filter((node) => isQuantiser(node) && isToFp8(node));
  const relus = new Set(toFp8.map(({ inputs }) => producers.get(inputs[0]!)).filter((node) => node?.op === "Relu"));
  const zeroLike = (tensor: string): string => {
    const isHalf = types.get(tensor) === "f16";
    const name = isHalf ? "zero_of_max_f16" : "zero_of_max";
    const [dtype, zero] = isHalf ? (["f16", new Float16Array(1)] as const) : (["f32", new Float32Array(1)] as const);
    graph.initializers.set(name, OnnxTensor.of(name, dtype, [], zero));
    return name;
  };
  graph.nodes = graph.nodes.flatMap((node) => {
    const { inputs } = node;
    if (relus.has(node)) {
      count++;
      return [createNode("Max", [inputs[0]!, zeroLike(inputs[0]!)], node.outputs)];
    }
    const isHalf = types.get(inputs[0]!) === "f16" && types.get(inputs[1]!) === "f16";
    if (!isQuantiser(node) || !isHalf) return [node];
    const [tensor, read] = asFloat(inputs[0]!);
    const [scale, scaled] = asFloat(inputs[1]!);
    inputs.splice(0, 2, read, scaled);
    return [tensor, scale, node];
  });
  return count === 0 ? undefined : onnx.write();
}

/**
 * Say why ONNX Runtime refused a model.
 *
 * @param head  first bytes of the model, as Latin-1
 * @param cause ONNX Runtime's error about {@linkcode loadAction}
 */
export function refusedModel(source: string, head: string, cause: OnnxRuntimeError): ModelError {
  const lookalike = LOOKALIKES.find(([start]) => head.startsWith(start));
  if (lookalike !== undefined) return modelError(source, `it is ${lookalike[1]}`, lookalike[2], cause);
  const [found = ""] = cause.message.slice(message(loadAction(source), "").length).split("\n");
  const hint = HINTS.find(([pattern]) => pattern.test(cause.message))?.[1];
  return modelError(source, found, hint, cause);
}

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
