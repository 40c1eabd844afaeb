/** @module OnnxMetadata: what a plan would otherwise lose of an ONNX file, and which other files belong to it. */

/** Fields of ModelProto, TensorProto and StringStringEntryProto. @see github.com/onnx/onnx, onnx/onnx.proto */
const METADATA_PROPS = 14;
const EXTERNAL_DATA = 13;
const KEY = 1;
const VALUE = 2;

/** A message that tensors lie in: which of its fields hold them, or more such messages. */
interface Holder {
  readonly tensors: readonly number[];
  readonly holders: Readonly<Record<number, keyof typeof HOLDERS>>;
}

/** Weights lie in a graph's initialisers, in attributes of its nodes, and in the graphs that are attributes. */
const HOLDERS = {
  model: { tensors: [], holders: { 7: "graph", 25: "function" } },
  graph: { tensors: [5], holders: { 1: "node", 15: "sparse" } },
  function: { tensors: [], holders: { 7: "node" } },
  node: { tensors: [], holders: { 5: "attribute" } },
  attribute: { tensors: [5, 10], holders: { 6: "graph", 11: "graph", 22: "sparse", 23: "sparse" } },
  sparse: { tensors: [1, 2], holders: {} },
} as const;

/** One field of a protobuf message. */
interface Field {
  readonly number: number;
  /** Content of a length-delimited field; empty for the others. */
  readonly content: Uint8Array;
}

/** Reads what is needed of protobuf's wire format: field numbers, lengths, and what to skip. */
class FieldReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next field, or `undefined` at the end or where the bytes are no protobuf. */
  next(): Field | undefined {
    if (this.#at >= this.#bytes.length) return undefined;
    const tag = this.#varint();
    const number = Math.floor(tag / 8);
    let length = 0;
    if (tag % 8 === 0) this.#varint();
    else if (tag % 8 === 1) this.#at += 8;
    else if (tag % 8 === 2) length = this.#varint();
    else if (tag % 8 === 5) this.#at += 4;
    else return undefined;
    const start = this.#at;
    this.#at += length;
    return this.#at > this.#bytes.length ? undefined : { number, content: this.#bytes.subarray(start, this.#at) };
  }

  #varint(): number {
    let value = 0;
    for (let scale = 1; this.#at < this.#bytes.length; scale *= 128) {
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) break;
    }
    return value;
  }
}

const decoder = new TextDecoder();

/** Fields of one number in a message. */
function* fieldsOf(message: Uint8Array, number: number): Generator<Uint8Array> {
  const reader = new FieldReader(message);
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field.number === number) yield field.content;
  }
}

function entryOf(content: Uint8Array): [key: string, value: string] {
  const text = (number: number): string => decoder.decode([...fieldsOf(content, number)].at(-1));
  return [text(KEY), text(VALUE)];
}

/**
 * Read the metadata of a model. Skips over the graph without looking at it.
 *
 * @param model bytes of an `.onnx` file
 * @returns keys and values; empty where the bytes are no ONNX model
 */
export function readOnnxMetadata(model: Uint8Array): Record<string, string> {
  return Object.fromEntries([...fieldsOf(model, METADATA_PROPS)].map(entryOf));
}

/** Every tensor in a message, however deep. */
function* tensorsIn(message: Uint8Array, kind: keyof typeof HOLDERS): Generator<Uint8Array> {
  const { tensors, holders }: Holder = HOLDERS[kind];
  const reader = new FieldReader(message);
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    const holder = holders[field.number];
    if (holder !== undefined) yield* tensorsIn(field.content, holder);
    if (tensors.includes(field.number)) yield field.content;
  }
}

/**
 * Files beside the model that hold weights of it.
 *
 * @returns their paths relative to the model's folder, each once; empty for a model of one file
 */
export function externalDataFiles(model: Uint8Array): string[] {
  const files = new Set<string>();
  for (const tensor of tensorsIn(model, "model")) {
    for (const entry of fieldsOf(tensor, EXTERNAL_DATA)) {
      const [key, value] = entryOf(entry);
      if (key === "location") files.add(value);
    }
  }
  return [...files];
}
