/**
 * @module Rounding: numbers as INT8 and FP8 (E4M3), to the bit as QuantizeLinear of ONNX rounds them; and what is counted of a
 * tensor over many images in constant memory: means, and magnitudes, by which a method chooses the range that loses least.
 */

import { FP16_MAX } from "../onnx/float16-choice.ts";
import type { QuantisedType } from "./placement.ts";
import type { CalibrationMethod } from "./precision-config.ts";

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

/** Bins of a histogram. */
const BINS = 2048;

/** Share of the magnitudes that the percentile covers. */
const PERCENTILE = 0.9999;

/** Levels above 0 of INT8, as entropy counts them. */
const LEVELS = 128;

/** Ranges that are compared for the least error: hundredths of the largest magnitude. */
const LEAST_HUNDREDTH = 20;

/** Between candidates of the entropy, in bins. */
const ENTROPY_STEP = 8;

/** What a histogram is kept as. */
export interface HistogramState {
  readonly largest: number;
  /** Upper edge of the last bin; 0 before anything was added. */
  readonly edge: number;
  /** Counts, as base64 of f64; left out where the method needs none. */
  readonly bins?: string;
}

/** Counts of magnitudes. Its edge is a power of two, doubled as larger ones come, so that the order of images changes nothing. */
export class Histogram {
  /** Largest magnitude that was added. */
  largest = 0;
  #edge = 0;
  readonly #bins: Float64Array<ArrayBuffer> | undefined;

  /** @param hasBins false: only the largest is kept */
  constructor(hasBins: boolean, state?: HistogramState) {
    this.#bins = hasBins ? new Float64Array(BINS) : undefined;
    if (state === undefined) return;
    this.largest = state.largest;
    this.#edge = state.edge;
    if (state.bins !== undefined)
      this.#bins?.set(new Float64Array(new Uint8Array(Buffer.from(state.bins, "base64")).buffer));
  }

  get state(): HistogramState {
    const bins = this.#bins && Buffer.from(this.#bins.buffer).toString("base64");
    return { largest: this.largest, edge: this.#edge, ...(bins !== undefined && { bins }) };
  }

  /** Add the elements of a tensor. @returns false if one of them is not finite: nothing is added then */
  add(elements: Float32Array | Float16Array): boolean {
    let largest = 0;
    // NaN is the largest of whatever it is compared with.
    for (let at = 0; at < elements.length; at++) largest = Math.max(largest, Math.abs(elements[at]!));
    if (!(largest < Number.POSITIVE_INFINITY)) return false;
    this.largest = Math.max(this.largest, largest);
    if (this.#bins === undefined) return true;
    this.#widen(largest);
    if (this.#edge > 0) count(this.#bins, elements, BINS / this.#edge);
    return true;
  }

  /** Double the range until it holds a magnitude; two bins become one each time. */
  #widen(magnitude: number): void {
    if (magnitude === 0) return;
    if (this.#edge === 0) {
      // The count of zeros before does not depend on the edge.
      this.#edge = 2 ** Math.ceil(Math.log2(magnitude));
      if (this.#edge < magnitude) this.#edge *= 2;
    }
    const bins = this.#bins!;
    while (magnitude > this.#edge) {
      for (let at = 0; at < BINS / 2; at++) bins[at] = bins[2 * at]! + bins[2 * at + 1]!;
      bins.fill(0, BINS / 2);
      this.#edge *= 2;
    }
  }

  /** The largest magnitude that a tensor is to hold, by a method. */
  range(method: CalibrationMethod, type: QuantisedType): number {
    const bins = this.#bins;
    if (method === "max" || bins === undefined || this.largest === 0) return this.largest;
    const width = this.#edge / BINS;
    const found =
      method === "percentile"
        ? percentile(bins, width)
        : method === "mse"
          ? leastError(bins, width, this.largest, type)
          : leastDivergence(bins, width);
    return Math.min(found, this.largest);
  }

  /** The noise of a tensor that is rounded within a range, as a share of its signal; `undefined` where nothing was counted. */
  noise(range: number, type: QuantisedType): number | undefined {
    const bins = this.#bins;
    if (bins === undefined || this.largest === 0) return undefined;
    const width = this.#edge / BINS;
    const signal = bins.reduce((sum, count, bin) => sum + count * ((bin + 0.5) * width) ** 2, 0);
    return errorOf(bins, width, range, type, Number.POSITIVE_INFINITY) / signal;
  }
}

/** What the means of a tensor's channels are kept as. */
export interface ChannelSumsState {
  /** Elements of one channel. */
  readonly count: number;
  /** As base64 of f64. */
  readonly sums: string;
}

/** Sums up the channels of a tensor: its second axis. */
export class ChannelSums {
  #count: number;
  #sums: Float64Array<ArrayBuffer>;

  constructor(state?: ChannelSumsState) {
    this.#count = state?.count ?? 0;
    this.#sums = new Float64Array(new Uint8Array(Buffer.from(state?.sums ?? "", "base64")).buffer);
  }

  get state(): ChannelSumsState {
    return { count: this.#count, sums: Buffer.from(this.#sums.buffer).toString("base64") };
  }

  add(elements: ArrayLike<number>, [rows = 1, channels = 1, ...sides]: readonly number[]): void {
    if (this.#sums.length === 0) this.#sums = new Float64Array(channels);
    const inner = sides.reduce((product, side) => product * side, 1);
    for (let at = 0, slice = 0; slice < rows * channels; slice++) {
      let sum = 0;
      for (const end = at + inner; at < end; at++) sum += elements[at]!;
      this.#sums[slice % channels]! += sum;
    }
    this.#count += rows * inner;
  }

  get means(): Float32Array<ArrayBuffer> {
    return Float32Array.from(this.#sums, (sum) => sum / this.#count);
  }
}

function count(bins: Float64Array, elements: Float32Array | Float16Array, scale: number): void {
  for (let at = 0; at < elements.length; at++) {
    const bin = (Math.abs(elements[at]!) * scale) | 0;
    bins[bin < BINS ? bin : BINS - 1]!++;
  }
}

function percentile(bins: Float64Array, width: number): number {
  const total = bins.reduce((sum, one) => sum + one, 0);
  let covered = 0;
  for (const [bin, one] of bins.entries()) {
    covered += one;
    if (covered >= total * PERCENTILE) return (bin + 1) * width;
  }
  return BINS * width;
}

/**
 * The sum of the squares of what magnitudes, in the middle of their bins, lose by being rounded.
 *
 * @param most where it is more, any number from there on
 */
function errorOf(bins: Float64Array, width: number, range: number, type: QuantisedType, most: number): number {
  const scale = range / (type === "int8" ? INT8_MOST : FP8_MOST);
  let error = 0;
  for (let bin = 0; bin < BINS && error < most; bin++) {
    const weight = bins[bin]!;
    if (weight === 0) continue;
    const magnitude = (bin + 0.5) * width;
    const rounded =
      type === "int8"
        ? Math.min(Math.round(magnitude / scale), INT8_MOST) * scale
        : fp8Value(fp8Code(magnitude / scale)) * scale;
    error += weight * (magnitude - rounded) ** 2;
  }
  return error;
}

/** The range with which magnitudes have the least error of squares. */
function leastError(bins: Float64Array, width: number, largest: number, type: QuantisedType): number {
  let [best, least] = [largest, Number.POSITIVE_INFINITY];
  for (let hundredth = LEAST_HUNDREDTH; hundredth <= 100; hundredth++) {
    const range = (largest * hundredth) / 100;
    const error = errorOf(bins, width, range, type, least);
    // Of equal ones the larger: nothing is gained by cutting.
    if (error <= least) [best, least] = [range, error];
  }
  return best;
}

/**
 * The range with which the levels of INT8 tell least less than the magnitudes do: the least Kullback-Leibler divergence, as TensorRT's
 * entropy calibrator has it. Zeros are not counted, as most are those of Relu.
 */
function leastDivergence(given: Float64Array, width: number): number {
  const bins = given.slice();
  bins[0] = 0;
  const total = bins.reduce((sum, one) => sum + one, 0);
  if (total === 0) return width;
  let [best, least] = [BINS, Number.POSITIVE_INFINITY];
  let inside = bins.subarray(0, LEVELS).reduce((sum, one) => sum + one, 0);
  const levels = new Float64Array(LEVELS);
  const filled = new Float64Array(LEVELS);
  for (let end = LEVELS; end <= BINS; end += ENTROPY_STEP) {
    if (end > LEVELS) for (let bin = end - ENTROPY_STEP; bin < end; bin++) inside += bins[bin]!;
    const divergence = divergenceOf(bins, end, total - inside, total, levels, filled);
    if (divergence <= least) [best, least] = [end, divergence];
  }
  return best === BINS ? BINS * width : (best + 0.5) * width;
}

function divergenceOf(
  bins: Float64Array,
  end: number,
  beyond: number,
  total: number,
  levels: Float64Array,
  filled: Float64Array,
): number {
  levels.fill(0);
  filled.fill(0);
  for (let bin = 0; bin < end; bin++) {
    const level = Math.min(Math.floor((bin * LEVELS) / end), LEVELS - 1);
    levels[level]! += bins[bin]!;
    if (bins[bin]! > 0 || (bin === end - 1 && beyond > 0)) filled[level]!++;
  }
  const inside = total - beyond;
  if (inside === 0) return Number.POSITIVE_INFINITY;
  let divergence = 0;
  for (let bin = 0; bin < end; bin++) {
    const wanted = (bins[bin]! + (bin === end - 1 ? beyond : 0)) / total;
    if (wanted === 0) continue;
    const level = Math.min(Math.floor((bin * LEVELS) / end), LEVELS - 1);
    const given = levels[level]! / filled[level]! / inside;
    // What the levels have nothing of is as far as can be.
    divergence += wanted * Math.log(wanted / Math.max(given, 1e-12));
  }
  return divergence;
}
