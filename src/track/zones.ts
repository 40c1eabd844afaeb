/**
 * @module Zones: counts the objects of a stream in zones and at lines: who is on which side, who came and went, and for how long, and
 * what is told of it.
 */

import { logger } from "../core/log.ts";
import { round } from "../core/units.ts";
import type { Image } from "../image/image.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { type CaptionedLine, paintLines } from "../tasks/detect/draw.ts";
import type { DrawOptions } from "../tasks/draw-options.ts";
import { assertDetections } from "./assignment.ts";
import { parseZones, type ZonesConfig, type ZonesOptions } from "./zone-options.ts";
import {
  type EnterEvent,
  type ExitEvent,
  isBeside,
  type LineClassCounts,
  type LineCounts,
  Polygon,
  Segment,
  type Shape,
  type ZoneCounts,
  type ZoneEvent,
  type ZoneFrame,
  type ZoneObject,
  type ZonesCounts,
} from "./zone-shapes.ts";

/**
 * Zones and lines over the objects of one stream. It is a value of that stream, as its tracker is: each has its own.
 *
 * An object is where the anchor of its box is. It comes into a zone, goes out of it or crosses a line once it is past the edge by
 * more than `margin`: what trembles on an edge counts once. Objects without an id count for the occupancy of zones alone, and only
 * in the frame they are found in.
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { Tracker, trackResult, Zones } from "bun-tensorrt/track";
 * import { detectVideo, VideoSource } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n", { threshold: 0.1 });
 * await using video = await VideoSource.open("street.mp4");
 * const tracker = new Tracker();
 * const zones = new Zones({ units: "fractions", lines: [{ name: "street", from: [0, 0.6], to: [1, 0.6] }] });
 * for await (const { frame, ...result } of detectVideo(detector, video)) {
 *   const { detections } = trackResult(tracker, result, frame);
 *   for (const event of zones.update(detections, frame)) console.log(JSON.stringify(event));
 * }
 * console.table(zones.counts.lines);
 * ```
 */
export class Zones {
  readonly #zones: readonly ZoneCounter[];
  readonly #lines: readonly LineCounter[];
  #isFinished = false;
  #width = 0;
  #height = 0;

  /** @throws {OptionError} If an option is unknown or out of range, or two zones or lines have one name */
  constructor(options: ZonesOptions) {
    const config = parseZones(options);
    this.#zones = config.zones.map((zone) => new ZoneCounter(zone, config));
    this.#lines = config.lines.map((line) => new LineCounter(line, config));
  }

  /**
   * Take what was found in the next frame.
   *
   * @param objects with the ids of their tracks; those without one count for occupancy alone
   * @param frame   which they were found in
   * @returns what happened in it, by zone and line in the order of the options
   * @throws {ArgumentError} If the objects are no list
   */
  update(objects: readonly Detection[], frame: ZoneFrame): ZoneEvent[] {
    assertDetections(objects, "see who is in a zone");
    const events: ZoneEvent[] = [];
    if (frame.width !== this.#width || frame.height !== this.#height) this.#resize(frame);
    for (const zone of this.#zones) zone.update(objects, frame, events);
    for (const line of this.#lines) line.update(objects, frame, events);
    return events;
  }

  /** Images have another size: what lies outside of them is warned of, as its counts look as if nobody came. */
  #resize({ width, height }: ZoneFrame): void {
    this.#width = width;
    this.#height = height;
    for (const one of [...this.#zones, ...this.#lines]) {
      one.resize(width, height);
      if (!isBeside(one.points, width, height)) continue;
      const kind = one instanceof ZoneCounter ? "Zone" : "Line";
      const found = `${kind} ${JSON.stringify(one.name)} lies outside the image of ${width}x${height}, and counts nothing`;
      logger.warn(`${found}: its points are pixels of the image, or parts of it with "units": "fractions"`);
    }
  }

  /** The stream has ended: every visit has, too. Counts stay as they are. @returns an `exit` for each who is still inside */
  finish(): ZoneEvent[] {
    const events: ZoneEvent[] = [];
    if (this.#isFinished) return events;
    this.#isFinished = true;
    for (const zone of this.#zones) zone.finish(events);
    return events;
  }

  /** What was counted so far. */
  get counts(): ZonesCounts {
    return { zones: this.#zones.map(({ counts }) => counts), lines: this.#lines.map(({ counts }) => counts) };
  }

  /**
   * Draw zones and lines with what was counted onto the pixels of a frame, in place and at once: `room 3`, `door 4 in, 2 out`.
   *
   * @param image   of any format, such as a video's frame; its pixels are changed
   * @param options of which `lineWidth`, `fontSize` and `labels` count
   * @throws {ShapeError} If the image's size, pitch and data do not fit together
   * @throws {OptionError} If an option is unknown or out of range
   */
  paint(image: Image, options?: DrawOptions): void {
    const { width, height } = image;
    for (const one of [...this.#zones, ...this.#lines]) one.resize(width, height);
    const zones = this.#zones.map(({ name, points, occupancy }): CaptionedLine => {
      return { points, isClosed: true, name, text: `${name} ${occupancy}` };
    });
    const lines = this.#lines.map(({ name, points, counts }): CaptionedLine => {
      return { points, isClosed: false, name, text: `${name} ${counts.in} in, ${counts.out} out` };
    });
    paintLines(image, [...zones, ...lines], options);
  }

  /** How many are in each zone now, by name. */
  get occupancy(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#zones.map(({ name, occupancy }) => [name, occupancy]));
  }
}

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
    const { label, classId, box } = object;
    const { x, y } = this.shape;
    let visitor = this.visitors.get(id);
    if (visitor === undefined) {
      const seen = { label, classId, x, y, enteredMs: timestampMs, seenMs: timestampMs };
      visitor = { isInside: undefined, beyond: 0, ...seen, met: 0 };
      this.visitors.set(id, visitor);
      this.begin(visitor, id, side, events);
      return;
    }
    visitor.label = label;
    visitor.classId = classId;
    this.move(visitor);
    visitor.x = x;
    visitor.y = y;
    visitor.seenMs = timestampMs;
    const [x1, y1, x2, y2] = box;
    const margin = this.config.margin * Math.min(Math.abs(x2 - x1), Math.abs(y2 - y1));
    // Between both sides nothing is certain: it stays where it was.
    const isBeyond = Math.abs(side) > margin && side > 0 !== visitor.isInside;
    visitor.beyond = isBeyond ? visitor.beyond + 1 : 0;
    if (visitor.beyond < this.config.minFrames) return;
    visitor.beyond = 0;
    this.change(visitor, id, side > 0, events);
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
class ZoneCounter extends Counter<Polygon> {
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
class LineCounter extends Counter<Segment> {
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
