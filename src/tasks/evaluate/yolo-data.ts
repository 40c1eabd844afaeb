/** @module YoloData: datasets as Ultralytics has them: a description in YAML, images, and a label file beside each. */

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import type { PixelSize } from "../../runtime/task.ts";
import {
  type DatasetRequest,
  datasetError,
  descriptionIn,
  imagesBelow,
  isDirectory,
  type ObjectDataset,
  USUAL_SPLIT,
} from "./dataset.ts";
import type { AnnotatedObject, MeasuredTask } from "./measures.ts";
import { polygonMask, rectangleAround, smallestRectangle } from "./polygons.ts";

/** What a description says. */
interface Description {
  readonly folder: string;
  /** Where the images of a split are; several, or a file that lists them. */
  readonly places: readonly string[];
  readonly names: readonly string[] | undefined;
  /** Number of key points, and numbers of each. */
  readonly keypoints: readonly [count: number, numbers: number] | undefined;
}

const HINT = "give a data.yaml, or a folder with images/ and labels/";

function describe(path: string, split: string): Description {
  let content: Record<string, unknown> | null;
  try {
    content = Bun.YAML.parse(readFileSync(path, "utf8")) as Record<string, unknown> | null;
  } catch (error) {
    throw datasetError(path, (error as Error).message, HINT);
  }
  const { path: root, names, kpt_shape: shape, [split]: part } = content ?? {};
  const places = [part].flat().filter((place) => typeof place === "string");
  if (places.length === 0) throw datasetError(path, `it says nothing of the split ${JSON.stringify(split)}`, HINT);
  const beside = dirname(path);
  const folder = typeof root === "string" ? resolve(beside, root) : beside;
  const isShape = Array.isArray(shape) && shape.length === 2 && shape.every(Number.isInteger);
  return {
    // What Ultralytics looks for in its own folder of datasets may lie beside the description.
    folder: isDirectory(folder) ? folder : beside,
    places,
    names: typeof names === "object" && names !== null ? namesIn(names) : undefined,
    keypoints: isShape ? (shape as [number, number]) : undefined,
  };
}

/** Names by class id: a list, or a map from ids. */
function namesIn(names: object): string[] {
  const entries = Object.entries(names).map(([id, name]) => [Number(id), String(name)] as const);
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
  if (missing !== undefined) throw datasetError(path, `${resolve(folder, missing)} is not there`, HINT);
  const images = places.flatMap((place) => imagesAt(resolve(folder, place)));
  if (images.length === 0) throw datasetError(path, `there is no image in ${places.join(", ")}`, HINT);
  if (!images.some((image) => existsSync(labelFile(image)))) {
    throw datasetError(path, `no image has a label file, such as ${labelFile(images[0]!)}`, HINT);
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
          const object = isClass ? objectIn(numbers, task, size, keypoints) : undefined;
          if (object !== undefined) return [{ ...object, classId, isCrowd: false }];
          const found = `line ${index + 1} is no label of ${task}, got ${JSON.stringify(line.slice(0, 80))}`;
          const isResult = isClass && objectIn(numbers.slice(0, -1), task, size, keypoints) !== undefined;
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
function objectIn(
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
