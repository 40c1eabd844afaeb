/** @module TrackTable: the tracks of one stream, as columns by slot. */

import type { Box } from "../tasks/boxes.ts";
import type { Detection } from "../tasks/detect/detection.ts";
import { probiou, rotatedCorners } from "../tasks/obb/rotated.ts";
import type { OrientedObject } from "../tasks/objects/objects.ts";
import { type Candidates, overlap, PLACE } from "./assignment.ts";
import type { CameraStep } from "./camera-motion.ts";
import { Motion, Observations, TurnableMotion } from "./motion.ts";
import type { TrackerConfig } from "./tracker-options.ts";

/** What a track is: seen in the last frame, looked for, or gone. */
export const State = { tracked: 1, lost: 2, removed: 3 } as const;

/** More frames without an image than anybody follows something through. */
const MOST_STEPS = 1000;
/** Farther apart than so many of both half diagonals, two oriented boxes are not alike at all. */
const FAR = 3;

function copied<T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from as never);
  return to;
}

/** The last places of each track, for drawings: a ring of places in each slot. */
class Traces {
  readonly #length: number;
  /** By slot: x and y in turns. */
  #places = new Float64Array(0);
  /** By slot: how many were written. */
  #counts = new Int32Array(0);

  /** @param length places that are kept of each track */
  constructor(length: number) {
    this.#length = length;
  }

  /** Make room for more slots. */
  reserve(slots: number): void {
    const places = new Float64Array(2 * this.#length * slots);
    places.set(this.#places);
    this.#places = places;
    const counts = new Int32Array(slots);
    counts.set(this.#counts);
    this.#counts = counts;
  }

  /** Begin anew. */
  start(slot: number): void {
    this.#counts[slot] = 0;
  }

  /** The track is here now. @returns its last places, oldest first, this one among them */
  add(slot: number, x: number, y: number): (readonly [x: number, y: number])[] {
    const count = this.#counts[slot]!;
    const from = 2 * this.#length * slot;
    const at = from + 2 * (count % this.#length);
    this.#places[at] = x;
    this.#places[at + 1] = y;
    this.#counts[slot] = count + 1;
    const kept = Math.min(count + 1, this.#length);
    return Array.from({ length: kept }, (_, index) => {
      const place = from + 2 * ((count + 1 - kept + index) % this.#length);
      return [this.#places[place]!, this.#places[place + 1]!] as const;
    });
  }
}

/** Memory that only grows; slots of tracks that are gone are used again. */
export class TrackTable {
  readonly #motion: Motion;
  /** The same, where cameras move. */
  readonly #turnable: TurnableMotion | undefined;
  /** Of OC-SORT. */
  readonly observations: Observations | undefined;
  readonly #traces: Traces | undefined;
  ids: Int32Array = new Int32Array(0);
  states: Uint8Array = new Uint8Array(0);
  /** 1 from the second match on, or from the first frame. */
  isConfirmed: Uint8Array = new Uint8Array(0);
  /** 1 once it was looked for in vain for too long. */
  isGivenUp: Uint8Array = new Uint8Array(0);
  classIds: Int32Array = new Int32Array(0);
  /** Which of the frame's objects each was matched with last. */
  sources: Int32Array = new Int32Array(0);
  firstFrames: Float64Array = new Float64Array(0);
  lastFrames: Float64Array = new Float64Array(0);
  /** x1, y1, x2, y2, by {@linkcode measure}. */
  boxes: Float64Array = new Float64Array(0);
  /** cx, cy, width, height by `measure`, and the angle that was seen last. */
  #places = new Float64Array(0);
  #marks = new Int32Array(0);
  #epoch = 1;
  readonly #free: number[] = [];
  #room = 0;
  /** Boxes on the way from where it was lost to where it was found. */
  readonly #between = new Float64Array(4);

  constructor({ tracker, deltaT, trace, cameraMotion }: TrackerConfig) {
    this.#turnable = cameraMotion === "none" ? undefined : new TurnableMotion();
    this.#motion = this.#turnable ?? new Motion(tracker === "botsort" ? "size" : "aspect");
    this.observations = tracker === "ocsort" ? new Observations(deltaT) : undefined;
    this.#traces = trace > 0 ? new Traces(trace) : undefined;
  }

  #grow(): void {
    const former = this.#room;
    const room = Math.max(32, 2 * former);
    this.#room = room;
    this.#motion.reserve(room);
    this.observations?.reserve(room);
    this.#traces?.reserve(room);
    this.ids = copied(this.ids, new Int32Array(room));
    this.states = copied(this.states, new Uint8Array(room));
    this.isConfirmed = copied(this.isConfirmed, new Uint8Array(room));
    this.isGivenUp = copied(this.isGivenUp, new Uint8Array(room));
    this.classIds = copied(this.classIds, new Int32Array(room));
    this.sources = copied(this.sources, new Int32Array(room));
    this.firstFrames = copied(this.firstFrames, new Float64Array(room));
    this.lastFrames = copied(this.lastFrames, new Float64Array(room));
    this.boxes = copied(this.boxes, new Float64Array(4 * room));
    this.#places = copied(this.#places, new Float64Array(PLACE * room));
    this.#marks = copied(this.#marks, new Int32Array(room));
    for (let slot = room - 1; slot >= former; slot--) this.#free.push(slot);
  }

  /** Begin a track with an object. @returns its slot */
  begin(found: Candidates, at: number, id: number, frame: number, isConfirmed: boolean): number {
    if (this.#free.length === 0) this.#grow();
    const slot = this.#free.pop()!;
    const { places } = found;
    const from = at * PLACE;
    this.#motion.start(slot, places[from]!, places[from + 1]!, places[from + 2]!, places[from + 3]!);
    this.ids[slot] = id;
    this.isConfirmed[slot] = isConfirmed ? 1 : 0;
    this.isGivenUp[slot] = 0;
    this.firstFrames[slot] = frame;
    this.#places[slot * PLACE + 4] = places[from + 4]!;
    this.observations?.start(slot);
    this.#traces?.start(slot);
    this.#note(slot, found, at, frame);
    return slot;
  }

  /** Its slot is used again. */
  free(slot: number): void {
    this.states[slot] = State.removed;
    this.#free.push(slot);
  }

  /** Move a track on. @param frames how many, or what part of one */
  predict(slot: number, frames: number): void {
    if (this.states[slot] !== State.tracked) this.#motion.hold(slot);
    const whole = Math.min(Math.floor(frames), MOST_STEPS);
    for (let step = 0; step < whole; step++) this.#motion.predict(slot, 1);
    if (frames > whole && whole < MOST_STEPS) this.#motion.predict(slot, frames - whole);
    this.measure(slot);
  }

  /** Move a track along with what the camera sees. */
  warp(slot: number, step: CameraStep): void {
    this.#turnable?.warp(slot, step);
    this.measure(slot);
  }

  /** Write where the filter has a track. */
  measure(slot: number): void {
    const { boxes } = this;
    const at = slot * 4;
    const place = slot * PLACE;
    this.#motion.box(slot, boxes, at);
    this.#places[place] = (boxes[at]! + boxes[at + 2]!) / 2;
    this.#places[place + 1] = (boxes[at + 1]! + boxes[at + 3]!) / 2;
    this.#places[place + 2] = boxes[at + 2]! - boxes[at]!;
    this.#places[place + 3] = boxes[at + 3]! - boxes[at + 1]!;
  }

  /**
   * A track is matched with an object.
   *
   * @param isRetraced if it was lost, its way from where it was seen last is filled in: where the filter has it is not to be trusted
   */
  see(slot: number, found: Candidates, at: number, frame: number, isRetraced: boolean): void {
    if (isRetraced && this.states[slot] !== State.tracked) this.#retrace(slot, found, at, frame);
    const { places } = found;
    const from = at * PLACE;
    this.#motion.correct(slot, places[from]!, places[from + 1]!, places[from + 2]!, places[from + 3]!);
    const turned = slot * PLACE + 4;
    // A box turned by half a turn is the same one.
    const turns = Math.round((this.#places[turned]! - places[from + 4]!) / Math.PI);
    this.#places[turned] = places[from + 4]! + turns * Math.PI;
    this.isConfirmed[slot] = 1;
    this.#note(slot, found, at, frame);
  }

  #note(slot: number, found: Candidates, at: number, frame: number): void {
    this.states[slot] = State.tracked;
    this.classIds[slot] = found.classIds[at]!;
    this.sources[slot] = at;
    this.lastFrames[slot] = frame;
    this.observations?.add(slot, frame, found.boxes, at * 4);
    if (this.observations !== undefined) this.#motion.keep(slot);
  }

  /** A track that is found again goes from where it was seen last to where it is now, in a straight line, as if it had been seen. */
  #retrace(slot: number, found: Candidates, at: number, frame: number): void {
    const observations = this.observations!;
    const gap = Math.min(Math.round(frame - observations.lastFrame(slot)), MOST_STEPS);
    const from = observations.last(slot);
    const between = this.#between;
    this.#motion.restore(slot);
    for (let step = 1; step <= gap; step++) {
      this.#motion.predict(slot, 1);
      if (step === gap) break;
      for (let side = 0; side < 4; side++) {
        const start = observations.boxes[from + side]!;
        between[side] = start + ((found.boxes[at * 4 + side]! - start) * step) / gap;
      }
      const [x1, y1, x2, y2] = [between[0]!, between[1]!, between[2]!, between[3]!];
      this.#motion.correct(slot, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1);
    }
  }

  /** For how many frames a track has been seen, first to last. */
  ageOf(slot: number): number {
    return this.lastFrames[slot]! - this.firstFrames[slot]!;
  }

  /** How far two tracks overlap, 0–1. Both have been measured. */
  shared(a: number, b: number, isOriented: boolean): number {
    if (!isOriented) return overlap(this.boxes, a * 4, this.boxes, b * 4);
    return alike(this.#places, a * PLACE, this.#places, b * PLACE);
  }

  /** How alike a track and an oriented object are, 0–1. */
  likeness(slot: number, found: Candidates, at: number): number {
    return alike(this.#places, slot * PLACE, found.places, at * PLACE);
  }

  /** Put an object where its track is. */
  place(slot: number, object: Detection | OrientedObject): void {
    this.measure(slot);
    const { boxes } = this;
    const target = object as { -readonly [Name in keyof OrientedObject]: OrientedObject[Name] };
    if (!("xywhr" in object)) {
      const at = slot * 4;
      target.box = [boxes[at]!, boxes[at + 1]!, boxes[at + 2]!, boxes[at + 3]!];
      return;
    }
    const at = slot * PLACE;
    const turned = this.#places[at + 4]!;
    // From -π/4 up to 3π/4, as of every oriented object.
    const angle = turned - Math.floor((turned + Math.PI / 4) / Math.PI) * Math.PI;
    const [cx, cy, width, height] = [
      this.#places[at]!,
      this.#places[at + 1]!,
      this.#places[at + 2]!,
      this.#places[at + 3]!,
    ];
    target.xywhr = [cx, cy, width, height, angle];
    target.angle = angle;
    const [ax, ay, bx, by, px, py, qx, qy] = rotatedCorners(target.xywhr) as [
      ...[number, number, number, number],
      ...[number, number, number, number],
    ];
    target.corners = [
      [ax, ay],
      [bx, by],
      [px, py],
      [qx, qy],
    ];
    target.box = [
      Math.min(ax, bx, px, qx),
      Math.min(ay, by, py, qy),
      Math.max(ax, bx, px, qx),
      Math.max(ay, by, py, qy),
    ] satisfies Box;
  }

  /** Give an object the last places of its track, this one among them, where they are asked for. */
  trace(slot: number, object: Detection): void {
    if (this.#traces === undefined) return;
    const [x1, y1, x2, y2] = object.box;
    const target = object as { -readonly [Name in keyof Detection]: Detection[Name] };
    target.trace = this.#traces.add(slot, (x1 + x2) / 2, (y1 + y2) / 2);
  }

  /** Mark a slot. @returns true if it was not marked */
  mark(slot: number): boolean {
    if (this.#marks[slot] === this.#epoch) return false;
    this.#marks[slot] = this.#epoch;
    return true;
  }

  /** Whether a slot is marked. */
  isMarked(slot: number): boolean {
    return this.#marks[slot] === this.#epoch;
  }

  /** No slot is marked any more. */
  unmark(): void {
    this.#epoch += 1;
  }
}

/** {@linkcode probiou} of two places, 0 where they are far apart. */
function alike(a: Float64Array, atA: number, b: Float64Array, atB: number): number {
  const dx = a[atA]! - b[atB]!;
  const dy = a[atA + 1]! - b[atB + 1]!;
  const reach = (Math.hypot(a[atA + 2]!, a[atA + 3]!) + Math.hypot(b[atB + 2]!, b[atB + 3]!)) / 2;
  return dx * dx + dy * dy > FAR * FAR * reach * reach ? 0 : probiou(a, b, atA, atB);
}
