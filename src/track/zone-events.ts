/** @module ZoneEvents: what happened at zones and lines, and what was counted there, as values. */

import type { ZonePoint } from "./zone-options.ts";

/** What every event says of the object that it is of. */
export interface ZoneObject {
  readonly trackId: number;
  readonly label: string;
  readonly classId: number;
  /** Of the frame, in milliseconds; three digits. */
  readonly timestampMs: number;
  /** Where its anchor is, in pixels of the image; three digits. */
  readonly point: ZonePoint;
}

/** An object came into a zone. */
export interface EnterEvent extends ZoneObject {
  readonly event: "enter";
  readonly zone: string;
  /** It was seen outside before, or it was inside when it was seen first. */
  readonly reason: "moved" | "appeared";
}

/** An object is in a zone no more. */
export interface ExitEvent extends ZoneObject {
  readonly event: "exit";
  readonly zone: string;
  /** It went out; it was not seen for `patienceMs`; or the stream ended. */
  readonly reason: "moved" | "lost" | "ended";
  /** How long it was inside, in milliseconds, three digits: until it was seen outside, else until it was seen last. */
  readonly dwellMs: number;
}

/** An object crossed a line. */
export interface CrossEvent extends ZoneObject {
  readonly event: "cross";
  readonly line: string;
  /** `in`: to the left of the line, for who looks along it. */
  readonly direction: "in" | "out";
}

/** What happened at a zone or a line. Values that `JSON.stringify` writes as they are. */
export type ZoneEvent = EnterEvent | ExitEvent | CrossEvent;

/** How many of one class crossed a line. */
export interface LineClassCounts {
  readonly in: number;
  readonly out: number;
}

/** How many of one class came into a zone and went out of it. */
export interface ZoneClassCounts extends LineClassCounts {
  /** How many are inside now. */
  readonly occupancy: number;
}

/** What was counted in a zone. */
export interface ZoneCounts {
  readonly name: string;
  /** How many are inside now: those seen in the last frame, and those not seen for no longer than `patienceMs`. */
  readonly occupancy: number;
  /** The most that were inside at a time. */
  readonly peak: number;
  /** How many came in, those among them that appeared inside. */
  readonly in: number;
  /** How many went out, those among them that were lost inside. */
  readonly out: number;
  /** Milliseconds that an object was inside, at the mean and at most, those among them that are inside now; 0 where there was none. */
  readonly meanDwellMs: number;
  readonly maxDwellMs: number;
  /** By name of the class. */
  readonly byClass: Readonly<Record<string, ZoneClassCounts>>;
}

/** What was counted at a line. */
export interface LineCounts {
  readonly name: string;
  readonly in: number;
  readonly out: number;
  /** By name of the class. */
  readonly byClass: Readonly<Record<string, LineClassCounts>>;
}

/** What was counted so far: a value of its own, that stays as it is. */
export interface ZonesCounts {
  readonly zones: readonly ZoneCounts[];
  readonly lines: readonly LineCounts[];
}

/** The frame that objects were found in: a `VideoFrame`, or what says the same. */
export interface ZoneFrame {
  /** In pixels. */
  readonly width: number;
  readonly height: number;
  /** Milliseconds since any moment. */
  readonly timestampMs: number;
}
