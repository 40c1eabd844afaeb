/**
 * @module Tracker: gives the objects of one stream identities, frame by frame: ByteTrack, BoT-SORT, OC-SORT; a clock tells how many
 * frames' time has passed since the last one.
 */

import type { Image } from "../image/image.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { Assignment, assertDetections, Candidates, overlap } from "./assignment.ts";
import { CameraMotion, type CameraStep } from "./camera-motion.ts";
import { State, TrackTable } from "./track-table.ts";
import { parseTrackerOptions, type TrackerConfig, type TrackerName, type TrackerOptions } from "./tracker-options.ts";

/** Highest cost at which a low score goes on with a track, and at which a track of one frame is seen again. */
const LOW_LIMIT = 0.5;
const UNCONFIRMED_LIMIT = 0.7;
/** Two tracks that overlap by more are one. */
const DUPLICATE = 0.85;

/** An object that belongs to a track. */
export type Tracked<Object extends Detection = Detection> = Object & {
  /** The same for the same object in every frame; from 1 on. */
  readonly trackId: number;
};

/** A frame as trackers take it: when it was taken, and with `cameraMotion` its pixels. A `VideoFrame` has both. */
export type TrackedFrame = FrameTime & Partial<Image>;

/** How pairs of tracks and detections are weighed. */
type Weighing = "overlap" | "fused" | "turned" | "observed";

/**
 * Follows the objects of one stream. It is a value of that stream: each has its own, and ids start at 1 in each. A track is
 * reported from its second match on, in the first frame at once; ids of tracks that never had one are left out.
 *
 * @example
 * ```ts
 * import { Detector } from "bun-tensorrt";
 * import { Tracker } from "bun-tensorrt/track";
 * import { detectVideo, VideoSource } from "bun-tensorrt/video";
 *
 * await using detector = await Detector.load("yolo11n", { threshold: 0.1 });
 * await using video = await VideoSource.open("street.mp4");
 * const tracker = new Tracker("bytetrack");
 * for await (const { frame, detections } of detectVideo(detector, video)) {
 *   const tracked = tracker.update(detections, frame);
 *   console.log(frame.index, tracked.map(({ trackId, label }) => `${label} ${trackId}`));
 * }
 * ```
 */
export class Tracker {
  readonly #config: TrackerConfig;
  readonly #clock = new FrameClock();
  readonly #camera: CameraMotion | undefined;
  readonly #tracks: TrackTable;
  readonly #found = new Candidates();
  readonly #assignment = new Assignment();
  /** Detections that are left, by what they are matched as. */
  #high: number[] = [];
  readonly #low: number[] = [];
  /** Tracks by slot: those that are seen, confirmed or not, and those that are looked for. */
  #tracked: number[] = [];
  #lost: number[] = [];
  readonly #pool: number[] = [];
  readonly #unconfirmed: number[] = [];
  #begun: number[] = [];
  #refound: number[] = [];
  #newlyLost: number[] = [];
  #left: number[] = [];
  /** Time, in frames. */
  #frame = 0;
  /** Updates so far. */
  #updates = 0;
  #nextId = 1;

  /**
   * @param options or the name of a tracker
   * @throws {OptionError} If one is unknown or out of range
   */
  constructor(options?: TrackerOptions | TrackerName) {
    this.#config = parseTrackerOptions(options);
    this.#tracks = new TrackTable(this.#config);
    this.#camera = this.#config.cameraMotion === "none" ? undefined : new CameraMotion();
  }

  /** The options in force. */
  get options(): TrackerConfig {
    return this.#config;
  }

  /**
   * Take the next frame.
   *
   * The objects that belong to a track are given its id: their `trackId` is set, and with `boxes: "tracked"` their `box`, and of
   * oriented ones what says the same, is where the tracker has it.
   *
   * @param objects what was found in the frame, of scores down to `lowThreshold`
   * @param frame   its time; a `VideoFrame` says it. Without it each frame is one further on. With `cameraMotion` its pixels, too
   * @returns those of them that belong to a track that is confirmed, by the order of their tracks
   * @throws {ArgumentError} If the objects are no list, or `cameraMotion` needs pixels and the frame has none in host memory
   */
  update<Object extends Detection>(objects: readonly Object[], frame: TrackedFrame = {}): Tracked<Object>[] {
    assertDetections(objects, "track objects");
    const camera = this.#camera?.step(frame);
    this.#step(objects, this.#config.clock === "time" ? this.#clock.step(frame) : 1, camera);
    const tracks = this.#tracks;
    const tracked: Tracked<Object>[] = [];
    for (const slot of this.#tracked) {
      if (tracks.isConfirmed[slot] === 0) continue;
      const object = objects[tracks.sources[slot]!] as Tracked<Object>;
      (object as { trackId: number }).trackId = tracks.ids[slot]!;
      if (this.#config.boxes === "tracked") tracks.place(slot, object);
      tracks.trace(slot, object);
      tracked.push(object);
    }
    return tracked;
  }

  #step(objects: readonly Detection[], frames: number, camera: CameraStep | undefined): void {
    const { tracker, matchThreshold, fuseScore, buffer, highThreshold, lowThreshold, newThreshold, useByte } =
      this.#config;
    const tracks = this.#tracks;
    const found = this.#found;
    this.#frame += frames;
    this.#updates += 1;
    found.load(objects);
    this.#high.length = 0;
    this.#low.length = 0;
    for (let at = 0; at < found.count; at++) {
      const score = found.scores[at]!;
      if (found.isEmpty(at)) continue;
      if (score >= highThreshold) this.#high.push(at);
      else if (score > lowThreshold) this.#low.push(at);
    }
    this.#pool.length = 0;
    this.#unconfirmed.length = 0;
    for (const slot of this.#tracked) (tracks.isConfirmed[slot] === 1 ? this.#pool : this.#unconfirmed).push(slot);
    for (const slot of this.#lost) this.#pool.push(slot);
    for (const slot of this.#pool) tracks.predict(slot, frames);
    for (const slot of this.#unconfirmed) tracks.measure(slot);
    if (camera !== undefined) {
      for (const slot of this.#pool) tracks.warp(slot, camera);
      for (const slot of this.#unconfirmed) tracks.warp(slot, camera);
    }
    this.#begun.length = 0;
    this.#refound.length = 0;
    this.#newlyLost.length = 0;

    const isOcSort = tracker === "ocsort";
    const usual: Weighing = fuseScore ? "fused" : "overlap";
    this.#match(this.#pool, this.#high, matchThreshold, isOcSort ? "turned" : usual);
    if (isOcSort) this.#match(this.#pool, this.#high, matchThreshold, "observed");
    if (!isOcSort || useByte) {
      this.#keepSeen(this.#pool);
      this.#match(this.#pool, this.#low, LOW_LIMIT, "overlap");
    }
    for (const slot of this.#pool) {
      if (tracks.states[slot] !== State.tracked) continue;
      tracks.states[slot] = State.lost;
      this.#newlyLost.push(slot);
    }
    this.#match(this.#unconfirmed, this.#high, UNCONFIRMED_LIMIT, usual);
    for (const slot of this.#unconfirmed) tracks.states[slot] = State.removed;
    for (const at of this.#high) {
      if (found.scores[at]! >= newThreshold)
        this.#begun.push(tracks.begin(found, at, this.#nextId++, this.#frame, this.#updates === 1));
    }
    this.#sort(buffer);
  }

  /** Leave those out of a list that are looked for. */
  #keepSeen(slots: number[]): void {
    let kept = 0;
    for (const slot of slots) if (this.#tracks.states[slot] === State.tracked) slots[kept++] = slot;
    slots.length = kept;
  }

  /** Match tracks with detections, and leave in both lists what is left. */
  #match(slots: number[], ats: number[], limit: number, weighing: Weighing): void {
    if (slots.length === 0 || ats.length === 0) return;
    const tracks = this.#tracks;
    const assignment = this.#assignment;
    assignment.start(ats.length, limit);
    for (const slot of slots) {
      assignment.addRow();
      this.#weigh(slot, ats, limit, weighing);
    }
    assignment.solve();
    let left = 0;
    for (let row = 0; row < slots.length; row++) {
      const slot = slots[row]!;
      const column = assignment.columnOf[row]!;
      if (column < 0) {
        slots[left++] = slot;
        continue;
      }
      (tracks.states[slot] === State.tracked ? this.#begun : this.#refound).push(slot);
      tracks.see(slot, this.#found, ats[column]!, this.#frame, weighing === "observed");
    }
    slots.length = left;
    left = 0;
    for (let column = 0; column < ats.length; column++) {
      if (assignment.rowOf[column]! < 0) ats[left++] = ats[column]!;
    }
    ats.length = left;
  }

  /** Tell the assignment what the row that was added last costs with each detection. */
  #weigh(slot: number, ats: readonly number[], limit: number, weighing: Weighing): void {
    const tracks = this.#tracks;
    const found = this.#found;
    const { perClass, inertia, fuseScore } = this.#config;
    const isObserved = weighing === "observed";
    const isFused = weighing !== "overlap" && fuseScore;
    const observations = tracks.observations;
    const isAlike = found.isOriented && !isObserved;
    const boxes = isObserved ? observations!.boxes : tracks.boxes;
    const from = isObserved ? observations!.last(slot) : slot * 4;
    const left = boxes[from]!;
    const right = boxes[from + 2]!;
    const others = found.boxes;
    for (let column = 0; column < ats.length; column++) {
      const at = ats[column]!;
      // Most pairs end here.
      if (!isAlike && (others[at * 4]! >= right || others[at * 4 + 2]! <= left)) continue;
      if (perClass && tracks.classIds[slot] !== found.classIds[at]) continue;
      const shared = isAlike ? tracks.likeness(slot, found, at) : overlap(boxes, from, others, at * 4);
      if (shared === 0) continue;
      const cost = 1 - (isFused ? shared * found.scores[at]! : shared);
      if (cost > limit) continue;
      const turn = weighing === "turned" ? inertia * observations!.turn(slot, others, at * 4) : 0;
      this.#assignment.add(column, cost + turn);
    }
  }

  /** Give up what is lost for long, and keep the lists. */
  #sort(buffer: number): void {
    const tracks = this.#tracks;
    const before = this.#left;
    before.length = 0;
    for (const slot of this.#tracked) before.push(slot);
    for (const slot of this.#lost) before.push(slot);

    let kept = 0;
    // Those that were there stay in their order; then come those that begin, and those that were found again.
    for (const slot of this.#tracked) if (tracks.states[slot] === State.tracked) this.#tracked[kept++] = slot;
    this.#tracked.length = kept;
    for (const slot of this.#tracked) tracks.mark(slot);
    for (const list of [this.#begun, this.#refound])
      for (const slot of list) if (tracks.mark(slot)) this.#tracked.push(slot);
    kept = 0;
    for (const slot of this.#lost)
      if (!tracks.isMarked(slot) && tracks.isGivenUp[slot] === 0) this.#lost[kept++] = slot;
    this.#lost.length = kept;
    for (const slot of this.#newlyLost) if (tracks.isGivenUp[slot] === 0) this.#lost.push(slot);
    this.#dropDuplicates();
    // As in the reference, one that is given up can be found once more, in the frame after.
    for (const slot of this.#lost) if (this.#frame - tracks.lastFrames[slot]! > buffer) tracks.isGivenUp[slot] = 1;
    tracks.unmark();
    for (const slot of this.#tracked) tracks.mark(slot);
    for (const slot of this.#lost) tracks.mark(slot);
    // One that was seen and goes as a duplicate is in both lists, and its slot is given back once.
    for (const list of [before, this.#begun]) for (const slot of list) if (tracks.mark(slot)) tracks.free(slot);
    tracks.unmark();
  }

  /** Of a track that is seen and one that is looked for at the same place the younger goes. */
  #dropDuplicates(): void {
    const tracks = this.#tracks;
    if (this.#lost.length === 0) return;
    for (const slot of this.#tracked) tracks.measure(slot);
    for (const slot of this.#lost) tracks.measure(slot);
    tracks.unmark();
    let isDouble = false;
    for (const seen of this.#tracked) {
      for (const lost of this.#lost) {
        if (this.#config.perClass && tracks.classIds[seen] !== tracks.classIds[lost]) continue;
        if (!(tracks.shared(seen, lost, this.#found.isOriented) > DUPLICATE)) continue;
        const isOlder = tracks.ageOf(seen) > tracks.ageOf(lost);
        tracks.mark(isOlder ? lost : seen);
        isDouble = true;
      }
    }
    if (!isDouble) return;
    this.#tracked = this.#tracked.filter((slot) => !tracks.isMarked(slot));
    this.#lost = this.#lost.filter((slot) => !tracks.isMarked(slot));
  }
}

/** Intervals that the usual one is told from. */
const RECENT = 31;
/** What is this near to whole frames is taken for them: times are rounded, and cameras unsteady. */
const SLACK = 0.25;
/** Shortest and longest step, in frames. */
const SHORTEST = 0.25;
const LONGEST = 1e6;

/** When a frame was taken: a `VideoFrame` says it. */
export interface FrameTime {
  /** Milliseconds since any moment. */
  readonly timestampMs?: number | undefined;
  /** For how long a frame is shown at the usual rate; without it, or with 0, the usual rate is learned. */
  readonly durationMs?: number | undefined;
}

/**
 * Counts time in frames of the usual rate. At a constant rate every step is 1, to the bit, whatever the rounding of times.
 * Frames that were dropped make the step larger.
 */
export class FrameClock {
  #last: number | undefined;
  /** The last intervals, and the same in order. */
  readonly #intervals = new Float64Array(RECENT).fill(Number.POSITIVE_INFINITY);
  readonly #sorted = new Float64Array(RECENT);
  #count = 0;

  /** @returns in frames; 1 where nothing is known, and where time did not go on */
  step({ timestampMs, durationMs = 0 }: FrameTime): number {
    if (timestampMs === undefined || !Number.isFinite(timestampMs)) return 1;
    const interval = this.#last === undefined ? 0 : timestampMs - this.#last;
    this.#last = timestampMs;
    if (!(interval > 0)) return 1;
    const usual = durationMs > 0 ? durationMs : this.#usual(interval);
    const frames = interval / usual;
    const whole = Math.max(1, Math.round(frames));
    return Math.abs(frames - whole) <= SLACK ? whole : Math.min(Math.max(frames, SHORTEST), LONGEST);
  }

  /** The median of the last intervals, this one among them. */
  #usual(interval: number): number {
    this.#intervals[this.#count % RECENT] = interval;
    this.#count += 1;
    this.#sorted.set(this.#intervals);
    this.#sorted.sort();
    return this.#sorted[(Math.min(this.#count, RECENT) - 1) >> 1]!;
  }
}
