/** @module Mask plan: which cells and pixels masks are made of, by the size that they shall have and the family of the model. Pure. */

import type { MaskRule } from "../../heads/host-plan.ts";
import type { Region } from "../../image/geometry.ts";

/**
 * The size of masks. `image`: that of the image. `input`: that of the model's input, padding included. `proto`: that of the
 * model's prototypes, mostly a quarter of the input's.
 */
export type MaskSize = "image" | "input" | "proto";

const { fround } = Math;

/** What families do otherwise than Ultralytics. */
export interface Rule {
  /** What is compared with 0: the `sum`, its `sigmoid` less one half, or, of sums that are a `probability`, these less it. */
  readonly value?: "sigmoid" | "probability";
  /** The box cuts `cells`, before they are interpolated, and so many around it stay; or it does not cut. */
  readonly cut?: "cells" | "none";
  readonly margin?: number;
  /** Padding is cut off where its last whole cell ends. */
  readonly isRough?: boolean;
  /** Cells are enlarged to a square of so many; those above 0 are then masks, whose pixels are not interpolated. */
  readonly side?: number;
  /** Of patches as large as their boxes. */
  readonly patch?: PatchRule;
}

/** How a patch of probabilities is laid under its box. */
export interface PatchRule {
  /** What probabilities are compared with: those above it belong to the object. */
  readonly half: number;
  /**
   * Where it lies along an axis with a cell around it where nothing is.
   *
   * @param cells  of the patch
   * @param length of the image in pixels
   */
  readonly place: (from: number, to: number, cells: number, length: number) => PatchPlace;
}

/** Where a patch lies along an axis. */
interface PatchPlace {
  /** Pixel that it begins at, its cell around included, and how many pixels it is. */
  readonly origin: number;
  readonly pixels: number;
  /** Pixels that it may reach: up to before `end`. */
  readonly begin: number;
  readonly end: number;
}

/** Of a patch that reaches all pixels that it lies over. */
function wholePlace(origin: number, pixels: number, length: number): PatchPlace {
  return { origin, pixels, begin: Math.max(0, Math.floor(origin)), end: Math.min(length, Math.ceil(origin + pixels)) };
}

/** Resized to whole pixels, as `paste_masks_in_image` does. */
const WHOLE: PatchRule = {
  half: 0.5,
  place(from, to, cells, length) {
    const reach = fround(fround(fround(to - from) * 0.5) * fround((cells + 2) / cells));
    const centre = fround(fround(to + from) * 0.5);
    const first = Math.trunc(fround(centre - reach));
    return wholePlace(first, Math.max(1, Math.trunc(fround(centre + reach)) - first + 1), length);
  },
};

/** Sampled where the box is; what is exactly one half belongs to the object. */
const EXACT: PatchRule = {
  half: fround(0.5 - 2 ** -25),
  place(from, to, cells, length) {
    const cell = (to - from) / cells;
    return wholePlace(from - cell, cell * (cells + 2), length);
  },
};

/**
 * As `reframe_box_masks_to_image_masks` of TensorFlow's API does by `crop_and_resize`: the middles of the outer cells lie on the box's
 * sides, those of the outer pixels on the image's, and a pixel beyond them is none of the object's.
 */
const CORNERS: PatchRule = {
  half: 0.5,
  place(from, to, cells, length) {
    // Of an image of one pixel the only sample is its corner.
    const pixel = length > 1 ? length / (length - 1) : 1;
    const cell = (to - from) / (cells - 1) / pixel;
    return {
      origin: from / pixel + 0.5 - 1.5 * cell,
      pixels: cell * (cells + 2),
      begin: Math.max(0, Math.ceil(from / pixel)),
      end: Math.min(length, Math.floor(to / pixel) + 1),
    };
  },
};

/** By the size of the masks where that matters. */
const RULES: Readonly<Record<MaskRule, Rule | ((size: MaskSize) => Rule)>> = {
  ultralytics: {},
  yolov5: (size) => ({ value: "sigmoid", ...(size === "image" ? { isRough: true } : { cut: "cells" }) }),
  yolact: { value: "sigmoid", cut: "cells", margin: 1, isRough: true },
  logits: { cut: "none" },
  mask2former: (size) => ({ cut: "none", ...(size === "proto" ? {} : { side: 384 }) }),
  torchvision: { value: "probability", cut: "none", patch: WHOLE },
  mmdeploy: { value: "probability", cut: "none", patch: EXACT },
  tensorflow: { value: "probability", cut: "none", patch: CORNERS },
};

/** What a family does with masks of a size. */
export function ruleOf(name: MaskRule, size: MaskSize): Rule {
  const rule = RULES[name];
  return typeof rule === "function" ? rule(size) : rule;
}

/** What masks of one size have in common. */
export interface Plan {
  /** Size of the masks. */
  readonly width: number;
  readonly height: number;
  /** What boxes are multiplied by. */
  readonly boxScaleX: number;
  readonly boxScaleY: number;
  /** The part of a mask that the grid is stretched over. */
  readonly x: number;
  readonly y: number;
  readonly spanX: number;
  readonly spanY: number;
  /** Size of the grid that pixels are interpolated from: that of the prototypes, or what these are enlarged to first. */
  readonly gridWidth: number;
  readonly gridHeight: number;
  /** The part of the grid that shows the image. */
  readonly cropX: number;
  readonly cropY: number;
  readonly cropWidth: number;
  readonly cropHeight: number;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/**
 * How often the prototypes are enlarged before padding is cut off: the least often at which the padding is whole cells.
 *
 * @param pixels of the input in a cell
 */
function enlargement(
  pixels: number,
  { inputWidth, inputHeight, contentWidth, contentHeight, padX, padY }: Region,
): number {
  const pads = [padX, padY, inputWidth - contentWidth - padX, inputHeight - contentHeight - padY];
  if (pads.every((pad) => pad === 0)) return 1;
  if (!Number.isInteger(pixels)) return pixels;
  return pixels / pads.reduce((divisor, pad) => greatestDivisor(divisor, Math.abs(pad)), pixels);
}

/** A grid of cells. */
interface Grid {
  readonly width: number;
  readonly height: number;
}

/** What of a grid shows the image where no part of a cell is cut off: as YOLOv5 computes it, of an image in the middle. */
function roughCrop(cells: number, length: number, gain: number): readonly [start: number, count: number] {
  const rest = (cells - length * gain) / 2;
  const start = Math.min(Math.trunc(rest), cells - 1);
  return [start, Math.max(1, Math.trunc(cells - rest) - start)];
}

/** The cells that show an image: at least one, and none beyond the grid. */
function shownCells(pad: number, content: number, cells: number): readonly [start: number, count: number] {
  const start = Math.min(Math.round(pad), cells - 1);
  return [start, Math.max(1, Math.min(Math.round(content), cells - start))];
}

/** How masks of a size lie over the cells they are made of. */
export function planOf({ width: cellsX, height: cellsY }: Grid, region: Region, size: MaskSize, rule: Rule): Plan {
  const { inputWidth, inputHeight } = region;
  const { side = 0 } = rule;
  const [gridX, gridY] = side > 0 ? [side, side] : [cellsX, cellsY];
  if (size !== "image") {
    const isInput = size === "input";
    const [width, height] = isInput ? [inputWidth, inputHeight] : [cellsX, cellsY];
    const scale = { boxScaleX: width / inputWidth, boxScaleY: height / inputHeight };
    const spans = { x: 0, y: 0, spanX: width, spanY: height };
    const crop = { cropX: 0, cropY: 0, cropWidth: gridX, cropHeight: gridY };
    return { width, height, ...scale, ...spans, gridWidth: gridX, gridHeight: gridY, ...crop };
  }
  const { x, y, width, height, padX, padY, contentWidth, contentHeight } = region;
  const span = { x, y, spanX: width, spanY: height };
  const image = { width: region.sourceWidth, height: region.sourceHeight, boxScaleX: 1, boxScaleY: 1, ...span };
  const isCut = rule.isRough && padX + padY > 0;
  const gain = Math.min(cellsX / width, cellsY / height);
  const factor =
    side > 0 || rule.isRough
      ? 1
      : Math.max(enlargement(inputWidth / cellsX, region), enlargement(inputHeight / cellsY, region));
  const along = (cells: number, input: number, length: number, pad: number, content: number) => {
    if (isCut) return [cells, ...roughCrop(cells, length, gain)] as const;
    const scale = (cells * factor) / input;
    const grid = Math.round(cells * factor);
    return [grid, ...shownCells(pad * scale, content * scale, grid)] as const;
  };
  const [gridWidth, cropX, cropWidth] = along(gridX, inputWidth, width, padX, contentWidth);
  const [gridHeight, cropY, cropHeight] = along(gridY, inputHeight, height, padY, contentHeight);
  return { ...image, gridWidth, gridHeight, cropX, cropY, cropWidth, cropHeight };
}

/** Cells, or pixels, from `left` and `top` up to before `right` and `bottom`. */
export interface Window {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** The pixels along an axis that cells from `first` up to before `end` have a share in; see `BilinearAxis.set`. */
function reach(
  [first, end]: readonly [number, number],
  origin: number,
  pixels: number,
  start: number,
  cells: number,
  limit: number,
): readonly [from: number, to: number] {
  const scale = pixels / cells;
  const from = first <= start ? 0 : Math.floor((first - start - 0.5) * scale + origin - 0.5);
  const to = end >= start + cells ? limit : Math.ceil((end - start + 0.5) * scale + origin + 0.5);
  return [Math.max(0, from), Math.min(limit, to)];
}

/** True if nothing lies in it. */
export function isEmpty({ left, top, right, bottom }: Window): boolean {
  return !(left < right && top < bottom);
}

/** The pixels of a box. */
export function pixelsUnder(boxes: Float32Array, at: number, { width, height, boxScaleX, boxScaleY }: Plan): Window {
  return {
    left: Math.max(0, Math.ceil(boxes[at]! * boxScaleX)),
    top: Math.max(0, Math.ceil(boxes[at + 1]! * boxScaleY)),
    right: Math.min(width, Math.ceil(boxes[at + 2]! * boxScaleX)),
    bottom: Math.min(height, Math.ceil(boxes[at + 3]! * boxScaleY)),
  };
}

/** The cells of a box. @param margin cells around it */
export function cellsUnder(boxes: Float32Array, at: number, plan: Plan, margin: number): Window {
  const { boxScaleX, boxScaleY, x, y, spanX, spanY, cropX, cropY, cropWidth, cropHeight } = plan;
  const across = (side: number): number => cropX + ((side * boxScaleX - x) * cropWidth) / spanX;
  const down = (side: number): number => cropY + ((side * boxScaleY - y) * cropHeight) / spanY;
  return {
    left: Math.max(cropX, Math.ceil(across(boxes[at]!) - margin)),
    top: Math.max(cropY, Math.ceil(down(boxes[at + 1]!) - margin)),
    right: Math.min(cropX + cropWidth, Math.ceil(across(boxes[at + 2]!) + margin)),
    bottom: Math.min(cropY + cropHeight, Math.ceil(down(boxes[at + 3]!) + margin)),
  };
}

/** The pixels that cells have a share in. */
export function reached(cells: Window, prototypes: Grid, plan: Plan): Window {
  if (isEmpty(cells)) return cells;
  const { gridWidth, gridHeight, x, y, spanX, spanY, cropX, cropY, cropWidth, cropHeight } = plan;
  let columns: readonly [number, number] = [cells.left, cells.right];
  let rows: readonly [number, number] = [cells.top, cells.bottom];
  if (gridWidth !== prototypes.width || gridHeight !== prototypes.height) {
    columns = reach(columns, 0, gridWidth, 0, prototypes.width, gridWidth);
    rows = reach(rows, 0, gridHeight, 0, prototypes.height, gridHeight);
  }
  const [left, right] = reach(columns, x, spanX, cropX, cropWidth, plan.width);
  const [top, bottom] = reach(rows, y, spanY, cropY, cropHeight, plan.height);
  return { left, top, right, bottom };
}

/** The cells of a plane that are above a value. */
export function cellsAbove(
  { data, offset = 0, width, height }: Grid & { readonly data: Float32Array; readonly offset?: number },
  value: number,
): Window {
  const found = { left: width, top: height, right: 0, bottom: 0 };
  for (let y = 0, at = offset; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!(data[at]! > value)) continue;
      found.top = Math.min(found.top, y);
      found.bottom = y + 1;
      found.left = Math.min(found.left, x);
      found.right = Math.max(found.right, x + 1);
    }
  }
  return found;
}
