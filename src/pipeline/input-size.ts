/** @module Input size: how large the model's input is made for a batch of pictures. */

import { rectangularSize } from "../image/geometry.ts";
import type { Size } from "./backend.ts";

/** Size of a picture in pixels. */
export interface PixelSize {
  readonly width: number;
  readonly height: number;
}

/** How the size of a model with dynamic height and width is chosen. */
export interface InputSizePolicy {
  /** The model's own size where it has one: it wins. */
  readonly fixedSize: Size | undefined;
  /** The size to use otherwise; the longer side where `rectangular`. */
  readonly size: Size;
  /** Use the pictures' own ratio. */
  readonly rectangular: boolean;
  /** Both sides of a rectangular size are multiples of it. */
  readonly stride: number;
}

/**
 * The input size of a batch. Rectangular: the smallest that holds each picture at its own ratio, so that a batch of
 * mixed pictures shares one.
 *
 * @param images at least one
 */
export function inputSizeFor(images: readonly PixelSize[], policy: InputSizePolicy): Size {
  if (policy.fixedSize !== undefined) return policy.fixedSize;
  if (!policy.rectangular) return policy.size;
  const limits = { longSide: Math.max(...policy.size), stride: policy.stride };
  let width = limits.stride;
  let height = limits.stride;
  for (const image of images) {
    const [w, h] = rectangularSize(image.width, image.height, limits);
    width = Math.max(width, w);
    height = Math.max(height, h);
  }
  return [width, height];
}
