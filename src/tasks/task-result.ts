/**
 * @module TaskResult: what is made of a task's result outside the program. The contract between tasks, which know what a result
 * holds, and the command line, the server and the worker, which write, send and draw it.
 */

import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import { ArgumentError, message } from "../core/errors.ts";
import { round } from "../core/units.ts";
import { writeFileWhole } from "../core/whole-file.ts";
import type { KeypointForm } from "../heads/head.ts";
import { DETECTED_DECODING } from "../image/decode-limits.ts";
import type { Image } from "../image/image.ts";
import { decodeImage, encodeImage } from "../image/image-file.ts";
import { formatOf } from "../image/image-options.ts";
import type { ImageSource } from "../image/source.ts";
import type { StageTimings } from "../runtime/backend.ts";
import type { DrawOptions } from "./draw-options.ts";

/** Milliseconds of each stage, and in total from the call to the result. */
export interface Timing extends Readonly<StageTimings> {
  readonly total: number;
}

/** For `JSON.stringify`, three digits. */
export function timingJson({ decode, preprocess, infer, postprocess, total }: Timing): Timing {
  return {
    decode: round(decode, 3),
    preprocess: round(preprocess, 3),
    infer: round(infer, 3),
    postprocess: round(postprocess, 3),
    total: round(total, 3),
  };
}

/** What the result of every task says. */
export interface TaskResult {
  /** Size of the image in pixels, after its EXIF orientation. */
  readonly width: number;
  readonly height: number;
  /** Of the batch the image was in. */
  readonly timing: Timing;
  /** With `damaged: "take"`: why some of the image's pixels are not those of its file. */
  readonly damage?: string;
}

/** How a result is drawn, and on what. */
export interface DrawResultOptions extends DrawOptions {
  /** The image, where it is another than the result was asked for with. */
  readonly image?: ImageSource | undefined;
}

/** How a drawn result is written to a file. */
export interface SaveResultOptions extends DrawResultOptions {
  /** 1 (small) to 100 (like the original), default 90; PNG loses nothing. */
  readonly quality?: number | undefined;
}

/** What every result of images does. It keeps the path, bytes or pixels that it was asked for with, and reads them anew. */
export interface Drawable {
  /**
   * Draw what was found onto a copy of the image.
   *
   * @returns RGB with tight rows
   * @throws {ImageError} If the image is not there any more, or cannot be decoded
   * @throws {ArgumentError} If the image is of another size
   * @throws {OptionError} If an option is unknown or out of range
   *
   * @example
   * ```ts
   * import { Detector, encodeImage } from "bun-tensorrt";
   *
   * await using detector = await Detector.load("yolo11n");
   * const result = await detector.detect("street.jpg");
   * const drawn = await result.draw({ scores: false, lineWidth: 4, palette: ["#ff8800", "#0088ff"] });
   * await Bun.write("drawn.png", await encodeImage(drawn, { format: "png" }));
   * ```
   */
  draw(options?: DrawResultOptions): Promise<Image>;
  /**
   * Draw what was found onto the pixels of an image, in place and at once: RGB, BGR, RGBA or NV12 in any memory, such as a video's
   * frame. Names of classes in scripts other than Latin come out as `?`.
   *
   * @throws {ShapeError} If the image's size, pitch and data do not fit together
   * @throws {ArgumentError} If the image is of another size
   * @throws {OptionError} If an option is unknown or out of range
   */
  paint(image: Image, options?: DrawOptions): void;
  /**
   * Draw what was found onto a copy of the image, and write that to a file.
   *
   * @param path ends in .jpg, .jpeg, .png or .webp; the folders above it are made
   * @throws {ArgumentError} If it ends otherwise
   * @throws {BunTensorRtError} If the file cannot be written
   * @throws as `draw`
   *
   * @example
   * ```ts
   * import { Detector } from "bun-tensorrt";
   *
   * await using detector = await Detector.load("yolo11n");
   * const result = await detector.detect("street.jpg");
   * await result.save("out/street.png");
   * ```
   */
  save(path: string, options?: SaveResultOptions): Promise<void>;
}

class DrawableResult<Result extends TaskResult> implements Drawable {
  readonly #forms: ResultForms<Result>;
  readonly #source: ImageSource;

  constructor(result: Result, forms: ResultForms<Result>, source: ImageSource) {
    Object.assign(this, result);
    this.#forms = forms;
    this.#source = source;
  }

  async draw({ image = this.#source, ...options }: DrawResultOptions = {}): Promise<Image> {
    const decoded = await decodeImage(image, DETECTED_DECODING);
    this.#checkSize(decoded);
    return this.#forms.draw(decoded, this.#result, options);
  }

  paint(image: Image, options?: DrawOptions): void {
    this.#checkSize(image);
    this.#forms.paint(image, this.#result, options);
  }

  /** Places are pixels: on an image of another size they would be others. */
  #checkSize({ width, height }: Image): void {
    const { width: ownWidth, height: ownHeight } = this.#result;
    if (width === ownWidth && height === ownHeight) return;
    const found = `it was found in an image of ${ownWidth}x${ownHeight}`;
    throw new ArgumentError(message(`draw the result on ${width}x${height} pixels`, found));
  }

  async save(path: string, { quality, ...options }: SaveResultOptions = {}): Promise<void> {
    const format = formatOf(path);
    if (format === undefined) {
      const found = "its name must end in .jpg, .jpeg, .png or .webp";
      throw new ArgumentError(message(`save ${JSON.stringify(path)}`, found));
    }
    const drawn = await this.draw(options);
    await writeFileWhole(path, await encodeImage(drawn, quality === undefined ? { format } : { format, quality }));
  }

  /** It has the result's own properties. */
  get #result(): Result {
    return this as unknown as Result;
  }
}

/** Make a result draw itself. @param source what its image was made of; it is kept, not copied */
export function drawable<Result extends TaskResult>(
  result: Result,
  forms: ResultForms<Result>,
  source: ImageSource,
): Result & Drawable {
  return new DrawableResult(result, forms, source) as unknown as Result & Drawable;
}

/** What masks become in text: run lengths, polygons, or nothing. */
export type MaskForm = "rle" | "polygon" | "none";

/** An output of the Open Inference Protocol as its metadata has it; -1 is the number of things found. */
export interface TensorForm {
  readonly name: string;
  readonly datatype: "BYTES" | "UINT8" | "FP32" | "INT64";
  readonly shape: readonly number[];
}

/** What of a model decides its tensors' shapes. */
export interface TensorTraits {
  /** Of a pose model. */
  readonly keypoints?: KeypointForm | undefined;
}

/** A tensor with its values. */
export interface ResultTensor extends TensorForm {
  /** Flat, for JSON. */
  readonly values: readonly (number | string)[];
}

/** What was cut out of an image for an object. */
interface CutOut {
  /** Name of the object's class. */
  readonly label: string;
  /** Of the object in its result, from 0 on. */
  readonly place: number;
  readonly image: Image;
}

/** Tensors of so many things. @param values of each, in the order of `forms` */
export function tensorsOf(
  forms: readonly TensorForm[],
  count: number,
  values: readonly ResultTensor["values"][],
): ResultTensor[] {
  return forms.map(({ shape: [, ...sides], ...form }, at) => ({
    ...form,
    shape: [count, ...sides],
    values: values[at]!,
  }));
}

/** Results of one task as text, tensors and drawings. */
export interface ResultForms<Result extends TaskResult = TaskResult> {
  /** What is counted in a result: `object`. */
  readonly noun: string;
  count(result: Result): number;
  /** What speaks against a result, for people; none where all is well. */
  doubts(result: Result): string[];
  /** Titles of the table's columns: a name, then numbers. */
  readonly columns: readonly string[];
  /** The table's cells, a list a row. */
  rows(result: Result): string[][];
  /** Titles of the columns of a CSV file: names and numbers. */
  readonly csvColumns: readonly string[];
  /** The cells of a CSV file, a list a row. */
  csvRows(result: Result): string[][];
  /**
   * For `JSON.stringify`: the same from the command line and the server.
   *
   * @param masks default `rle`; of the classes of pixels `none`
   */
  json(result: Result, masks?: MaskForm): object;
  /** What maps are of many megabytes in JSON; absent where there are none. */
  mapJson?(result: Result): object;
  /** The text of a label file as Ultralytics has it. @param hasScores false: as the file of a dataset has it */
  yolo(result: Result, hasScores?: boolean): string;
  /**
   * Entries of a results file as pycocotools reads it.
   *
   * @param categoryId `undefined` for a class that is skipped
   * @param masks      default `rle`; pycocotools scores no other
   */
  coco(
    result: Result,
    imageId: number,
    categoryId: (classId: number) => number | undefined,
    masks?: MaskForm,
  ): object[];
  /** A line of DOTA's Task1 files for each object, after the name of the image; absent where boxes are not oriented. */
  dota?(result: Result): { readonly label: string; readonly line: string }[];
  /**
   * The pixels of each object of an image, as images of their own; absent where there are no objects. One that lies outside of
   * the image is left out.
   */
  cutOuts?(image: Image, result: Result): Iterable<CutOut>;
  /**
   * What an answer of DeepStack says of it: `predictions` of the objects, or `label` and `confidence` of the image; absent where
   * DeepStack knows nothing of the kind.
   */
  deepstack?(result: Result): object;
  /** The outputs of the Open Inference Protocol. */
  tensorForms(model: TensorTraits): readonly TensorForm[];
  /** The values of each. @param forms by `tensorForms` */
  tensors(result: Result, forms: readonly TensorForm[]): ResultTensor[];
  /** Draw on a copy of an image. @returns RGB with tight rows */
  draw(image: Image, result: Result, options?: DrawOptions): Promise<Image>;
  /** Draw on the pixels of an image, at once. */
  paint(image: Image, result: Result, options?: DrawOptions): void;
}

/** What of a result is wanted. */
export interface ResultFilter {
  /** Lowest score that is kept. */
  readonly threshold: number;
  /** Ids of the classes to keep; `undefined`: all. */
  readonly classIds: ReadonlySet<number> | undefined;
  /** Pixels; `undefined`: what touches the edge of the image is kept. */
  readonly edgeMargin: number | undefined;
}

/** Results of one task in the worker's messages. */
export interface ResultMessages<Result extends TaskResult = TaskResult> {
  /** Of an image that could not be looked at. */
  readonly nothing: Result;
  /** What is left of a result under a filter. */
  filtered(result: Result, filter: ResultFilter): Result;
  /**
   * Plain fields, by name.
   *
   * @param isNormalized coordinates are fractions of the image's width and height
   * @param hasMap       every number of a map is wanted
   */
  fields(result: Result, isNormalized: boolean, hasMap: boolean): [name: string, text: string][];
  /** Write what is the task's own in the message `buntensorrt.v1.Detections`. @throws {Error} If a number does not fit */
  write(writer: BinaryWriter, result: Result, isNormalized: boolean, hasMap: boolean): void;
}
