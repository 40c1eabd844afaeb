/**
 * @module Messages: a frame as it stands on a stream, made ready for the detector, and what was found in it as fields of an
 * entry: both in protobuf or in plain fields.
 */

import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ImageError, message, ShapeError } from "../core/errors.ts";
import { round } from "../core/units.ts";
import { imageOf, type PixelFormat } from "../image/image.ts";
import type { ImageSource } from "../image/source.ts";
import { DetectionsSchema, Encoding, FrameSchema, TimingsSchema } from "../tasks/messages.js";
import { writeFloat, writeText, writeWhole } from "../tasks/result-messages.ts";
import type { ResultMessages, TaskResult } from "../tasks/task-result.ts";
import type { Field } from "./broker.ts";

/** A frame, taken apart. Its bytes are those that came off the network: nothing is copied. */
export interface FrameMessage {
  readonly sourceId: string;
  readonly frameId: string;
  /** Microseconds since the Unix epoch, in digits. */
  readonly timestamp: string;
  readonly encoding: Encoding;
  /** Pixels, of raw encodings alone. */
  readonly width: number;
  readonly height: number;
  /** Bytes from row to row of raw encodings; 0: without a gap. */
  readonly pitch: number;
  readonly data: Uint8Array;
}

/** What stands for a frame that cannot be taken apart. */
export const UNREADABLE_FRAME: FrameMessage = {
  sourceId: "",
  frameId: "",
  timestamp: "0",
  encoding: Encoding.UNSPECIFIED,
  width: 0,
  height: 0,
  pitch: 0,
  data: new Uint8Array(0),
};

/** By the name in plain fields. */
const ENCODINGS: ReadonlyMap<string, Encoding> = new Map([
  ["", Encoding.UNSPECIFIED],
  ["jpeg", Encoding.JPEG],
  ["jpg", Encoding.JPEG],
  ["png", Encoding.PNG],
  ["rgb", Encoding.RGB],
  ["bgr", Encoding.BGR],
  ["rgba", Encoding.RGBA],
  ["nv12", Encoding.NV12],
]);

/** What the detector is given: an image file as it is, or pixels. */
const FORMATS: Readonly<Record<Encoding, PixelFormat | "file">> = {
  [Encoding.UNSPECIFIED]: "file",
  [Encoding.JPEG]: "file",
  [Encoding.PNG]: "file",
  [Encoding.RGB]: "RGB",
  [Encoding.BGR]: "BGR",
  [Encoding.RGBA]: "RGBA",
  [Encoding.NV12]: "NV12",
};

/** As much of a field as an error repeats: one may hold megabytes. */
const SHOWN_CHARACTERS = 60;
/** As many names of fields as an error lists. */
const SHOWN_NAMES = 8;

const decoder = new TextDecoder();

function quoted(text: string): string {
  return JSON.stringify(text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text);
}

function unreadable(source: string, found: string, hint = "see docs/worker.md", cause?: unknown): ImageError {
  return new ImageError(message(`read ${source}`, found, hint), source, cause === undefined ? {} : { cause });
}

/** Fields of a message up to where it is damaged: `source_id`, `frame_id` and `timestamp` come first. */
function idsInProtobuf(bytes: Uint8Array): Pick<FrameMessage, "sourceId" | "frameId" | "timestamp"> {
  const ids = { sourceId: "", frameId: "", timestamp: "0" };
  const reader = new BinaryReader(bytes);
  try {
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      if (number === 1 && type === WireType.LengthDelimited) ids.sourceId = reader.string();
      else if (number === 2 && type === WireType.LengthDelimited) ids.frameId = reader.string();
      else if (number === 3 && type === WireType.Varint) ids.timestamp = String(reader.int64());
      else reader.skip(type, number);
    }
  } catch (error) {
    // What comes after the damage is lost.
    if (!(error instanceof Error)) throw error;
  }
  return ids;
}

/**
 * What is known of a frame that cannot be read, so that the answer still says which it was: source, frame and time as far as
 * they are whole, and no bytes.
 */
export function unreadableFrame(fields: ReadonlyMap<string, Uint8Array>): FrameMessage {
  const frame = fields.get("frame");
  if (frame !== undefined) return { ...UNREADABLE_FRAME, ...idsInProtobuf(frame) };
  const [sourceId, frameId, timestamp] = ["source_id", "frame_id", "timestamp"].map((name) =>
    decoder.decode(fields.get(name)),
  ) as [string, string, string];
  return { ...UNREADABLE_FRAME, sourceId, frameId, timestamp: isTimestamp(timestamp) ? timestamp : "0" };
}

/** Whole microseconds in 64 bits. */
function isTimestamp(text: string): boolean {
  return /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text);
}

function fromProtobuf(bytes: Uint8Array, source: string): FrameMessage {
  try {
    return fromBinary(FrameSchema, bytes, { readUnknownFields: false });
  } catch (error) {
    const found = `the field "frame" holds no buntensorrt.v1.Frame (${(error as Error).message})`;
    throw unreadable(source, found, "see proto/bun-tensorrt.proto", error);
  }
}

function fromPlainFields(fields: ReadonlyMap<string, Uint8Array>, data: Uint8Array, source: string): FrameMessage {
  const text = (name: string): string => decoder.decode(fields.get(name));
  const whole = (name: string): number => {
    const value = text(name);
    if (/^\d{0,9}$/.test(value)) return Number(value);
    throw unreadable(source, `the field "${name}" must be a whole number, got ${quoted(value)}`);
  };
  const named = text("encoding").toLowerCase();
  const encoding = ENCODINGS.get(named);
  if (encoding === undefined) {
    const known = [...ENCODINGS.keys()].filter((name) => name !== "").join(", ");
    throw unreadable(source, `the field "encoding" must be one of ${known}, got ${quoted(named)}`);
  }
  const timestamp = text("timestamp") || "0";
  if (!isTimestamp(timestamp)) {
    throw unreadable(source, `the field "timestamp" must be whole microseconds, got ${quoted(timestamp)}`);
  }
  return {
    sourceId: text("source_id"),
    frameId: text("frame_id"),
    timestamp,
    encoding,
    width: whole("width"),
    height: whole("height"),
    pitch: whole("pitch"),
    data,
  };
}

/**
 * Take a frame apart: protobuf where there is a field `frame`, else plain fields.
 *
 * @param source for messages: `frame 17-0 of frames`
 * @throws {ImageError} If it is neither
 */
export function readFrame(fields: ReadonlyMap<string, Uint8Array>, source: string): FrameMessage {
  const frame = fields.get("frame");
  if (frame !== undefined) return fromProtobuf(frame, source);
  const data = fields.get("data");
  if (data !== undefined) return fromPlainFields(fields, data, source);
  const names = [...fields.keys()].slice(0, SHOWN_NAMES).map(quoted).join(", ");
  const others = fields.size > SHOWN_NAMES ? `, and ${fields.size - SHOWN_NAMES} others` : "";
  throw unreadable(source, `it needs a field "frame" or "data", got ${names}${others}`);
}

/**
 * What the detector is given: the image file, or the pixels; over the frame's own bytes.
 *
 * @throws {ImageError} If there are no bytes, or too few for the size
 */
export function imageFrom(frame: FrameMessage, source: string): ImageSource {
  const { data, encoding, width, height, pitch } = frame;
  if (data.length === 0) throw unreadable(source, "it is empty (0 bytes)", "check what writes it");
  const format: PixelFormat | "file" | undefined = FORMATS[encoding];
  if (format === "file") return data;
  if (format === undefined) {
    throw unreadable(source, `its encoding ${encoding} is unknown`, "this worker may be older than what writes it");
  }
  try {
    return imageOf(data, { width, height, format, ...(pitch === 0 ? {} : { pitchBytes: pitch }) });
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    const found = `${width}x${height} ${format} with a pitch of ${pitch} does not fit its ${data.length} bytes`;
    throw unreadable(source, found, "check width, height and pitch", error);
  }
}

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
