/** @module ClassifyMessages: the classes of an image in the worker's messages. */

import { WireType } from "@bufbuild/protobuf/wire";
import { round } from "../../core/units.ts";
import { writeFloat, writeText, writeWhole } from "../message-fields.ts";
import { DetectionSchema, DetectionsSchema } from "../messages.js";
import type { ResultMessages } from "../task-result.ts";
import type { ClassificationResult } from "./classification.ts";

const CLASSES = DetectionsSchema.field.classes;
const CLASS = DetectionSchema.field;

/** Results of classifiers. */
export const CLASSIFY_MESSAGES: ResultMessages<ClassificationResult> = {
  nothing: {
    task: "classify",
    width: 0,
    height: 0,
    classes: [],
    timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
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
      writer.tag(CLASSES.number, WireType.LengthDelimited).fork();
      writeText(writer, CLASS.label, label);
      writeWhole(writer, CLASS.classId, classId);
      writeFloat(writer, CLASS.score, score);
      writer.join();
    }
  },
};
