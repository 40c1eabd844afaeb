/** @module CocoData: annotations in COCO's form, `instances_….json` and `person_keypoints_….json`. */

import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ImageError, inShort, message } from "../../core/errors.ts";
import { statsOf } from "../../core/paths.ts";
import type { PixelSize } from "../../runtime/task.ts";
import { Mask } from "../segment/mask.ts";
import type { Rle } from "../segment/rle.ts";
import { type DatasetRequest, datasetError, isDirectory, type ObjectDataset } from "./dataset.ts";
import type { AnnotatedObject, MeasuredTask } from "./measures.ts";
import { polygonMask, smallestRectangle } from "./polygons.ts";

interface CocoImage {
  readonly id: number;
  readonly file_name: string;
  readonly width?: number;
  readonly height?: number;
}

interface CocoAnnotation {
  readonly id?: number;
  readonly image_id: number;
  readonly category_id: number;
  readonly bbox?: unknown;
  readonly area?: number;
  readonly iscrowd?: number;
  readonly segmentation?: unknown;
  readonly keypoints?: unknown;
}

/** What is used of a file. */
interface CocoFile {
  readonly images: readonly CocoImage[];
  readonly annotations: readonly CocoAnnotation[];
  readonly categories: readonly { readonly id: number; readonly name: string; readonly keypoints?: unknown }[];
}

const HINT = "give the instances or keypoints file of COCO's annotations, or one in its form";

/** What the entries of each list must have. */
const LISTS: readonly (readonly [key: string, rule: string, check: (entry: Record<string, unknown>) => boolean])[] = [
  ["images", "id and file_name", ({ id, file_name }) => Number.isInteger(id) && typeof file_name === "string"],
  ["annotations", "image_id and category_id", (one) => [one.image_id, one.category_id].every(Number.isInteger)],
  ["categories", "id and name", ({ id, name }) => Number.isInteger(id) && typeof name === "string"],
];

function readCoco(path: string): CocoFile {
  let content: Record<string, unknown>;
  try {
    content = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw datasetError(path, (error as Error).message, HINT);
  }
  for (const [key, rule, check] of LISTS) {
    const list = content?.[key];
    const isFit = Array.isArray(list) && list.every((one) => typeof one === "object" && one !== null && check(one));
    if (!isFit) throw datasetError(path, `"${key}" must be a list of objects with ${rule}`, HINT);
  }
  return content as unknown as CocoFile;
}

/** The folder that holds the first image: the one that is named, or one beside the file. */
function imageFolder(path: string, { file_name }: CocoImage, named: string | undefined): string {
  const beside = dirname(path);
  // `val2017` of `instances_val2017.json`.
  const split = basename(path, ".json").replace(/^.*_/, "");
  const places = [".", "..", ...readdirSync(beside)].flatMap((place) =>
    ["", split, "images", join("images", split)].map((part) => join(beside, place, part)),
  );
  const folders = named === undefined ? places : [named];
  const folder = folders.find((one) => statsOf(join(one, file_name))?.isFile());
  if (folder !== undefined) return folder;
  if (named !== undefined && isDirectory(named)) return named;
  const found = `its first image ${JSON.stringify(file_name)} was not found ${named === undefined ? "beside it" : `in ${named}`}`;
  throw datasetError(path, found, "give the folder of the images with --images (`images`)");
}

/** @returns the value, if it is a list of at least so many numbers */
function numbersIn(value: unknown, least: number): readonly number[] | undefined {
  return Array.isArray(value) && value.length >= least && value.every(Number.isFinite) ? value : undefined;
}

/** x and y of three corners. */
const LEAST_POLYGON = 6;

/** A segmentation as a mask. @returns `undefined` if it is none */
function maskIn(segmentation: unknown, width: number, height: number): Mask | undefined {
  if (Array.isArray(segmentation)) {
    const polygons = segmentation.map((polygon) => numbersIn(polygon, LEAST_POLYGON));
    if (polygons.length === 0 || polygons.includes(undefined)) return undefined;
    return polygonMask(polygons as number[][], width, height);
  }
  const { size, counts } = (segmentation ?? {}) as { readonly size?: unknown; readonly counts?: unknown };
  if (numbersIn(size, 2) === undefined || !(typeof counts === "string" || Array.isArray(counts))) return undefined;
  return Mask.fromRle(segmentation as Rle);
}

/**
 * Annotations in COCO's form. Images come in the order of their ids, and classes in that of theirs, as pycocotools has them. For
 * key points only the categories that have any count.
 *
 * @throws {BunTensorRtError} If the file cannot be read, or has another form
 */
export function openCoco(path: string, { task, images: folder }: DatasetRequest): ObjectDataset {
  const { images, annotations, categories } = readCoco(path);
  if (images.length === 0) throw datasetError(path, "it has no images", HINT);
  const ordered = images.toSorted((a, b) => a.id - b.id);
  const root = imageFolder(path, ordered[0]!, folder);
  const kept = categories.filter(({ keypoints }) => task !== "pose" || keypoints !== undefined);
  if (kept.length === 0) {
    const found = task === "pose" ? "none of its categories has keypoints" : "it has no categories";
    throw datasetError(path, found, HINT);
  }
  const classes = kept.toSorted((a, b) => a.id - b.id);
  const classIds = new Map(classes.map(({ id }, at) => [id, at]));
  const known = new Set(categories.map(({ id }) => id));
  const byImage = Map.groupBy(annotations, ({ image_id }) => image_id);
  return {
    names: classes.map(({ name }) => name),
    images: ordered.map(({ file_name }) => join(root, file_name)),
    truth(at, size) {
      const { id, file_name, width = size.width, height = size.height } = ordered[at]!;
      if (width !== size.width || height !== size.height) {
        const found = `its annotations are of ${width}x${height} pixels, and it has ${size.width}x${size.height}`;
        throw new ImageError(message(`score the image ${JSON.stringify(file_name)}`, found), file_name);
      }
      return (byImage.get(id) ?? []).flatMap((annotation): AnnotatedObject[] => {
        const classId = classIds.get(annotation.category_id);
        if (classId !== undefined) return [objectIn(path, annotation, classId, task, size)];
        if (known.has(annotation.category_id)) return [];
        const found = `annotation ${annotation.id} has the category ${annotation.category_id}, which is not there`;
        throw datasetError(path, found, HINT);
      });
    },
  };
}

function objectIn(
  path: string,
  annotation: CocoAnnotation,
  classId: number,
  task: MeasuredTask,
  { width, height }: PixelSize,
): AnnotatedObject {
  const { id, iscrowd = 0, segmentation, keypoints } = annotation;
  const refuse = (found: string): Error => datasetError(path, `annotation ${id} ${found}`, HINT);
  const box = numbersIn(annotation.bbox, 4) as AnnotatedObject["box"] | undefined;
  if (box === undefined) throw refuse("has no bbox of four numbers");
  const area = annotation.area ?? box[2] * box[3];
  const object = { classId, box, area, isCrowd: iscrowd !== 0 };
  if (task === "segment") {
    let mask: Mask | undefined;
    try {
      mask = maskIn(segmentation, width, height);
    } catch (error) {
      throw refuse(`has a segmentation that cannot be read (${inShort(error as Error)})`);
    }
    if (mask?.width !== width || mask.height !== height)
      throw refuse("has no polygons and no run lengths of its image");
    return { ...object, area: annotation.area ?? mask.area, mask };
  }
  if (task === "pose") return { ...object, keypoints: numbersIn(keypoints, 3) ?? [] };
  if (task === "obb") {
    const corners = Array.isArray(segmentation) ? numbersIn(segmentation.flat(), LEAST_POLYGON) : undefined;
    // Crowds have run lengths.
    if (corners === undefined && !object.isCrowd) throw refuse("has no segmentation with the corners of its box");
    const [x, y, w, h] = box;
    return { ...object, xywhr: smallestRectangle(corners ?? [x, y, x + w, y, x + w, y + h, x, y + h]) };
  }
  return object;
}
