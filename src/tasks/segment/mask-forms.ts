/** @module MaskForms: a mask in other forms: run lengths as pycocotools has them, and polygons around its pixels. */

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

/** A part of a mask. Each ring is x and y of its points in turn, in pixels of the image; the first is not repeated. */
export interface Polygon {
  /** Runs down on the left of the pixels and up on their right. */
  readonly outer: readonly number[];
  /** Rings around what does not belong to it, in the other direction. */
  readonly holes: readonly (readonly number[])[];
}

/** The eight neighbours, anticlockwise from the right. */
const STEP_X = [1, 1, 0, -1, -1, -1, 0, 1] as const;
const STEP_Y = [0, -1, -1, -1, 0, 1, 1, 1] as const;
const LEFT = 4;

/** A pixel of the mask that no contour has come by. */
const INSIDE = 1;
/** On a contour. */
const BORDER = 2;
/** On a contour, and the contour has seen that the pixel on its right is empty. */
const RIGHT_BORDER = -126;

/**
 * The outer contours as OpenCV's `findContours` gives them with `RETR_EXTERNAL` and `CHAIN_APPROX_SIMPLE`: the border
 * following of Suzuki and Abe, "Topological structural analysis of digitized binary images by border following", 1985,
 * with the same first pixel, direction and order. Points are centres of pixels; those within a straight run are left out.
 *
 * @param cells  i8 [height + 2, width + 2]: 1 for a pixel of the mask; 0 around it. Its marks are overwritten
 * @param width  of the mask in pixels
 * @param height of the mask in pixels
 * @param left   column of the image that the mask begins at
 * @param top    row of the image that the mask begins at
 */
export function openCvContours(cells: Int8Array, width: number, height: number, left: number, top: number): Polygon[] {
  const pitch = width + 2;
  const contours: Polygon[] = [];
  for (let y = 1; y <= height; y++) {
    const row = y * pitch;
    let previous = 0;
    // The last border that the row has crossed: inside a contour its mark is positive.
    let mark = 0;
    for (let x = 1; x <= width; x++) {
      const cell = cells[row + x]!;
      if (cell === previous) continue;
      if (previous === 0 && cell === INSIDE && mark <= 0) {
        contours.push({ outer: followBorder(cells, pitch, x, y, left - 1, top - 1), holes: [] });
      }
      previous = cells[row + x]!;
      if (previous !== 0 && previous !== INSIDE) mark = previous;
    }
  }
  return contours.reverse();
}

/** Follow a border from its first pixel; mark its pixels. */
function followBorder(
  cells: Int8Array,
  pitch: number,
  startX: number,
  startY: number,
  offsetX: number,
  offsetY: number,
): number[] {
  const start = startY * pitch + startX;
  const step = STEP_X.map((x, direction) => x + STEP_Y[direction]! * pitch);
  let direction = LEFT;
  do direction = (direction - 1) & 7;
  while (cells[start + step[direction]!] === 0 && direction !== LEFT);
  if (direction === LEFT) {
    cells[start] = RIGHT_BORDER;
    return [startX + offsetX, startY + offsetY];
  }
  const points: number[] = [];
  const last = start + step[direction]!;
  let written = direction ^ LEFT;
  let x = startX;
  let y = startY;
  for (let at = start; ; ) {
    const from = direction;
    do direction += 1;
    while (cells[at + step[direction & 7]!] === 0);
    direction &= 7;
    // True if the pixel on the right was among those looked at.
    if (direction - 1 >= 0 && direction - 1 < from) cells[at] = RIGHT_BORDER;
    else if (cells[at] === INSIDE) cells[at] = BORDER;
    if (direction !== written) {
      points.push(x + offsetX, y + offsetY);
      written = direction;
    }
    x += STEP_X[direction]!;
    y += STEP_Y[direction]!;
    const next = at + step[direction]!;
    if (next === start && at === last) return points;
    at = next;
    direction = (direction + LEFT) & 7;
  }
}

const DOWN = 0;
/** Down, right, up, left: each is a turn to the left of the one before, as seen on the screen. */
const EDGE_X = [0, 1, 0, -1] as const;
const EDGE_Y = [1, 0, -1, 0] as const;
/** The cell on the left of an edge that leaves a corner, and the one on its right, from the cell below and right of the corner. */
const LEFT_X = [0, 0, -1, -1] as const;
const LEFT_Y = [0, -1, -1, 0] as const;
const RIGHT_X = [-1, 0, 0, -1] as const;
const RIGHT_Y = [0, 0, -1, -1] as const;

/** A left edge that no ring has come by. */
const UNSEEN = -2;
/** A left edge that a ring has come by which is not yet closed. */
const SEEN = -1;

/** A ring that has been closed. */
interface Ring {
  /** Corners, in columns and rows of the cells. */
  readonly points: readonly number[];
  /** Column of its leftmost edge that runs up, and the first row of that. */
  readonly column: number;
  readonly row: number;
  /** The outer ring of the part that it belongs to. */
  outer: number;
}

/**
 * Rings along the edges of pixels. Pixels that touch at a corner only are parts of their own, and no ring comes to a corner
 * twice: polygons are simple features as GeoJSON wants them, and their areas sum up to the mask's.
 *
 * @param cells  i8 [height + 2, width + 2]: 1 for a pixel of the mask; 0 around it
 * @param width  of the mask in pixels
 * @param height of the mask in pixels
 * @param left   column of the image that the mask begins at
 * @param top    row of the image that the mask begins at
 */
export function edgePolygons(cells: Int8Array, width: number, height: number, left: number, top: number): Polygon[] {
  const pitch = width + 2;
  const rings: Ring[] = [];
  // Of each cell: the ring that comes down its left edge.
  const ringOf = new Int32Array(cells.length).fill(UNSEEN);
  for (let y = 1; y <= height; y++) {
    for (let x = 1; x <= width; x++) {
      const cell = y * pitch + x;
      if (cells[cell] === 0 || cells[cell - 1] !== 0 || ringOf[cell] !== UNSEEN) continue;
      for (const points of followEdges(cells, pitch, x, y, ringOf)) {
        rings.push(closeRing(points, pitch, rings.length, ringOf));
      }
    }
  }
  // On the left of a hole lies the part that it is in; the ring that this begins with there lies further left.
  const holes = rings.filter(({ outer }) => outer < 0).sort((a, b) => a.column - b.column);
  for (const hole of holes) {
    let cell = hole.row * pitch + hole.column - 1;
    while (cells[cell - 1] !== 0) cell -= 1;
    hole.outer = rings[ringOf[cell]!]!.outer;
  }
  const polygons = new Map<number, { outer: number[]; holes: number[][] }>();
  rings.forEach(({ points, outer }, index) => {
    if (outer === index) polygons.set(index, { outer: shifted(points, left - 1, top - 1), holes: [] });
  });
  rings.forEach(({ points, outer }, index) => {
    if (outer !== index) polygons.get(outer)!.holes.push(shifted(points, left - 1, top - 1));
  });
  return [...polygons.values()];
}

/** Follow the edges from the upper left corner of a cell on; where a corner comes a second time, a ring is closed. */
function followEdges(cells: Int8Array, pitch: number, startX: number, startY: number, ringOf: Int32Array): number[][] {
  const closed: number[][] = [];
  const points: number[] = [];
  // Where corners at which two cells touch stand in `points`: no other comes twice.
  const touched = new Map<number, number>();
  let x = startX;
  let y = startY;
  let direction: number = DOWN;
  let touches = isTouched(cells, pitch, x, y);
  do {
    if (touches) {
      const corner = y * pitch + x;
      const from = touched.get(corner) ?? points.length;
      if (points[from] === x && points[from + 1] === y) closed.push(points.splice(from));
      touched.set(corner, points.length);
    }
    points.push(x, y);
    let isLeft: boolean;
    let isRight: boolean;
    do {
      if (direction === DOWN) ringOf[y * pitch + x] = SEEN;
      x += EDGE_X[direction]!;
      y += EDGE_Y[direction]!;
      isLeft = cells[(y + LEFT_Y[direction]!) * pitch + x + LEFT_X[direction]!] !== 0;
      isRight = cells[(y + RIGHT_Y[direction]!) * pitch + x + RIGHT_X[direction]!] !== 0;
    } while (isLeft && !isRight);
    touches = !isLeft && isRight;
    direction = (direction + (isLeft ? 3 : 1)) & 3;
  } while (x !== startX || y !== startY || direction !== DOWN);
  closed.push(points);
  return closed;
}

/** True if two cells of the mask touch at a corner, and the other two there are empty. */
function isTouched(cells: Int8Array, pitch: number, x: number, y: number): boolean {
  const below = y * pitch + x;
  const above = below - pitch;
  return cells[below] === cells[above - 1] && cells[below - 1] === cells[above] && cells[below] !== cells[above];
}

/** Write the ring's number to the cells that it comes down by, and say whether it is an outer one. */
function closeRing(points: readonly number[], pitch: number, index: number, ringOf: Int32Array): Ring {
  let doubleArea = 0;
  let column = Number.POSITIVE_INFINITY;
  let row = 0;
  for (let at = 0; at < points.length; at += 2) {
    const x = points[at]!;
    const y = points[at + 1]!;
    const nextX = points[(at + 2) % points.length]!;
    const nextY = points[(at + 3) % points.length]!;
    doubleArea += nextX * y - x * nextY;
    if (nextX !== x) continue;
    for (let cell = y; cell < nextY; cell++) ringOf[cell * pitch + x] = index;
    if (nextY < y && x < column) {
      column = x;
      row = nextY;
    }
  }
  return { points, column, row, outer: doubleArea > 0 ? index : -1 };
}

function shifted(points: readonly number[], x: number, y: number): number[] {
  return points.map((coordinate, at) => coordinate + (at % 2 === 0 ? x : y));
}
