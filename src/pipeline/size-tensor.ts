/** @module Size tensor: the input that tells some models how large their pictures are. */

import type { Shape } from "../core/shape.ts";
import { createTensor, type Tensor } from "../core/tensor.ts";
import type { SizeInput } from "../model/layout.ts";
import type { Size } from "./backend.ts";

/**
 * Fill an input that wants the size of the pictures: it gets the input's own, so that boxes come out in input pixels.
 *
 * @param declared shape the model declares of it
 * @param batch    rows
 */
export function sizeTensor(input: SizeInput, declared: Shape, batch: number, [width, height]: Size): Tensor {
  if (input.content === "mask") {
    const [, rows = -1, columns = -1] = declared;
    const mask = createTensor(input.dtype, [batch, rows < 0 ? height : rows, columns < 0 ? width : columns]);
    fill(mask, [1]);
    return mask;
  }
  const sizes = createTensor(input.dtype, [batch, 2]);
  const row = { "width-height": [width, height], "height-width": [height, width], ones: [1, 1] }[input.content];
  fill(sizes, row);
  return sizes;
}

function fill({ dtype, data }: Tensor, pattern: readonly number[]): void {
  for (let at = 0; at < data.length; at++) {
    const value = pattern[at % pattern.length]!;
    data[at] = dtype === "i64" ? BigInt(value) : value;
  }
}
