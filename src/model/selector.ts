/** @module Selector: from candidates to detections: class filter, threshold, order, NMS, maximum count. */

import { ArgumentError, ModelError, message } from "../core/errors.ts";
import type { Candidates } from "./candidates.ts";
import type { DetectionBlock } from "./detection-block.ts";
import type { Recognition } from "./layout.ts";
import { KeptBoxes } from "./nms.ts";
import { ScoreOrder } from "./score-order.ts";
import type { Selection } from "./selection.ts";

/** At most this many candidates, the best ones, enter NMS; Ultralytics' `max_nms`. */
export const MAX_CANDIDATES = 30_000;

/** Highest score a detector gives, with room for quantised outputs: a higher one is no probability. */
const MAX_SCORE = 1.05;

/** The group of all boxes where classes do not matter. */
const ALL_CLASSES = -1;

/**
 * Refuse a score that is no probability: the column is another one, such as a keypoint's or an angle.
 *
 * @param score the best one of a picture
 * @throws {ModelError} If it is above {@linkcode MAX_SCORE}
 */
export function assertProbability(score: number, layout: string): void {
  if (score <= MAX_SCORE) return;
  throw new ModelError(
    message(
      `decode the model's output as layout "${layout}"`,
      `scores are from 0 to 1, got ${score}`,
      "the layout does not fit this model, or it has another task than detection: name another layout",
    ),
    layout,
  );
}

/**
 * Chooses which candidates are kept. Owns the memory it needs, which only grows: keep one a slot.
 *
 * What is kept, exactly:
 *
 * 1. candidates of the classes asked for, with score ≥ threshold, the threshold rounded to f32
 * 2. in the order of their scores, highest first; equal scores by candidate index, lowest first
 * 3. only the first {@linkcode MAX_CANDIDATES} of them
 * 4. one after the other: each that no kept one suppresses, where NMS is needed; a kept one suppresses those of its
 *    class, or of any if `classAgnostic`, that it overlaps by more than `iou`: see `overlaps` in nms.ts
 * 5. until `maxDetections` are kept
 */
export class Selector {
  readonly #order = new ScoreOrder();
  readonly #kept = new KeptBoxes();

  /**
   * Fill a block with the kept rows, best first, in input pixels.
   *
   * @param recognition says whether NMS is needed, and which layout a message names
   * @param block       room for `selection.maxDetections` rows
   * @throws {ArgumentError} If the block has room for fewer
   * @throws {ModelError} If a score is no probability
   */
  select(
    candidates: Candidates,
    selection: Selection,
    recognition: Pick<Recognition, "needsNms" | "layout">,
    block: DetectionBlock,
  ): void {
    const { maxDetections } = selection;
    if (block.scores.length < maxDetections) {
      throw new ArgumentError(
        message("select detections", `the block must have room for ${maxDetections}: it has ${block.scores.length}`),
      );
    }
    block.count = 0;
    block.dropped = candidates.dropped;
    block.hasInsideOut = candidates.hasInsideOut;
    this.#sort(candidates, selection);
    const { rows, count } = this.#order;
    if (count === 0) return;
    assertProbability(candidates.scores[rows[0]!]!, recognition.layout);
    if (recognition.needsNms) this.#suppress(candidates, selection, block);
    else for (let at = 0; at < count && at < maxDetections; at++) append(block, candidates, rows[at]!);
  }

  /** Steps 1 and 2. */
  #sort(candidates: Candidates, selection: Selection): void {
    const { scores, classIds, count } = candidates;
    const wanted = selection.classIds;
    const threshold = Math.fround(selection.threshold);
    const order = this.#order;
    order.begin(candidates);
    for (let row = 0; row < count; row++) {
      const score = scores[row]!;
      if (score < threshold) continue;
      if (wanted !== undefined && !wanted.has(classIds[row]!)) continue;
      order.add(row, score);
    }
    order.sort();
  }

  /** Steps 3 to 5. */
  #suppress(candidates: Candidates, selection: Selection, block: DetectionBlock): void {
    const { maxDetections, classAgnostic } = selection;
    const { rows } = this.#order;
    const count = Math.min(this.#order.count, MAX_CANDIDATES);
    const iou = Math.fround(selection.iou);
    const kept = this.#kept;
    kept.clear(maxDetections);
    for (let at = 0; at < count && block.count < maxDetections; at++) {
      const row = rows[at]!;
      const group = classAgnostic ? ALL_CLASSES : candidates.classIds[row]!;
      if (kept.suppress(block, candidates.boxes, row * 4, group, iou)) continue;
      append(block, candidates, row);
      kept.keep(block, block.count - 1, group);
    }
  }
}

function append(block: DetectionBlock, candidates: Candidates, row: number): void {
  const to = block.count;
  const { boxes } = candidates;
  block.boxes[to * 4] = boxes[row * 4]!;
  block.boxes[to * 4 + 1] = boxes[row * 4 + 1]!;
  block.boxes[to * 4 + 2] = boxes[row * 4 + 2]!;
  block.boxes[to * 4 + 3] = boxes[row * 4 + 3]!;
  block.scores[to] = candidates.scores[row]!;
  block.classIds[to] = candidates.classIds[row]!;
  block.sources[to] = candidates.sources[row]!;
  block.count = to + 1;
}
