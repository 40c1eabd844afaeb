/**
 * @module Dataset: images with what is on them: which form a path has, folders of classes, and what an annotated outline
 * stands for: pixels, or the smallest oriented rectangle.
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BunTensorRtError, message } from "../../core/errors.ts";
import { missingFile, statsOf } from "../../core/paths.ts";
import { isImageName } from "../../image/decode-limits.ts";
import type { PixelSize } from "../../runtime/task.ts";
import { Mask } from "../segment/mask.ts";
import { type AnnotatedObject, type MeasuredTask, rectangleAround } from "./average-precision.ts";

/** Images with the ground truth of each, which is made when it is asked for. */
export interface Dataset<Truth> {
  /** Class names by class id; `undefined` where the dataset has none. */
  readonly names: readonly string[] | undefined;
  /** Paths of the images. */
  readonly images: readonly string[];
  /** What is on an image. @param size of the decoded image @throws {BunTensorRtError} If what is said of it makes no sense */
  truth(at: number, size: PixelSize): Truth;
}

/** Objects, with what a task compares of them. */
export type ObjectDataset = Dataset<readonly AnnotatedObject[]>;

/** What a dataset is asked for. */
export interface DatasetRequest {
  readonly task: MeasuredTask;
  /** Folder of the images of an annotation file. */
  readonly images: string | undefined;
  /** Which part is read, where there are several: `val`. */
  readonly split: string | undefined;
  /** How many classes there are where the dataset has no names: the model's. */
  readonly classes: number;
}

/** The part of a dataset that is read where nobody says which. */
export const USUAL_SPLIT = "val";

/** What cannot be read of a dataset, and why. */
export function datasetError(path: string, found: string, hint?: string): BunTensorRtError {
  return new BunTensorRtError(message(`read the dataset ${JSON.stringify(path)}`, found, hint));
}

/** True for a folder. */
export function isDirectory(path: string): boolean {
  return statsOf(path)?.isDirectory() === true;
}

/** Images in a folder and below it, in the order of their paths. */
export function imagesBelow(folder: string): string[] {
  const names = [...new Bun.Glob("**").scanSync({ cwd: folder, onlyFiles: true, followSymlinks: true })];
  return names
    .filter(isImageName)
    .sort()
    .map((name) => join(folder, name));
}

/** The file that describes a dataset in a folder; `undefined` where there is none, or more than one that could be it. */
export function descriptionIn(folder: string): string | undefined {
  const names = readdirSync(folder).filter((name) => /\.ya?ml$/i.test(name));
  const name = names.find((one) => /^data(set)?\.ya?ml$/i.test(one)) ?? (names.length === 1 ? names[0] : undefined);
  return name === undefined ? undefined : join(folder, name);
}

/** True for a folder whose folders are classes: they hold images, and there is neither a description nor a folder `images`. */
export function isClassFolder(path: string): boolean {
  if (!isDirectory(path) || descriptionIn(path) !== undefined || isDirectory(join(path, "images"))) return false;
  for (const name of new Bun.Glob("*/**").scanSync({ cwd: path, onlyFiles: true, followSymlinks: true })) {
    if (isImageName(name)) return true;
  }
  return false;
}

const CLASSES = "a classifier is scored on a folder with a folder of images for each class";

/**
 * A folder with a folder of images for each class, or such a one below it for each split.
 *
 * @throws {BunTensorRtError} If there is no image in it
 */
export function openClassFolder(path: string, split: string | undefined): Dataset<number> {
  if (!isDirectory(path)) {
    const { found, hint } =
      statsOf(path) === undefined ? missingFile(path) : { found: "it is no folder", hint: CLASSES };
    throw datasetError(path, found, hint);
  }
  const part = join(path, split ?? USUAL_SPLIT);
  if (split !== undefined && !isDirectory(part)) {
    throw datasetError(path, `it has no folder ${JSON.stringify(split)}`, "give another --split, or leave it out");
  }
  const root = isDirectory(part) ? part : path;
  const folders = readdirSync(root).filter((name) => isDirectory(join(root, name)));
  const names = folders.sort();
  const files = names.flatMap((name, id) => imagesBelow(join(root, name)).map((file) => [file, id] as const));
  if (files.length === 0) throw datasetError(root, "it has no folders with images", CLASSES);
  return { names, images: files.map(([file]) => file), truth: (at) => files[at]![1] };
}

/** Points of an outline lie this close, in parts of a pixel. */
const FINENESS = 5;

/**
 * Where inside and outside of a polygon meet, as places in an image column by column, in ascending order: where its outline, a
 * point after the other, goes from one column of pixels to the next.
 */
function bordersOf(polygon: readonly number[], width: number, height: number): Float64Array {
  const corners = polygon.map((side) => Math.trunc(FINENESS * side + 0.5));
  const borders: number[] = [];
  let formerX = Number.NaN;
  let formerY = Number.NaN;
  const visit = (x: number, y: number): void => {
    const column = ((x < formerX ? x : x - 1) + 0.5) / FINENESS - 0.5;
    if (x !== formerX && Number.isInteger(column) && column >= 0 && column <= width - 1) {
      const row = Math.min(Math.max((Math.min(y, formerY) + 0.5) / FINENESS - 0.5, 0), height);
      if (!Number.isNaN(formerX)) borders.push(column * height + Math.ceil(row));
    }
    formerX = x;
    formerY = y;
  };
  for (let at = 0; at < corners.length; at += 2) {
    const next = (at + 2) % corners.length;
    const [fromX, fromY, toX, toY] = [corners[at]!, corners[at + 1]!, corners[next]!, corners[next + 1]!];
    const [across, down] = [Math.abs(toX - fromX), Math.abs(toY - fromY)];
    const isFlat = across >= down;
    // An edge is the same from either side: counted from the left to the right, or from the top to the foot.
    const isBackwards = isFlat ? fromX > toX : fromY > toY;
    const [startX, startY] = isBackwards ? [toX, toY] : [fromX, fromY];
    const slope = (isBackwards ? -1 : 1) * (isFlat ? (toY - fromY) / across : (toX - fromX) / down);
    const length = Math.max(across, down);
    for (let step = 0; step <= length; step++) {
      const along = isBackwards ? length - step : step;
      if (isFlat) visit(startX + along, Math.trunc(startY + slope * along + 0.5));
      else visit(Math.trunc(startX + slope * along + 0.5), startY + along);
    }
  }
  return Float64Array.from(borders).sort();
}

/**
 * The pixels that at least one polygon covers, as pycocotools' `frPyObjects` and `merge` have them.
 *
 * @param polygons x and y of the corners in turns, in pixels of the image
 */
export function polygonMask(polygons: readonly (readonly number[])[], width: number, height: number): Mask {
  const total = width * height;
  // Of each polygon: where its runs begin, and where they end.
  const changes = polygons.flatMap((polygon) =>
    Array.from(bordersOf(polygon, width, height), (place, at) => ({
      place: Math.min(place, total),
      by: at % 2 === 0 ? 1 : -1,
    })),
  );
  changes.sort((a, b) => a.place - b.place);
  const counts: number[] = [];
  let start = 0;
  let depth = 0;
  for (const { place, by } of changes) {
    const wasInside = depth > 0;
    depth += by;
    if (wasInside === depth > 0) continue;
    counts.push(place - start);
    start = place;
  }
  counts.push(total - start);
  return Mask.fromRle({ size: [height, width], counts });
}

/** Corners of the convex hull, in order. */
function hullOf(points: readonly number[]): [x: number, y: number][] {
  const corners = Array.from({ length: points.length / 2 }, (_, at): [number, number] => [
    points[at * 2]!,
    points[at * 2 + 1]!,
  ]);
  corners.sort(([ax, ay], [bx, by]) => ax - bx || ay - by);
  const half = (from: readonly [number, number][]): [number, number][] => {
    const chain: [number, number][] = [];
    for (const [x, y] of from) {
      for (; chain.length > 1; chain.pop()) {
        const [[ax, ay], [bx, by]] = chain.slice(-2) as [[number, number], [number, number]];
        if ((bx - ax) * (y - ay) > (by - ay) * (x - ax)) break;
      }
      chain.push([x, y]);
    }
    return chain.slice(0, -1);
  };
  return [...half(corners), ...half(corners.toReversed())];
}

/**
 * The smallest rectangle around points, however it is turned: one of its sides lies on an edge of their hull.
 *
 * @param points x and y in turns
 * @returns centre, width, height, and the angle of the width in radians, clockwise on the screen
 */
export function smallestRectangle(
  points: readonly number[],
): [cx: number, cy: number, width: number, height: number, angle: number] {
  const hull = hullOf(points);
  let best: [number, number, number, number, number] = [points[0]!, points[1]!, 0, 0, 0];
  let smallest = Number.POSITIVE_INFINITY;
  for (const [at, [x, y]] of hull.entries()) {
    const [nextX, nextY] = hull[(at + 1) % hull.length]!;
    const angle = Math.atan2(nextY - y, nextX - x);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const turned = rectangleAround(hull.flatMap(([px, py]) => [px * cos + py * sin, py * cos - px * sin]));
    const [left, top, width, height] = turned;
    if (width * height >= smallest) continue;
    smallest = width * height;
    const [along, across] = [left + width / 2, top + height / 2];
    best = [along * cos - across * sin, along * sin + across * cos, width, height, angle];
  }
  return best;
}
