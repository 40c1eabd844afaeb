/** @module Knee: where more of something stops to pay. */

/** A point of a line. */
export interface CurvePoint {
  readonly x: number;
  readonly y: number;
}

/** A step must bring at least this share of what it would bring if everything scaled. */
const LEAST_RETURN = 0.25;

/**
 * The last `x` that paid: from there on, a step to the next point brings less than a quarter of the gain that scaling in
 * proportion would bring. A short dip that is made good later does not count.
 *
 * @param points throughput by batch size, streams, …: `x` ascending and above 0
 * @returns `undefined` of fewer than two points
 */
export function kneeOf(points: readonly CurvePoint[]): number | undefined {
  if (points.length < 2) return undefined;
  for (let at = 0; at < points.length - 1; at++) {
    const here = points[at]!;
    const isWorthGoingOn = points.slice(at + 1).some(({ x, y }) => y / here.y - 1 >= LEAST_RETURN * (x / here.x - 1));
    if (!isWorthGoingOn) return here.x;
  }
  return points.at(-1)!.x;
}
