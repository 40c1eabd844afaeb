/** @module ProtocolTensor: tensors as the Open Inference Protocol writes them, in JSON and in bytes. */

import type { ResultTensor } from "../tasks/task-result.ts";
import { refusal } from "./failure.ts";

/** Most sides of a tensor, and lists within lists of its data in JSON. */
export const MOST_SIDES = 8;

/** The error of a request that is not what the protocol or this model says. */
export function badInference(found: string, hint: string): Error {
  return refusal(400, "bad-inference-request", found, hint);
}

/**
 * Bytes of a tensor for the binary extension: little-endian, row-major; a text is its length in four bytes and UTF-8.
 *
 * @see https://github.com/kserve/open-inference-protocol (binary tensor data extension)
 */
export function tensorBytes({ datatype, values }: ResultTensor): Uint8Array {
  switch (datatype) {
    case "FP32":
      return new Uint8Array(Float32Array.from(values as readonly number[]).buffer);
    case "INT64":
      return new Uint8Array(BigInt64Array.from(values as readonly number[], BigInt).buffer);
    case "UINT8":
      return Uint8Array.from(values as readonly number[]);
    case "BYTES":
      return Buffer.concat(
        (values as readonly string[]).flatMap((text) => {
          const bytes = Buffer.from(text);
          const length = Buffer.alloc(4);
          length.writeUInt32LE(bytes.length);
          return [length, bytes];
        }),
      );
  }
}

/**
 * The one element of a BYTES tensor in the binary extension. Copies nothing.
 *
 * @throws {RequestError} 400 if it is not exactly one
 */
export function onlyElement(name: string, bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length >= 4 && view.getUint32(0, true) === bytes.length - 4) return bytes.subarray(4);
  const found = `input ${JSON.stringify(name)} must be one element, four bytes of length and then as many: ${bytes.length} bytes`;
  throw badInference(found, "send one image a request");
}

/**
 * Numbers of a JSON tensor, flat or nested, as u8.
 *
 * @throws {RequestError} 400 if one is no whole number from 0 to 255, or their count is another
 */
export function jsonUint8(name: string, data: readonly unknown[], length: number): Uint8Array {
  const values = data.flat(MOST_SIDES);
  if (values.length !== length) {
    const found = `input ${JSON.stringify(name)} must have ${length} elements by its shape, got ${values.length}`;
    throw badInference(found, "check shape and data");
  }
  const pixels = new Uint8Array(length);
  for (let at = 0; at < length; at++) {
    const value = values[at];
    if (!(Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255)) {
      const shown = typeof value === "object" ? "a list or an object" : JSON.stringify(value).slice(0, 40);
      const found = `input ${JSON.stringify(name)} must hold whole numbers from 0 to 255: found ${shown}`;
      throw badInference(found, "send pixels as UINT8");
    }
    pixels[at] = value as number;
  }
  return pixels;
}
