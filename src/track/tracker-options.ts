/** @module TrackerOptions: what callers may say of trackers, checked once. */

import { z } from "zod";
import { OptionError } from "../core/errors.ts";
import { type Filled, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";

/** A tracker by name. */
export type TrackerName = "bytetrack" | "botsort" | "ocsort";

/** The trackers that there are. */
export const TRACKERS: readonly [TrackerName, ...TrackerName[]] = ["bytetrack", "botsort", "ocsort"];

/** How objects are followed. Defaults are those of Ultralytics. */
export interface TrackerOptions {
  /**
   * `bytetrack`, the default; `botsort`, which follows width and height each on its own, without appearance; or
   * `ocsort`, which goes by what was really seen. Of a resting camera ByteTrack is as good as any.
   */
  readonly tracker?: TrackerName | undefined;
  /**
   * Of `botsort`: what is done about a camera that moves. `sparse-optical-flow` follows corners from frame to frame and moves the
   * tracks along; each `update` needs the frame's pixels, in host memory. Default `none`: Ultralytics has it on, to no use where
   * cameras rest.
   */
  readonly cameraMotion?: "none" | "sparse-optical-flow" | undefined;
  /** Detections of at least this score are matched first, and may begin tracks. Default 0.25. */
  readonly highThreshold?: number | undefined;
  /** Detections above this score go on with tracks that are left without one. Default 0.1. */
  readonly lowThreshold?: number | undefined;
  /** Lowest score that begins a track. Default 0.25. */
  readonly newThreshold?: number | undefined;
  /** For how many frames a track that is not seen is looked for. Default 30. */
  readonly buffer?: number | undefined;
  /** Highest cost of a match, which is 1 less the overlap. Default 0.8. */
  readonly matchThreshold?: number | undefined;
  /** Overlaps count by the score of the detection. Default true. */
  readonly fuseScore?: boolean | undefined;
  /** A track keeps its class: no detection of another goes on with it. Default false, as elsewhere. */
  readonly perClass?: boolean | undefined;
  /** `time`, the default: tracks move by the time between frames, so that dropped ones cost nothing; `frame`: by 1 a frame. */
  readonly clock?: "time" | "frame" | undefined;
  /** Boxes of results: `tracked`, the default, as the tracker has smoothed them; `detected`, as the model found them. */
  readonly boxes?: "tracked" | "detected" | undefined;
  /** How many places of each track its objects carry as `trace`, for drawings. Default 0: none. */
  readonly trace?: number | undefined;
  /** Of `ocsort`: over how many frames a direction is taken. Default 3. */
  readonly deltaT?: number | undefined;
  /** Of `ocsort`: what a turn by π costs. Default 0.2. */
  readonly inertia?: number | undefined;
  /** Of `ocsort`: low scores go on with tracks, as in ByteTrack. Default false. */
  readonly useByte?: boolean | undefined;
}

/** The same, complete. */
export type TrackerConfig = Filled<TrackerOptions>;

const RATIO = "a number from 0 to 1";
const ratio = z.number(RATIO).min(0, RATIO).max(1, RATIO);
const FRAMES = "a whole number from 1 to 100000";
const TRACE = "a whole number from 0 to 10000";
const SPAN = "a whole number from 1 to 100";
const flag = z.boolean("true or false");

/** Every option of tracking. */
export const TRACKER_OPTIONS: OptionsOf<TrackerOptions> = {
  tracker: {
    schema: z.enum(TRACKERS, TRACKERS.join(", ")).default("bytetrack"),
    flag: "track",
    help: "give the objects of a video ids by this tracker",
    otherwise: "none",
  },
  cameraMotion: {
    schema: z.enum(["none", "sparse-optical-flow"], "none or sparse-optical-flow").default("none"),
    value: "HOW",
    help: "of botsort: sparse-optical-flow: tracks move with the camera",
    aliases: ["gmcMethod"],
  },
  highThreshold: {
    schema: ratio.default(0.25),
    flag: "track-high",
    help: "detections from this score on are matched first",
    aliases: ["trackHighThresh"],
  },
  lowThreshold: {
    schema: ratio.default(0.1),
    flag: "track-low",
    help: "detections above this score continue tracks",
    aliases: ["trackLowThresh"],
  },
  newThreshold: {
    schema: ratio.default(0.25),
    flag: "track-new",
    help: "lowest score that begins a track",
    aliases: ["newTrackThresh"],
  },
  buffer: {
    schema: z.int(FRAMES).min(1, FRAMES).max(100_000, FRAMES).default(30),
    flag: "track-buffer",
    help: "frames for which a lost track is looked for",
    aliases: ["trackBuffer"],
  },
  matchThreshold: {
    schema: ratio.default(0.8),
    flag: "track-match",
    help: "highest cost of a match, 1 less the overlap",
    aliases: ["matchThresh"],
  },
  fuseScore: { schema: flag.default(true) },
  perClass: { schema: flag.default(false), flag: "track-per-class", help: "a track keeps its class" },
  clock: {
    schema: z.enum(["time", "frame"], "time or frame").default("time"),
  },
  boxes: {
    schema: z.enum(["tracked", "detected"], "tracked or detected").default("tracked"),
    flag: "track-boxes",
    help: "boxes as smoothed, or as the model found them",
  },
  trace: {
    schema: z.int(TRACE).min(0, TRACE).max(10_000, TRACE).default(0),
    help: "draw the last N places of each object",
  },
  deltaT: {
    schema: z.int(SPAN).min(1, SPAN).max(100, SPAN).default(3),
  },
  inertia: { schema: ratio.default(0.2) },
  useByte: { schema: flag.default(false) },
};
const schema = z.strictObject(shapeOf(TRACKER_OPTIONS));

/** Check the options of a tracker. @throws {OptionError} If one is unknown or out of range */
export function parseTrackerOptions(options: TrackerOptions | TrackerName = {}): TrackerConfig {
  const given = typeof options === "string" ? { tracker: options } : options;
  const config = parseOptions(schema, given, "track", TRACKER_OPTIONS) as TrackerConfig;
  if (config.cameraMotion !== "none" && config.tracker !== "botsort") {
    const text = `Option "cameraMotion" must be none for ${config.tracker}, got "${config.cameraMotion}"`;
    throw new OptionError(`${text}\nHint: choose the tracker botsort`, "cameraMotion");
  }
  return config;
}
