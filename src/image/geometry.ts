/** @module Geometry: where a picture lands inside a model's input, and the way back to source pixels. Pure. */

/** Width and height in pixels. */
export type Size = readonly [width: number, height: number];

/**
 * How a picture is put into an input of another shape.
 * `letterbox` keeps the ratio and centres; `letterbox-top-left` keeps it and pads right and below; `stretch` does not keep it.
 */
export type Fit = "letterbox" | "letterbox-top-left" | "stretch";

/** Every fit, for option schemas and tests. */
export const FITS: readonly Fit[] = ["letterbox", "letterbox-top-left", "stretch"];

/** Where a picture lies inside a model's input: input = source × scale + pad, in pixels on both sides. */
export interface Placement {
  /** Source size in pixels. */
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  /** Input size in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
  /** Size in input pixels of the resized picture. */
  readonly contentWidth: number;
  readonly contentHeight: number;
  /** Input pixels left of and above the picture. */
  readonly padX: number;
  readonly padY: number;
  /** Input pixels per source pixel. */
  readonly scaleX: number;
  readonly scaleY: number;
}

/** The nearest integer, and of two equally near the even one: what Python's `round` does, and `Math.round` does not. */
function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/**
 * Place a picture inside a model's input.
 *
 * As Ultralytics' LetterBox for `letterbox`: the resized size is rounded, halves to even, and of an odd padding the
 * larger part goes right and below. As YOLOX's `preproc` for `letterbox-top-left`: the resized size is truncated, so
 * that a product just below an integer, which binary fractions give, leaves one more pixel of padding, there as here.
 * A side never becomes less than 1, where theirs becomes 0 and fails. Boxes go back by the size the picture really has
 * on each axis; for `letterbox-top-left` by the one ratio before truncation, as YOLOX does.
 *
 * @param sourceWidth  in pixels, at least 1
 * @param sourceHeight in pixels, at least 1
 * @param inputWidth   in pixels, at least 1
 * @param inputHeight  in pixels, at least 1
 * @param fit          how the ratio is treated
 */
export function place(
  sourceWidth: number,
  sourceHeight: number,
  inputWidth: number,
  inputHeight: number,
  fit: Fit,
): Placement {
  let contentWidth = inputWidth;
  let contentHeight = inputHeight;
  let padX = 0;
  let padY = 0;
  let ratio: number | undefined;
  if (fit !== "stretch") {
    const scale = Math.min(inputWidth / sourceWidth, inputHeight / sourceHeight);
    const whole = fit === "letterbox" ? roundHalfEven : Math.trunc;
    contentWidth = Math.max(1, Math.min(inputWidth, whole(sourceWidth * scale)));
    contentHeight = Math.max(1, Math.min(inputHeight, whole(sourceHeight * scale)));
    if (fit === "letterbox") {
      padX = Math.floor((inputWidth - contentWidth) / 2);
      padY = Math.floor((inputHeight - contentHeight) / 2);
    } else {
      ratio = scale;
    }
  }
  return {
    sourceWidth,
    sourceHeight,
    inputWidth,
    inputHeight,
    contentWidth,
    contentHeight,
    padX,
    padY,
    scaleX: ratio ?? contentWidth / sourceWidth,
    scaleY: ratio ?? contentHeight / sourceHeight,
  };
}

/** True if the padding of two inputs lies in the same place. */
export function isSamePadding(a: Placement, b: Placement): boolean {
  return (
    a.inputWidth === b.inputWidth &&
    a.inputHeight === b.inputHeight &&
    a.contentWidth === b.contentWidth &&
    a.contentHeight === b.contentHeight &&
    a.padX === b.padX &&
    a.padY === b.padY
  );
}

/**
 * Map boxes from input pixels back to source pixels and clip them to the picture, in place.
 *
 * @param boxes     f32 [count, 4], xyxy in input pixels; afterwards in source pixels
 * @param count     number of boxes
 * @param placement where the picture lay
 */
export function unplaceBoxes(boxes: Float32Array, count: number, placement: Placement): void {
  const { padX, padY, scaleX, scaleY, sourceWidth, sourceHeight } = placement;
  for (let at = 0; at < count * 4; at += 2) {
    boxes[at] = Math.min(Math.max((boxes[at]! - padX) / scaleX, 0), sourceWidth);
    boxes[at + 1] = Math.min(Math.max((boxes[at + 1]! - padY) / scaleY, 0), sourceHeight);
  }
}

/** What {@linkcode rectangularSize} takes. */
export interface RectangularLimits {
  /** The longer side of the result in pixels. */
  readonly longSide: number;
  /** The model's stride: both sides are multiples of it. */
  readonly stride: number;
}

/**
 * The input size for rectangular inference: the frame's own ratio, the longer side as given, the shorter the nearest
 * multiple of the stride that holds the picture.
 *
 * @returns [width, height] in pixels
 */
export function rectangularSize(
  sourceWidth: number,
  sourceHeight: number,
  limits: RectangularLimits,
): [width: number, height: number] {
  const scale = limits.longSide / Math.max(sourceWidth, sourceHeight);
  const up = (side: number): number =>
    Math.max(limits.stride, Math.ceil(roundHalfEven(side * scale) / limits.stride) * limits.stride);
  return [up(sourceWidth), up(sourceHeight)];
}
