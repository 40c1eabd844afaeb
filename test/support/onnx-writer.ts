/** @module ONNX writer: model files made by the tests themselves, so that no test needs a file from elsewhere. */

import type { DType, TypedArray } from "../../src/core/tensor.ts";

/** Element types a written model may declare: every dtype of the library, and some it refuses. */
export type OnnxType = DType | "f64" | "string";

/** TensorProto.DataType of the ONNX format. */
const ONNX_TYPES: Readonly<Record<OnnxType, number>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  u16: 4,
  i32: 6,
  i64: 7,
  string: 8,
  bool: 9,
  f16: 10,
  f64: 11,
};

/** An input or output; a dimension that is a string is symbolic, and without `shape` even the rank is open. */
export interface ValueSpec {
  readonly name: string;
  readonly dtype: OnnxType;
  readonly shape?: readonly (number | string)[];
  /** Declare a sequence of such tensors instead of one. */
  readonly sequence?: boolean;
}

/** Weights, in the model or in a file beside it. */
export interface InitializerSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** The elements; or where they lie in bytes, relative to the model's folder. */
  readonly data: TypedArray | { readonly location: string; readonly offset: number; readonly length: number };
}

/** An attribute of a node: an integer is written as INT, so a FLOAT needs `{ float }`. */
export type AttributeSpec = number | string | readonly number[] | { readonly float: number } | GraphSpec;

export interface NodeSpec {
  readonly op: string;
  /** The empty string leaves an optional input out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  /** Default: the operators of ONNX itself. */
  readonly domain?: string;
}

export interface GraphSpec {
  readonly nodes: readonly NodeSpec[];
  readonly inputs: readonly ValueSpec[];
  readonly outputs: readonly ValueSpec[];
  readonly initializers?: readonly InitializerSpec[];
}

export interface ModelSpec extends GraphSpec {
  /** Custom metadata, as Ultralytics writes it. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Default 17. */
  readonly opset?: number;
}

const encoder = new TextEncoder();

/** Base-128 with the low groups first; a negative number takes the ten bytes of its 64-bit form. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 128);
  } while (rest !== 0n);
  return bytes;
}

/** Field of wire type 0. */
function int(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field * 8), ...varint(value)]);
}

/** Field of wire type 5. */
function float(field: number, value: number): Uint8Array {
  return Buffer.concat([Uint8Array.from(varint(field * 8 + 5)), new Uint8Array(Float32Array.of(value).buffer)]);
}

/** Field of wire type 2: a message, bytes or text. */
function block(field: number, content: string | Uint8Array | readonly Uint8Array[]): Uint8Array {
  const bytes =
    typeof content === "string"
      ? encoder.encode(content)
      : content instanceof Uint8Array
        ? content
        : Buffer.concat(content as Uint8Array[]);
  return Buffer.concat([Uint8Array.from([...varint(field * 8 + 2), ...varint(bytes.length)]), bytes]);
}

/** StringStringEntryProto. */
function entry(field: number, key: string, value: string): Uint8Array {
  return block(field, [block(1, key), block(2, value)]);
}

/** ValueInfoProto. */
function valueInfo(field: number, spec: ValueSpec): Uint8Array {
  const dims = (spec.shape ?? []).map((dim) => block(1, [typeof dim === "string" ? block(2, dim) : int(1, dim)]));
  const tensor = [int(1, ONNX_TYPES[spec.dtype]), ...(spec.shape === undefined ? [] : [block(2, dims)])];
  const type = spec.sequence === true ? block(4, [block(1, [block(1, tensor)])]) : block(1, tensor);
  return block(field, [block(1, spec.name), block(2, [type])]);
}

/** TensorProto. */
function tensor(field: number, spec: InitializerSpec): Uint8Array {
  const { data } = spec;
  const parts = [...spec.shape.map((dim) => int(1, dim)), int(2, ONNX_TYPES[spec.dtype]), block(8, spec.name)];
  if (ArrayBuffer.isView(data)) {
    parts.push(block(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)));
  } else {
    for (const [key, value] of Object.entries(data)) parts.push(entry(13, key, String(value)));
    parts.push(int(14, 1));
  }
  return block(field, parts);
}

/** AttributeProto. */
function attribute(name: string, spec: AttributeSpec): Uint8Array {
  const value = (): Uint8Array[] => {
    if (typeof spec === "number") return [int(3, spec), int(20, 2)];
    if (typeof spec === "string") return [block(4, spec), int(20, 3)];
    if ("float" in spec) return [float(2, spec.float), int(20, 1)];
    if ("nodes" in spec) return [block(6, graph(spec, name)), int(20, 5)];
    return [...spec.map((item) => int(8, item)), int(20, 7)];
  };
  return block(5, [block(1, name), ...value()]);
}

/** NodeProto. */
function node(spec: NodeSpec, index: number): Uint8Array {
  return block(1, [
    ...spec.inputs.map((name) => block(1, name)),
    ...spec.outputs.map((name) => block(2, name)),
    block(3, `${spec.op}_${index}`),
    block(4, spec.op),
    ...Object.entries(spec.attributes ?? {}).map(([name, value]) => attribute(name, value)),
    ...(spec.domain === undefined ? [] : [block(7, spec.domain)]),
  ]);
}

/** GraphProto. */
function graph(spec: GraphSpec, name: string): Uint8Array {
  return Buffer.concat([
    ...spec.nodes.map(node),
    block(2, name),
    ...(spec.initializers ?? []).map((item) => tensor(5, item)),
    ...spec.inputs.map((item) => valueInfo(11, item)),
    ...spec.outputs.map((item) => valueInfo(12, item)),
  ]);
}

/**
 * The bytes of an `.onnx` file.
 *
 * @see github.com/onnx/onnx, onnx/onnx.proto: the field numbers are those of its messages
 */
export function onnxModel(spec: ModelSpec): Uint8Array<ArrayBuffer> {
  const domains = new Set(["", ...spec.nodes.map((item) => item.domain ?? "")]);
  const bytes = Buffer.concat([
    int(1, 8),
    block(2, "bun-tensorrt tests"),
    block(7, graph(spec, "main")),
    ...[...domains].map((domain) => block(8, [block(1, domain), int(2, domain === "" ? (spec.opset ?? 17) : 1)])),
    ...Object.entries(spec.metadata ?? {}).map(([key, value]) => entry(14, key, value)),
  ]);
  const own = new Uint8Array(new ArrayBuffer(bytes.length));
  own.set(bytes);
  return own;
}
