/** @module MergedMasks: the masks of rows that were merged: of each the pixels that belong to any. */

import type { RowMasks } from "../objects/objects.ts";
import { blankMask, type Mask, wordsOf } from "../segment/mask.ts";

/** The pixels that belong to any of some masks of one image. @param masks at least one */
function unionOf(masks: readonly Mask[]): Mask {
  const [first] = masks as [Mask, ...Mask[]];
  const filled = masks.filter(({ bounds }) => bounds.width > 0);
  if (filled.length < 2) return filled[0] ?? first;
  const union = blankMask(first.width, first.height, {
    left: Math.min(...filled.map(({ bounds }) => bounds.x)),
    top: Math.min(...filled.map(({ bounds }) => bounds.y)),
    right: Math.max(...filled.map(({ bounds }) => bounds.x + bounds.width)),
    bottom: Math.max(...filled.map(({ bounds }) => bounds.y + bounds.height)),
  });
  for (const mask of filled) paint(union, mask);
  return union;
}

/** Set the bits of a mask in one whose bounds hold it. */
function paint(target: Mask, { bounds, bits }: Mask): void {
  const words = wordsOf(bounds.width);
  const targetWords = wordsOf(target.bounds.width);
  const offset = bounds.x - target.bounds.x;
  const shift = offset & 31;
  for (let row = 0; row < bounds.height; row++) {
    let to = (bounds.y - target.bounds.y + row) * targetWords + (offset >>> 5);
    for (let word = row * words; word < (row + 1) * words; word++, to++) {
      const pixels = bits[word]!;
      target.bits[to]! |= pixels << shift;
      const rest = shift === 0 ? 0 : pixels >>> (32 - shift);
      // Bits beyond the width are 0: there is a word for those that are not.
      if (rest !== 0) target.bits[to + 1]! |= rest;
    }
  }
}

/** The masks of merged rows: each of one mask, or of several that are joined when it is asked for. */
export class MergedMasks implements RowMasks {
  readonly #parts: (readonly [masks: RowMasks, row: number])[][] = [];

  get length(): number {
    return this.#parts.length;
  }

  /** Have a further row, of one mask so far. */
  begin(masks: RowMasks, row: number): void {
    this.#parts.push([[masks, row]]);
  }

  /** Have the last row grow over a mask. */
  add(masks: RowMasks, row: number): void {
    this.#parts.at(-1)!.push([masks, row]);
  }

  at(row: number): Mask | undefined {
    const parts = this.#parts[row];
    return parts && unionOf(parts.map(([masks, part]) => masks.at(part)!));
  }
}
