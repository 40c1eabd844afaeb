/** @module Geometry: which part of an image lands where in a model's input, and the way back to source pixels. Pure. */

import { message, ShapeError } from "../core/errors.ts";

/** Width and height in pixels. */
export type Size = readonly [width: number, height: number];

/**
 * How an image is put into an input of another shape.
 * `letterbox` keeps the ratio and centres; `letterbox-top-left` keeps it and pads right and below; `stretch` does not keep it.
 */
export type Fit = "letterbox" | "letterbox-top-left" | "stretch";

/** Every fit, for option schemas and tests. */
export const FITS: readonly Fit[] = ["letterbox", "letterbox-top-left", "stretch"];

/**
 * What stands for pixels beyond the image's edges. `pad`: nothing, the input is padded there. `replicate`: the image's last
 * pixel again. `reflect`: the image mirrored at that pixel.
 */
export type Edge = "pad" | "replicate" | "reflect";

/** A rectangle in pixels, its sides at least 1. */
export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * What a model sees in one row of its input: a rectangle of an image, resized, and where that lies. The whole image, a
 * tile, a crop and a centre crop are regions. input = (source − rectangle) × scale + pad, in pixels on both sides.
 *
 * The rectangle is in whole pixels of the image that is pre-processed, and may reach beyond it. It is resized as if it were
 * cut out first: pixels beside it do not count. Results may be mapped to a larger image, of which this one was shrunk while it
 * was decoded: then it need not be in whole pixels.
 */
export interface Region extends Rectangle {
  /** Size of the image in pixels. */
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  readonly edge: Edge;
  /** Size of the input in pixels. */
  readonly inputWidth: number;
  readonly inputHeight: number;
  /** Size in input pixels of the resized rectangle, which may be larger than the input. */
  readonly contentWidth: number;
  readonly contentHeight: number;
  /** Input pixels left of and above the rectangle; negative where the input shows only a part of it. */
  readonly padX: number;
  readonly padY: number;
  /** Input pixels per source pixel. */
  readonly scaleX: number;
  readonly scaleY: number;
  /** The part of the input that shows the image, up to before `right` and `bottom`; the rest is padding. All 0 if it is all. */
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** The nearest integer, and of two equally near the even one, as Python's `round` and `cvRound` have it. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** A region but for the part of the input that it fills, and for scales that follow from its sizes. */
type Placed = Omit<Region, "left" | "top" | "right" | "bottom" | "scaleX" | "scaleY"> & {
  readonly scaleX?: number;
  readonly scaleY?: number;
};

/** Where the input shows the image along one axis: pixels whose centre lies in it. */
function shown(
  start: number,
  length: number,
  source: number,
  content: number,
  pad: number,
  input: number,
  edge: Edge,
): readonly [from: number, to: number] {
  let from = 0;
  let to = content;
  if (edge === "pad") {
    // Pixel d of the content lies at start + (d + 0.5) × length / content of the image. Whole numbers: exact.
    from = Math.max(0, Math.ceil((-2 * start * content - length) / (2 * length)));
    to = Math.min(content, Math.ceil((2 * (source - start) * content - length) / (2 * length)));
  }
  return [Math.max(0, pad + from), Math.min(input, pad + to)];
}

function regionOf(placed: Placed): Region {
  const { x, y, width, height, sourceWidth, sourceHeight, edge } = placed;
  if (x >= sourceWidth || y >= sourceHeight || x + width <= 0 || y + height <= 0) {
    const expected = `some of an image of ${sourceWidth}x${sourceHeight} pixels`;
    const actual = `${width}x${height} at ${x}, ${y}`;
    throw new ShapeError(message("take a region", `it must hold ${expected}, got ${actual}`), {
      tensor: "region",
      expected,
      actual,
    });
  }
  const [left, right] = shown(x, width, sourceWidth, placed.contentWidth, placed.padX, placed.inputWidth, edge);
  const [top, bottom] = shown(y, height, sourceHeight, placed.contentHeight, placed.padY, placed.inputHeight, edge);
  const { scaleX = placed.contentWidth / width, scaleY = placed.contentHeight / height } = placed;
  const isEmpty = left >= right || top >= bottom;
  const filled = isEmpty ? { left: 0, top: 0, right: 0, bottom: 0 } : { left, top, right, bottom };
  return { ...placed, scaleX, scaleY, ...filled };
}

/**
 * Place a rectangle of an image inside a model's input: what it has of the image is resized, the rest is padded.
 *
 * As Ultralytics' LetterBox for `letterbox`: the resized size is rounded, halves to even, and of an odd padding the
 * larger part goes right and below. As YOLOX's `preproc` for `letterbox-top-left`: the resized size is truncated, so
 * that a product just below an integer, which binary fractions give, leaves one more pixel of padding, there as here.
 * A side never becomes less than 1, where theirs becomes 0 and fails. Boxes go back by the size the rectangle really has
 * on each axis; for `letterbox-top-left` by the one ratio before truncation, as YOLOX does. A slice of a frame is
 * `placeRectangle([1920, 1080], { x: 1280, y: 440, width: 640, height: 640 }, [640, 640], "letterbox")`.
 *
 * @param source    size of the image in pixels
 * @param rectangle of it, in whole pixels; it may reach beyond the image
 * @param input     size of the input in pixels
 * @param fit       how the ratio is treated
 * @throws {ShapeError} If it holds nothing of the image
 */
export function placeRectangle(
  [sourceWidth, sourceHeight]: Size,
  { x, y, width, height }: Rectangle,
  [inputWidth, inputHeight]: Size,
  fit: Fit,
): Region {
  let contentWidth = inputWidth;
  let contentHeight = inputHeight;
  let padX = 0;
  let padY = 0;
  let scales = {};
  if (fit !== "stretch") {
    const scale = Math.min(inputWidth / width, inputHeight / height);
    const whole = fit === "letterbox" ? roundHalfEven : Math.trunc;
    contentWidth = Math.max(1, Math.min(inputWidth, whole(width * scale)));
    contentHeight = Math.max(1, Math.min(inputHeight, whole(height * scale)));
    if (fit === "letterbox") {
      padX = Math.floor((inputWidth - contentWidth) / 2);
      padY = Math.floor((inputHeight - contentHeight) / 2);
    } else {
      scales = { scaleX: scale, scaleY: scale };
    }
  }
  return regionOf({
    x,
    y,
    width,
    height,
    sourceWidth,
    sourceHeight,
    edge: "pad",
    inputWidth,
    inputHeight,
    contentWidth,
    contentHeight,
    padX,
    padY,
    ...scales,
  });
}

/**
 * Place a whole image inside a model's input; see {@linkcode placeRectangle}.
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
): Region {
  const whole = { x: 0, y: 0, width: sourceWidth, height: sourceHeight };
  return placeRectangle([sourceWidth, sourceHeight], whole, [inputWidth, inputHeight], fit);
}

/**
 * Place a tile: as many pixels as the input has, as they are.
 *
 * @param source size of the image in pixels
 * @param x      first column of the tile
 * @param y      first row
 * @param input  size of the input, and of the tile
 * @param edge   what lies beyond the image
 * @throws {ShapeError} If it holds nothing of the image
 */
export function placeTile(
  [sourceWidth, sourceHeight]: Size,
  x: number,
  y: number,
  [width, height]: Size,
  edge: Edge,
): Region {
  const size = { inputWidth: width, inputHeight: height, contentWidth: width, contentHeight: height };
  const placed = { x, y, width, height, sourceWidth, sourceHeight, edge, ...size };
  return regionOf({ ...placed, padX: 0, padY: 0 });
}

/**
 * What an image is resized to before its middle is taken: its shorter side in pixels, at least 1; the size that it is stretched
 * to; or a size that it covers or lies within, in its own ratio.
 */
export type Resized = number | Size | { readonly fit: "cover" | "contain"; readonly size: Size };

/** True for a size, of the forms of {@linkcode Resized}. */
export function isSize(resized: Resized): resized is Size {
  return Array.isArray(resized);
}

/** How the middle of a resized image is rounded to whole pixels. */
export type CropRounding = "half-even" | "floor" | "nearest";

/** The size of an image after a resize: a shorter side as torchvision's `Resize` has it, a ratio as timm's `ResizeKeepRatio`. */
function sizeAfter([width, height]: Size, resized: Resized, whole: (side: number) => number): Size {
  if (isSize(resized)) return resized;
  if (typeof resized === "number") {
    const long = Math.max(resized, whole((resized * Math.max(width, height)) / Math.min(width, height)));
    return width <= height ? [resized, long] : [long, resized];
  }
  const ratios = [width / resized.size[0], height / resized.size[1]];
  const ratio = resized.fit === "cover" ? Math.min(...ratios) : Math.max(...ratios);
  return [Math.max(1, roundHalfEven(width / ratio)), Math.max(1, roundHalfEven(height / ratio))];
}

/**
 * Place the middle of a resized image, as torchvision's `Resize` and `CenterCrop(input)` do: the longer side is truncated to whole
 * pixels, the crop's place rounded, halves to even. Where the resized image is smaller than the input it is padded, the larger
 * part right and below.
 *
 * @param source   size of the image in pixels
 * @param resized  what it is resized to
 * @param input    size of the input in pixels
 * @param rounding of the crop's place; `floor` is transformers', `nearest` PaddleClas's, which rounds the longer side as well
 */
export function placeCentreCrop(
  [sourceWidth, sourceHeight]: Size,
  resized: Resized,
  [inputWidth, inputHeight]: Size,
  rounding: CropRounding = "half-even",
): Region {
  const long = rounding === "nearest" ? roundHalfEven : Math.trunc;
  const [contentWidth, contentHeight] = sizeAfter([sourceWidth, sourceHeight], resized, long);
  const whole = rounding === "half-even" ? roundHalfEven : Math.floor;
  const pad = (input: number, content: number): number =>
    content < input ? Math.floor((input - content) / 2) : 0 - whole((content - input) / 2);
  return regionOf({
    x: 0,
    y: 0,
    width: sourceWidth,
    height: sourceHeight,
    sourceWidth,
    sourceHeight,
    edge: "pad",
    inputWidth,
    inputHeight,
    contentWidth,
    contentHeight,
    padX: pad(inputWidth, contentWidth),
    padY: pad(inputHeight, contentHeight),
  });
}

/**
 * The pixel of the image that stands at a place within or beyond it, along one axis.
 *
 * @param length of the axis in pixels, at least 1
 */
export function sourceIndex(at: number, length: number, edge: Exclude<Edge, "pad">): number {
  if (at >= 0 && at < length) return at;
  if (edge === "replicate" || length === 1) return at < 0 ? 0 : length - 1;
  const period = 2 * (length - 1);
  const phase = ((at % period) + period) % period;
  return phase < length ? phase : period - phase;
}

/** True if the padding of two inputs lies in the same place. */
export function isSamePadding(a: Region, b: Region): boolean {
  return (
    a.inputWidth === b.inputWidth &&
    a.inputHeight === b.inputHeight &&
    a.left === b.left &&
    a.top === b.top &&
    a.right === b.right &&
    a.bottom === b.bottom
  );
}

/**
 * Map points, such as key points or corners, from input pixels back to source pixels, in place.
 *
 * @param points  f32 [count, numbers], x and y in input pixels and perhaps more; afterwards in source pixels
 * @param count   number of points
 * @param region  where they were found
 * @param outside `clip` moves those beyond what the region has of the image to its edge, `keep` leaves them there
 * @param numbers of a point
 */
export function pointsToSource(
  points: Float32Array,
  count: number,
  region: Region,
  outside: "clip" | "keep",
  numbers = 2,
): void {
  const { x, y, width, height, padX, padY, scaleX, scaleY, sourceWidth, sourceHeight } = region;
  const isClipped = outside === "clip";
  const left = isClipped ? Math.max(x, 0) : Number.NEGATIVE_INFINITY;
  const top = isClipped ? Math.max(y, 0) : Number.NEGATIVE_INFINITY;
  const right = isClipped ? Math.min(x + width, sourceWidth) : Number.POSITIVE_INFINITY;
  const bottom = isClipped ? Math.min(y + height, sourceHeight) : Number.POSITIVE_INFINITY;
  for (let at = 0; at < count * numbers; at += numbers) {
    points[at] = Math.min(Math.max((points[at]! - padX) / scaleX + x, left), right);
    points[at + 1] = Math.min(Math.max((points[at + 1]! - padY) / scaleY + y, top), bottom);
  }
}

/**
 * The input size for rectangular inference: the frame's own ratio, the longer side as given, the shorter the nearest
 * multiple of the stride that holds the image.
 *
 * @param longSide of the result in pixels
 * @param stride   of the model: both sides are multiples of it
 * @returns [width, height] in pixels
 */
export function rectangularSize(
  sourceWidth: number,
  sourceHeight: number,
  { longSide, stride }: { readonly longSide: number; readonly stride: number },
): [width: number, height: number] {
  const scale = longSide / Math.max(sourceWidth, sourceHeight);
  const up = (side: number): number => Math.max(stride, Math.ceil(roundHalfEven(side * scale) / stride) * stride);
  return [up(sourceWidth), up(sourceHeight)];
}

/**
 * The region that maps boxes to the image as it was before it was shrunk while decoding; the same object for one
 * that was not.
 */
export function sourceRegion(
  image: Pick<Region, "width" | "height"> & Partial<Pick<Region, "sourceWidth" | "sourceHeight">>,
  region: Region,
): Region {
  const { sourceWidth = image.width, sourceHeight = image.height } = image;
  if (sourceWidth === image.width && sourceHeight === image.height) return region;
  return {
    ...region,
    sourceWidth,
    sourceHeight,
    x: (region.x * sourceWidth) / region.sourceWidth,
    y: (region.y * sourceHeight) / region.sourceHeight,
    width: (region.width * sourceWidth) / region.sourceWidth,
    height: (region.height * sourceHeight) / region.sourceHeight,
    scaleX: (region.scaleX * region.sourceWidth) / sourceWidth,
    scaleY: (region.scaleY * region.sourceHeight) / sourceHeight,
  };
}
