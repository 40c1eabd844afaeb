/** @module Output tensor: the outputs a decoder reads, checked against its plan. */

import { ModelError, message, ShapeError } from "../core/errors.ts";
import { type DType, formatShape, type Tensor, type TensorInfo, type TypedArray } from "../core/tensor.ts";
import type { DetectionBlock, RowExtra, RowMaps } from "../model/rows.ts";
import type { DecodeInput } from "./head.ts";
import { FLOATS, findOutput, type ModelTraits } from "./traits.ts";

/** What to do where the numbers show that a model has another head than it was read by. */
export const OTHER_HEAD_HINT: string =
  "the model has another head, or another task: name one of the other heads that `bunx bun-tensorrt inspect` lists, by `head` (`--head`), " +
  "or load it with `PoseEstimator`, `Segmenter` or `OrientedDetector` (`--task pose`, `segment`, `obb`) if its metadata is gone";

/** Words that tell what an output is, whichever head it is of. */
const TELLING = /box|det|score|conf|prob|logit|label|class|cls|mask|num/i;

/** True for the name that an exporter or a converter gives to an output whose own is lost: `output_1`, `Identity_1:0`, `1217`. */
export function isNameless({ name }: TensorInfo): boolean {
  return !TELLING.test(name);
}

/** The output of this name; where the caller named the head and the name is lost, the only one of the rank, dtypes and last axis. */
export function outputOf(
  { model, forced }: Pick<ModelTraits, "model" | "forced">,
  name: string | RegExp,
  rank: number,
  dtypes: readonly DType[],
  isLike: (info: TensorInfo) => boolean = () => true,
): TensorInfo | undefined {
  const named = findOutput(model, name, rank, dtypes);
  if (named !== undefined || !forced) return named;
  const isOne = (info: TensorInfo): boolean =>
    info.shape.length === rank && dtypes.includes(info.dtype) && isLike(info);
  const like = model.outputs.filter((info) => isNameless(info) && isOne(info));
  return like.length === 1 ? like[0] : undefined;
}

/** True for boxes, four numbers each. */
export function areBoxes({ shape }: TensorInfo): boolean {
  return shape.at(-1) === 4;
}

/** True if the dimension is the one that is wanted, any where -1 is, or none where none is. */
function fits(actual: number | undefined, wanted: number | undefined, orMore: boolean): boolean {
  if (actual === undefined || wanted === undefined) return actual === wanted;
  return orMore ? actual >= wanted : wanted < 0 || actual === wanted;
}

/**
 * An output by name, of rank 1 to 4. The dimensions after the first are given one by one, so that a frame allocates
 * nothing; -1 stands for any size.
 *
 * @param fewest smallest first dimension: for a batch, the image's index + 1
 * @throws {ShapeError} If it is missing, or has another dtype or shape
 */
export function outputTensor(
  input: DecodeInput,
  name: string,
  dtypes: readonly DType[],
  fewest: number,
  second?: number,
  third?: number,
  fourth?: number,
): Tensor {
  const tensor = input.outputs.get(name);
  if (
    tensor !== undefined &&
    dtypes.includes(tensor.dtype) &&
    fits(tensor.shape[0], fewest, true) &&
    fits(tensor.shape[1], second, false) &&
    fits(tensor.shape[2], third, false) &&
    fits(tensor.shape[3], fourth, false) &&
    tensor.shape.length <= 4
  ) {
    return tensor;
  }
  const rest = [second, third, fourth].filter((dim) => dim !== undefined);
  const expected = `${dtypes.join(" or ")} ${formatShape([-1, ...rest])}${fewest > 1 ? ` of at least ${fewest} rows` : ""}`;
  return refuseOutput(name, expected, tensor);
}

/** @throws {ShapeError} Always: an output is missing, or not what is read by the model's head */
export function refuseOutput(
  name: string,
  expected: string,
  output: Pick<TensorInfo, "dtype" | "shape"> | undefined,
): never {
  const actual = output === undefined ? "no such output" : `${output.dtype} ${formatShape(output.shape)}`;
  const text = message(
    `decode output ${JSON.stringify(name)}`,
    `it must be ${expected}, got ${actual}`,
    OTHER_HEAD_HINT,
  );
  throw new ShapeError(text, { tensor: name, expected, actual });
}

/** A class id that a model gave as a number of any dtype. @throws {ModelError} If it is no whole number from 0 on */
export function classIdOf(value: number, output: string): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0x7fffffff) return value;
  return refuseClassId(value, `decode output "${output}"`, output);
}

/**
 * Look at the class of a row that is not kept: the columns may be others, such as two classes, and no row ever pass.
 *
 * @throws {ModelError} If it lies between two whole numbers
 */
export function refuseBetween(value: number, output: string): void {
  if (value - Math.floor(value) > 0) refuseClassId(value, `decode output "${output}"`, output);
}

/** What to do where a model gives rows of no class a score. */
const NO_CLASS_HINT =
  "rows that only fill an output up have score 0 elsewhere: give them that in the model, or read it by a head of your own: " +
  "`defineHead`, docs/models.md";

/** @throws {ModelError} Always. @param action as `message` takes it @param source the model or its part */
export function refuseClassId(value: number, action: string, source: string): never {
  const hint = value === -1 ? NO_CLASS_HINT : OTHER_HEAD_HINT;
  throw new ModelError(message(action, `class ids are whole numbers from 0 on, got ${value}`, hint), source);
}

/** The score of a logit. */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/**
 * Which of some scores is the best: the first of equal ones, or the first that is NaN.
 *
 * @param step elements from one to the next
 */
export function bestOf(data: Float32Array, at: number, count: number, step: number): number {
  let best = 0;
  let highest = data[at]!;
  for (let c = 1, i = at + step; c < count; c++, i += step) {
    const value = data[i]!;
    if (value > highest) {
      highest = value;
      best = c;
    } else if (Number.isNaN(value)) return c;
  }
  return best;
}

let halfTable: Float32Array | undefined;

/** The f32 of every f16 by its bits: six times as fast as Float32Array.set, 25 times as fast as reading the elements. */
function halfValues(): Float32Array {
  if (halfTable === undefined) {
    const bits = Uint16Array.from({ length: 0x10000 }, (_, half) => half);
    halfTable = new Float32Array(new Float16Array(bits.buffer));
  }
  return halfTable;
}

/**
 * A window on a tensor. f32 is read in place, anything else widened into memory of the slice's own: hot loops then see
 * one type of array. Keep one for each tensor a decoder reads; it only grows.
 */
export class NumberSlice {
  /** The elements lie from `offset` on. */
  data: Float32Array = new Float32Array(0);
  offset = 0;
  #own: Float32Array = new Float32Array(0);
  /** The array last widened and the view of its bits, so that a buffer that stays costs one view. */
  #source: TypedArray | undefined;
  #halves: Uint16Array = new Uint16Array(0);
  #words: Int32Array = new Int32Array(0);

  /**
   * Look at `length` elements from `start` on, until the next call.
   *
   * @param tensor f32, f16, i32 or i64; integers beyond 2^24 are rounded, as f32 has them
   */
  load(tensor: Tensor, start: number, length: number): void {
    const { data } = tensor;
    if (data instanceof Float32Array) {
      this.data = data;
      this.offset = start;
      return;
    }
    if (this.#own.length < length) this.#own = new Float32Array(length);
    if (data instanceof Float16Array) this.#widenHalves(data, start, length);
    else if (data instanceof BigInt64Array) this.#widenLongs(data, start, length);
    else for (let at = 0; at < length; at++) this.#own[at] = data[start + at]!;
    this.data = this.#own;
    this.offset = 0;
  }

  #widenHalves(data: Float16Array<ArrayBuffer>, start: number, length: number): void {
    if (this.#source !== data) {
      this.#halves = new Uint16Array(data.buffer, data.byteOffset, data.length);
      this.#source = data;
    }
    const own = this.#own;
    const halves = this.#halves;
    const table = halfValues();
    for (let at = 0; at < length; at++) own[at] = table[halves[start + at]!]!;
  }

  /** Low and high words, little-endian as every platform Bun runs on: no BigInt is made. */
  #widenLongs(data: BigInt64Array<ArrayBuffer>, start: number, length: number): void {
    if (this.#source !== data) {
      this.#words = new Int32Array(data.buffer, data.byteOffset, data.length * 2);
      this.#source = data;
    }
    const own = this.#own;
    const words = this.#words;
    for (let at = 0; at < length; at++) {
      const word = (start + at) * 2;
      own[at] = (words[word]! >>> 0) + words[word + 1]! * 0x1_0000_0000;
    }
  }
}

const values: NumberSlice = new NumberSlice();

/**
 * Fetch an extra of every kept row of one image.
 *
 * @param gathered f32 [capacity, length]: rows past `block.count` keep what they held
 * @throws {ShapeError} If the output has another shape or dtype than the extra says
 */
export function gatherRows(
  extra: RowExtra,
  input: DecodeInput,
  block: Pick<DetectionBlock, "count" | "sources">,
  gathered: Float32Array<ArrayBuffer>,
): void {
  const { order, channels, first, length, maps } = extra;
  if (maps !== undefined) {
    gatherMapped(extra, maps, input, block, gathered);
    return;
  }
  if (order === "pushed") {
    gatherPushed(extra, input.pushed!.extras, block, gathered);
    return;
  }
  const isPlanar = order === "channel-major";
  const isFlat = order === "flat";
  const tensor = isFlat
    ? outputTensor(input, extra.output, FLOATS, 0, channels)
    : outputTensor(input, extra.output, FLOATS, input.index + 1, isPlanar ? channels : -1, isPlanar ? -1 : channels);
  const sources = tensor.shape[isFlat ? 0 : isPlanar ? 2 : 1]!;
  values.load(tensor, isFlat ? 0 : input.index * sources * channels, sources * channels);
  const { data, offset } = values;
  const step = isPlanar ? sources : 1;
  for (let row = 0; row < block.count; row++) {
    const source = block.sources[row]!;
    let from = offset + (isPlanar ? source : source * channels) + first * step;
    for (let at = row * length; at < (row + 1) * length; at++, from += step) gathered[at] = data[from]!;
  }
}

function gatherPushed(
  { channels, first, length }: RowExtra,
  pushed: Float32Array,
  { count, sources }: Pick<DetectionBlock, "count" | "sources">,
  gathered: Float32Array<ArrayBuffer>,
): void {
  for (let row = 0, to = 0; row < count; row++) {
    let from = sources[row]! * channels + first;
    for (const end = to + length; to < end; to++, from++) gathered[to] = pushed[from]!;
  }
}

/** Fetch what maps hold, level by level: of each the map is looked at once. */
function gatherMapped(
  { channels, first, length }: RowExtra,
  { levels, rule, numbers = 3, anchors = 1, counted }: RowMaps,
  input: DecodeInput,
  { count, sources }: Pick<DetectionBlock, "count" | "sources">,
  gathered: Float32Array<ArrayBuffer>,
): void {
  let before = 0;
  for (let at = 0; at < levels.length; at++) {
    const { stride, output } = levels[at]!;
    const columns = Math.ceil(input.inputWidth / stride);
    const rows = Math.ceil(input.inputHeight / stride);
    const cells = columns * rows;
    const end = before + cells * anchors;
    const map = outputTensor(input, output, FLOATS, input.index + 1, channels, rows, columns);
    let isLoaded = false;
    for (let row = 0; row < count; row++) {
      const source = sources[row]! - before;
      if (source < 0 || source >= end - before) continue;
      if (!isLoaded) values.load(map, input.index * channels * cells, channels * cells);
      isLoaded = true;
      const anchor = counted === "anchors" ? Math.floor(source / cells) : source % anchors;
      const cell = counted === "anchors" ? source - anchor * cells : (source - anchor) / anchors;
      const column = cell % columns;
      const line = (cell - column) / columns;
      let from = values.offset + (anchor * (channels / anchors) + first) * cells + cell;
      for (let number = 0, to = row * length; number < length; number++, to++, from += cells) {
        const value = values.data[from]!;
        if (rule === "raw") gathered[to] = value;
        else if (number % numbers === 2) gathered[to] = sigmoid(value);
        else gathered[to] = pointSide(value, number % numbers === 0 ? column : line, stride, rule);
      }
    }
    before = end;
  }
}

/** x or y of a point in input pixels, each step rounded, as the kernel does it. */
function pointSide(value: number, cell: number, stride: number, rule: RowMaps["rule"]): number {
  const inCells = rule === "points" ? 2 * value + cell : value + (cell + 0.5);
  return Math.fround(inCells) * stride;
}

/** Fetch every extra of a model into a block that was made for them. @throws {ShapeError} As {@linkcode gatherRows} */
export function gatherExtras(extras: readonly RowExtra[], input: DecodeInput, block: DetectionBlock): void {
  for (let at = 0; at < extras.length; at++) gatherRows(extras[at]!, input, block, block.extras[at]!);
}
