/** @module Slicer: one image as several regions of a batch, and what was found in them as one result. */

import type { ModelSpec } from "../../heads/head.ts";
import { placeRectangle, type Rectangle, type Region, type Size } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { PixelSize } from "../../runtime/task.ts";
import { type MergeRules, type SlicePlan, type SliceRules, slicesOf } from "../image-grid.ts";
import { type MergeSelection, SliceMerger } from "./slice-merge.ts";

/** Cuts the images of one slot. */
export class Slicer {
  /** Where each view of the image lies in the input: its slices, then the whole of it. */
  readonly regions: Region[] = [];
  /** Of a slice, where nobody says. */
  readonly #usualSize: Size;
  #given: SlicePlan | undefined;
  #plan!: SliceRules & MergeRules;
  readonly #fit: ModelSpec["preprocessing"]["fit"];
  readonly #merger: SliceMerger;
  #width = 0;
  #height = 0;
  #views: readonly Rectangle[] = [];

  constructor(spec: Pick<ModelSpec, "extras" | "preprocessing" | "fixedSize" | "preferredSize">) {
    this.#usualSize = spec.fixedSize ?? spec.preferredSize;
    this.#fit = spec.preprocessing.fit;
    this.#merger = new SliceMerger(spec.extras, "task" in spec && spec.task === "obb");
  }

  /** Cut by a plan from now on. */
  use(plan: SlicePlan): this {
    if (plan === this.#given) return this;
    this.#given = plan;
    this.#plan = { ...plan, size: plan.size ?? this.#usualSize };
    this.#width = 0;
    return this;
  }

  /** How many views there are of an image. @throws {OptionError} If there are more than allowed */
  count({ width, height }: PixelSize): number {
    if (width !== this.#width || height !== this.#height) {
      this.#width = 0;
      this.#views = slicesOf([width, height], this.#plan);
      this.#width = width;
      this.#height = height;
      this.regions.length = 0;
    }
    return this.#views.length;
  }

  /** Place the views of an image in the input. @returns how many there are */
  begin(image: PixelSize, input: Size): number {
    const count = this.count(image);
    const [last] = this.regions;
    if (last?.inputWidth === input[0] && last.inputHeight === input[1]) return count;
    for (let view = 0; view < count; view++) {
      this.regions[view] = placeRectangle([image.width, image.height], this.#views[view]!, input, this.#fit);
    }
    return count;
  }

  /** One result of what was found in each view, in pixels of the image. Valid until the next call. */
  merge(blocks: readonly DetectionBlock[], selection: MergeSelection): DetectionBlock {
    const image = { width: this.#width, height: this.#height, views: this.#views };
    return this.#merger.merge(image, blocks, this.#plan, selection);
  }
}
