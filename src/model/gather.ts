/** @module Gather: what else a model says of the rows that were kept, fetched by their sources; the reference of the kernel. */

import { NumberSlice } from "./decode/number-slice.ts";
import { FLOATS, outputTensor } from "./decode/output-tensor.ts";
import type { DetectionBlock, RowExtra } from "./detection-block.ts";
import type { DecodeInput } from "./layout.ts";

const values: NumberSlice = new NumberSlice();

/**
 * Fetch an extra of every kept row of one picture.
 *
 * @param gathered f32 [capacity, length]: rows past `block.count` keep what they held
 * @throws {ShapeError} If the output has another shape or dtype than the extra says
 */
export function gatherRows(
  extra: RowExtra,
  input: DecodeInput,
  block: DetectionBlock,
  gathered: Float32Array<ArrayBuffer>,
): void {
  const { order, channels, first, length } = extra;
  const isPlanar = order === "channel-major";
  const isFlat = order === "flat";
  const tensor = isFlat
    ? outputTensor(input, extra.output, FLOATS, 0, channels)
    : outputTensor(input, extra.output, FLOATS, input.index + 1, isPlanar ? channels : -1, isPlanar ? -1 : channels);
  const sources = tensor.shape[isFlat ? 0 : isPlanar ? 2 : 1]!;
  values.load(tensor, isFlat ? 0 : input.index * sources * channels, sources * channels);
  const { data, offset } = values;
  const step = isPlanar ? sources : 1;
  for (let row = 0; row < block.count; row++) {
    const source = block.sources[row]!;
    let from = offset + (isPlanar ? source : source * channels) + first * step;
    for (let at = row * length; at < (row + 1) * length; at++, from += step) gathered[at] = data[from]!;
  }
}

/** Fetch every extra of a model into a block that was made for them. @throws {ShapeError} As {@linkcode gatherRows} */
export function gatherExtras(extras: readonly RowExtra[], input: DecodeInput, block: DetectionBlock): void {
  for (let at = 0; at < extras.length; at++) gatherRows(extras[at]!, input, block, block.extras[at]!);
}
