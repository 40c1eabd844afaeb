/** @module Detections: the fixed block of kept rows that the selection kernel writes for each picture, and reading it. */

import { ModelError, message } from "../../core/errors.ts";
import { refuseDecoded } from "../../model/decode/grid.ts";
import type { DetectionBlock, RowExtra } from "../../model/detection-block.ts";
import { assertProbability } from "../../model/selector.ts";

/** 32-bit words before the rows: count, dropped, fault, the value of the fault. */
const HEADER_WORDS = 4;

/** Faults as kernels/decode.cuh has them. */
const FAULT_CLASS = 1;
const FAULT_GRID = 2;
const FAULT_BOX = 3;

/** 32-bit words of one picture's block: a header, [rows, 4] boxes, [rows] scores, class ids and sources, to a multiple of 4. */
export function detectionWords(rows: number): number {
  return Math.ceil((HEADER_WORDS + rows * 7) / 4) * 4;
}

/** Where an extra, f32 [batch, rows, length], begins behind the blocks of a batch, in words; that of their number is the end. */
export function extraStart(
  rows: number,
  batch: number,
  extras: readonly Pick<RowExtra, "length">[],
  index: number,
): number {
  let words = batch * detectionWords(rows);
  for (let at = 0; at < index; at++) words += Math.ceil((batch * rows * extras[at]!.length) / 4) * 4;
  return words;
}

/** Reads what was copied back from the device. The views are made once; a frame copies rows and nothing else. */
export class DetectionReader {
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  readonly #rows: number;
  /** Where each extra of the first picture begins, in words, and its words a picture. */
  readonly #extras: readonly { readonly start: number; readonly words: number }[];

  /**
   * @param buffer i32 [batch, words] of the blocks, in page-locked memory
   * @param rows   rows of each block
   * @param batch  pictures
   * @param extras what was gathered, which follows the blocks
   */
  constructor(buffer: ArrayBuffer, rows: number, batch: number, extras: readonly Pick<RowExtra, "length">[] = []) {
    this.#integers = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
    this.#rows = rows;
    this.#extras = extras.map(({ length }, at) => ({
      start: extraStart(rows, batch, extras, at),
      words: rows * length,
    }));
  }

  /**
   * Copy one picture's kept rows.
   *
   * @param block  room for as many rows as were asked for
   * @param layout for messages: which layout the model was read as
   * @throws {ModelError} If a class id is no whole number from 0 on, or a score no probability, or a grid is decoded
   */
  read(index: number, block: DetectionBlock, layout: string): void {
    const integers = this.#integers;
    const floats = this.#floats;
    const start = index * detectionWords(this.#rows);
    const count = integers[start]!;
    block.dropped = integers[start + 1]!;
    const fault = integers[start + 2]!;
    if (fault === FAULT_CLASS) refuseClassId(floats[start + 3]!, layout);
    if (fault === FAULT_GRID) refuseDecoded(floats[start + 3]!, layout);
    block.hasInsideOut = fault === FAULT_BOX;
    const boxes = start + HEADER_WORDS;
    const scores = boxes + this.#rows * 4;
    const classIds = scores + this.#rows;
    const sources = classIds + this.#rows;
    if (count > 0) assertProbability(floats[scores]!, layout);
    for (let at = 0; at < count * 4; at++) block.boxes[at] = floats[boxes + at]!;
    for (let row = 0; row < count; row++) {
      block.scores[row] = floats[scores + row]!;
      block.classIds[row] = integers[classIds + row]!;
      block.sources[row] = integers[sources + row]!;
    }
    for (let extra = 0; extra < this.#extras.length; extra++) {
      const { start: first, words } = this.#extras[extra]!;
      const gathered = block.extras[extra]!;
      const length = (words / this.#rows) * count;
      for (let at = 0; at < length; at++) gathered[at] = floats[first + index * words + at]!;
    }
    block.count = count;
  }
}

function refuseClassId(value: number, layout: string): never {
  throw new ModelError(
    message(
      `decode the model's output as layout "${layout}"`,
      `class ids are whole numbers from 0 on, got ${value}`,
      "the layout does not fit this model: name another one",
    ),
    layout,
  );
}
