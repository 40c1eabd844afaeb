/** @module GlyphMask: the characters of the stroke font as masks of coverage, made once for each size. */

import { advanceUnits, LINE_UNITS, STROKE_UNITS, strokePoints } from "./stroke-font.ts";

/** A character in one size. */
export interface GlyphMask {
  /** Of the mask in pixels. */
  readonly width: number;
  readonly height: number;
  /** Pixels from its left edge to the left edge of the next one. */
  readonly advance: number;
  /** u8 [height, width]: how much of a pixel is ink. */
  readonly coverage: Uint8Array;
}

function distanceToSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const [dx, dy] = [bx - ax, by - ay];
  const square = dx * dx + dy * dy;
  const share = square === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / square));
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

function maskOf(character: string, unit: number): GlyphMask {
  const advance = Math.max(1, Math.round(advanceUnits(character) * unit));
  const radius = (STROKE_UNITS * unit) / 2;
  // Half a stroke stands out on each side.
  const margin = Math.ceil(radius + 0.5);
  const width = advance + 2 * margin;
  const height = Math.ceil(LINE_UNITS * unit) + 2 * margin;
  const coverage = new Uint8Array(width * height);
  const strokes = strokePoints(character);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [px, py] = [x + 0.5 - margin, y + 0.5 - margin];
      let nearest = Number.POSITIVE_INFINITY;
      for (const points of strokes) {
        for (let at = 0; at + 1 < points.length; at += 2) {
          const end = Math.min(at + 2, points.length - 2);
          const segment = [
            points[at]! * unit,
            points[at + 1]! * unit,
            points[end]! * unit,
            points[end + 1]! * unit,
          ] as const;
          nearest = Math.min(nearest, distanceToSegment(px, py, ...segment));
        }
      }
      coverage[y * width + x] = Math.round(255 * Math.min(1, Math.max(0, radius + 0.5 - nearest)));
    }
  }
  return { width, height, advance, coverage };
}

/** Masks of one size, made as they are needed. */
export class GlyphMasks {
  readonly #unit: number;
  readonly #masks = new Map<string, GlyphMask>();
  /** Pixels by which a mask reaches out to the left of and above its character. */
  readonly margin: number;

  /** @param unit pixels of one grid unit of the stroke font */
  constructor(unit: number) {
    this.#unit = unit;
    this.margin = Math.ceil((STROKE_UNITS * unit) / 2 + 0.5);
  }

  /** @param character one that has strokes */
  of(character: string): GlyphMask {
    let mask = this.#masks.get(character);
    if (mask === undefined) {
      mask = maskOf(character, this.#unit);
      this.#masks.set(character, mask);
    }
    return mask;
  }
}
