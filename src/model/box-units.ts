/** @module Box units: finding out that a model gives boxes in fractions where its layout has pixels. */

import { ModelError, message } from "../core/errors.ts";
import type { Placement } from "../image/geometry.ts";
import type { DetectionBlock } from "./detection-block.ts";
import { layoutInFractions } from "./layouts/fractions.ts";

/** As far as fractions of the input reach, some beyond its edge. */
const MAX_FRACTION = 1.5;

/** One box in the first pixel may be a mistake of the model's; so many, and none anywhere else, are fractions. */
const FEWEST_TO_TELL = 3;

/** Fewer are fractions where one is as good as this: what a model is sure of is larger than a pixel. */
const SURE_SCORE = 0.2;

/**
 * Refuses boxes that were fractions of the input where a layout has pixels: all of them lie in the input's first pixel then.
 * Keep one for a detector's slot: once a box lay elsewhere, only several that do not are refused.
 */
export class PixelCheck {
  #hasPixels = false;

  /**
   * @param block     the kept rows of a picture, in its own pixels
   * @param placement what they were mapped back by
   * @param layout    for messages: which layout the model was read as
   * @throws {ModelError} If all lie there, and they are several, or the first of which one was sure
   */
  check({ boxes, scores, count }: DetectionBlock, placement: Placement, layout: string): void {
    if (count === 0 || !this.#isToBeLookedAt(scores, count)) return;
    const { padX, padY, scaleX, scaleY } = placement;
    // What lies beside the picture is at its edge.
    const right = Math.max(0, (MAX_FRACTION - padX) / scaleX);
    const bottom = Math.max(0, (MAX_FRACTION - padY) / scaleY);
    for (let at = 0; at < count * 4; at += 2) {
      if (boxes[at]! > right || boxes[at + 1]! > bottom) {
        this.#hasPixels = true;
        return;
      }
    }
    const found = `as boxes are in pixels of the input: ${count === 1 ? "the only one lies" : `all ${count} lie`} in its first one`;
    const other = layoutInFractions(layout);
    const name = other === undefined ? "name another layout" : `name the layout ${JSON.stringify(other)}`;
    const hint = `the model gives fractions of the input: ${name}, or export it with boxes in pixels`;
    throw new ModelError(message(`decode the model's output as layout "${layout}"`, found, hint), layout);
  }

  /** Empty rows, as Ultralytics' `nms=True` pads with, are kept where the threshold is 0: they are no boxes of anything. */
  #isToBeLookedAt(scores: Float32Array, count: number): boolean {
    if (count >= FEWEST_TO_TELL && scores[FEWEST_TO_TELL - 1]! > 0) return true;
    return !this.#hasPixels && scores[0]! >= SURE_SCORE;
  }
}
