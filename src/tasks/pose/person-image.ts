/** @module PersonImage: what a top-down model sees of a person: a rectangle of the image that all people of it share. */

import { ArgumentError, message } from "../../core/errors.ts";
import type { Rectangle, Size } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { PixelSize } from "../../runtime/task.ts";
import type { Box } from "../detect/detection.ts";

/** An image with a person in it. */
export type PersonImage = Image & {
  /** What the model sees, in pixels of the image; it may reach beyond them. */
  readonly rectangle: Rectangle;
};

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

/** Longest side of a box in pixels: more than any image has, and exact in what follows. */
const MOST_SIDE = 2 ** 20;

function isBoundless([x1, y1, x2, y2]: Box): boolean {
  return x2 - x1 > MOST_SIDE || y2 - y1 > MOST_SIDE;
}

/** True if a box has some of an image, and an end. */
export function isWithin(box: Box, { width, height }: PixelSize): boolean {
  const [x1, y1, x2, y2] = box;
  return x1 < x2 && y1 < y2 && x1 < width && y1 < height && x2 > 0 && y2 > 0 && !isBoundless(box);
}

/**
 * What a model sees of each of some people.
 *
 * @param people boxes in pixels of the image; they may reach beyond it
 * @throws {ArgumentError} If one is no box, or has nothing of the image
 */
export function personImages(image: Image, people: readonly { readonly box: Box }[], rule: CropRule): PersonImage[] {
  return people.map(({ box }) => {
    const refuse = (found: string): never => {
      throw new ArgumentError(message("estimate a pose", `the box [${box}] ${found}`, "leave it out"));
    };
    if (!(box?.length === 4 && box.every(Number.isFinite) && box[0] < box[2] && box[1] < box[3])) refuse("has no area");
    if (isBoundless(box)) refuse(`is larger than ${MOST_SIDE} pixels`);
    if (!isWithin(box, image)) refuse(`lies outside the image of ${image.width}x${image.height} pixels`);
    const { x, y, width, height } = seenOf(box, rule);
    // What is seen of a box of less than a pixel at the edge of the image may be rounded to what lies beside it.
    const left = Math.min(Math.max(x, 1 - width), image.width - 1);
    const top = Math.min(Math.max(y, 1 - height), image.height - 1);
    return seenIn(image, { x: left, y: top, width, height });
  });
}

/** An image with what is seen of it. Where its pixels lie on a GPU, those on the host are a copy, which is not made here. */
function seenIn(image: Image, rectangle: Rectangle): PersonImage {
  const { resident } = image;
  // Those of a frame of a video are no property of its own.
  if (resident === undefined) return { ...image, data: image.data, rectangle };
  const { width, height, pitchBytes, format, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange } = image;
  const form = { width, height, pitchBytes, format, chromaOffset, chromaPitchBytes, yuvStandard, yuvRange };
  return {
    ...form,
    rectangle,
    resident,
    get data() {
      return image.data;
    },
  };
}

/** True for the image of a person. */
export function isPersonImage(image: Image): image is PersonImage {
  return "rectangle" in image;
}
