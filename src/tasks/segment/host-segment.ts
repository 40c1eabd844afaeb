/** @module Host segment: boxes as a detector's, and the mask of each object, around a model in host memory. */

import type { DecodeInput } from "../../heads/head.ts";
import type { ObjectSpec } from "../../heads/object-reading.ts";
import { NumberSlice, outputTensor } from "../../heads/outputs.ts";
import { FLOATS } from "../../heads/traits.ts";
import type { Region } from "../../image/geometry.ts";
import type { DetectionBlock } from "../../model/rows.ts";
import type { DetectTaskOptions } from "../detect/detect-task.ts";
import { HostDetect } from "../detect/host-detect.ts";
import type { PlausibilityGuard } from "../detect/plausibility.ts";
import type { MaskedBlock } from "../objects/objects.ts";
import type { Mask } from "./mask.ts";
import type { MaskSize } from "./mask-plan.ts";
import { ProtoMasks } from "./proto-masks.ts";

/** What one slot needs to find objects and their masks. */
export class HostSegment extends HostDetect {
  readonly #prototypes: string;
  /** Channels of the prototypes, and coefficients of an object. */
  readonly #channels: number;
  readonly #masks = new ProtoMasks();
  readonly #values = new NumberSlice();
  /** The values as they are looked at, kept for as long as they stay where they are. */
  #view = new Float32Array(0);

  readonly #maskSize: MaskSize;

  constructor(spec: ObjectSpec, guard: PlausibilityGuard, { maskSize }: Pick<DetectTaskOptions, "maskSize">) {
    super(spec, guard);
    this.#maskSize = maskSize;
    this.#prototypes = spec.masks!.output;
    this.#channels = spec.extras[0]!.length;
  }

  protected override mapRows(block: DetectionBlock, input: DecodeInput, region: Region): void {
    // Masks lie under boxes as they are: in the image, or before they are mapped to it.
    const isOfImage = this.#maskSize === "image";
    if (isOfImage) super.mapRows(block, input, region);
    const masks = this.#finish(block, input, region);
    if (!isOfImage) super.mapRows(block, input, region);
    keepMasked(block, masks);
  }

  #finish({ count, boxes, extras }: DetectionBlock, input: DecodeInput, region: Region): Mask[] {
    const channels = this.#channels;
    const tensor = outputTensor(input, this.#prototypes, FLOATS, input.index + 1, channels, -1, -1);
    const [, , height = 0, width = 0] = tensor.shape;
    const length = channels * height * width;
    this.#values.load(tensor, input.index * length, length);
    const { data, offset } = this.#values;
    const from = data.byteOffset + offset * 4;
    const view = this.#view;
    if (view.buffer !== data.buffer || view.byteOffset !== from || view.length !== length) {
      this.#view = data.subarray(offset, offset + length) as Float32Array<ArrayBuffer>;
    }
    const prototypes = { data: this.#view, channels, width, height };
    return this.#masks.finish(prototypes, { count, coefficients: extras[0]!, boxes }, region, this.#maskSize);
  }
}

/**
 * Give the rows of a block their masks. One whose mask has no pixel is left out, as in Ultralytics.
 *
 * @param masks one a row; the same array afterwards holds those of the rows that are left
 */
export function keepMasked(block: DetectionBlock, masks: Mask[]): void {
  let kept = 0;
  for (let row = 0; row < block.count; row++) {
    const mask = masks[row]!;
    if (mask.isEmpty) continue;
    if (kept < row) moveRow(block, row, kept);
    masks[kept] = mask;
    kept += 1;
  }
  masks.length = kept;
  block.count = kept;
  (block as { -readonly [Name in keyof MaskedBlock]: MaskedBlock[Name] }).masks = masks;
}

/** Move a row of a block, whose coefficients are done with, to the place of one that is left out. */
function moveRow({ boxes, scores, classIds, sources }: DetectionBlock, from: number, to: number): void {
  boxes.copyWithin(to * 4, from * 4, from * 4 + 4);
  scores[to] = scores[from]!;
  classIds[to] = classIds[from]!;
  sources[to] = sources[from]!;
}
