/** @module MovedHead: what a built-in head's author would say of its reading, were the head a caller's. */

import type { Head, ModelSpec, RecogniseOptions } from "../../src/heads/head.ts";
import { defineHead, type HeadDefinition } from "../../src/heads/own-head-options.ts";
import { readTraits } from "../../src/heads/traits.ts";
import type { PreprocessingOptions } from "../../src/image/preprocessing.ts";
import { Candidates } from "../../src/model/rows.ts";

/** What of a pre-processing its author says: the rest follows from the input. */
export function sayable({
  fit,
  resize,
  colour,
  scale,
  mean,
  std,
  pad,
}: ModelSpec["preprocessing"]): PreprocessingOptions {
  const order = colour === "RGB" || colour === "BGR" ? colour : undefined;
  return { fit, resize: resize as PreprocessingOptions["resize"], colour: order, scale, mean, std, pad };
}

/** A head of a file as its author would pass it. */
export function passed(
  head: Head,
  options: Pick<RecogniseOptions, "labels" | "anchors">,
): HeadDefinition<ModelSpec["plan"]> {
  const candidates = new Candidates();
  return defineHead({
    name: "moved-out",
    recognise(model) {
      const spec = head.recognise({ ...readTraits(model, options)!, forced: model.isNamed });
      return (
        spec && {
          plan: spec.plan,
          needsNms: spec.needsNms,
          preprocessing: sayable(spec.preprocessing),
          sizeInputs: spec.sizeInputs,
          stride: spec.stride,
        }
      );
    },
    decode({ plan, ...image }, objects) {
      candidates.clear();
      head.decode(plan, image, candidates);
      const { boxes, scores, classIds } = candidates;
      for (let row = 0, at = 0; row < candidates.count; row++, at += 4) {
        objects.push(boxes[at]!, boxes[at + 1]!, boxes[at + 2]!, boxes[at + 3]!, scores[row]!, classIds[row]!);
      }
    },
  });
}
