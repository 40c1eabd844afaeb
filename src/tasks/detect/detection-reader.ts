/** @module DetectionReader: the rows that the selection has written, read on the host. */

import { ModelError, message } from "../../core/errors.ts";
import { refuseAnchors, refuseOffsets } from "../../heads/anchor-decoder.ts";
import { refuseNegative } from "../../heads/dense.ts";
import type { DecodePlan, ModelSpec } from "../../heads/head.ts";
import { refuseDistances } from "../../heads/map-decoder.ts";
import type { OffsetMapsPlan } from "../../heads/map-plan.ts";
import { refuseClassId } from "../../heads/outputs.ts";
import { ONLY_PROBABILITIES, refuseProbabilities } from "../../heads/queries.ts";
import { refuseDecoded } from "../../heads/yolox.ts";
import type { DetectionBlock, RowExtra } from "../../model/rows.ts";
import { MOST_CANDIDATES } from "./decode-batch.ts";
import { assertProbability } from "./nms.ts";

/** 32-bit words before the rows: count, dropped, fault, the value of the fault. */
export const DETECTION_HEADER_WORDS = 4;

/** Faults as kernels/decode.cuh has them. */
const FAULT_CLASS = 1;
const FAULT_GRID = 2;
const FAULT_BOX = 3;
const FAULT_RANGE = 4;
const FAULT_FULL = 5;

/**
 * @throws {ModelError} Always: scores show that they are not what the plan says
 * @param value one of them
 * @param below the same word as an integer: of dense rows the classes from the first on that goes below 0
 */
function refuseScores(plan: DecodePlan, value: number, below: number): never {
  if (plan.kind === "dense") return refuseNegative(plan, plan.classes - below);
  if (plan.kind === "queries") return refuseProbabilities(ONLY_PROBABILITIES);
  if (plan.kind === "distance-maps") return refuseDistances(plan, value);
  if (plan.kind === "anchor-maps") return refuseAnchors(plan, value);
  return refuseOffsets(plan as OffsetMapsPlan, value);
}

/** @throws {ModelError} Always: so many candidates reach the threshold that they have no room */
function refuseFull(head: string): never {
  const found = `more than ${MOST_CANDIDATES} candidates reach the threshold`;
  throw new ModelError(
    message(`decode the model's maps as head "${head}"`, found, "raise `threshold` (`--threshold`)"),
    head,
  );
}

/** 32-bit words of one image's block: a header, [rows, 4] boxes, [rows] scores, class ids and sources, to a multiple of 4. */
export function detectionWords(rows: number): number {
  return Math.ceil((DETECTION_HEADER_WORDS + rows * 7) / 4) * 4;
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

/** Reads what the device has written. The views are made once; a frame copies rows and nothing else. */
export class DetectionReader {
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;
  readonly #rows: number;
  /** Where each extra of the first image begins, in words, and its words an image. */
  readonly #extras: readonly { readonly start: number; readonly words: number }[];

  /**
   * @param buffer i32 [batch, words] of the blocks, in page-locked memory
   * @param rows   rows of each block
   * @param batch  images
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
   * Copy one image's kept rows.
   *
   * @param block  room for as many rows as were asked for
   * @param spec for messages: which head the model was read as, and by which plan
   * @throws {ModelError} If a class id is no whole number from 0 on, or a score no probability, or a grid is decoded
   */
  read(index: number, block: DetectionBlock, { head, plan }: Pick<ModelSpec, "head" | "plan">): void {
    const integers = this.#integers;
    const floats = this.#floats;
    const start = index * detectionWords(this.#rows);
    const count = integers[start]!;
    block.dropped = integers[start + 1]!;
    const fault = integers[start + 2]!;
    if (fault === FAULT_CLASS) refuseClassId(floats[start + 3]!, `decode the model's output as head "${head}"`, head);
    if (fault === FAULT_GRID) refuseDecoded(floats[start + 3]!, head);
    if (fault === FAULT_RANGE) refuseScores(plan, floats[start + 3]!, integers[start + 3]!);
    if (fault === FAULT_FULL) refuseFull(head);
    block.hasOnlyInsideOut = fault === FAULT_BOX && count + block.dropped === 0;
    const boxes = start + DETECTION_HEADER_WORDS;
    const scores = boxes + this.#rows * 4;
    const classIds = scores + this.#rows;
    const sources = classIds + this.#rows;
    if (count > 0) assertProbability(floats[scores]!, head);
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
