/** @module ObjectMessages: objects with key points, angles or masks in the worker's messages. */

import { WireType } from "@bufbuild/protobuf/wire";
import { round } from "../../core/units.ts";
import {
  DETECT_MESSAGES,
  keptObjects,
  type ObjectDetails,
  objectFields,
  writeObjects,
} from "../detect/detect-messages.ts";
import { writeFloats, writeText } from "../message-fields.ts";
import { DetectionSchema, DetectionsSchema } from "../messages.js";
import type { ResultMessages } from "../task-result.ts";
import type { ObjectOfTask, ObjectsOf } from "./objects.ts";

const OBJECT = DetectionSchema.field;
const ANSWER = DetectionsSchema.field;

const DETAILS: { readonly [Name in keyof ObjectOfTask]: ObjectDetails<ObjectOfTask[Name]> } = {
  obb: {
    json: ({ corners, angle }, { scaleX, scaleY, digits }) => ({
      corners: corners.map(([x, y]) => [round(x * scaleX, digits), round(y * scaleY, digits)]),
      angle: round(angle, 6),
    }),
    write(writer, { corners, angle }, { scaleX, scaleY }) {
      const sides = corners.flatMap(([x, y]) => [x * scaleX, y * scaleY]);
      writeFloats(writer, OBJECT.corners, sides);
      // It may be 0.
      writer.tag(OBJECT.angle.number, WireType.Bit32).float(angle);
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
      writeFloats(writer, OBJECT.keypoints, numbers);
    },
    writeShared(writer, [first]) {
      for (const { name } of first!.keypoints)
        writer.tag(ANSWER.keypointNames.number, WireType.LengthDelimited).string(name);
    },
  },
  segment: {
    json: ({ mask }) => ({ mask: mask.toJSON() }),
    write: (writer, { mask }) => writeText(writer, OBJECT.mask, mask.toJSON().counts),
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
