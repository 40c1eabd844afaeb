/** @module ZoneCounters: who is on which side of a zone or a line, what that counts for, and what is told of it. */

import { round } from "../core/units.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import type {
  EnterEvent,
  ExitEvent,
  LineClassCounts,
  LineCounts,
  ZoneCounts,
  ZoneEvent,
  ZoneFrame,
  ZoneObject,
} from "./zone-events.ts";
import type { ZonesConfig } from "./zone-options.ts";
import { Polygon, Segment, type Shape } from "./zone-shapes.ts";

/** For so long it is known which side of a line a track was seen on last: longer than trackers look for one. */
const LINE_MEMORY_MS = 60_000;

/** Where a track stands. */
interface Visitor {
  /** True: inside, or to the left of a line. `undefined`: it was seen between both sides alone. */
  isInside: boolean | undefined;
  /** For how many frames it has been seen on the other side. */
  beyond: number;
  label: string;
  classId: number;
  x: number;
  y: number;
  enteredMs: number;
  seenMs: number;
  /** How its way met the line last. */
  met: number;
}

interface ClassCount {
  in: number;
  out: number;
  /** Objects without an id that are inside in this frame. */
  untracked: number;
}

/** What a zone and a line have in common: which objects count, and on which side each of them is. */
abstract class Counter<Form extends Shape> {
  readonly name: string;
  protected readonly shape: Form;
  protected readonly config: ZonesConfig;
  protected readonly visitors: Map<number, Visitor> = new Map();
  protected readonly classes: Map<string, ClassCount> = new Map();
  readonly #wanted: ReadonlySet<string | number> | undefined;

  constructor({ name, classes }: ZonesConfig["lines" | "zones"][number], shape: Form, config: ZonesConfig) {
    this.name = name;
    this.shape = shape;
    this.config = config;
    this.#wanted = classes && new Set(classes);
  }

  /** Corners in pixels. */
  get points(): Float64Array {
    return this.shape.points;
  }

  /** The image has this size from now on. */
  resize(width: number, height: number): void {
    this.shape.resize(width, height);
  }

  update(objects: readonly Detection[], { width, height, timestampMs }: ZoneFrame, events: ZoneEvent[]): void {
    this.resize(width, height);
    for (const count of this.classes.values()) count.untracked = 0;
    for (const object of objects) {
      if (this.#wanted !== undefined && !(this.#wanted.has(object.label) || this.#wanted.has(object.classId))) continue;
      const side = this.shape.side(object.box);
      this.shape.place(object.box);
      // A place that is NaN is none.
      if (!Number.isFinite(side)) continue;
      if (object.trackId === undefined) this.seeUntracked(object, side);
      else this.#see(object, object.trackId, side, timestampMs, events);
    }
    this.forget(timestampMs, events);
  }

  #see(object: Detection, id: number, side: number, timestampMs: number, events: ZoneEvent[]): void {
    const [x1, y1, x2, y2] = object.box;
    let visitor = this.visitors.get(id);
    if (visitor === undefined) {
      visitor = {
        isInside: undefined,
        beyond: 0,
        label: object.label,
        classId: object.classId,
        x: this.shape.x,
        y: this.shape.y,
        enteredMs: timestampMs,
        seenMs: timestampMs,
        met: 0,
      };
      this.visitors.set(id, visitor);
      this.begin(visitor, id, side, events);
    } else {
      visitor.label = object.label;
      visitor.classId = object.classId;
      this.move(visitor);
      visitor.x = this.shape.x;
      visitor.y = this.shape.y;
      visitor.seenMs = timestampMs;
      const margin = this.config.margin * Math.min(Math.abs(x2 - x1), Math.abs(y2 - y1));
      // Between both sides nothing is certain: it stays where it was.
      const isBeyond = Math.abs(side) > margin && side > 0 !== visitor.isInside;
      visitor.beyond = isBeyond ? visitor.beyond + 1 : 0;
      if (visitor.beyond >= this.config.minFrames) {
        visitor.beyond = 0;
        this.change(visitor, id, side > 0, events);
      }
    }
  }

  /** An object without an id is seen. */
  protected abstract seeUntracked(object: Detection, side: number): void;
  /** A track is seen first. */
  protected abstract begin(visitor: Visitor, id: number, side: number, events: ZoneEvent[]): void;
  /** A track goes from where it was to where the shape has been placed. */
  protected abstract move(visitor: Visitor): void;
  /** A track is on the other side. */
  protected abstract change(visitor: Visitor, id: number, isInside: boolean, events: ZoneEvent[]): void;
  /** Give up who was not seen for long. */
  protected abstract forget(timestampMs: number, events: ZoneEvent[]): void;

  protected countOf(label: string): ClassCount {
    let count = this.classes.get(label);
    if (count === undefined) {
      count = { in: 0, out: 0, untracked: 0 };
      this.classes.set(label, count);
    }
    return count;
  }

  protected objectOf({ label, classId, x, y, seenMs }: Visitor, trackId: number): ZoneObject {
    return { trackId, label, classId, timestampMs: round(seenMs, 3), point: [round(x, 3), round(y, 3)] };
  }
}

/** Counts in a polygon. */
export class ZoneCounter extends Counter<Polygon> {
  #peak = 0;
  #visits = 0;
  #totalMs = 0;
  #longestMs = 0;

  constructor(zone: ZonesConfig["zones"][number], config: ZonesConfig) {
    super(zone, new Polygon(zone.polygon, config.units, zone.anchor), config);
  }

  protected override seeUntracked({ label }: Detection, side: number): void {
    if (side > 0) this.countOf(label).untracked += 1;
  }

  protected override begin(visitor: Visitor, id: number, side: number, events: ZoneEvent[]): void {
    visitor.isInside = side > 0;
    if (visitor.isInside) this.#enter(visitor, id, "appeared", events);
  }

  protected override move(): void {}

  protected override change(visitor: Visitor, id: number, isInside: boolean, events: ZoneEvent[]): void {
    visitor.isInside = isInside;
    if (isInside) this.#enter(visitor, id, "moved", events);
    else this.#exit(visitor, id, "moved", events);
  }

  #enter(visitor: Visitor, id: number, reason: EnterEvent["reason"], events: ZoneEvent[]): void {
    visitor.enteredMs = visitor.seenMs;
    this.countOf(visitor.label).in += 1;
    events.push({ event: "enter", zone: this.name, ...this.objectOf(visitor, id), reason });
  }

  #exit(visitor: Visitor, id: number, reason: ExitEvent["reason"], events: ZoneEvent[]): void {
    const dwellMs = Math.max(0, visitor.seenMs - visitor.enteredMs);
    const object = this.objectOf(visitor, id);
    events.push({ event: "exit", zone: this.name, ...object, reason, dwellMs: round(dwellMs, 3) });
    if (reason === "ended") return;
    this.#visits += 1;
    this.#totalMs += dwellMs;
    this.#longestMs = Math.max(this.#longestMs, dwellMs);
    this.countOf(visitor.label).out += 1;
  }

  protected override forget(timestampMs: number, events: ZoneEvent[]): void {
    for (const [id, visitor] of this.visitors) {
      if (timestampMs - visitor.seenMs <= this.config.patienceMs) continue;
      this.visitors.delete(id);
      if (visitor.isInside === true) this.#exit(visitor, id, "lost", events);
    }
    this.#peak = Math.max(this.#peak, this.occupancy);
  }

  /** The stream ends: so do all visits, of which no more is counted than while they last. */
  finish(events: ZoneEvent[]): void {
    for (const [id, visitor] of this.visitors) if (visitor.isInside === true) this.#exit(visitor, id, "ended", events);
  }

  get occupancy(): number {
    let occupancy = 0;
    for (const { isInside } of this.visitors.values()) if (isInside === true) occupancy += 1;
    for (const { untracked } of this.classes.values()) occupancy += untracked;
    return occupancy;
  }

  get counts(): ZoneCounts {
    const byClass: Record<string, { occupancy: number; in: number; out: number }> = {};
    for (const [label, { in: came, out, untracked }] of this.classes) {
      byClass[label] = { occupancy: untracked, in: came, out };
    }
    let visits = this.#visits;
    let totalMs = this.#totalMs;
    let longestMs = this.#longestMs;
    for (const { isInside, label, enteredMs, seenMs } of this.visitors.values()) {
      if (isInside !== true) continue;
      // A track may have changed its class since it came.
      byClass[label] ??= { occupancy: 0, in: 0, out: 0 };
      byClass[label].occupancy += 1;
      const dwellMs = Math.max(0, seenMs - enteredMs);
      visits += 1;
      totalMs += dwellMs;
      longestMs = Math.max(longestMs, dwellMs);
    }
    const all = Object.values(byClass);
    return {
      name: this.name,
      occupancy: this.occupancy,
      peak: this.#peak,
      in: all.reduce((sum, one) => sum + one.in, 0),
      out: all.reduce((sum, one) => sum + one.out, 0),
      meanDwellMs: visits === 0 ? 0 : round(totalMs / visits, 3),
      maxDwellMs: round(longestMs, 3),
      byClass,
    };
  }
}

/** Counts at a line. */
export class LineCounter extends Counter<Segment> {
  constructor(line: ZonesConfig["lines"][number], config: ZonesConfig) {
    super(line, new Segment([line.from, line.to], config.units, line.anchor), config);
  }

  protected override seeUntracked(): void {}

  protected override begin(visitor: Visitor, _: number, side: number): void {
    if (side !== 0) visitor.isInside = side > 0;
  }

  protected override move(visitor: Visitor): void {
    visitor.met = this.shape.meets(visitor.x, visitor.y) || visitor.met;
  }

  protected override change(visitor: Visitor, id: number, isInside: boolean, events: ZoneEvent[]): void {
    const isFirst = visitor.isInside === undefined;
    visitor.isInside = isInside;
    // Around the ends of the line leads a way that is no crossing.
    if (isFirst || visitor.met !== 1) return;
    const direction = isInside ? "in" : "out";
    this.countOf(visitor.label)[direction] += 1;
    events.push({ event: "cross", line: this.name, ...this.objectOf(visitor, id), direction });
  }

  protected override forget(timestampMs: number): void {
    for (const [id, { seenMs }] of this.visitors) {
      if (timestampMs - seenMs > LINE_MEMORY_MS) this.visitors.delete(id);
    }
  }

  get counts(): LineCounts {
    const byClass: Record<string, LineClassCounts> = {};
    const counts = { in: 0, out: 0 };
    for (const [label, { in: came, out }] of this.classes) {
      byClass[label] = { in: came, out };
      counts.in += came;
      counts.out += out;
    }
    return { name: this.name, ...counts, byClass };
  }
}
