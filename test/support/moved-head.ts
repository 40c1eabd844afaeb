/** @module MovedHead: what a built-in head's author would say of its reading, were the head a caller's. */

import type { ModelSpec } from "../../src/heads/head.ts";
import type { PreprocessingOptions } from "../../src/image/preprocessing.ts";

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
