/** @module DetectMessages: what was found in an image in the worker's messages, and what of it is sent. */

import { WireType } from "@bufbuild/protobuf/wire";
import { round } from "../../core/units.ts";
import { writeFloat, writeText, writeWhole } from "../message-fields.ts";
import { DetectionSchema, DetectionsSchema } from "../messages.js";
import type { ResultMessages } from "../task-result.ts";
import type { DetectionResult } from "./detection.ts";

const OBJECTS = DetectionsSchema.field.detections;
const OBJECT = DetectionSchema.field;

/** What coordinates are multiplied with. A frame that could not be looked at has no size. */
function scalesOf({ width, height }: DetectionResult, isNormalized: boolean): readonly [x: number, y: number] {
  return isNormalized && width > 0 && height > 0 ? [1 / width, 1 / height] : [1, 1];
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
  filtered(result, { threshold, classIds, edgeMargin }) {
    const { width, height, detections } = result;
    const kept = detections.filter(({ score, classId, box: [x1, y1, x2, y2] }) => {
      if (score < threshold || classIds?.has(classId) === false) return false;
      if (edgeMargin === undefined) return true;
      return x1 > edgeMargin && y1 > edgeMargin && x2 < width - edgeMargin && y2 < height - edgeMargin;
    });
    return { ...result, detections: kept };
  },
  fields(result, isNormalized) {
    const scales = scalesOf(result, isNormalized);
    const digits = isNormalized ? 6 : 3;
    const detections = result.detections.map(({ label, classId, score, box }) => ({
      label,
      classId,
      score: round(score, 6),
      box: box.map((value, at) => round(value * scales[at & 1]!, digits)),
    }));
    return [["detections", JSON.stringify(detections)]];
  },
  write(writer, result, isNormalized) {
    const [scaleX, scaleY] = scalesOf(result, isNormalized);
    for (const { label, classId, score, box } of result.detections) {
      writer.tag(OBJECTS.number, WireType.LengthDelimited).fork();
      writeText(writer, OBJECT.label, label);
      writeWhole(writer, OBJECT.classId, classId);
      writeFloat(writer, OBJECT.score, score);
      writeFloat(writer, OBJECT.x1, box[0] * scaleX);
      writeFloat(writer, OBJECT.y1, box[1] * scaleY);
      writeFloat(writer, OBJECT.x2, box[2] * scaleX);
      writeFloat(writer, OBJECT.y2, box[3] * scaleY);
      writer.join();
    }
  },
};
