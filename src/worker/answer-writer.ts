/**
 * @module AnswerWriter: an answer in protobuf, field by field. The library's `toBinary` needs a message object for every
 * detection and calls a closure for each of its fields, which takes two to three times as long.
 */

import type { DescField } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Detection } from "../detector/detection.ts";
import type { Answer, AnswerFormat, AnswerTimings } from "./answer-message.ts";
import { DetectionSchema, DetectionsSchema, TimingsSchema } from "./messages.js";

const ANSWER = DetectionsSchema.field;
const OBJECT = DetectionSchema.field;
const TIMINGS = TimingsSchema.field;

// As proto3 has it, a field that holds its default (0, "", false) is not written. -0 is not the default, and is written.

function writeText(writer: BinaryWriter, { number }: DescField, value: string): void {
  if (value !== "") writer.tag(number, WireType.LengthDelimited).string(value);
}

function writeWhole(writer: BinaryWriter, { number }: DescField, value: number): void {
  if (value !== 0) writer.tag(number, WireType.Varint).uint32(value);
}

function writeFloat(writer: BinaryWriter, { number }: DescField, value: number): void {
  if (!Object.is(value, 0)) writer.tag(number, WireType.Bit32).float(value);
}

function writeDetection(writer: BinaryWriter, found: Detection, scaleX: number, scaleY: number): void {
  const [x1, y1, x2, y2] = found.box;
  writer.tag(ANSWER.detections.number, WireType.LengthDelimited).fork();
  writeText(writer, OBJECT.label, found.label);
  writeWhole(writer, OBJECT.classId, found.classId);
  writeFloat(writer, OBJECT.score, found.score);
  writeFloat(writer, OBJECT.x1, x1 * scaleX);
  writeFloat(writer, OBJECT.y1, y1 * scaleY);
  writeFloat(writer, OBJECT.x2, x2 * scaleX);
  writeFloat(writer, OBJECT.y2, y2 * scaleY);
  writer.join();
}

function writeTimings(writer: BinaryWriter, timings: AnswerTimings): void {
  writer.tag(ANSWER.timings.number, WireType.LengthDelimited).fork();
  writeFloat(writer, TIMINGS.receive, timings.receive);
  writeFloat(writer, TIMINGS.wait, timings.wait);
  writeFloat(writer, TIMINGS.decode, timings.decode);
  writeFloat(writer, TIMINGS.preprocess, timings.preprocess);
  writeFloat(writer, TIMINGS.infer, timings.infer);
  writeFloat(writer, TIMINGS.postprocess, timings.postprocess);
  writeFloat(writer, TIMINGS.total, timings.total);
  writer.join();
}

/**
 * Write an answer as a `buntensorrt.v1.Detections`.
 *
 * @param id what `answerId` gives for the answer
 * @returns the bytes that `toBinary` would give; the caller's
 * @throws {Error} If a number does not fit its field
 */
export function writeAnswer(answer: Answer, id: string, { boxes, model, worker }: AnswerFormat): Uint8Array {
  const { frame, width, height, detections } = answer;
  const isNormalized = boxes === "normalized";
  const scaleX = isNormalized && width > 0 ? 1 / width : 1;
  const scaleY = isNormalized && height > 0 ? 1 / height : 1;
  // A new one each time: one in which a field has thrown would begin the next answer with what it has written.
  const writer = new BinaryWriter();
  writeText(writer, ANSWER.id, id);
  writeText(writer, ANSWER.sourceId, frame.sourceId);
  writeText(writer, ANSWER.frameId, frame.frameId);
  if (Number(frame.timestamp) !== 0) writer.tag(ANSWER.timestamp.number, WireType.Varint).int64(frame.timestamp);
  writeText(writer, ANSWER.stream, answer.stream);
  writeText(writer, ANSWER.entryId, answer.entryId);
  writeWhole(writer, ANSWER.width, width);
  writeWhole(writer, ANSWER.height, height);
  writeText(writer, ANSWER.model, model);
  if (isNormalized) writer.tag(ANSWER.normalized.number, WireType.Varint).bool(true);
  for (const found of detections) writeDetection(writer, found, scaleX, scaleY);
  writeTimings(writer, answer.timings);
  writeText(writer, ANSWER.error, answer.error);
  writeText(writer, ANSWER.worker, worker);
  return writer.finish();
}
