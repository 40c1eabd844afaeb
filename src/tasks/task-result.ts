/**
 * @module TaskResult: what is made of a task's result outside the program. The contract between tasks, which know what a result
 * holds, and the command line, the server and the worker, which write, send and draw it.
 */

import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import { round } from "../core/units.ts";
import type { Image } from "../image/image.ts";
import type { StageTimings } from "../runtime/backend.ts";

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

/** An output of the Open Inference Protocol as its metadata has it; -1 is the number of things found. */
export interface TensorForm {
  readonly name: string;
  readonly datatype: "BYTES" | "UINT8" | "FP32" | "INT64";
  readonly shape: readonly number[];
}

/** A tensor with its values. */
export interface ResultTensor extends TensorForm {
  /** Flat, for JSON. */
  readonly values: readonly (number | string)[];
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
  /** For `JSON.stringify`: the same from the command line and the server. */
  json(result: Result): object;
  /** The text of a label file as Ultralytics has it. */
  yolo(result: Result): string;
  /** Entries of a results file as pycocotools reads it. @param categoryId `undefined` for a class that is skipped */
  coco(result: Result, imageId: number, categoryId: (classId: number) => number | undefined): object[];
  /** The outputs of the Open Inference Protocol. */
  readonly tensorForms: readonly TensorForm[];
  /** In the order of `tensorForms`. */
  tensors(result: Result): ResultTensor[];
  /** Draw on a copy of an image. @returns RGB with tight rows */
  draw(image: Image, result: Result): Promise<Image>;
  /** Draw on the pixels of an image, at once. */
  paint(image: Image, result: Result): void;
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
  /** Plain fields, by name. @param isNormalized coordinates are fractions of the image's width and height */
  fields(result: Result, isNormalized: boolean): [name: string, text: string][];
  /** Write what is the task's own in the message `buntensorrt.v1.Detections`. @throws {Error} If a number does not fit */
  write(writer: BinaryWriter, result: Result, isNormalized: boolean): void;
}
