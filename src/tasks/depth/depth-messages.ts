/** @module DepthMessages: the depth of an image's pixels in the worker's messages. */

import { WireType } from "@bufbuild/protobuf/wire";
import { round } from "../../core/units.ts";
import { writeFloat, writeText } from "../message-fields.ts";
import { DepthSchema, DetectionsSchema } from "../messages.js";
import type { ResultMessages } from "../task-result.ts";
import { DEPTH_FORMS, type DepthResult } from "./depth-map.ts";

const DEPTH = DepthSchema.field;

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
    timing: { decode: 0, preprocess: 0, infer: 0, postprocess: 0, total: 0 },
  },
  filtered: (result) => result,
  fields(result, _, hasMap) {
    const { kind, min, max } = result;
    const depth = { kind, min: round(min, 6), max: round(max, 6), ...(hasMap && DEPTH_FORMS.mapJson!(result)) };
    return [["depth", result.depthMap.length === 0 ? "" : JSON.stringify(depth)]];
  },
  write(writer, { kind, min, max, depthMap }, _, hasMap) {
    if (depthMap.length === 0) return;
    writer.tag(DetectionsSchema.field.depth.number, WireType.LengthDelimited).fork();
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
