/** @module DetectFlags: the flags of `detect`, and what they stand for. */

import { z } from "zod";
import type { DetectorOptions } from "../api/detector-config.ts";
import type { ImageFraming } from "../video/image-stream.ts";
import type { VideoOptions } from "../video/video-options.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { DETECTOR_FLAGS, parseDetectorFlags } from "./detector-flags.ts";
import { count, positiveNumber, toggle, wholeNumber } from "./values.ts";

/** How results are written. */
export type FormatName = "table" | "json" | "jsonl" | "coco" | "yolo";

const FORMATS: readonly FormatName[] = ["table", "json", "jsonl", "coco", "yolo"];
/** Both names are in use for one thing. */
const FORMAT_WORDS = [...FORMATS, "ndjson"] as const;

/**
 * Standard output in `--output`. Opened by its other name, a file it is led into would have two who write, each from its
 * own place on.
 */
const STANDARD_OUTPUT: readonly string[] = ["-", "/dev/stdout"];

/** In the order of the help. */
export const DETECT_FLAGS: readonly Flag[] = [
  ...DETECTOR_FLAGS,
  { name: "format", short: "f", value: FORMATS.join("|"), summary: "how results are written (default table)" },
  { name: "output", short: "o", value: "FILE", summary: "where to (default `-`, standard output); a folder for yolo" },
  {
    name: "annotations",
    value: "FILE",
    summary: "COCO annotations with image and class ids, for --format coco",
  },
  {
    name: "save",
    short: "s",
    value: "DIR|FILE",
    summary: "write annotated copies to a folder, or one image or video to a file",
  },
  { name: "video", summary: "treat the operands as videos, whatever their names" },
  { name: "watch", value: "DIR", summary: "wait for new images in this folder, until Ctrl-C" },
  { name: "stdin", value: "jpeg|length", summary: "how images on standard input (`-`) are separated (default jpeg)" },
  { name: "fps", value: "N", summary: "sample videos at no more than N frames per second" },
  { name: "every", value: "N", summary: "sample every Nth frame of a video (default 1)" },
  { name: "start", value: "SECONDS", summary: "begin here in a video" },
  { name: "duration", value: "SECONDS", summary: "end after this much of a video" },
  {
    name: "policy",
    value: "all|latest",
    summary: "frames that come too fast wait, or are dropped (default for live sources)",
  },
  { name: "reconnect", value: "N", summary: "reconnection attempts for live sources; 0 disables (default unlimited)" },
  { name: "quiet", short: "q", summary: "no progress and no summary" },
];

/** The flags of `detect`, checked. */
export interface DetectArguments {
  /** Path or catalogue name; `undefined` for the default model. */
  readonly model: string | undefined;
  readonly detector: DetectorOptions;
  readonly format: FormatName;
  readonly output: string | undefined;
  readonly annotations: string | undefined;
  readonly save: string | undefined;
  readonly isQuiet: boolean;
  readonly isVideo: boolean;
  /** Folder to watch. */
  readonly watch: string | undefined;
  /** How images on standard input are told apart; `undefined` where it was not said. */
  readonly stdin: ImageFraming | undefined;
  readonly videoOptions: VideoOptions;
}

const path = z.string().min(1, "a path");

const schema = z.object({
  format: z
    .enum(FORMAT_WORDS, `one of ${FORMAT_WORDS.join(", ")}`)
    .default("table")
    .transform((word): FormatName => (word === "ndjson" ? "jsonl" : word)),
  output: path.optional(),
  annotations: path.optional(),
  save: path.optional(),
  quiet: toggle,
  video: toggle,
  watch: path.optional(),
  stdin: z.enum(["jpeg", "length"], "jpeg or length").optional(),
  fps: positiveNumber(1000).optional(),
  every: count(1_000_000).optional(),
  start: positiveNumber(1e7).optional(),
  duration: positiveNumber(1e7).optional(),
  policy: z.enum(["all", "latest"], "all or latest").optional(),
  reconnect: wholeNumber(0, 1_000_000).optional(),
});

function reconnectOf(attempts: number | undefined): VideoOptions["reconnect"] {
  if (attempts === undefined) return undefined;
  return attempts === 0 ? false : { attempts };
}

/**
 * Check the flags of `detect`.
 *
 * @throws {OptionError} If a value is refused, or flags do not go together
 */
export function parseDetectFlags(parsed: ParsedArguments): DetectArguments {
  const flags = parseFlags(parsed, schema);
  const { format, annotations, save } = flags;
  const output = STANDARD_OUTPUT.includes(flags.output ?? "-") ? undefined : flags.output;
  if (format === "yolo" && output === undefined) {
    const hint = "add --output DIR: one text file an image is written there";
    throw refuse("detect", "output", "--format yolo needs a folder", hint);
  }
  if (annotations !== undefined && format !== "coco") {
    throw refuse("detect", "annotations", "--annotations needs --format coco", "add --format coco");
  }
  const { model, detector } = parseDetectorFlags("detect", parsed);
  const said = {
    fps: flags.fps,
    every: flags.every,
    startMs: flags.start === undefined ? undefined : flags.start * 1000,
    durationMs: flags.duration === undefined ? undefined : flags.duration * 1000,
    policy: flags.policy,
    reconnect: reconnectOf(flags.reconnect),
  };
  const videoOptions: VideoOptions = Object.fromEntries(
    Object.entries(said).filter(([, value]) => value !== undefined),
  );
  const { watch, stdin, quiet: isQuiet, video: isVideo } = flags;
  return { model, detector, format, output, annotations, save, isQuiet, isVideo, watch, stdin, videoOptions };
}
