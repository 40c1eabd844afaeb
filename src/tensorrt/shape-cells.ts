/** @module ShapeCells: dimensions on their way through the shim, over memory that stays in place. */

import { ArgumentError, message } from "../core/errors.ts";
import { formatShape, type Shape } from "../core/shape.ts";

/** BT_MAX_DIMS of native/shim.h. */
const MAX_DIMS = 8;

/** Where the shim writes dimensions, or reads them; good until the next call that uses it. */
export class ShapeCells {
  /** What is passed as the pointer. */
  readonly cells: Int32Array<ArrayBuffer> = new Int32Array(new ArrayBuffer(MAX_DIMS * 4));

  /** The dimensions that a call wrote. @param rank what it returned */
  read(rank: number): Shape {
    return Array.from(this.cells.subarray(0, rank));
  }

  /** Write dimensions for a call. @returns the rank @throws {ArgumentError} If there are more than eight */
  write(shape: Shape): number {
    const rank = shape.length;
    if (rank > MAX_DIMS) {
      throw new ArgumentError(message(`pass the shape ${formatShape(shape)}`, `it may have ${MAX_DIMS} dimensions`));
    }
    for (let axis = 0; axis < rank; axis++) this.cells[axis] = shape[axis]!;
    return rank;
  }
}
