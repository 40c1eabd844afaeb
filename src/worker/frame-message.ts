/** @module FrameMessage: a frame as it stands on a stream, in protobuf or in plain fields, made ready for the detector. */

import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ImageError, message, ShapeError } from "../core/errors.ts";
import { imageOf, type PixelFormat } from "../image/image.ts";
import type { ImageSource } from "../image/source.ts";
import { Encoding, FrameSchema } from "../tasks/messages.js";

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
