/** @module bun-tensorrt/track: identities for what a detector finds in the frames of a stream. */

export {
  addCounts,
  countTracks,
  type MotRows,
  motLine,
  parseMot,
  type TrackCounts,
  type TrackScores,
  trackScores,
} from "./mot-measures.ts";
export { type TrackedResult, type TrackOptions, trackResult } from "./tracked-stream.ts";
export { type FrameTime, type Tracked, type TrackedFrame, Tracker } from "./tracker.ts";
export type { TrackerConfig, TrackerName, TrackerOptions } from "./tracker-options.ts";
export {
  type Anchor,
  type LineOptions,
  readZones,
  type ZoneOptions,
  type ZonePoint,
  type ZonesOptions,
} from "./zone-options.ts";
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
} from "./zone-shapes.ts";
export { Zones } from "./zones.ts";
