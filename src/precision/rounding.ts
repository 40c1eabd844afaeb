/** @module Rounding: numbers as INT8 and FP8 (E4M3), to the bit as QuantizeLinear of ONNX rounds them. */

import { FP16_MAX } from "../onnx/float16-choice.ts";
import type { QuantisedType } from "./placement.ts";

/** Largest number of INT8 that has an opposite. */
export const INT8_MOST = 127;
/** Largest number of E4M3. */
export const FP8_MOST = 448;

/** Added to a number and taken off again, in f64, leaves the nearest whole number, halves to the even one. */
const WHOLE = 1.5 * 2 ** 52;

/**
 * Smallest normal number of FP16. TensorRT does not take smaller scales as they are: their reciprocals overflow FP16, and one channel
 * of next to no weights made all of yolo11n-seg's boxes wrong.
 */
const HALF_NORMAL = 2 ** -14;

/** Smallest normal number of E4M3, and how many of its steps 1 has below. */
const FP8_NORMAL = 2 ** -6;
const FP8_STEPS = 2 ** 9;
/** The code of 448. */
const FP8_LARGEST = 0x7e;

const word = new Float32Array(new ArrayBuffer(4));
const bits = new Uint32Array(word.buffer);

/**
 * The scale of a tensor.
 *
 * @param largest  magnitude that it is to hold; of zeros any scale will do
 * @param most     what that is quantised to
 * @param isHalf   a normal number of FP16, rounded up so that nothing is cut off
 */
export function scaleOf(largest: number, most: number, isHalf: boolean): number {
  const scale = Math.fround(largest / most);
  if (!isHalf) return scale > 0 ? scale : 1;
  if (largest === 0) return 1;
  if (scale < HALF_NORMAL) return HALF_NORMAL;
  const half = Math.f16round(scale);
  if (half >= scale) return Math.min(half, FP16_MAX);
  const next = new Uint16Array(Float16Array.of(half).buffer)[0]! + 1;
  return new Float16Array(Uint16Array.of(next).buffer)[0]!;
}

/** The code of a number in E4M3: the nearest, halves to the even one; what is larger than 448 becomes it. */
export function fp8Code(value: number): number {
  word[0] = value;
  const sign = (bits[0]! >>> 24) & 0x80;
  const magnitude = Math.abs(value);
  if (!(magnitude < FP8_MOST)) return sign | (Number.isNaN(value) ? 0x7f : FP8_LARGEST);
  if (magnitude < FP8_NORMAL) return sign | (magnitude * FP8_STEPS + WHOLE - WHOLE);
  const magnified = bits[0]! & 0x7fffffff;
  const rounded = (magnified + 0x7ffff + ((magnified >>> 20) & 1)) >>> 20;
  return sign | Math.min(rounded - (120 << 3), FP8_LARGEST);
}

/** The number of a code of E4M3. */
export function fp8Value(code: number): number {
  const exponent = (code >>> 3) & 15;
  const mantissa = code & 7;
  const magnitude = exponent === 0 ? mantissa / FP8_STEPS : (1 + mantissa / 8) * 2 ** (exponent - 7);
  if ((code & 0x7f) === 0x7f) return Number.NaN;
  return code & 0x80 ? -magnitude : magnitude;
}

/** How elements lie: so many slices along the axis, each of so many in a row, all of it so many times. */
function layoutOf(shape: readonly number[], axis: number | undefined, length: number): readonly [number, number] {
  if (axis === undefined) return [1, length];
  const channels = shape[axis]!;
  const inner = shape.slice(axis + 1).reduce((product, side) => product * side, 1);
  return [channels, inner];
}

/** Largest magnitude of each slice along an axis, or of all elements; NaN where one is. */
export function largestOf(elements: Float32Array, shape: readonly number[], axis: number | undefined): Float32Array {
  const [channels, inner] = layoutOf(shape, axis, elements.length);
  const found = new Float32Array(channels);
  for (let at = 0, channel = 0; at < elements.length; channel = channel + 1 === channels ? 0 : channel + 1) {
    let largest = found[channel]!;
    for (const end = at + inner; at < end; at++) largest = Math.max(largest, Math.abs(elements[at]!));
    found[channel] = largest;
  }
  return found;
}

/** Elements as codes: x over its slice's scale, in f32, rounded and cut off. */
export function quantiseAlong(
  elements: Float32Array,
  shape: readonly number[],
  axis: number | undefined,
  scales: Float32Array,
  type: QuantisedType,
): Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer> {
  const [channels, inner] = layoutOf(shape, axis, elements.length);
  const codes = type === "int8" ? new Int8Array(elements.length) : new Uint8Array(elements.length);
  for (let at = 0, channel = 0; at < elements.length; channel = channel + 1 === channels ? 0 : channel + 1) {
    const scale = scales[channel]!;
    const end = at + inner;
    if (type === "fp8") for (; at < end; at++) codes[at] = fp8Code(Math.fround(elements[at]! / scale));
    else {
      for (; at < end; at++) {
        const whole = Math.fround(elements[at]! / scale) + WHOLE - WHOLE;
        codes[at] = Math.max(-128, Math.min(whole, INT8_MOST));
      }
    }
  }
  return codes;
}

/** What codes are off the elements that they stand for. */
export function errorsOf(
  elements: Float32Array,
  codes: Int8Array | Uint8Array,
  shape: readonly number[],
  axis: number | undefined,
  scales: Float32Array,
  type: QuantisedType,
): Float32Array {
  const [channels, inner] = layoutOf(shape, axis, elements.length);
  return elements.map((element, at) => {
    const code = type === "fp8" ? fp8Value(codes[at]!) : codes[at]!;
    return code * scales[Math.floor(at / inner) % channels]! - element;
  });
}
