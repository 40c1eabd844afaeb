/** @module Wire: fields of protobuf messages, read where they lie and written again as they stood. */

import { BinaryReader, type BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ModelError, message } from "../core/errors.ts";

/** A field of a message. */
export interface Field {
  readonly number: number;
  /** A message, text, bytes or packed numbers; or one number. */
  readonly value: Uint8Array | number;
  /** Tag and value as they stand. */
  readonly raw: Uint8Array;
}

const decoder = new TextDecoder();

/** What stands for a message that is not there. */
const NOTHING: Uint8Array = new Uint8Array();

function readValue(reader: BinaryReader, type: WireType): Uint8Array | number {
  switch (type) {
    case WireType.LengthDelimited:
      return reader.bytes();
    case WireType.Varint:
      return Number(reader.int64());
    case WireType.Bit32:
      return reader.float();
    case WireType.Bit64:
      return reader.double();
    default:
      // ONNX has no groups, and they nest.
      throw new ModelError(message("read an ONNX model", `it has a field of the wire type ${type}`), "the model");
  }
}

/** The fields of a message, in order. @throws {Error} Where the bytes are no protobuf any more */
export function* readFields(message: Uint8Array): Generator<Field> {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [number, type] = reader.tag();
    const value = readValue(reader, type);
    yield { number, value, raw: message.subarray(start, reader.pos) };
  }
}

/** The fields of a message up to its end, or to where the bytes are no protobuf. */
export function* fieldsIn(message: Uint8Array): Generator<Field> {
  const fields = readFields(message);
  for (;;) {
    let next: IteratorResult<Field>;
    try {
      next = fields.next();
    } catch (error) {
      if (error instanceof Error) return;
      throw error;
    }
    if (next.done === true) return;
    yield next.value;
  }
}

/** The messages, texts and bytes of one number. */
export function* contentsOf(message: Uint8Array, wanted: number): Generator<Uint8Array> {
  for (const { number, value } of fieldsIn(message)) {
    if (number === wanted && typeof value !== "number") yield value;
  }
}

/** The last message, text or bytes of one number; empty where there is none. */
export function contentOf(message: Uint8Array, wanted: number): Uint8Array {
  let found = NOTHING;
  for (const content of contentsOf(message, wanted)) found = content;
  return found;
}

/** The last number of a field. */
export function numberOf(message: Uint8Array, wanted: number): number | undefined {
  let found: number | undefined;
  for (const { number, value } of fieldsIn(message)) if (number === wanted && typeof value === "number") found = value;
  return found;
}

/** A field's content as text. */
export function textOf(content: Uint8Array): string {
  return decoder.decode(content);
}

/** The numbers of a repeated field, packed or not. */
export function numbersOf(message: Uint8Array, wanted: number, type: "int" | "float" | "double"): number[] {
  const found: number[] = [];
  for (const { number, value } of fieldsIn(message)) {
    if (number !== wanted) continue;
    if (typeof value === "number") {
      found.push(value);
      continue;
    }
    const reader = new BinaryReader(value);
    while (reader.pos < reader.len) {
      found.push(type === "int" ? Number(reader.int64()) : type === "float" ? reader.float() : reader.double());
    }
  }
  return found;
}

/** Write a message, text or bytes. */
export function writeContent(writer: BinaryWriter, number: number, content: Uint8Array | string): void {
  writer.tag(number, WireType.LengthDelimited);
  if (typeof content === "string") writer.string(content);
  else writer.bytes(content);
}

/** Write a whole number. */
export function writeInt(writer: BinaryWriter, number: number, value: number): void {
  writer.tag(number, WireType.Varint).int64(value);
}
