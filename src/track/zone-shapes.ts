/**
 * @module ZoneShapes: where objects stand to zones and lines: on which side, and how far from the edge; and what happened there and was
 * counted, as values.
 */

import type { Box } from "../tasks/boxes.ts";
import type { Anchor, ZonePoint, ZonesConfig } from "./zone-options.ts";

/** What every event says of the object that it is of. */
export interface ZoneObject {
  readonly trackId: number;
  readonly label: string;
  readonly classId: number;
  /** Of the frame, in milliseconds; three digits. */
  readonly timestampMs: number;
  /** Where its anchor is, in pixels of the image; three digits. */
  readonly point: ZonePoint;
}

/** An object came into a zone. */
export interface EnterEvent extends ZoneObject {
  readonly event: "enter";
  readonly zone: string;
  /** It was seen outside before, or it was inside when it was seen first. */
  readonly reason: "moved" | "appeared";
}

/** An object is in a zone no more. */
export interface ExitEvent extends ZoneObject {
  readonly event: "exit";
  readonly zone: string;
  /** It went out; it was not seen for `patienceMs`; or the stream ended. */
  readonly reason: "moved" | "lost" | "ended";
  /** How long it was inside, in milliseconds, three digits: until it was seen outside, else until it was seen last. */
  readonly dwellMs: number;
}

/** An object crossed a line. */
export interface CrossEvent extends ZoneObject {
  readonly event: "cross";
  readonly line: string;
  /** `in`: to the left of the line, for who looks along it. */
  readonly direction: "in" | "out";
}

/** What happened at a zone or a line. Values that `JSON.stringify` writes as they are. */
export type ZoneEvent = EnterEvent | ExitEvent | CrossEvent;

/** How many of one class crossed a line. */
export interface LineClassCounts {
  readonly in: number;
  readonly out: number;
}

/** How many of one class came into a zone and went out of it. */
export interface ZoneClassCounts extends LineClassCounts {
  /** How many are inside now. */
  readonly occupancy: number;
}

/** What was counted in a zone. */
export interface ZoneCounts {
  readonly name: string;
  /** How many are inside now: those seen in the last frame, and those not seen for no longer than `patienceMs`. */
  readonly occupancy: number;
  /** The most that were inside at a time. */
  readonly peak: number;
  /** How many came in, those among them that appeared inside. */
  readonly in: number;
  /** How many went out, those among them that were lost inside. */
  readonly out: number;
  /** Milliseconds that an object was inside, at the mean and at most, those among them that are inside now; 0 where there was none. */
  readonly meanDwellMs: number;
  readonly maxDwellMs: number;
  /** By name of the class. */
  readonly byClass: Readonly<Record<string, ZoneClassCounts>>;
}

/** What was counted at a line. */
export interface LineCounts {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  /** By name of the class. */
  readonly byClass: Readonly<Record<string, LineClassCounts>>;
}

/** What was counted so far: a value of its own, that stays as it is. */
export interface ZonesCounts {
  readonly zones: readonly ZoneCounts[];
  readonly lines: readonly LineCounts[];
}

/** The frame that objects were found in: a `VideoFrame`, or what says the same. */
export interface ZoneFrame {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Milliseconds since any moment. */
  readonly timestampMs: number;
}

/** Where an anchor is in a box, as parts of its width and height. */
const PLACES: Readonly<Record<Anchor, readonly (readonly [x: number, y: number])[]>> = {
  "bottom-centre": [[0.5, 1]],
  centre: [[0.5, 0.5]],
  "top-centre": [[0.5, 0]],
  "bottom-left": [[0, 1]],
  "bottom-right": [[1, 1]],
  "top-left": [[0, 0]],
  "top-right": [[1, 0]],
  "centre-left": [[0, 0.5]],
  "centre-right": [[1, 0.5]],
  corners: [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 1],
  ],
};

/** Points as x and y in turns, in pixels of an image of a size. */
function inPixels(points: readonly ZonePoint[], isFraction: boolean, width: number, height: number): Float64Array {
  const [across, down] = isFraction ? [width, height] : [1, 1];
  return Float64Array.from(points.flatMap(([x, y]) => [x * across, y * down]));
}

/** How far a point is inside of a polygon, in pixels; less than 0 outside. Where edges cross each other, inside is by even and odd. */
function depthIn(polygon: Float64Array, x: number, y: number): number {
  let isInside = false;
  let nearest = Number.POSITIVE_INFINITY;
  let fromX = polygon[polygon.length - 2]!;
  let fromY = polygon[polygon.length - 1]!;
  for (let at = 0; at < polygon.length; at += 2) {
    const toX = polygon[at]!;
    const toY = polygon[at + 1]!;
    if (toY > y !== fromY > y && x < ((fromX - toX) * (y - toY)) / (fromY - toY) + toX) isInside = !isInside;
    const dx = toX - fromX;
    const dy = toY - fromY;
    const length = dx * dx + dy * dy;
    const part = length === 0 ? 0 : Math.min(Math.max(((x - fromX) * dx + (y - fromY) * dy) / length, 0), 1);
    const offX = x - fromX - part * dx;
    const offY = y - fromY - part * dy;
    nearest = Math.min(nearest, offX * offX + offY * offY);
    fromX = toX;
    fromY = toY;
  }
  return isInside ? Math.sqrt(nearest) : -Math.sqrt(nearest);
}

/** True if no point of an outline, nor of what it encloses, is in an image. */
export function isBeside(points: Float64Array, width: number, height: number): boolean {
  const across = points.filter((_, at) => at % 2 === 0);
  const down = points.filter((_, at) => at % 2 === 1);
  return Math.max(...across) < 0 || Math.min(...across) > width || Math.max(...down) < 0 || Math.min(...down) > height;
}

/** The middle of a box, for those of whose points all count. */
const MIDDLE = [0.5, 0.5] as const;

/** What objects are on one side of, or on the other. */
export abstract class Shape {
  readonly #source: readonly ZonePoint[];
  readonly #isFraction: boolean;
  /** Of the points of a box that all have to be on a side. */
  protected readonly places: (typeof PLACES)[Anchor];
  /** Corners in pixels of the image, x and y in turns. */
  points: Float64Array;
  /** The point that stood for a box when it was placed. */
  x = 0;
  y = 0;
  #width = 1;
  #height = 1;

  constructor(source: readonly ZonePoint[], units: ZonesConfig["units"], anchor: Anchor) {
    this.#source = source;
    this.#isFraction = units === "fractions";
    this.places = PLACES[anchor];
    this.points = inPixels(source, false, 1, 1);
  }

  /** The image has this size from now on. */
  resize(width: number, height: number): void {
    if (!this.#isFraction || (width === this.#width && height === this.#height)) return;
    this.#width = width;
    this.#height = height;
    this.points = inPixels(this.#source, true, width, height);
  }

  /** Take the point that stands for a box: of all corners, the middle. */
  place([x1, y1, x2, y2]: Box): void {
    const [across, down] = this.places.length === 1 ? this.places[0]! : MIDDLE;
    this.x = x1 + across * (x2 - x1);
    this.y = y1 + down * (y2 - y1);
  }

  /**
   * Where a box stands, in pixels.
   *
   * @returns how far its point that is nearest to the other side is from the edge: more than 0 inside, or to the left of a line, less
   *   on the other side; 0 where it is on both
   */
  abstract side(box: Box): number;
}

/** A polygon. An object is outside as soon as one of its points is. */
export class Polygon extends Shape {
  override side([x1, y1, x2, y2]: Box): number {
    let least = Number.POSITIVE_INFINITY;
    for (const [across, down] of this.places) {
      least = Math.min(least, depthIn(this.points, x1 + across * (x2 - x1), y1 + down * (y2 - y1)));
    }
    return least;
  }
}

/** A straight line with two ends. An object that stands on both sides is on none. */
export class Segment extends Shape {
  override side([x1, y1, x2, y2]: Box): number {
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    for (const [across, down] of this.places) {
      const side = this.#left(x1 + across * (x2 - x1), y1 + down * (y2 - y1));
      least = Math.min(least, side);
      most = Math.max(most, side);
    }
    return least > 0 ? least : Math.min(most, 0);
  }

  /** How far a point is to the left of the line, which goes on for ever here, in pixels. */
  #left(x: number, y: number): number {
    const { points } = this;
    const dx = points[2]! - points[0]!;
    const dy = points[3]! - points[1]!;
    return (dy * (x - points[0]!) - dx * (y - points[1]!)) / Math.hypot(dx, dy);
  }

  /** How the way from a point to where it was placed last meets the line: 1 between its ends, -1 beyond them, 0 not at all. */
  meets(fromX: number, fromY: number): number {
    const before = this.#left(fromX, fromY);
    const after = this.#left(this.x, this.y);
    if (before > 0 === after > 0) return 0;
    const part = before / (before - after);
    const { points } = this;
    const dx = points[2]! - points[0]!;
    const dy = points[3]! - points[1]!;
    const x = fromX + part * (this.x - fromX) - points[0]!;
    const y = fromY + part * (this.y - fromY) - points[1]!;
    const along = (x * dx + y * dy) / (dx * dx + dy * dy);
    return along >= 0 && along <= 1 ? 1 : -1;
  }
}
