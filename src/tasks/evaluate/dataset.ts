/** @module Dataset: images with what is on them: which form a path has, and folders of classes. */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BunTensorRtError, message } from "../../core/errors.ts";
import { missingFile, statsOf } from "../../core/paths.ts";
import { isImageName } from "../../image/decode-limits.ts";
import type { PixelSize } from "../../runtime/task.ts";
import type { AnnotatedObject, MeasuredTask } from "./measures.ts";

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
