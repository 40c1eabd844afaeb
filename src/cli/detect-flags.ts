/** @module DetectFlags: the flags of a detector, which several commands have, and those of `detect`, and what they stand for. */

import { z } from "zod";
import { DETECTOR_OPTIONS, type DetectorOptions } from "../api/detector-config.ts";
import { TOP_DOWN_OPTIONS, type TopDownPoseOptions } from "../api/whole-image-config.ts";
import type { OptionTable } from "../core/options.ts";
import { refusePadding } from "../image/image-options.ts";
import { DRAW_OPTIONS, type DrawOptions } from "../tasks/draw-options.ts";
import type { MaskForm } from "../tasks/task-result.ts";
import { parseTrackerOptions, TRACKER_OPTIONS, type TrackerOptions } from "../track/tracker-options.ts";
import type { ImageFraming } from "../video/image-stream.ts";
import type { VideoOptions } from "../video/video-options.ts";
import { type Flag, type ParsedArguments, refuse } from "./args.ts";
import {
  count,
  flagsOf,
  LIST,
  loadOptionsFrom,
  type OptionFlag,
  optionsFrom,
  outputFile,
  path,
  positiveNumber,
  QUIET,
  spellingIn,
  toggle,
  valuesFrom,
  wholeNumber,
} from "./option-flags.ts";

const OPTION_FLAGS = flagsOf(DETECTOR_OPTIONS);

/** In the order of the help. */
export const DETECTOR_FLAGS: readonly Flag[] = [
  {
    name: "model",
    short: "m",
    value: "FILE|NAME",
    summary: "ONNX file, plan, or a name from `models` (default yolo11n)",
  },
  ...OPTION_FLAGS,
];

/** The flags of a detector, checked. */
export interface DetectorArguments {
  /** Path or catalogue name; `undefined` for the default model. */
  readonly model: string | undefined;
  /** What was said; the library's own defaults hold for the rest. */
  readonly detector: DetectorOptions;
}

/** What a detector is loaded with. @throws {OptionError} If a value is refused, or flags do not go together */
export function detectorOptionsFrom(parsed: ParsedArguments, flags: readonly OptionFlag[]): DetectorOptions {
  const options = loadOptionsFrom<DetectorOptions>(parsed, flags);
  refusePadding(options.preprocessing, spellingIn(flags));
  return options;
}

/**
 * Check the flags that are in {@linkcode DETECTOR_FLAGS}; others are left alone.
 *
 * @throws {OptionError} If a value is refused, flags do not go together, or the file of labels cannot be read
 */
export function parseDetectorFlags(parsed: ParsedArguments): DetectorArguments {
  const { model } = parsed.flags;
  if (model === "") throw refuse("model", '--model is refused, got ""', "a path or a name");
  return { model: model as string | undefined, detector: detectorOptionsFrom(parsed, OPTION_FLAGS) };
}

const FORMATS = ["table", "json", "jsonl", "csv", "coco", "yolo", "dota", "mot"] as const;

/** Formats of which each writes files of its own into a folder, and what those are. */
const FOLDER_FORMATS: Readonly<Partial<Record<FormatName, string>>> = {
  yolo: "one text file an image",
  dota: "one text file a class",
  mot: "one text file a video",
};

/** Formats that say what masks look like in more than one way. */
const MASK_FORMATS: readonly FormatName[] = ["json", "jsonl", "coco"];

/** What a model of points is for, unless classes are named. */
export const PEOPLE: readonly string[] = ["person"];

/** How results are written. */
type FormatName = (typeof FORMATS)[number];

/** The flags of `detect`, checked. */
export interface DetectArguments extends DetectorArguments {
  /** File of more operands. */
  readonly list: string | undefined;
  readonly format: FormatName;
  readonly output: string | undefined;
  readonly annotations: string | undefined;
  /** `undefined` where it was not said. */
  readonly masks: MaskForm | undefined;
  readonly save: string | undefined;
  /** How copies are drawn on; `undefined` where it was not said. */
  readonly draw: DrawOptions | undefined;
  /** Folder for what is cut out. */
  readonly crop: string | undefined;
  /** Of the model that finds the points of people; `undefined` where none is to. */
  readonly poseModel: string | undefined;
  readonly pose: TopDownPoseOptions;
  readonly isQuiet: boolean;
  readonly isVideo: boolean;
  /** Folder to watch. */
  readonly watch: string | undefined;
  /** How images on standard input are told apart; `undefined` where it was not said. */
  readonly stdin: ImageFraming | undefined;
  readonly videoOptions: VideoOptions;
  /** How objects are followed; `undefined` where they are not. */
  readonly track: TrackerOptions | undefined;
  /** File of the zones and lines that objects are counted at. */
  readonly zones: string | undefined;
  /** File that their events go to. */
  readonly events: string | undefined;
}

const OWN = {
  list: LIST,
  format: {
    schema: z.enum(FORMATS, `one of ${FORMATS.join(", ")}, ndjson`).default("table"),
    short: "f",
    value: "FORMAT",
    fromText: (text) => (text === "ndjson" ? "jsonl" : text),
    synonyms: ["ndjson"],
    help: `${FORMATS.join(", ")}; ndjson is jsonl`,
  },
  output: {
    schema: path,
    short: "o",
    value: "FILE",
    help: "where to (default `-`, standard output); a folder for yolo, dota, mot, cameras",
  },
  masks: {
    schema: z.enum(["rle", "polygon", "none"], "rle, polygon or none"),
    help: "how json, jsonl and coco write masks (default rle: COCO's run lengths)",
  },
  annotations: { schema: path, value: "FILE", help: "COCO annotations with image and class ids, for --format coco" },
  save: {
    schema: path,
    short: "s",
    value: "DIR|FILE",
    help: "write annotated copies to a folder, or one image or video to a file",
  },
  crop: { schema: path, value: "DIR", help: "write what was found as images of its own to a folder, by class" },
  poseModel: {
    schema: path,
    value: "FILE",
    help: "RTMPose, DWPose, ViTPose, HRNet: find the points of people, or of --classes",
  },
  isVideo: { ...toggle, flag: "video", help: "treat the operands as videos, whatever their names" },
  watch: { schema: path, value: "DIR", help: "wait for new images in this folder, until Ctrl-C" },
  stdin: {
    schema: z.enum(["jpeg", "length"], "jpeg or length"),
    help: "how images on standard input (`-`) are separated (default jpeg)",
  },
  isQuiet: QUIET,
} satisfies OptionTable;

const seconds = positiveNumber(1e7).transform((value) => value * 1000);
const attempts = wholeNumber(0, 1_000_000).transform((most) => (most === 0 ? false : { attempts: most }));

const VIDEO = {
  fps: { schema: positiveNumber(1000), value: "N", help: "sample videos at no more than N frames per second" },
  every: {
    schema: count(1_000_000),
    value: "N",
    help: "sample every Nth frame of a video (default 1)",
    aliases: ["vidStride"],
  },
  startMs: { schema: seconds, flag: "start", value: "SECONDS", help: "begin here in a video" },
  durationMs: { schema: seconds, flag: "duration", value: "SECONDS", help: "end after this much of a video" },
  policy: {
    schema: z.enum(["all", "latest"], "all or latest"),
    help: "queue frames that come too fast, or drop them (default for live sources)",
  },
  reconnect: {
    schema: attempts,
    value: "N",
    help: "reconnection attempts for live sources; 0 disables (default unlimited)",
  },
  decode: {
    schema: z.enum(["auto", "gpu", "cpu"], "auto, gpu or cpu"),
    help: "decode videos on the GPU of the model, or by ffmpeg (default auto)",
  },
} satisfies OptionTable;

const ZONES = {
  zones: {
    schema: path,
    value: "FILE",
    help: "count objects in the zones and at the lines of this JSON file",
  },
  events: { schema: path, value: "FILE", help: "write what happens in --zones here, a JSON line an event" },
} satisfies OptionTable;

/** Those that say something of a tracker. */
const TRACK_FLAGS = flagsOf(TRACKER_OPTIONS);

/** Those that say something of videos only. */
export const VIDEO_FLAGS: readonly Flag[] = [...flagsOf(VIDEO), ...TRACK_FLAGS, ...flagsOf(ZONES)];

/** The one that says something of label files, too. */
const NO_SCORES = "no-scores";

const DRAW_FLAGS = flagsOf({
  ...DRAW_OPTIONS,
  scores: {
    ...DRAW_OPTIONS.scores,
    flag: NO_SCORES,
    help: "draw no scores; with --format yolo, write none: labels for `val`",
  },
});

/** Those that say something of the model of --pose-model only. */
const POSE_FLAGS = flagsOf(TOP_DOWN_OPTIONS, Object.keys(DETECTOR_OPTIONS));

/** In the order of the help. */
export const DETECT_FLAGS: readonly Flag[] = [
  ...DETECTOR_FLAGS,
  ...flagsOf(OWN),
  ...POSE_FLAGS,
  ...DRAW_FLAGS,
  ...VIDEO_FLAGS,
];

/** Options that hold of a detector alone, though a model of points has some of that name. */
const OF_DETECTOR = ["size", "batch", "batchWaitMs", "inFlight", "preprocessing"];

/** What is said of the model of points: where models run and how images are decoded holds of both. @throws {OptionError} If there is none */
function poseOptionsFrom(
  parsed: ParsedArguments,
  model: string | undefined,
  { device, ...detector }: DetectorOptions,
): TopDownPoseOptions {
  const flag = POSE_FLAGS.find(({ name }) => parsed.flags[name] !== undefined)?.name;
  if (flag !== undefined && model === undefined) {
    throw refuse(flag, `--${flag} is for --pose-model`, "add --pose-model FILE, or leave it out");
  }
  const ofBoth = Object.entries(detector).filter(
    ([name]) => Object.hasOwn(TOP_DOWN_OPTIONS, name) && !OF_DETECTOR.includes(name),
  );
  return {
    ...(Object.fromEntries(ofBoth) as TopDownPoseOptions),
    ...(device === undefined ? {} : { device: [device].flat()[0]! }),
    ...optionsFrom<TopDownPoseOptions>(parsed, POSE_FLAGS),
  };
}

/** How copies are drawn on; `undefined` where no flag says it. @throws {OptionError} If none are made, or a value is refused */
function drawOptionsFrom(
  parsed: ParsedArguments,
  { save, format }: Pick<DetectArguments, "save" | "format">,
): DrawOptions | undefined {
  const flags = DRAW_FLAGS.filter(({ name }) => parsed.flags[name] !== undefined).map(({ name }) => name);
  if (flags.length === 0) return undefined;
  const idle = save === undefined ? flags.find((name) => name !== NO_SCORES || format !== "yolo") : undefined;
  if (idle !== undefined) {
    const [also, more] = idle === NO_SCORES ? [" and label files", " or --format yolo"] : ["", ""];
    throw refuse(idle, `--${idle} is for annotated copies${also}`, `add --save DIR${more}, or leave it out`);
  }
  const draw = optionsFrom<DrawOptions>(parsed, DRAW_FLAGS);
  if (draw.privacyClasses !== undefined && (draw.privacy ?? "none") === "none") {
    throw refuse("privacy-classes", "--privacy-classes needs --privacy", "add --privacy blur, or leave it out");
  }
  return draw;
}

/** How objects are followed; `undefined` where they are not. @throws {OptionError} If a flag is for a tracker and there is none */
function trackerFrom(parsed: ParsedArguments, format: FormatName): TrackerOptions | undefined {
  const track = optionsFrom<TrackerOptions>(parsed, TRACK_FLAGS);
  if (track.tracker !== undefined) {
    if (format !== "dota") return track;
    throw refuse("format", "--format dota has no room for the ids of --track", "choose json, csv, yolo or mot");
  }
  const flag = TRACK_FLAGS.find(({ name }) => parsed.flags[name] !== undefined)?.name;
  if (flag !== undefined) throw refuse(flag, `--${flag} needs --track`, "add --track bytetrack, or leave it out");
  if (format === "mot") throw refuse("format", "--format mot writes tracks", "add --track bytetrack");
  return undefined;
}

/** @throws {OptionError} If masks of another size than the image's are to be written where pixels are those of the image */
function refuseMaskSize(
  { maskSize }: DetectorOptions,
  { format, masks, save }: Pick<DetectArguments, "format" | "masks" | "save">,
): void {
  if (maskSize === undefined || maskSize === "image") return;
  const isPlaced = format === "csv" || format === "yolo" || (format === "coco" && masks !== "none");
  const needy = isPlaced ? `--format ${format}` : save === undefined ? undefined : "--save";
  if (needy === undefined) return;
  const found = `${needy} needs masks of the image's size, got --mask-size ${maskSize}`;
  throw refuse("mask-size", found, "leave --mask-size out, or choose --format json");
}

/** Check the flags of `detect`. @throws {OptionError} If a value is refused, or flags do not go together */
export function parseDetectFlags(parsed: ParsedArguments): DetectArguments {
  const flags = valuesFrom(parsed, OWN);
  const output = outputFile(flags.output);
  const written = FOLDER_FORMATS[flags.format];
  if (written !== undefined && output === undefined) {
    const hint = `add --output DIR: ${written} is written there`;
    throw refuse("output", `--format ${flags.format} needs a folder`, hint);
  }
  if (flags.masks !== undefined && !MASK_FORMATS.includes(flags.format)) {
    const found = `--masks is for --format ${MASK_FORMATS.join(", ")}, got ${flags.format}`;
    throw refuse("masks", found, "leave it out, or choose another format");
  }
  if (flags.annotations !== undefined && flags.format !== "coco") {
    throw refuse("annotations", "--annotations needs --format coco", "add --format coco");
  }
  const counted = valuesFrom(parsed, ZONES);
  if (counted.events !== undefined && counted.zones === undefined) {
    throw refuse("events", "--events needs --zones", "add --zones FILE, or leave it out");
  }
  const videoOptions = valuesFrom(parsed, VIDEO) as VideoOptions;
  const draw = drawOptionsFrom(parsed, flags);
  const { model, detector: given } = parseDetectorFlags(parsed);
  refuseMaskSize(given, flags);
  const pose = poseOptionsFrom(parsed, flags.poseModel, given);
  const track = trackerFrom(parsed, flags.format);
  const detector = {
    ...(flags.poseModel === undefined ? {} : { classes: PEOPLE }),
    // Low scores go on with tracks.
    ...(track === undefined ? {} : { threshold: parseTrackerOptions(track).lowThreshold }),
    ...given,
  };
  return { model, detector, pose, ...flags, output, draw, videoOptions, track, ...counted };
}
