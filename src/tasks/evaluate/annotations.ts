/**
 * @module Annotations: datasets of objects in COCO's form, `instances_….json` and `person_keypoints_….json`, and as
 * Ultralytics has them: a description in YAML, images, and a label file beside each.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { ImageError, inShort, message } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { statsOf } from "../../core/paths.ts";
import { plural } from "../../core/units.ts";
import type { PixelSize } from "../../runtime/task.ts";
import { Mask } from "../segment/mask.ts";
import type { Rle } from "../segment/mask-forms.ts";
import { type AnnotatedObject, type MeasuredTask, rectangleAround } from "./average-precision.ts";
import {
  type DatasetRequest,
  datasetError,
  descriptionIn,
  imagesBelow,
  isDirectory,
  type ObjectDataset,
  polygonMask,
  smallestRectangle,
  USUAL_SPLIT,
} from "./dataset.ts";

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
  readonly area?: unknown;
  readonly iscrowd?: unknown;
  readonly segmentation?: unknown;
  readonly keypoints?: unknown;
}

/** What is used of a file. */
interface CocoFile {
  readonly images: readonly CocoImage[];
  readonly annotations: readonly CocoAnnotation[];
  readonly categories: readonly { readonly id: number; readonly name: string; readonly keypoints?: unknown }[];
}

const COCO_HINT = "give the instances or keypoints file of COCO's annotations, or one in its form";

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
    throw datasetError(path, (error as Error).message, COCO_HINT);
  }
  for (const [key, rule, check] of LISTS) {
    const list = content?.[key];
    const isFit = Array.isArray(list) && list.every((one) => typeof one === "object" && one !== null && check(one));
    if (!isFit) throw datasetError(path, `"${key}" must be a list of objects with ${rule}`, COCO_HINT);
  }
  const file = content as unknown as CocoFile;
  for (const key of ["images", "categories"] as const) {
    const ids = new Set<number>();
    const twice = file[key].find(({ id }) => ids.size === ids.add(id).size);
    if (twice !== undefined) throw datasetError(path, `two of its "${key}" have the id ${twice.id}`, COCO_HINT);
  }
  return file;
}

/** Annotations by the id of their image. @throws {BunTensorRtError} If none is of an image that is there; some are reported */
function annotationsByImage(path: string, { images, annotations }: CocoFile): ReadonlyMap<number, CocoAnnotation[]> {
  const byImage = Map.groupBy(annotations, ({ image_id }) => image_id);
  const known = new Set(images.map(({ id }) => id));
  const stray = annotations.filter(({ image_id }) => !known.has(image_id));
  if (stray.length === 0) return byImage;
  const found = `${stray.length} of its ${plural(annotations.length, "annotation")} are of images that it does not list`;
  const example = `such as that of image ${stray[0]!.image_id}`;
  if (stray.length === annotations.length) throw datasetError(path, `${found}, ${example}`, COCO_HINT);
  logger.warn(`Ignoring annotations of ${JSON.stringify(path)}: ${found}, ${example}`);
  return byImage;
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

/** @returns the value, if it is a list of at least so many numbers, in groups of some */
function numbersIn(value: unknown, least: number, group: number): readonly number[] | undefined {
  const isFit = Array.isArray(value) && value.length >= least && value.length % group === 0;
  return isFit && value.every(Number.isFinite) ? value : undefined;
}

/** @returns the value, if it is x, y and two sides that are not negative */
function boxIn(value: unknown): AnnotatedObject["box"] | undefined {
  const box = numbersIn(value, 4, 4);
  return box?.length === 4 && box[2]! >= 0 && box[3]! >= 0 ? (box as AnnotatedObject["box"]) : undefined;
}

/** x and y of three corners. */
const LEAST_POLYGON = 6;

/** A segmentation as a mask. @returns `undefined` if it is none */
function maskIn(segmentation: unknown, width: number, height: number): Mask | undefined {
  if (Array.isArray(segmentation)) {
    const polygons = segmentation.map((polygon) => numbersIn(polygon, LEAST_POLYGON, 2));
    if (polygons.length === 0 || polygons.includes(undefined)) return undefined;
    return polygonMask(polygons as number[][], width, height);
  }
  const { size, counts } = (segmentation ?? {}) as { readonly size?: unknown; readonly counts?: unknown };
  if (numbersIn(size, 2, 2) === undefined || !(typeof counts === "string" || Array.isArray(counts))) return undefined;
  return Mask.fromRle(segmentation as Rle);
}

/**
 * Annotations in COCO's form. Images come in the order of their ids, and classes in that of theirs, as pycocotools has them. For
 * key points only the categories that have any count.
 *
 * @throws {BunTensorRtError} If the file cannot be read, or has another form
 */
export function openCoco(path: string, { task, images: folder }: DatasetRequest): ObjectDataset {
  const file = readCoco(path);
  const { images, categories } = file;
  if (images.length === 0) throw datasetError(path, "it has no images", COCO_HINT);
  const ordered = images.toSorted((a, b) => a.id - b.id);
  const root = imageFolder(path, ordered[0]!, folder);
  const kept = categories.filter(({ keypoints }) => task !== "pose" || keypoints !== undefined);
  if (kept.length === 0) {
    const found = task === "pose" ? "none of its categories has keypoints" : "it has no categories";
    throw datasetError(path, found, COCO_HINT);
  }
  const classes = kept.toSorted((a, b) => a.id - b.id);
  const classIds = new Map(classes.map(({ id }, at) => [id, at]));
  const known = new Set(categories.map(({ id }) => id));
  const byImage = annotationsByImage(path, file);
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
        if (classId !== undefined) return [annotatedObject(path, annotation, classId, task, size)];
        if (known.has(annotation.category_id)) return [];
        const found = `annotation ${annotation.id} has the category ${annotation.category_id}, which is not there`;
        throw datasetError(path, found, COCO_HINT);
      });
    },
  };
}

function annotatedObject(
  path: string,
  annotation: CocoAnnotation,
  classId: number,
  task: MeasuredTask,
  { width, height }: PixelSize,
): AnnotatedObject {
  const { id, segmentation } = annotation;
  const iscrowd = annotation.iscrowd ?? false;
  const keypoints = annotation.keypoints ?? [];
  const refuse = (found: string): Error => datasetError(path, `annotation ${id} ${found}`, COCO_HINT);
  const box = boxIn(annotation.bbox);
  if (box === undefined) throw refuse("has no bbox of four numbers: x, y, width and height");
  const area = annotation.area ?? box[2] * box[3];
  if (!(typeof area === "number" && area >= 0)) throw refuse(`has the area ${JSON.stringify(area)}`);
  if (![0, 1, true, false].includes(iscrowd as number)) throw refuse(`has an iscrowd of ${JSON.stringify(iscrowd)}`);
  const object = { classId, box, area, isCrowd: Boolean(iscrowd) };
  if (task === "segment") {
    let mask: Mask | undefined;
    try {
      mask = maskIn(segmentation, width, height);
    } catch (error) {
      throw refuse(`has a segmentation that cannot be read (${inShort(error as Error)})`);
    }
    if (mask?.width !== width || mask.height !== height)
      throw refuse("has no polygons and no run lengths of its image");
    return { ...object, area: annotation.area == null ? mask.area : area, mask };
  }
  if (task === "pose") {
    const points = numbersIn(keypoints, 0, 3);
    if (points === undefined) throw refuse("has keypoints that are no list of x, y and visibility");
    return { ...object, keypoints: points };
  }
  if (task === "obb") {
    const corners = Array.isArray(segmentation) ? numbersIn(segmentation.flat(), LEAST_POLYGON, 2) : undefined;
    // Crowds have run lengths.
    if (corners === undefined && !object.isCrowd) throw refuse("has no segmentation with the corners of its box");
    const [x, y, w, h] = box;
    return { ...object, xywhr: smallestRectangle(corners ?? [x, y, x + w, y, x + w, y + h, x, y + h]) };
  }
  return object;
}

/** What a description says. */
interface Description {
  readonly folder: string;
  /** Where the images of a split are; several, or a file that lists them. */
  readonly places: readonly string[];
  readonly names: readonly string[] | undefined;
  /** Number of key points, and numbers of each. */
  readonly keypoints: readonly [count: number, numbers: number] | undefined;
}

const YOLO_HINT = "give a data.yaml, or a folder with images/ and labels/";

function describe(path: string, split: string): Description {
  let content: Record<string, unknown> | null;
  try {
    content = Bun.YAML.parse(readFileSync(path, "utf8")) as Record<string, unknown> | null;
  } catch (error) {
    throw datasetError(path, (error as Error).message, YOLO_HINT);
  }
  const { path: root, names, kpt_shape: shape, [split]: part } = content ?? {};
  const places = [part].flat().filter((place) => typeof place === "string");
  if (places.length === 0) throw datasetError(path, `it says nothing of the split ${JSON.stringify(split)}`, YOLO_HINT);
  const beside = dirname(path);
  const folder = typeof root === "string" ? resolve(beside, root) : beside;
  const isShape = Array.isArray(shape) && shape.length === 2 && shape.every(Number.isInteger);
  return {
    // What Ultralytics looks for in its own folder of datasets may lie beside the description.
    folder: isDirectory(folder) ? folder : beside,
    places,
    names: typeof names === "object" && names !== null ? namesIn(path, names) : undefined,
    keypoints: isShape ? (shape as [number, number]) : undefined,
  };
}

/** Names by class id: a list, or a map from ids. */
function namesIn(path: string, names: object): string[] {
  const entries = Object.entries(names).map(([id, name]) => [Number(id), String(name)] as const);
  const odd = Object.keys(names).find((id) => !/^\d{1,6}$/.test(id));
  if (odd !== undefined)
    throw datasetError(path, `its names have ${JSON.stringify(odd)} in place of a class id`, YOLO_HINT);
  const byId: string[] = new Array(Math.max(0, ...entries.map(([id]) => id + 1))).fill("");
  for (const [id, name] of entries) byId[id] = name;
  return byId;
}

/** Images of one place: those in a folder, or those that a text file lists. */
function imagesAt(path: string): string[] {
  if (!path.endsWith(".txt")) return imagesBelow(path);
  const lines = readFileSync(path, "utf8").match(/\S.*/g) ?? [];
  return lines.map((line) => resolve(dirname(path), line.trim()));
}

/** `labels/val/7.txt` of `images/val/7.jpg`. */
function labelFile(image: string): string {
  const parts = resolve(image)
    .replace(/\.[^./\\]*$/, ".txt")
    .split(sep);
  const at = parts.lastIndexOf("images");
  if (at >= 0) parts[at] = "labels";
  return parts.join(sep);
}

/**
 * A dataset in Ultralytics' form.
 *
 * @param path a description, or a folder with one, or with `images` and `labels`
 * @throws {BunTensorRtError} If it cannot be read, or has no images, or no labels
 */
export function openYolo(path: string, { task, split, classes }: DatasetRequest): ObjectDataset {
  const description = isDirectory(path) ? descriptionIn(path) : path;
  const part = split ?? USUAL_SPLIT;
  const { folder, places, names, keypoints } =
    description === undefined ? plainFolder(path, split) : describe(description, part);
  const missing = places.find((place) => !existsSync(resolve(folder, place)));
  if (missing !== undefined) throw datasetError(path, `${resolve(folder, missing)} is not there`, YOLO_HINT);
  const images = places.flatMap((place) => imagesAt(resolve(folder, place)));
  if (images.length === 0) throw datasetError(path, `there is no image in ${places.join(", ")}`, YOLO_HINT);
  if (!images.some((image) => existsSync(labelFile(image)))) {
    throw datasetError(path, `no image has a label file, such as ${labelFile(images[0]!)}`, YOLO_HINT);
  }
  const count = names?.length ?? classes;
  return {
    names,
    images,
    truth(at, size) {
      const file = labelFile(images[at]!);
      // An image without a label file shows nothing.
      if (!existsSync(file)) return [];
      return readFileSync(file, "utf8")
        .split("\n")
        .flatMap((line, index) => {
          if (line.trim() === "") return [];
          const [classId = -1, ...numbers] = line.trim().split(/\s+/).map(Number);
          const isClass = Number.isInteger(classId) && classId >= 0;
          if (isClass && classId >= count) {
            throw datasetError(file, `line ${index + 1} has the class ${classId}, and there are ${count} from 0 on`);
          }
          const object = isClass ? labelledObject(numbers, task, size, keypoints) : undefined;
          if (object !== undefined) return [{ ...object, classId, isCrowd: false }];
          const found = `line ${index + 1} is no label of ${task}, got ${JSON.stringify(line.slice(0, 80))}`;
          const isResult = isClass && labelledObject(numbers.slice(0, -1), task, size, keypoints) !== undefined;
          throw datasetError(file, found, isResult ? SCORED : RULES[task]);
        });
    },
  };
}

function plainFolder(path: string, split: string | undefined): Description {
  const part = join("images", split ?? USUAL_SPLIT);
  const isSplit = split !== undefined || isDirectory(join(path, part));
  return { folder: path, places: [isSplit ? part : "images"], names: undefined, keypoints: undefined };
}

const RULES: Readonly<Record<MeasuredTask, string>> = {
  detect: "a line is: class cx cy width height, or class and the corners of a polygon, as fractions of the image",
  segment: "a line is: class and x and y of at least three corners, as fractions of the image",
  pose: "a line is: class cx cy width height, then x, y and visibility of each point; data.yaml has kpt_shape",
  obb: "a line is: class x1 y1 x2 y2 x3 y3 x4 y4, as fractions of the image",
};

const SCORED = "its last number seems to be a score; write labels without: detect --format yolo --no-scores";

/** Share of a box that a person fills, where its outline is not known, as Ultralytics has it. */
const PERSON_SHARE = 0.53;

/** True for what is no fraction of an image, even of one that an object reaches far out of. */
function isPixels(side: number): boolean {
  return side < -1 || side > 2;
}

/** What numbers after the class stand for. @returns `undefined` if they are no label of the task */
function labelledObject(
  numbers: readonly number[],
  task: MeasuredTask,
  size: PixelSize,
  keypoints: Description["keypoints"],
): Pick<AnnotatedObject, "box" | "area" | "mask" | "keypoints" | "xywhr"> | undefined {
  if (!numbers.every(Number.isFinite) || numbers.slice(0, 4).some(isPixels)) return undefined;
  const scaled = numbers.map((number, at) => number * (at % 2 === 0 ? size.width : size.height));
  const [cx = 0, cy = 0, width = 0, height = 0] = scaled;
  const box = [cx - width / 2, cy - height / 2, width, height] as const;
  const [count = (numbers.length - 4) / 3, each = 3] = keypoints ?? [];
  const isPose = count >= 1 && Number.isInteger(count) && numbers.length === 4 + count * each;
  if (task === "pose") {
    if (!isPose) return undefined;
    const points = Array.from({ length: count }, (_, point) => {
      const from = 4 + point * each;
      const [x = 0, y = 0, visibility = x > 0 || y > 0 ? 2 : 0] = numbers.slice(from, from + each);
      return [x * size.width, y * size.height, visibility];
    });
    return { box, area: width * height * PERSON_SHARE, keypoints: points.flat() };
  }
  if (task === "detect" && (numbers.length === 4 || (isPose && keypoints !== undefined))) {
    return { box, area: width * height };
  }
  // Key points and a score: an even count, and yet no polygon.
  if (keypoints !== undefined && numbers.length === 5 + count * each) return undefined;
  if (numbers.length < 6 || numbers.length % 2 !== 0 || (task === "obb" && numbers.length !== 8)) return undefined;
  const around = rectangleAround(scaled);
  const outline = { box: around, area: around[2] * around[3] };
  if (task === "detect") return outline;
  if (task === "obb") {
    const xywhr = smallestRectangle(scaled);
    return { ...outline, area: xywhr[2] * xywhr[3], xywhr };
  }
  const mask = polygonMask([scaled], size.width, size.height);
  return { ...outline, area: mask.area, mask };
}
