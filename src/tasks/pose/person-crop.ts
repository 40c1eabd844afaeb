/** @module PersonCrop: the part of an image that a top-down model sees of one person, as pixels that are not copied. */

import { ArgumentError, message } from "../../core/errors.ts";
import type { Rectangle, Size } from "../../image/geometry.ts";
import {
  bytesPerPixel,
  chromaOffsetOf,
  chromaPitchOf,
  type Image,
  isPacked,
  yuvRangeOf,
  yuvStandardOf,
} from "../../image/image.ts";
import type { Box } from "../detect/detection.ts";

/** The pixels of an image around a person, in the image's own memory. */
export interface PersonCrop extends Image {
  /** What the model sees, in pixels of the crop; it may reach beyond them. */
  readonly rectangle: Rectangle;
  /** Where the crop begins in the image. */
  readonly left: number;
  readonly top: number;
}

/** How boxes become what a model sees. */
export interface CropRule {
  /** Of the model's input. */
  readonly size: Size;
  /** Sides of what is seen in those of the box. */
  readonly padding: number;
  /**
   * True: the middles of the input's first and last pixel are the edges of what is seen (unbiased data processing); false: the
   * edges of these pixels are.
   */
  readonly isUnbiased: boolean;
}

/** Where what is seen begins along an axis, and its length, in whole pixels. */
function along(centre: number, length: number, input: number, isUnbiased: boolean): readonly [number, number] {
  // An index of the input stands for a length of `step` in the image, and index 0 for its start.
  const step = length / (isUnbiased ? input - 1 : input);
  const start = centre - length / 2 - step / 2 + 0.5;
  return [Math.round(start), Math.max(1, Math.round(step * input))];
}

/** The rectangle of an image that a model sees of a box: around its middle, in the ratio of the input. */
function seenOf([x1, y1, x2, y2]: Box, { size: [width, height], padding, isUnbiased }: CropRule): Rectangle {
  const ratio = width / height;
  const across = Math.max(x2 - x1, (y2 - y1) * ratio) * padding;
  const [x, wide] = along((x1 + x2) / 2, across, width, isUnbiased);
  const [y, high] = along((y1 + y2) / 2, across / ratio, height, isUnbiased);
  return { x, y, width: wide, height: high };
}

/**
 * What a model sees of a person.
 *
 * @param box in pixels of the image; it may reach beyond it
 * @throws {ArgumentError} If it is no box, or holds nothing of the image
 */
function personCrop(image: Image, box: Box, rule: CropRule): PersonCrop {
  const refuse = (found: string): never => {
    throw new ArgumentError(message("estimate a pose", `the box [${box.join(", ")}] ${found}`, "leave it out"));
  };
  if (!box.every(Number.isFinite) || !(box[0] < box[2] && box[1] < box[3])) refuse("has no area");
  const seen = seenOf(box, rule);
  // Pairs of pixels share their colour in NV12.
  const even = isPacked(image) ? 0 : 1;
  const left = Math.max(0, seen.x) & ~even;
  const top = Math.max(0, seen.y) & ~even;
  const right = Math.min(image.width, seen.x + seen.width);
  const bottom = Math.min(image.height, seen.y + seen.height);
  if (left >= right || top >= bottom) refuse(`lies outside the image of ${image.width}x${image.height} pixels`);
  const rectangle = { ...seen, x: seen.x - left, y: seen.y - top };
  const place = { width: right - left, height: bottom - top, rectangle, left, top };
  const { pitchBytes, format, data } = image;
  if (isPacked(image)) {
    const start = top * pitchBytes + left * bytesPerPixel(image.format);
    return { ...place, format, pitchBytes, data: data.subarray(start) };
  }
  const start = top * pitchBytes + left;
  const chromaPitchBytes = chromaPitchOf(image);
  return {
    ...place,
    format,
    pitchBytes,
    data: data.subarray(start),
    chromaOffset: chromaOffsetOf(image) + (top / 2) * chromaPitchBytes + left - start,
    chromaPitchBytes,
    // They follow from the height of the whole image.
    yuvStandard: yuvStandardOf(image),
    yuvRange: yuvRangeOf(image),
  };
}

/** What a model sees of each of some people. @throws as {@linkcode personCrop} */
export function personCrops(image: Image, people: readonly { readonly box: Box }[], rule: CropRule): PersonCrop[] {
  return people.map(({ box }) => personCrop(image, box, rule));
}

/** True for an image that is the crop of a person. */
export function isPersonCrop(image: Image): image is PersonCrop {
  return "rectangle" in image;
}
