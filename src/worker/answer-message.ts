/** @module AnswerMessage: what a worker found in a frame, as fields of a stream's entry: in protobuf, or field by field. */

import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { round } from "../core/units.ts";
import { DetectionsSchema, TimingsSchema } from "../tasks/messages.js";
import { writeFloat, writeText, writeWhole } from "../tasks/result-messages.ts";
import type { ResultMessages, TaskResult } from "../tasks/task-result.ts";
import type { Field } from "./broker.ts";
import type { FrameMessage } from "./frame-message.ts";

const ANSWER = DetectionsSchema.field;
const TIMINGS = TimingsSchema.field;

const PARTS = ["receive", "wait", "decode", "preprocess", "infer", "postprocess", "total"] as const;

/** Milliseconds of each part of a frame's way. */
export type AnswerTimings = Readonly<Record<(typeof PARTS)[number], number>>;

/** Of a frame that was not looked at. */
export const NO_TIMINGS = Object.fromEntries(PARTS.map((part) => [part, 0])) as AnswerTimings;

/** What was found in one frame, or why nothing could be. */
export interface Answer {
  readonly frame: FrameMessage;
  readonly stream: string;
  readonly entryId: string;
  readonly result: TaskResult;
  readonly timings: AnswerTimings;
  /** Empty where all is well; of a damaged image that was taken, what is wrong with it. */
  readonly error: string;
}

/** How answers are written. */
export interface AnswerFormat {
  readonly format: "protobuf" | "fields";
  /** Coordinates are fractions of the frame's width and height. */
  readonly isNormalized: boolean;
  /** Every number of a map is wanted. Default false. */
  readonly hasMap?: boolean;
  /** Those of the model's task. */
  readonly messages: ResultMessages;
  /** Names of the model and of the worker. */
  readonly model: string;
  readonly worker: string;
}

function asFields(
  answer: Answer,
  id: string,
  { isNormalized, hasMap = false, messages, model, worker }: AnswerFormat,
): Field[] {
  const { frame, result } = answer;
  const timings = Object.fromEntries(Object.entries(answer.timings).map(([name, ms]) => [name, round(ms, 3)]));
  return [
    ["id", id],
    ["source_id", frame.sourceId],
    ["frame_id", frame.frameId],
    ["timestamp", frame.timestamp],
    ["stream", answer.stream],
    ["entry_id", answer.entryId],
    ["width", String(result.width)],
    ["height", String(result.height)],
    ["model", model],
    ["normalized", isNormalized ? "1" : "0"],
    ...messages.fields(result, isNormalized, hasMap),
    ["timings", JSON.stringify(timings)],
    ["error", answer.error],
    ["worker", worker],
  ];
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
 * @returns the bytes that `toBinary` would give; the caller's
 * @throws {Error} If a number does not fit its field
 */
function writeAnswer(answer: Answer, id: string, format: AnswerFormat): Uint8Array {
  const { isNormalized, hasMap = false, messages, model, worker } = format;
  const { frame, result } = answer;
  // A new one each time: one in which a field has thrown would begin the next answer with what it has written.
  const writer = new BinaryWriter();
  writeText(writer, ANSWER.id, id);
  writeText(writer, ANSWER.sourceId, frame.sourceId);
  writeText(writer, ANSWER.frameId, frame.frameId);
  if (Number(frame.timestamp) !== 0) writer.tag(ANSWER.timestamp.number, WireType.Varint).int64(frame.timestamp);
  writeText(writer, ANSWER.stream, answer.stream);
  writeText(writer, ANSWER.entryId, answer.entryId);
  writeWhole(writer, ANSWER.width, result.width);
  writeWhole(writer, ANSWER.height, result.height);
  writeText(writer, ANSWER.model, model);
  if (isNormalized) writer.tag(ANSWER.normalized.number, WireType.Varint).bool(true);
  messages.write(writer, result, isNormalized, hasMap);
  writeTimings(writer, answer.timings);
  writeText(writer, ANSWER.error, answer.error);
  writeText(writer, ANSWER.worker, worker);
  return writer.finish();
}

/** The fields of an answer's entry. In both forms `id` is one of them, so that a reader can drop a duplicate unread. */
export function answerFields(answer: Answer, format: AnswerFormat): Field[] {
  const { frame, entryId } = answer;
  // The same for every answer to a frame.
  const id = `${frame.sourceId}/${frame.frameId}/${entryId}`;
  if (format.format === "fields") return asFields(answer, id, format);
  return [
    ["id", id],
    ["detections", writeAnswer(answer, id, format)],
  ];
}
