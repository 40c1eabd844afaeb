/** @module bun-tensorrt/track: identities for what a detector finds in the frames of a stream. */

export type { FrameTime } from "./frame-clock.ts";
export { type MotRows, motLine, parseMot } from "./mot-file.ts";
export { addCounts, countTracks, type TrackCounts, type TrackScores, trackScores } from "./mot-measures.ts";
export { type TrackedResult, type TrackOptions, trackResult } from "./tracked-stream.ts";
export { type Tracked, type TrackedFrame, Tracker } from "./tracker.ts";
export type { TrackerConfig, TrackerName, TrackerOptions } from "./tracker-options.ts";
export type {
  CrossEvent,
  EnterEvent,
  ExitEvent,
  LineClassCounts,
  LineCounts,
  ZoneClassCounts,
  ZoneCounts,
  ZoneEvent,
  ZoneFrame,
  ZoneObject,
  ZonesCounts,
} from "./zone-events.ts";
export {
  type Anchor,
  type LineOptions,
  readZones,
  type ZoneOptions,
  type ZonePoint,
  type ZonesOptions,
} from "./zone-options.ts";
export { Zones } from "./zones.ts";
