/** @module AnswerMessage: what a worker found in a frame, as fields of a stream's entry: in protobuf, or field by field. */

import type { DescField } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Detection } from "../tasks/detect/detection.ts";
import { round } from "../tasks/detect/result-json.ts";
import type { Field } from "./broker.ts";
import type { FrameMessage } from "./frame-message.ts";
import { DetectionSchema, DetectionsSchema, TimingsSchema } from "./messages.js";

const ANSWER = DetectionsSchema.field;
const OBJECT = DetectionSchema.field;
const TIMINGS = TimingsSchema.field;

/** Milliseconds of each part of a frame's way. */
export interface AnswerTimings {
  readonly receive: number;
  readonly wait: number;
  readonly decode: number;
  readonly preprocess: number;
  readonly infer: number;
  readonly postprocess: number;
  readonly total: number;
}

/** Of a frame that was not looked at. */
export const NO_TIMINGS: AnswerTimings = {
  receive: 0,
  wait: 0,
  decode: 0,
  preprocess: 0,
  infer: 0,
  postprocess: 0,
  total: 0,
};

/** What was found in one frame, or why nothing could be. */
export interface Answer {
  readonly frame: FrameMessage;
  readonly stream: string;
  readonly entryId: string;
  /** Pixels; 0 where nothing could be looked for. */
  readonly width: number;
  readonly height: number;
  /** In pixels of the frame, best score first. */
  readonly detections: readonly Detection[];
  readonly timings: AnswerTimings;
  /** Empty where all is well; of a damaged image that was taken, what is wrong with it. */
  readonly error: string;
}

/** How answers are written. */
export interface AnswerFormat {
  readonly format: "protobuf" | "fields";
  readonly boxes: "pixels" | "normalized";
  /** Names of the model and of the worker. */
  readonly model: string;
  readonly worker: string;
}

/** The same for every answer to a frame. */
export function answerId({ frame, entryId }: Pick<Answer, "frame" | "entryId">): string {
  return `${frame.sourceId}/${frame.frameId}/${entryId}`;
}

function asFields(answer: Answer, id: string, { boxes, model, worker }: AnswerFormat): Field[] {
  const { frame, width, height } = answer;
  const isNormalized = boxes === "normalized";
  const scales = isNormalized && width > 0 && height > 0 ? [1 / width, 1 / height] : [1, 1];
  const digits = isNormalized ? 6 : 3;
  const detections = answer.detections.map(({ label, classId, score, box }) => ({
    label,
    classId,
    score: round(score, 6),
    box: box.map((value, at) => round(value * scales[at & 1]!, digits)),
  }));
  const timings = Object.fromEntries(Object.entries(answer.timings).map(([name, ms]) => [name, round(ms, 3)]));
  return [
    ["id", id],
    ["source_id", frame.sourceId],
    ["frame_id", frame.frameId],
    ["timestamp", frame.timestamp],
    ["stream", answer.stream],
    ["entry_id", answer.entryId],
    ["width", String(width)],
    ["height", String(height)],
    ["model", model],
    ["normalized", isNormalized ? "1" : "0"],
    ["detections", JSON.stringify(detections)],
    ["timings", JSON.stringify(timings)],
    ["error", answer.error],
    ["worker", worker],
  ];
}

// In protobuf an answer is written field by field: the library's `toBinary` needs a message object for every detection and
// calls a closure for each of its fields, which takes two to three times as long.
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
function writeAnswer(answer: Answer, id: string, { boxes, model, worker }: AnswerFormat): Uint8Array {
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

/** The fields of an answer's entry. In both forms `id` is one of them, so that a reader can drop a duplicate unread. */
export function answerFields(answer: Answer, format: AnswerFormat): Field[] {
  const id = answerId(answer);
  if (format.format === "fields") return asFields(answer, id, format);
  return [
    ["id", id],
    ["detections", writeAnswer(answer, id, format)],
  ];
}
