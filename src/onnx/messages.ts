/** @module ONNX messages: nodes with their attributes, tensors and declared values, each with the fields that are not known here. */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ARRAYS, DTYPES, type DType, ELEMENT_TYPES, type TensorInfo, type TypedArray } from "../core/tensor.ts";
import { contentOf, contentsOf, fieldsIn, numberOf, numbersOf, textOf, writeContent, writeInt } from "./wire.ts";

/** Fields of NodeProto. @see github.com/onnx/onnx, onnx/onnx.proto */
const NODE = { input: 1, output: 2, name: 3, op: 4, attribute: 5, domain: 7 } as const;
const ATTRIBUTE = { name: 1, f: 2, i: 3, s: 4, t: 5, g: 6, floats: 7, ints: 8, graphs: 11, type: 20 } as const;
/** AttributeProto.AttributeType. */
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, tensor: 4, ints: 7 } as const;
const TENSOR = {
  dims: 1,
  type: 2,
  floats: 4,
  int32s: 5,
  int64s: 7,
  name: 8,
  raw: 9,
  doubles: 10,
  external: 13,
  location: 14,
} as const;
const VALUE = { name: 1, type: 2 } as const;
/** Of TypeProto, TypeProto.Tensor, TensorShapeProto and its Dimension. */
const TYPE = { tensor: 1, elementType: 1, shape: 2, dim: 1, side: 1, parameter: 2 } as const;
const ENTRY = { key: 1, value: 2 } as const;

/** A key and a value of StringStringEntryProto. */
export function readEntry(content: Uint8Array): [key: string, value: string] {
  return [textOf(contentOf(content, ENTRY.key)), textOf(contentOf(content, ENTRY.value))];
}

/** Write one. */
export function writeEntry(writer: BinaryWriter, number: number, key: string, value: string): void {
  const entry = new BinaryWriter();
  writeContent(entry, ENTRY.key, key);
  writeContent(entry, ENTRY.value, value);
  writeContent(writer, number, entry.finish());
}

/** An operator with its inputs, outputs and attributes. */
export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  /** Empty for the operators of ONNX itself. */
  readonly domain: string;
  /** The empty string stands for an optional input that is left out. */
  readonly inputs: string[];
  readonly outputs: string[];
  /** Attributes by name, each as its message stands. */
  readonly attributes: Map<string, Uint8Array>;
  /** Further fields as they stand. */
  readonly rest: readonly Uint8Array[];
}

/** What to call a node: many have no name. */
export function nodeName({ name, outputs }: OnnxNode): string {
  return name || outputs[0]!;
}

/** What an attribute of a new node may be: an integer, integers, text, or `{ float }`. */
type AttributeValue = number | readonly number[] | string | { readonly float: number } | OnnxTensor;

/** A new node of ONNX's own operators. */
export function createNode(
  op: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): OnnxNode {
  const written = Object.entries(attributes).map(([name, value]) => [name, writeAttribute(name, value)] as const);
  return {
    name: `${op}:${outputs[0]}`,
    op,
    domain: "",
    inputs: [...inputs],
    outputs: [...outputs],
    attributes: new Map(written),
    rest: [],
  };
}

/** Set an attribute of a node, in the place of the one that it has. */
export function setAttribute(node: OnnxNode, name: string, value: AttributeValue): void {
  node.attributes.set(name, writeAttribute(name, value));
}

function writeAttribute(name: string, value: AttributeValue): Uint8Array {
  const writer = new BinaryWriter();
  writeContent(writer, ATTRIBUTE.name, name);
  let type: keyof typeof ATTRIBUTE_TYPE;
  if (typeof value === "number") {
    type = "int";
    writeInt(writer, ATTRIBUTE.i, value);
  } else if (typeof value === "string") {
    type = "string";
    writeContent(writer, ATTRIBUTE.s, value);
  } else if (value instanceof OnnxTensor) {
    type = "tensor";
    writeContent(writer, ATTRIBUTE.t, value.message);
  } else if ("float" in value) {
    type = "float";
    writer.tag(ATTRIBUTE.f, WireType.Bit32).float(value.float);
  } else {
    type = "ints";
    for (const one of value) writeInt(writer, ATTRIBUTE.ints, one);
  }
  writeInt(writer, ATTRIBUTE.type, ATTRIBUTE_TYPE[type]);
  return writer.finish();
}

/** A node out of its message. */
export function readNode(message: Uint8Array): OnnxNode {
  let [name, op, domain] = ["", "", ""];
  const [inputs, outputs]: [string[], string[]] = [[], []];
  const attributes = new Map<string, Uint8Array>();
  const rest: Uint8Array[] = [];
  for (const { number, value, raw } of fieldsIn(message)) {
    if (typeof value === "number") rest.push(raw);
    else if (number === NODE.input) inputs.push(textOf(value));
    else if (number === NODE.output) outputs.push(textOf(value));
    else if (number === NODE.name) name = textOf(value);
    else if (number === NODE.op) op = textOf(value);
    else if (number === NODE.domain) domain = textOf(value);
    else if (number === NODE.attribute) attributes.set(textOf(contentOf(value, ATTRIBUTE.name)), value);
    else rest.push(raw);
  }
  return { name, op, domain, inputs, outputs, attributes, rest };
}

/** The message of a node. */
export function writeNode(node: OnnxNode): Uint8Array {
  const writer = new BinaryWriter();
  for (const input of node.inputs) writeContent(writer, NODE.input, input);
  for (const output of node.outputs) writeContent(writer, NODE.output, output);
  writeContent(writer, NODE.name, node.name);
  writeContent(writer, NODE.op, node.op);
  for (const attribute of node.attributes.values()) writeContent(writer, NODE.attribute, attribute);
  if (node.domain !== "") writeContent(writer, NODE.domain, node.domain);
  for (const raw of node.rest) writer.raw(raw);
  return writer.finish();
}

/** An attribute that is a whole number. */
export function intOf({ attributes }: OnnxNode, name: string): number | undefined {
  const message = attributes.get(name);
  return message && (numberOf(message, ATTRIBUTE.i) ?? 0);
}

/** One that is a list of whole numbers. */
export function intsOf({ attributes }: OnnxNode, name: string): number[] | undefined {
  const message = attributes.get(name);
  return message && numbersOf(message, ATTRIBUTE.ints, "int");
}

/** One that is a number, or numbers. */
export function floatsOf({ attributes }: OnnxNode, name: string): number[] | undefined {
  const message = attributes.get(name);
  if (message === undefined) return undefined;
  const one = numberOf(message, ATTRIBUTE.f);
  return one === undefined ? numbersOf(message, ATTRIBUTE.floats, "float") : [one];
}

/** One that is a tensor. */
export function tensorOf({ attributes }: OnnxNode, name: string): OnnxTensor | undefined {
  const message = attributes.get(name);
  return message && new OnnxTensor(contentOf(message, ATTRIBUTE.t));
}

/** The graphs among a node's attributes: branches and loops. Their nodes may read any tensor of the graph around them. */
export function* graphsOf({ attributes }: OnnxNode): Generator<Uint8Array> {
  for (const message of attributes.values()) {
    yield* contentsOf(message, ATTRIBUTE.g);
    yield* contentsOf(message, ATTRIBUTE.graphs);
  }
}

/** Numbers of the files of their own, or of elements that are not numbers. */
type Elements = "raw" | "floats" | "int32s" | "int64s" | "doubles";

/** Where the elements of each type lie that are not in `raw_data`. */
const TYPED: Readonly<Record<string, Exclude<Elements, "raw">>> = {
  f32: "floats",
  f64: "doubles",
  i64: "int64s",
  i32: "int32s",
  i8: "int32s",
  u8: "int32s",
  bool: "int32s",
  f16: "int32s",
};

/** Weights or a constant. Its elements stay where they lie, in the model or in a file of their own. */
export class OnnxTensor {
  readonly name: string;
  /** `f32`: one of {@linkcode ELEMENT_TYPES}. */
  readonly elementType: string;
  readonly shape: readonly number[];
  /** As it stands. */
  readonly message: Uint8Array;

  constructor(message: Uint8Array) {
    this.message = message;
    this.name = textOf(contentOf(message, TENSOR.name));
    this.elementType = ELEMENT_TYPES[numberOf(message, TENSOR.type) ?? 0] ?? "undefined";
    this.shape = numbersOf(message, TENSOR.dims, "int");
  }

  /** A new one. Bytes are the elements of FP8. */
  static of(name: string, elementType: DType | "f8e4m3fn", shape: readonly number[], data: TypedArray): OnnxTensor {
    const writer = new BinaryWriter();
    for (const dim of shape) writeInt(writer, TENSOR.dims, dim);
    writeInt(writer, TENSOR.type, ELEMENT_TYPES.indexOf(elementType));
    writeContent(writer, TENSOR.name, name);
    writeContent(writer, TENSOR.raw, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return new OnnxTensor(writer.finish());
  }

  /** One whose elements lie in another file. */
  static elsewhere(
    name: string,
    elementType: string,
    shape: readonly number[],
    where: { readonly location: string; readonly offset: number; readonly length: number },
  ): OnnxTensor {
    const writer = new BinaryWriter();
    for (const dim of shape) writeInt(writer, TENSOR.dims, dim);
    writeInt(writer, TENSOR.type, ELEMENT_TYPES.indexOf(elementType));
    writeContent(writer, TENSOR.name, name);
    for (const [key, value] of Object.entries(where)) writeEntry(writer, TENSOR.external, key, String(value));
    writeInt(writer, TENSOR.location, 1);
    return new OnnxTensor(writer.finish());
  }

  /** Keys and values that say where elements outside the model lie; empty where they are inside. */
  get external(): Readonly<Record<string, string>> {
    return Object.fromEntries([...contentsOf(this.message, TENSOR.external)].map(readEntry));
  }

  /** True where the elements lie in a file of their own. */
  get isExternal(): boolean {
    return numberOf(this.message, TENSOR.location) === 1;
  }

  /** Elements of FP32; `undefined` where they lie outside the model, or are of another type. */
  floats(): Float32Array<ArrayBuffer> | undefined {
    if (this.elementType !== "f32" || this.isExternal) return undefined;
    const raw = contentOf(this.message, TENSOR.raw);
    if (raw.byteLength === 0) return Float32Array.from(numbersOf(this.message, TENSOR.floats, "float"));
    // They need not be aligned where they lie.
    return new Float32Array(new Uint8Array(raw).buffer, 0, raw.byteLength >> 2);
  }

  /** The elements as numbers; `undefined` where they lie outside the model, or are none. */
  values(): number[] | undefined {
    if (this.isExternal) return undefined;
    const raw = contentOf(this.message, TENSOR.raw);
    if (raw.byteLength > 0) return numbersIn(raw, this.elementType);
    const list = TYPED[this.elementType];
    if (list === undefined) return undefined;
    const type = list === "floats" ? "float" : list === "doubles" ? "double" : "int";
    const found = numbersOf(this.message, TENSOR[list], type);
    if (this.elementType !== "f16") return found;
    return Array.from(new Float16Array(Uint16Array.from(found).buffer));
  }
}

function numbersIn(raw: Uint8Array, elementType: string): number[] | undefined {
  // Elements need not be aligned where they lie.
  const { buffer } = new Uint8Array(raw);
  if (elementType === "f64") return Array.from(new Float64Array(buffer));
  const dtype = DTYPES.find((one) => one === elementType);
  if (dtype === undefined) return undefined;
  const Elements = ARRAYS[dtype];
  const array = new Elements(buffer, 0, raw.byteLength / Elements.BYTES_PER_ELEMENT);
  return Array.from(array as Iterable<number | bigint>, Number);
}

/** A side of a declared value: a number, the name of one that is open, or `undefined` where it has none. */
export type Side = number | string | undefined;

/** A declared input, output or value between them. */
export class OnnxValue {
  readonly name: string;
  /** `f32`: one of {@linkcode ELEMENT_TYPES}; `undefined` for what is no tensor. */
  readonly elementType: string | undefined;
  /** `undefined` where even the number of sides is open. */
  readonly shape: readonly Side[] | undefined;
  /** As it stands. */
  readonly message: Uint8Array;

  constructor(message: Uint8Array) {
    this.message = message;
    this.name = textOf(contentOf(message, VALUE.name));
    const [tensor] = contentsOf(contentOf(message, VALUE.type), TYPE.tensor);
    const [shape] = tensor === undefined ? [] : contentsOf(tensor, TYPE.shape);
    this.elementType = tensor && ELEMENT_TYPES[numberOf(tensor, TYPE.elementType) ?? 0];
    this.shape = shape && [...contentsOf(shape, TYPE.dim)].map(readSide);
  }

  /** A new one that says nothing of its type: libraries infer it. */
  static named(name: string): OnnxValue {
    const writer = new BinaryWriter();
    writeContent(writer, VALUE.name, name);
    return new OnnxValue(writer.finish());
  }

  /** A new one. */
  static of(name: string, elementType: string, shape: readonly Side[]): OnnxValue {
    const sides = new BinaryWriter();
    for (const side of shape) {
      const dim = new BinaryWriter();
      if (typeof side === "number") writeInt(dim, TYPE.side, side);
      else if (side !== undefined) writeContent(dim, TYPE.parameter, side);
      writeContent(sides, TYPE.dim, dim.finish());
    }
    const tensor = new BinaryWriter();
    writeInt(tensor, TYPE.elementType, ELEMENT_TYPES.indexOf(elementType));
    writeContent(tensor, TYPE.shape, sides.finish());
    const type = new BinaryWriter();
    writeContent(type, TYPE.tensor, tensor.finish());
    const writer = new BinaryWriter();
    writeContent(writer, VALUE.name, name);
    writeContent(writer, VALUE.type, type.finish());
    return new OnnxValue(writer.finish());
  }

  /** The same of another name or element type; what else is said of it stays. */
  as(name: string, elementType: string): OnnxValue {
    const writer = new BinaryWriter();
    for (const { number, value, raw } of fieldsIn(this.message)) {
      if (number === VALUE.name) writeContent(writer, VALUE.name, name);
      else if (number !== VALUE.type || typeof value === "number") writer.raw(raw);
      else writeContent(writer, VALUE.type, retyped(value, elementType));
    }
    return new OnnxValue(writer.finish());
  }

  /** As a library declares it: -1 for open sides, none where their number is open; `undefined` for element types that it refuses. */
  get info(): TensorInfo | undefined {
    const dtype = DTYPES.find((one) => one === this.elementType);
    const shape = (this.shape ?? []).map((side) => (typeof side === "number" ? Math.max(side, -1) : -1));
    return dtype && { name: this.name, dtype, shape };
  }
}

/** A TypeProto whose tensor has another element type. */
function retyped(type: Uint8Array, elementType: string): Uint8Array {
  const writer = new BinaryWriter();
  for (const { number, value, raw } of fieldsIn(type)) {
    if (number !== TYPE.tensor || typeof value === "number") {
      writer.raw(raw);
      continue;
    }
    const tensor = new BinaryWriter();
    writeInt(tensor, TYPE.elementType, ELEMENT_TYPES.indexOf(elementType));
    for (const field of fieldsIn(value)) if (field.number !== TYPE.elementType) tensor.raw(field.raw);
    writeContent(writer, TYPE.tensor, tensor.finish());
  }
  return writer.finish();
}

function readSide(dim: Uint8Array): Side {
  const [parameter] = contentsOf(dim, TYPE.parameter);
  return numberOf(dim, TYPE.side) ?? (parameter && textOf(parameter));
}
