/** @module Rle: COCO's run lengths of a mask, and the string that pycocotools makes of them. */

import { ArgumentError, message } from "../../core/errors.ts";

/** Run lengths of a mask in COCO's form, as a list or as the string of pycocotools. */
export interface Rle<Counts extends readonly number[] | string = readonly number[] | string> {
  /** Size of the image in pixels: height first. */
  readonly size: readonly [height: number, width: number];
  /** Pixels one after the other, column by column: how many are 0, how many then 1, and so on. */
  readonly counts: Counts;
}

/** The runs up to this one are written as they are, later ones as the difference to the last but one. */
const PLAIN_RUNS = 3;
/** A character holds five bits of a number and says whether more follow. */
const MORE = 0x20;
const SIGN = 0x10;
const FIRST_CHARACTER = 48;
const CHARACTERS = 64;

/** The string of pycocotools: five bits a character, the lowest first. */
export function encodeCounts(runs: readonly number[]): string {
  // A number of 32 bits and a sign takes seven characters.
  const text = new Uint8Array(runs.length * 7);
  let length = 0;
  for (let run = 0; run < runs.length; run++) {
    let rest = run < PLAIN_RUNS ? runs[run]! : runs[run]! - runs[run - 2]!;
    for (let hasMore = true; hasMore; ) {
      const bits = rest & 0x1f;
      // Not a shift: an image may have more than 2^31 pixels.
      rest = Math.floor(rest / 32);
      hasMore = rest !== ((bits & SIGN) === 0 ? 0 : -1);
      text[length++] = (hasMore ? bits | MORE : bits) + FIRST_CHARACTER;
    }
  }
  return Buffer.from(text.buffer, 0, length).toString("latin1");
}

/**
 * The runs of a string of pycocotools.
 *
 * @throws {ArgumentError} If it has other characters, or ends within a number
 */
export function decodeCounts(text: string): number[] {
  const runs: number[] = [];
  let value = 0;
  let unit = 1;
  for (let at = 0; at < text.length; at++) {
    const bits = text.charCodeAt(at) - FIRST_CHARACTER;
    if (bits < 0 || bits >= CHARACTERS) {
      const found = `character ${at} of its string is ${JSON.stringify(text[at])}`;
      throw new ArgumentError(message("read a mask's run lengths", found));
    }
    value += (bits & 0x1f) * unit;
    unit *= 32;
    if ((bits & MORE) !== 0) continue;
    if ((bits & SIGN) !== 0) value -= unit;
    runs.push(runs.length < PLAIN_RUNS ? value : value + runs[runs.length - 2]!);
    value = 0;
    unit = 1;
  }
  if (unit !== 1) throw new ArgumentError(message("read a mask's run lengths", "its string ends within a number"));
  return runs;
}
