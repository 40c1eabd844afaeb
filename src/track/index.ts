/** @module bun-tensorrt/track: identities for what a detector finds in the frames of a stream. */

export type { FrameTime } from "./frame-clock.ts";
export { type Tracked, Tracker } from "./tracker.ts";
export type { TrackerConfig, TrackerName, TrackerOptions } from "./tracker-options.ts";
