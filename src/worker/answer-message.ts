/** @module AnswerMessage: what a worker found in a frame, as fields of a stream's entry. */

import type { Detection } from "../detector/detection.ts";
import { round } from "../service/result-json.ts";
import { writeAnswer } from "./answer-writer.ts";
import type { Field } from "./broker.ts";
import type { FrameMessage } from "./frame-message.ts";

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
  /** Empty where all is well; of a damaged picture that was taken, what is wrong with it. */
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

/** The fields of an answer's entry. In both forms `id` is one of them, so that a reader can drop a duplicate unread. */
export function answerFields(answer: Answer, format: AnswerFormat): Field[] {
  const id = answerId(answer);
  if (format.format === "fields") return asFields(answer, id, format);
  return [
    ["id", id],
    ["detections", writeAnswer(answer, id, format)],
  ];
}
