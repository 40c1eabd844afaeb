/** @module Zones: counts the objects of a stream in zones and at lines: who is inside, who came and went, and for how long. */

import { logger } from "../core/log.ts";
import type { Image } from "../image/image.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { type CaptionedLine, paintLines } from "../tasks/detect/draw.ts";
import type { DrawOptions } from "../tasks/draw-options.ts";
import { LineCounter, ZoneCounter } from "./zone-counters.ts";
import type { ZoneEvent, ZoneFrame, ZonesCounts } from "./zone-events.ts";
import { parseZones, type ZonesOptions } from "./zone-options.ts";

/** True if no point of an outline, nor of what it encloses, is in an image. */
function isBeside(points: Float64Array, width: number, height: number): boolean {
  const across = points.filter((_, at) => at % 2 === 0);
  const down = points.filter((_, at) => at % 2 === 1);
  return Math.max(...across) < 0 || Math.min(...across) > width || Math.max(...down) < 0 || Math.min(...down) > height;
}

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
   */
  update(objects: readonly Detection[], frame: ZoneFrame): ZoneEvent[] {
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
