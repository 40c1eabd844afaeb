/** @module HostWork: what a task does around a model whose tensors lie in host memory. */

import type { Tensor } from "../core/tensor.ts";
import type { Region, Size } from "../image/geometry.ts";
import type { Image } from "../image/image.ts";
import type { InputTensor, Preprocessor } from "../image/preprocessor.ts";

/** The tensors of one run. */
export interface HostTensors {
  /** The outputs of the last run, by name. */
  readonly outputs: ReadonlyMap<string, Tensor>;
  /**
   * Write an image into its row of the input. Padding that the row has from the image before is not written again.
   *
   * @param preprocessor the same with every call
   * @param placement    what it returned for this image
   * @throws {ShapeError} If the image has another size than the placement's
   */
  fill(preprocessor: Preprocessor, image: Image, row: number, placement: Region): void;
  /** The input itself, to be read or written. Its rows are padded anew from now on. */
  lend(): InputTensor;
}

/** A task's part of every slot of a loaded model. */
export interface HostTask<Params, Output> {
  /** Make the part of one slot. */
  createWork(): HostWork<Params, Output>;
}

/** A task's part of one slot. A batch is `begin`, then `fill` and `finish` for each of its regions, then `end`. */
export interface HostWork<Params, Output> {
  /** Where each image of the batch lies in the input, where the task has one region an image. */
  readonly placements: readonly Region[];
  /**
   * Take a batch. The images are kept until `end`.
   *
   * @returns its regions: rows of the input it needs in all, in one or several runs
   */
  begin(images: readonly Image[], size: Size): number;
  /** Write a region into a row of the input. */
  fill(tensors: HostTensors, region: number, row: number): void;
  /** Take what the model said of a region. @throws {ShapeError} If an output is not what was recognised */
  finish(tensors: HostTensors, region: number, row: number, params: Params): void;
  /** What came of each image; valid until the next batch. */
  end(): readonly Output[];
}
