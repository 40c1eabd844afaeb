/** @module Plausibility: kept rows that cannot be right are counted, and the first ones are reported with what they may mean. */

import { logger } from "../core/log.ts";
import type { Region } from "../image/geometry.ts";
import type { DetectionBlock } from "./detection-block.ts";

/** A probability, with room for the rounding of f16 and of products. */
const HIGHEST_SCORE = 1.001;

/** One or two rows may be a mistake of the model's, or one object of several classes. */
const FEWEST_TO_TELL = 3;

const HINT =
  "the layout or the pre-processing may be another: `bun-tensorrt inspect` shows what is assumed, and how to say otherwise";

/**
 * Looks at the kept rows of each picture. A row cannot be right if its score is above 1, if its box lies outside the picture,
 * or if all rows are alike. Keep one for a model: it reports once. Nothing is allocated for a picture.
 */
export class PlausibilityGuard {
  readonly #source: string;
  #hasReported = false;

  /** @param source the model, for messages */
  constructor(source: string) {
    this.#source = source;
  }

  /**
   * Count the rows that cannot be right, into `block.implausible`.
   *
   * @param block     the kept rows of a picture, best first, in its own pixels and clipped to it
   * @param placement what they were mapped back by
   */
  check(block: DetectionBlock, placement: Region): void {
    const { boxes, scores, count } = block;
    block.implausible = 0;
    if (count === 0) return;
    let high = 0;
    while (high < count && scores[high]! > HIGHEST_SCORE) high += 1;
    let outside = 0;
    for (let row = high, at = high * 4; row < count; row++, at += 4) {
      // Rows of score 0 are filling. What is clipped to nothing lay beside the picture.
      if (scores[row]! > 0 && (boxes[at]! >= boxes[at + 2]! || boxes[at + 1]! >= boxes[at + 3]!)) outside += 1;
    }
    block.implausible = high + outside;
    const isAlike = count >= FEWEST_TO_TELL && scores[0]! > 0 && areAlike(block, placement);
    if (isAlike) block.implausible = count;
    if (block.implausible === 0 || this.#hasReported) return;
    if (high > 0) this.#report(`${high} of ${count} scores of a picture are above 1, up to ${scores[0]}`);
    else if (isAlike) this.#report(`all ${count} boxes of a picture are alike`);
    else if (outside >= FEWEST_TO_TELL && outside * 2 >= count) {
      this.#report(`${outside} of ${count} boxes of a picture lie outside it`);
    }
  }

  #report(found: string): void {
    this.#hasReported = true;
    logger.warn(`Implausible detections of ${this.#source}: ${found}; ${HINT}`);
  }
}

/** True if all rows have one box, and one score, too, unless the box is the whole picture: classes of an object share theirs. */
function areAlike({ boxes, scores, count }: DetectionBlock, { sourceWidth, sourceHeight }: Region): boolean {
  const isWhole = boxes[0] === 0 && boxes[1] === 0 && boxes[2] === sourceWidth && boxes[3] === sourceHeight;
  if (scores[0] !== scores[count - 1] && !isWhole) return false;
  for (let at = 4; at < count * 4; at++) if (boxes[at] !== boxes[at & 3]) return false;
  return true;
}
