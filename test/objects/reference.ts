/** @module Reference: what Ultralytics' own package finds in images with a model, beside what is found here. */

import { existsSync, readFileSync } from "node:fs";
import type { Detection } from "../../src/tasks/detect/detection.ts";
import { sharedPath } from "../support/shared.ts";

/** One object as the package has it. */
export interface ReferenceObject {
  readonly classId: number;
  readonly score: number;
  readonly box?: readonly number[];
  readonly keypoints?: readonly (readonly number[])[];
  readonly xywhr?: readonly number[];
  readonly corners?: readonly (readonly number[])[];
  readonly envelope?: readonly number[];
  readonly maskInput?: { readonly size: readonly [number, number]; readonly counts: string };
}

/** An entry of `native`: the masks at the size of the image. */
export interface ReferenceMask {
  readonly classId: number;
  readonly score: number;
  readonly box: readonly number[];
  readonly mask: { readonly size: readonly [number, number]; readonly counts: string };
}

/** One image. */
export interface ReferenceImage {
  readonly width: number;
  readonly height: number;
  readonly detections: readonly ReferenceObject[];
  readonly native?: readonly ReferenceMask[];
}

/** What was found, by the name of the image; `undefined` where the file is not here. */
export function reference(...path: readonly string[]): ReadonlyMap<string, ReferenceImage> | undefined {
  const file = sharedPath("reference", ...path);
  if (!existsSync(file)) return undefined;
  return new Map(Object.entries(JSON.parse(readFileSync(file, "utf8")).pictures));
}

/** Path of an image by its name. */
export function imagePath(name: string): string {
  const folders = [
    ["images", "photos"],
    ["images", "coco_val2017"],
    ["reference", "rotated"],
  ];
  return folders.map((folder) => sharedPath(...folder, name)).find((path) => existsSync(path))!;
}

/**
 * Pairs of objects of a class that are alike, each once; those that are left over on either side.
 *
 * @param most  distance
 * @param apart tells those apart that are as near, such as boxes with one score and the same edges of the image; default: `distance`
 */
export function matched<Found extends Detection, Wanted extends Pick<ReferenceObject, "classId">>(
  found: readonly Found[],
  wanted: readonly Wanted[],
  distance: (found: Found, wanted: Wanted) => number,
  most: number = Number.POSITIVE_INFINITY,
  apart: (found: Found, wanted: Wanted) => number = distance,
): { readonly pairs: readonly (readonly [Found, Wanted])[]; readonly lost: number; readonly extra: number } {
  const left = new Set(found);
  const pairs: (readonly [Found, Wanted])[] = [];
  for (const one of wanted) {
    const near = [...left]
      .filter((other) => other.classId === one.classId && distance(other, one) <= most)
      .sort((a, b) => apart(a, one) - apart(b, one))[0];
    if (near === undefined) continue;
    left.delete(near);
    pairs.push([near, one]);
  }
  return { pairs, lost: wanted.length - pairs.length, extra: left.size };
}

/**
 * How many of so many objects of a model may be others than its reference: of trained weights none.
 *
 * A fixture of random weights gives boxes that lie apart by its stride, with scores that differ in their last bit or
 * not at all. Which of them are among its best 300, and which suppress the others, is then up to the order in which
 * the processor sums: with AVX2 up to one in eight was another than with AVX-512. All others must be alike, box by box.
 */
export function mostOthers(model: string, count: number): number {
  return model.startsWith("layouts/") ? Math.ceil(count / 5) : 0;
}

/** The largest difference of two lists of numbers. */
export function largestDifference(a: readonly number[], b: readonly number[]): number {
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0);
}

/** Points in a row, x and y in turns, moved to the edge of the image where they lie beyond it. */
export function clipped(points: readonly (readonly number[])[], width: number, height: number): number[] {
  return points.flatMap(([x = 0, y = 0]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)]);
}
