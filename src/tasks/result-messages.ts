/**
 * @module ResultMessages: the results of every task in the worker's messages, and what of them is sent.
 *
 * Fields of protobuf are written one by one: the library's `toBinary` needs a message object for every object found and calls a
 * closure for each of its fields, which takes two to three times as long. As proto3 has it, a field that holds its default (0,
 * "") is not written. -0 is not the default, and is written.
 */

import type { DescField } from "@bufbuild/protobuf";
import { type BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { round } from "../core/units.ts";
import type { ClassificationResult } from "./classify/classify-task.ts";
import { DEPTH_FORMS, type DepthResult } from "./depth/depth-task.ts";
import type { Detection, DetectionResult } from "./detect/detection.ts";
import { DepthSchema, DetectionSchema, DetectionsSchema } from "./messages.js";
import type { ObjectOfTask, ObjectsOf } from "./objects/objects.ts";
import { type AreaJson, SEMANTIC_FORMS, type SemanticResult } from "./semantic/semantic-task.ts";
import type { ResultFilter, ResultMessages, TaskResult } from "./task-result.ts";

const ANSWER = DetectionsSchema.field;
/** An object, or a class of the image or of its pixels. */
const FOUND = DetectionSchema.field;
const DEPTH = DepthSchema.field;

/** Of a frame that could not be looked at. */
const NO_TIMING = { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 };

/** Write a string. */
export function writeText(writer: BinaryWriter, { number }: DescField, value: string): void {
  if (value !== "") writer.tag(number, WireType.LengthDelimited).string(value);
}

/** Write a uint32. */
export function writeWhole(writer: BinaryWriter, { number }: DescField, value: number): void {
  if (value !== 0) writer.tag(number, WireType.Varint).uint32(value);
}

/** Write a float. */
export function writeFloat(writer: BinaryWriter, { number }: DescField, value: number): void {
  if (!Object.is(value, 0)) writer.tag(number, WireType.Bit32).float(value);
}

/** Write floats, packed. */
function writeFloats(writer: BinaryWriter, { number }: DescField, values: readonly number[]): void {
  if (values.length === 0) return;
  writer.tag(number, WireType.LengthDelimited).fork();
  for (const value of values) writer.float(value);
  writer.join();
}

/** How coordinates are written. */
interface Units {
  /** What they are multiplied with. */
  readonly scaleX: number;
  readonly scaleY: number;
  /** Of them in text. */
  readonly digits: number;
}

/** What objects have in the messages beside label, score and box. */
interface ObjectDetails<Object extends Detection> {
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
function keptObjects<Object extends Detection>(
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
function objectFields<Object extends Detection>(
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
function writeObjects<Object extends Detection>(
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
    writer.tag(ANSWER.detections.number, WireType.LengthDelimited).fork();
    writeText(writer, FOUND.label, object.label);
    writeWhole(writer, FOUND.classId, object.classId);
    writeFloat(writer, FOUND.score, object.score);
    writeFloat(writer, FOUND.x1, box[0] * scaleX);
    writeFloat(writer, FOUND.y1, box[1] * scaleY);
    writeFloat(writer, FOUND.x2, box[2] * scaleX);
    writeFloat(writer, FOUND.y2, box[3] * scaleY);
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
    timing: NO_TIMING,
  },
  filtered: (result, filter) => ({ ...result, detections: keptObjects(result.detections, result, filter) }),
  fields: (result, isNormalized) => objectFields(result.detections, result, isNormalized),
  write: (writer, result, isNormalized) => writeObjects(writer, result.detections, result, isNormalized),
};

const DETAILS: { readonly [Name in keyof ObjectOfTask]: ObjectDetails<ObjectOfTask[Name]> } = {
  obb: {
    json: ({ corners, angle }, { scaleX, scaleY, digits }) => ({
      corners: corners.map(([x, y]) => [round(x * scaleX, digits), round(y * scaleY, digits)]),
      angle: round(angle, 6),
    }),
    write(writer, { corners, angle }, { scaleX, scaleY }) {
      const sides = corners.flatMap(([x, y]) => [x * scaleX, y * scaleY]);
      writeFloats(writer, FOUND.corners, sides);
      // It may be 0.
      writer.tag(FOUND.angle.number, WireType.Bit32).float(angle);
    },
  },
  pose: {
    json: ({ keypoints }, { scaleX, scaleY, digits }) => ({
      keypoints: keypoints.map(({ x, y, score }) => [
        round(x * scaleX, digits),
        round(y * scaleY, digits),
        round(score, 4),
      ]),
    }),
    write(writer, { keypoints }, { scaleX, scaleY }) {
      const numbers = keypoints.flatMap(({ x, y, score }) => [x * scaleX, y * scaleY, score]);
      writeFloats(writer, FOUND.keypoints, numbers);
    },
    writeShared(writer, [first]) {
      for (const { name } of first!.keypoints)
        writer.tag(ANSWER.keypointNames.number, WireType.LengthDelimited).string(name);
    },
  },
  segment: {
    json: ({ mask }) => ({ mask: mask.toJSON() }),
    write: (writer, { mask }) => writeText(writer, FOUND.mask, mask.toJSON().counts),
    writeShared(writer, [first]) {
      const { height, width } = first!.mask;
      writer.tag(ANSWER.maskSize.number, WireType.LengthDelimited).fork().uint32(height).uint32(width).join();
    },
  },
};

function messagesOf<Name extends keyof ObjectOfTask>(task: Name): ResultMessages<ObjectsOf<Name>> {
  const details: ObjectDetails<ObjectOfTask[Name]> = DETAILS[task];
  const { detections: _, ...nothing } = DETECT_MESSAGES.nothing;
  return {
    nothing: { task, ...nothing, objects: [] },
    filtered: (result, filter) => ({ ...result, objects: keptObjects(result.objects, result, filter) }),
    fields: (result, isNormalized) => objectFields(result.objects, result, isNormalized, details),
    write: (writer, result, isNormalized) => writeObjects(writer, result.objects, result, isNormalized, details),
  };
}

/** Results by task. */
export const OBJECT_MESSAGES: { readonly [Name in keyof ObjectOfTask]: ResultMessages<ObjectsOf<Name>> } = {
  obb: messagesOf("obb"),
  pose: messagesOf("pose"),
  segment: messagesOf("segment"),
};

/** Results of classifiers. */
export const CLASSIFY_MESSAGES: ResultMessages<ClassificationResult> = {
  nothing: {
    task: "classify",
    width: 0,
    height: 0,
    classes: [],
    timing: NO_TIMING,
  },
  filtered: (result, { threshold, classIds }) => ({
    ...result,
    classes: result.classes.filter(({ score, classId }) => score >= threshold && classIds?.has(classId) !== false),
  }),
  fields: ({ classes }) => [
    ["classes", JSON.stringify(classes.map(({ score, ...rest }) => ({ ...rest, score: round(score, 6) })))],
  ],
  write(writer, { classes }) {
    for (const { label, classId, score } of classes) {
      writer.tag(ANSWER.classes.number, WireType.LengthDelimited).fork();
      writeText(writer, FOUND.label, label);
      writeWhole(writer, FOUND.classId, classId);
      writeFloat(writer, FOUND.score, score);
      writer.join();
    }
  },
};

function areasOf(result: SemanticResult): readonly AreaJson[] {
  return (SEMANTIC_FORMS.json(result, "rle") as { readonly areas: readonly AreaJson[] }).areas;
}

/** Results of semantic maps. */
export const SEMANTIC_MESSAGES: ResultMessages<SemanticResult> = {
  nothing: {
    task: "semantic",
    width: 0,
    height: 0,
    classMap: new Uint8Array(0),
    areas: [],
    timing: NO_TIMING,
  },
  filtered: (result, { threshold, classIds }) => ({
    ...result,
    areas: result.areas.filter(({ share, classId }) => share >= threshold && classIds?.has(classId) !== false),
  }),
  fields: (result) => [["areas", JSON.stringify(areasOf(result))]],
  write(writer, result) {
    for (const { label, classId, share, mask } of areasOf(result)) {
      writer.tag(ANSWER.classes.number, WireType.LengthDelimited).fork();
      writeText(writer, FOUND.label, label);
      writeWhole(writer, FOUND.classId, classId);
      writeFloat(writer, FOUND.score, share);
      writeText(writer, FOUND.mask, mask?.counts ?? "");
      writer.join();
    }
    if (result.areas.length === 0) return;
    writer
      .tag(ANSWER.maskSize.number, WireType.LengthDelimited)
      .fork()
      .uint32(result.height)
      .uint32(result.width)
      .join();
  },
};

/** Results of depth. */
export const DEPTH_MESSAGES: ResultMessages<DepthResult> = {
  nothing: {
    task: "depth",
    width: 0,
    height: 0,
    kind: "relative",
    depthMap: new Float32Array(0),
    min: Number.NaN,
    max: Number.NaN,
    timing: NO_TIMING,
  },
  filtered: (result) => result,
  fields(result, _, hasMap) {
    const { kind, min, max } = result;
    const depth = { kind, min: round(min, 6), max: round(max, 6), ...(hasMap && DEPTH_FORMS.mapJson!(result)) };
    return [["depth", result.depthMap.length === 0 ? "" : JSON.stringify(depth)]];
  },
  write(writer, { kind, min, max, depthMap }, _, hasMap) {
    if (depthMap.length === 0) return;
    writer.tag(ANSWER.depth.number, WireType.LengthDelimited).fork();
    writeText(writer, DEPTH.kind, kind);
    writeFloat(writer, DEPTH.min, min);
    writeFloat(writer, DEPTH.max, max);
    if (hasMap) {
      const bytes = new Uint8Array(depthMap.buffer, depthMap.byteOffset, depthMap.byteLength);
      writer.tag(DEPTH.map.number, WireType.LengthDelimited).bytes(bytes);
    }
    writer.join();
  },
};
