/** @module GrownLength: how much memory is taken when a larger picture comes. */

/** A quarter more than asked for, so that pictures of slightly different sizes do not allocate each time. */
const GROWTH = 1.25;

/** Bytes to take where `byteLength` are needed, and somewhat more will be. */
export function grownLength(byteLength: number): number {
  return Math.ceil(byteLength * GROWTH);
}
