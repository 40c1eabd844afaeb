/** @module Box units: finding out that a model gives boxes in fractions where its layout has pixels, or in another form. */

import { ModelError, message } from "../core/errors.ts";
import type { Region } from "../image/geometry.ts";
import { SURE_SCORE } from "./candidates.ts";
import type { DetectionBlock } from "./detection-block.ts";
import { layoutInFractions } from "./layouts/fractions.ts";

/** As far as fractions of the input reach, some beyond its edge. */
const MAX_FRACTION = 1.5;

/** One box in the first pixel may be a mistake of the model's; so many, and none anywhere else, are fractions. */
const FEWEST_TO_TELL = 3;

/** Layout of rows whose boxes are centre and size, which look like those of `yolo-end-to-end`. */
const CENTRED_ROWS = '"rtdetr-ultralytics-rows" where boxes are centre and size';

/** What to read the model as instead. */
function otherLayout(layout: string): string {
  const isRows = layout.startsWith("yolo-end-to-end");
  const other = layoutInFractions(layout);
  if (other === undefined) return `name ${isRows ? `the layout ${CENTRED_ROWS}` : "another layout"}`;
  return `name the layout ${JSON.stringify(other)}${isRows ? `, or ${CENTRED_ROWS}` : ""}`;
}

/**
 * Refuses boxes that were fractions of the input where a layout has pixels: all of them lie in the input's first pixel then.
 * And boxes that have another form than the layout's: nothing was found but some that are inside out.
 * Keep one for a detector's slot: once a box lay elsewhere, only several that do not are refused.
 */
export class PixelCheck {
  #hasPixels = false;

  /**
   * @param block     the kept rows of a picture, in its own pixels
   * @param placement what they were mapped back by
   * @param layout    for messages: which layout the model was read as
   * @throws {ModelError} If all lie there, and they are several, or the first of which one was sure; or none is left
   */
  check(block: DetectionBlock, placement: Region, layout: string): void {
    const { boxes, scores, count } = block;
    if (count === 0 && block.hasInsideOut && !this.#hasPixels) refuseInsideOut(layout);
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
    const found = `boxes are in pixels of the input: ${count === 1 ? "the only one lies" : `all ${count} lie`} in its first one`;
    const hint = `the model gives fractions of the input: ${otherLayout(layout)}, or export it with boxes in pixels`;
    throw new ModelError(message(`decode the model's output as layout "${layout}"`, found, hint), layout);
  }

  /** Empty rows, as Ultralytics' `nms=True` pads with, are kept where the threshold is 0: they are no boxes of anything. */
  #isToBeLookedAt(scores: Float32Array, count: number): boolean {
    if (count >= FEWEST_TO_TELL && scores[FEWEST_TO_TELL - 1]! > 0) return true;
    return !this.#hasPixels && scores[0]! >= SURE_SCORE;
  }
}

function refuseInsideOut(layout: string): never {
  const found = "the right side of a box comes behind its left one: all that it found are inside out";
  const hint = `the numbers of its boxes may be others, such as centre and size: ${otherLayout(layout)}`;
  throw new ModelError(message(`decode the model's output as layout "${layout}"`, found, hint), layout);
}
