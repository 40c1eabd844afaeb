/**
 * @module Boxes: what a box is, and what programs do with boxes: other forms of them, which of many are kept, and the pixels
 * in them.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { createTensor } from "../core/tensor.ts";
import { placeRectangle, pointsToSource, type Region } from "../image/geometry.ts";
import { bytesPerPixel, type Image, imageOf } from "../image/image.ts";
import { Nv12Rows } from "../image/nv12.ts";
import { withOptions, YOLO_PREPROCESSING } from "../image/preprocessing.ts";
import { Preprocessor } from "../image/preprocessor.ts";
import { ROW_PIXEL_BYTES } from "../image/samples.ts";
import { Candidates, createDetectionBlock } from "../model/rows.ts";
import { Selector } from "./detect/nms.ts";
import { type LetterboxOptions, type NmsChoice, parseLetterboxOptions, parseNmsChoice } from "./draw-options.ts";
import { RotatedSelector } from "./obb/rotated.ts";

/** A box in source pixels, float: the pixel at the left edge spans 0 to 1. */
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

/** Four numbers of a box, in whatever form. */
export type BoxNumbers = readonly [number, number, number, number];

/**
 * How four numbers say a box. `xyxy`: two corners, as results have it. `xywh`: the upper left corner, width and height, as COCO
 * has it. `cxcywh`: the centre, width and height, as YOLO has it.
 */
export type BoxForm = "xyxy" | "xywh" | "cxcywh";

const TO_CORNERS: Readonly<Record<BoxForm, (box: BoxNumbers) => BoxNumbers>> = {
  xyxy: (box) => box,
  xywh: ([x, y, width, height]) => [x, y, x + width, y + height],
  cxcywh: ([x, y, width, height]) => [x - width / 2, y - height / 2, x + width / 2, y + height / 2],
};

const OF_CORNERS: Readonly<Record<BoxForm, (box: BoxNumbers) => BoxNumbers>> = {
  xyxy: (box) => box,
  xywh: ([x1, y1, x2, y2]) => [x1, y1, x2 - x1, y2 - y1],
  cxcywh: ([x1, y1, x2, y2]) => [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1],
};

/**
 * A box in another form.
 *
 * @throws {ArgumentError} If a form is none
 *
 * @example
 * ```ts
 * import { convertBox } from "bun-tensorrt";
 *
 * const [x, y, width, height] = convertBox([10, 20, 110, 70], "xyxy", "xywh");
 * console.log(x, y, width, height); // 10 20 100 50
 * ```
 */
export function convertBox(box: BoxNumbers, from: BoxForm, to: BoxForm): BoxNumbers {
  for (const form of [from, to]) {
    if (Object.hasOwn(TO_CORNERS, form)) continue;
    throw new ArgumentError(message("convert a box", `its form is xyxy, xywh or cxcywh, got ${JSON.stringify(form)}`));
  }
  return OF_CORNERS[to](TO_CORNERS[from](box));
}

/**
 * A box of whatever form in fractions of an image's width and height.
 *
 * @param size in pixels, such as a result or an image
 *
 * @example
 * ```ts
 * import { normalizeBox } from "bun-tensorrt";
 *
 * console.log(normalizeBox([192, 108, 960, 540], { width: 1920, height: 1080 })); // [0.1, 0.1, 0.5, 0.5]
 * ```
 */
export function normalizeBox([a, b, c, d]: BoxNumbers, { width, height }: Pick<Image, "width" | "height">): BoxNumbers {
  return [a / width, b / height, c / width, d / height];
}

/**
 * A box of whatever form in pixels, from fractions of an image's width and height.
 *
 * @param size in pixels
 *
 * @example
 * ```ts
 * import { denormalizeBox } from "bun-tensorrt";
 *
 * console.log(denormalizeBox([0.1, 0.1, 0.5, 0.5], { width: 1920, height: 1080 })); // [192, 108, 960, 540]
 * ```
 */
export function denormalizeBox(
  [a, b, c, d]: BoxNumbers,
  { width, height }: Pick<Image, "width" | "height">,
): BoxNumbers {
  return [a * width, b * height, c * width, d * height];
}

/** What `nms` looks at of an object: one of a result, or one like it. */
export interface ScoredObject {
  readonly classId: number;
  /** 0–1. */
  readonly score: number;
  readonly box: Box;
  /** Of an oriented one: centre, width, height and angle. */
  readonly xywhr?: readonly [cx: number, cy: number, width: number, height: number, angle: number];
}

/**
 * Non-maximum suppression, as models are run with: of objects that overlap, the best one is kept. For objects of several images of
 * one place, such as tiles, or of several models. Upright boxes are compared by IoU; if all objects are oriented, these boxes are
 * by `probiou`, and a box that is suppressed suppresses as well, as in Ultralytics. One with NaN in it, or without area, is left
 * out.
 *
 * @returns the objects that are kept, best first; of equal scores the earlier one
 * @throws {OptionError} If an option is unknown or out of range
 * @throws {ArgumentError} If a score is above 1
 *
 * @example What two models find, without what both find
 * ```ts
 * import { Detector, nms } from "bun-tensorrt";
 *
 * await using coarse = await Detector.load("yolo11n", { size: 320 });
 * await using fine = await Detector.load("yolo11n");
 * const [left, right] = await Promise.all([coarse.detect("street.jpg"), fine.detect("street.jpg")]);
 * const kept = nms([...left.detections, ...right.detections], { iou: 0.5 });
 * console.log(kept.length);
 * ```
 */
export function nms<Found extends ScoredObject>(objects: readonly Found[], options: NmsChoice = {}): Found[] {
  const selection = parseNmsChoice(options, objects.length);
  const tooSure = objects.find(({ score }) => score > 1);
  if (tooSure !== undefined) {
    throw new ArgumentError(message("choose boxes", `scores are from 0 to 1, got ${tooSure.score}`));
  }
  const candidates = new Candidates(objects.length);
  objects.forEach(({ box: [x1, y1, x2, y2], score, classId }, at) => {
    candidates.push(x1, y1, x2, y2, score, classId, at);
  });
  if (candidates.count === 0) return [];
  const { sources, scores, classIds, count } = candidates;
  if (objects.every(({ xywhr }) => xywhr !== undefined)) {
    const boxes = new Float32Array(new ArrayBuffer(count * 20));
    for (let row = 0; row < count; row++) boxes.set(objects[sources[row]!]!.xywhr!, row * 5);
    const selector = new RotatedSelector();
    const kept = selector.select({ count, boxes, scores, classIds }, selection);
    return Array.from(selector.kept.subarray(0, kept), (row) => objects[sources[row]!]!);
  }
  const block = createDetectionBlock(objects.length);
  new Selector().select(candidates, selection, { needsNms: true, head: "nms" }, block);
  return Array.from(block.sources.subarray(0, block.count), (at) => objects[at]!);
}

/** Whole pixels along one axis, at least one, as far as they lie in the image. */
function span(a: number, b: number, margin: number, length: number): readonly [start: number, count: number] {
  const start = Math.round(Math.min(a, b) - margin);
  const end = Math.max(start + 1, Math.round(Math.max(a, b) + margin));
  const first = Math.max(0, start);
  return [first, Math.min(length, end) - first];
}

/**
 * Cut a box out of an image: its sides are rounded to whole pixels; what lies beyond the image is left out.
 *
 * @param image  of any format; stays as it is
 * @param box    x1, y1, x2, y2 in pixels of the image
 * @param margin pixels more on each side
 * @returns tight rows over memory of its own, in the format of the image; RGB of NV12
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {ArgumentError} If nothing of the box lies in the image
 *
 * @example
 * ```ts
 * import { crop, Detector, decodeImage, encodeImage } from "bun-tensorrt";
 *
 * await using detector = await Detector.load("yolo11n");
 * const image = await decodeImage("street.jpg");
 * const { detections } = await detector.detect(image);
 * for (const [index, { box }] of detections.entries()) {
 *   await Bun.write(`object-${index}.jpg`, await encodeImage(crop(image, box)));
 * }
 * ```
 */
export function crop(image: Image, box: Box, margin = 0): Image {
  const complete = imageOf(image.data, image);
  const [left, width] = span(box[0], box[2], margin, complete.width);
  const [top, height] = span(box[1], box[3], margin, complete.height);
  if (!(width > 0 && height > 0)) {
    const found = `none of its pixels lies in the image of ${complete.width}x${complete.height} pixels`;
    throw new ArgumentError(message(`cut out the box ${box.join(", ")}`, found));
  }
  const { format, levels } = complete;
  const isRgb = format === "NV12";
  const pixel = isRgb ? 3 : bytesPerPixel(format);
  const data = new Uint8Array(width * height * pixel);
  const rows = isRgb ? new Nv12Rows(width) : undefined;
  for (let y = 0; y < height; y++) {
    if (rows !== undefined) {
      const row = rows.load(complete, left, top + y);
      for (let x = 0; x < width; x++) {
        data.set(row.subarray(x * ROW_PIXEL_BYTES, x * ROW_PIXEL_BYTES + 3), (y * width + x) * 3);
      }
      continue;
    }
    const from = (top + y) * complete.pitchBytes + left * pixel;
    data.set(complete.data.subarray(from, from + width * pixel), y * width * pixel);
  }
  return imageOf(data, { width, height, format: isRgb ? "RGB" : format, levels });
}

/** An image in another size, and where it lies there. */
export interface Letterboxed {
  /** RGB with tight rows. */
  readonly image: Image;
  /** input = (source − x, y) × scale + pad, in pixels on both sides; {@linkcode boxToSource} goes back. */
  readonly region: Region;
}

/**
 * Put an image into another size as models get it: resized as OpenCV does, its ratio kept, centred, padded with grey of level 114.
 *
 * @param image of any format; stays as it is
 * @param size  in pixels
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {OptionError} If an option is unknown or out of range
 *
 * @example
 * ```ts
 * import { decodeImage, letterbox } from "bun-tensorrt";
 *
 * const { image: input, region } = letterbox(await decodeImage("street.jpg"), [640, 640]);
 * console.log(input.width, input.height, region.scaleX); // 640 640, and how many of its pixels are one of the image's
 * ```
 */
export function letterbox(
  image: Image,
  size: readonly [width: number, height: number],
  options: LetterboxOptions = {},
): Letterboxed {
  const checked = parseLetterboxOptions(size, options);
  const source = imageOf(image.data, image);
  const preprocessing = withOptions({ ...YOLO_PREPROCESSING, layout: "NHWC", dtype: "u8", scale: 1 }, checked);
  const whole = { x: 0, y: 0, width: source.width, height: source.height };
  const [width, height] = size;
  const region = placeRectangle([source.width, source.height], whole, size, preprocessing.fit);
  const tensor = createTensor("u8", [1, height, width, 3]);
  new Preprocessor(preprocessing).run(source, tensor, 0, region);
  return { image: imageOf(tensor.data, { width, height }), region };
}

/**
 * A box in pixels of the source, from one in pixels of what {@linkcode letterbox} made; cut at the edges of the source.
 *
 * @example
 * ```ts
 * import { boxToSource, decodeImage, letterbox } from "bun-tensorrt";
 *
 * const { region } = letterbox(await decodeImage("street.jpg"), [640, 640]);
 * console.log(boxToSource([100, 200, 300, 400], region)); // that box of the input, in pixels of street.jpg
 * ```
 */
export function boxToSource(box: Box, region: Region): Box {
  const points = Float32Array.from(box);
  pointsToSource(points, 2, region, "clip");
  return [points[0]!, points[1]!, points[2]!, points[3]!];
}
