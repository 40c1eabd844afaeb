/** @module SemanticMessages: the classes of an image's pixels in the worker's messages. */

import { WireType } from "@bufbuild/protobuf/wire";
import { writeFloat, writeText, writeWhole } from "../message-fields.ts";
import { DetectionSchema, DetectionsSchema } from "../messages.js";
import type { ResultMessages } from "../task-result.ts";
import { type AreaJson, SEMANTIC_FORMS, type SemanticResult } from "./class-map.ts";

const { classes: CLASSES, maskSize: SIZE } = DetectionsSchema.field;
const CLASS = DetectionSchema.field;

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
    timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
  },
  filtered: (result, { threshold, classIds }) => ({
    ...result,
    areas: result.areas.filter(({ share, classId }) => share >= threshold && classIds?.has(classId) !== false),
  }),
  fields: (result) => [["areas", JSON.stringify(areasOf(result))]],
  write(writer, result) {
    for (const { label, classId, share, mask } of areasOf(result)) {
      writer.tag(CLASSES.number, WireType.LengthDelimited).fork();
      writeText(writer, CLASS.label, label);
      writeWhole(writer, CLASS.classId, classId);
      writeFloat(writer, CLASS.score, share);
      writeText(writer, CLASS.mask, mask?.counts ?? "");
      writer.join();
    }
    if (result.areas.length === 0) return;
    writer.tag(SIZE.number, WireType.LengthDelimited).fork().uint32(result.height).uint32(result.width).join();
  },
};
