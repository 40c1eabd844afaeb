/** @module DetectMessages: what was found in an image in the worker's messages, and what of it is sent. */

import { type BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { round } from "../../core/units.ts";
import { writeFloat, writeText, writeWhole } from "../message-fields.ts";
import { DetectionSchema, DetectionsSchema } from "../messages.js";
import type { ResultFilter, ResultMessages, TaskResult } from "../task-result.ts";
import type { Detection, DetectionResult } from "./detection.ts";

const OBJECTS = DetectionsSchema.field.detections;
const OBJECT = DetectionSchema.field;

/** How coordinates are written. */
export interface Units {
  /** What they are multiplied with. */
  readonly scaleX: number;
  readonly scaleY: number;
  /** Of them in text. */
  readonly digits: number;
}

/** What objects have in the messages beside label, score and box. */
export interface ObjectDetails<Object extends Detection> {
  /** Further keys of an object in JSON. */
  json(object: Object, units: Units): object;
  /** Further fields of an object. */
  write(writer: BinaryWriter, object: Object, units: Units): void;
  /** What all of them have in common. @param objects at least one */
  writeShared?(writer: BinaryWriter, objects: readonly Object[]): void;
}

/** A frame that could not be looked at has no size. */
function unitsOf({ width, height }: TaskResult, isNormalized: boolean): Units {
  const [scaleX, scaleY] = isNormalized && width > 0 && height > 0 ? [1 / width, 1 / height] : [1, 1];
  return { scaleX, scaleY, digits: isNormalized ? 6 : 3 };
}

/** Those of an image that a filter lets through. */
export function keptObjects<Object extends Detection>(
  objects: readonly Object[],
  { width, height }: TaskResult,
  { threshold, classIds, edgeMargin }: ResultFilter,
): Object[] {
  return objects.filter(({ score, classId, box: [x1, y1, x2, y2] }) => {
    if (score < threshold || classIds?.has(classId) === false) return false;
    if (edgeMargin === undefined) return true;
    return x1 > edgeMargin && y1 > edgeMargin && x2 < width - edgeMargin && y2 < height - edgeMargin;
  });
}

/** Objects in plain fields. */
export function objectFields<Object extends Detection>(
  objects: readonly Object[],
  image: TaskResult,
  isNormalized: boolean,
  details?: ObjectDetails<Object>,
): [name: string, text: string][] {
  const units = unitsOf(image, isNormalized);
  const { scaleX, scaleY, digits } = units;
  const rows = objects.map((object) => ({
    label: object.label,
    classId: object.classId,
    score: round(object.score, 6),
    box: object.box.map((value, at) => round(value * (at % 2 === 0 ? scaleX : scaleY), digits)),
    ...details?.json(object, units),
  }));
  return [["detections", JSON.stringify(rows)]];
}

/** Write objects, each as a `buntensorrt.v1.Detection`. @throws {Error} If a number does not fit */
export function writeObjects<Object extends Detection>(
  writer: BinaryWriter,
  objects: readonly Object[],
  image: TaskResult,
  isNormalized: boolean,
  details?: ObjectDetails<Object>,
): void {
  const units = unitsOf(image, isNormalized);
  const { scaleX, scaleY } = units;
  for (const object of objects) {
    const { box } = object;
    writer.tag(OBJECTS.number, WireType.LengthDelimited).fork();
    writeText(writer, OBJECT.label, object.label);
    writeWhole(writer, OBJECT.classId, object.classId);
    writeFloat(writer, OBJECT.score, object.score);
    writeFloat(writer, OBJECT.x1, box[0] * scaleX);
    writeFloat(writer, OBJECT.y1, box[1] * scaleY);
    writeFloat(writer, OBJECT.x2, box[2] * scaleX);
    writeFloat(writer, OBJECT.y2, box[3] * scaleY);
    details?.write(writer, object, units);
    writer.join();
  }
  if (objects.length > 0) details?.writeShared?.(writer, objects);
}

/** Results of detectors. */
export const DETECT_MESSAGES: ResultMessages<DetectionResult> = {
  nothing: {
    width: 0,
    height: 0,
    detections: [],
    dropped: 0,
    implausible: 0,
    timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
  },
  filtered: (result, filter) => ({ ...result, detections: keptObjects(result.detections, result, filter) }),
  fields: (result, isNormalized) => objectFields(result.detections, result, isNormalized),
  write: (writer, result, isNormalized) => writeObjects(writer, result.detections, result, isNormalized),
};
