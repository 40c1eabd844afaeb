/**
 * @module Motion: where tracks are and how they move: Kalman filters of constant velocity, one a track, in flat memory; those that are
 * turned with the camera; and where a track was really seen of late, for OC-SORT, which trusts that more than its filter.
 */

import type { CameraStep } from "./camera-motion.ts";

/**
 * What a filter follows beside the centre of a box: width over height, and height, as ByteTrack and OC-SORT; or width and
 * height, as BoT-SORT.
 */
type MotionState = "aspect" | "size";

/** The standard deviations of a position and of a velocity, as parts of the box's size. */
const POSITION = 1 / 20;
const VELOCITY = 1 / 160;
/** Those of width over height, which has no unit: of the motion's noise and of the first state; of a velocity; of a measurement. */
const ASPECT = 1e-2;
const ASPECT_VELOCITY = 1e-5;
const ASPECT_MEASURED = 1e-1;

/** Numbers of a state: four places and their velocities; and of its covariance. */
const STATE = 8;
const COVARIANCE = 12;

function grown(from: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const to = new Float64Array(length);
  to.set(from);
  return to;
}

/**
 * A filter in each slot. Places are not correlated with each other: the noise of each is its own, and nothing mixes them. So the
 * covariance of the eight numbers is four matrices of 2 × 2, and the general filter's matrices are sums and products here.
 */
export class Motion {
  readonly #kind: MotionState;
  /** By slot: cx, cy, width over height or width, height, and how much each changes in a frame. */
  states: Float64Array = new Float64Array(0);
  /** By slot: the variances of the four places, their covariances with the velocities, the variances of the velocities. */
  #covariances: Float64Array = new Float64Array(0);
  /** The same, as of the last measurement. */
  #keptStates: Float64Array = new Float64Array(0);
  #keptCovariances: Float64Array = new Float64Array(0);

  constructor(kind: MotionState) {
    this.#kind = kind;
  }

  /** Make room for more slots. */
  reserve(slots: number): void {
    this.states = grown(this.states, slots * STATE);
    this.#covariances = grown(this.#covariances, slots * COVARIANCE);
    this.#keptStates = grown(this.#keptStates, slots * STATE);
    this.#keptCovariances = grown(this.#keptCovariances, slots * COVARIANCE);
  }

  /** Begin with a box at rest. */
  start(slot: number, cx: number, cy: number, width: number, height: number): void {
    const { states } = this;
    const at = slot * STATE;
    states[at] = cx;
    states[at + 1] = cy;
    states[at + 2] = this.#kind === "aspect" ? width / height : width;
    states[at + 3] = height;
    states.fill(0, at + 4, at + STATE);
    for (let place = 0; place < 4; place++) {
      const isAspect = this.#kind === "aspect" && place === 2;
      const size = this.#sizeOf(at, place);
      const position = isAspect ? ASPECT : 2 * POSITION * size;
      const velocity = isAspect ? ASPECT_VELOCITY : 10 * VELOCITY * size;
      const on = slot * COVARIANCE + place;
      this.#covariances[on] = position * position;
      this.#covariances[on + 4] = 0;
      this.#covariances[on + 8] = velocity * velocity;
    }
  }

  /** By which side of the box the noise of a place goes. */
  #sizeOf(at: number, place: number): number {
    return this.states[at + (this.#kind === "size" && (place & 1) === 0 ? 2 : 3)]!;
  }

  /** A track that is not seen keeps its size: its height, and with `size` its width. */
  hold(slot: number): void {
    const at = slot * STATE;
    this.states[at + 7] = 0;
    if (this.#kind === "size") this.states[at + 6] = 0;
  }

  /** Move on. @param frames how many frames, or what part of one */
  predict(slot: number, frames: number): void {
    const { states } = this;
    const at = slot * STATE;
    const width = states[at + 2]!;
    const height = states[at + 3]!;
    for (let place = 0; place < 4; place++) {
      const isAspect = this.#kind === "aspect" && place === 2;
      const size = this.#kind === "size" && (place & 1) === 0 ? width : height;
      const position = isAspect ? ASPECT : POSITION * size;
      const velocity = isAspect ? ASPECT_VELOCITY : VELOCITY * size;
      const on = slot * COVARIANCE + place;
      const ofVelocity = this.#covariances[on + 8]!;
      const mixed = this.#covariances[on + 4]!;
      states[at + place]! += frames * states[at + 4 + place]!;
      this.#covariances[on]! += frames * (2 * mixed + frames * ofVelocity + position * position);
      this.#covariances[on + 4] = mixed + frames * ofVelocity;
      this.#covariances[on + 8] = ofVelocity + frames * velocity * velocity;
    }
  }

  /** Take in where a box was seen. */
  correct(slot: number, cx: number, cy: number, width: number, height: number): void {
    const at = slot * STATE;
    const ofWidth = this.states[at + 2]!;
    const ofHeight = this.states[at + 3]!;
    this.#correct(slot, 0, cx, this.#kind === "size" ? ofWidth : ofHeight);
    this.#correct(slot, 1, cy, ofHeight);
    this.#correct(slot, 2, this.#kind === "size" ? width : width / height, this.#kind === "size" ? ofWidth : ofHeight);
    this.#correct(slot, 3, height, ofHeight);
  }

  #correct(slot: number, place: number, measured: number, size: number): void {
    const { states } = this;
    const at = slot * STATE + place;
    const on = slot * COVARIANCE + place;
    const noise = this.#kind === "aspect" && place === 2 ? ASPECT_MEASURED : POSITION * size;
    const variance = this.#covariances[on]!;
    const mixed = this.#covariances[on + 4]!;
    const whole = variance + noise * noise;
    const surprise = measured - states[at]!;
    states[at]! += (variance / whole) * surprise;
    states[at + 4]! += (mixed / whole) * surprise;
    this.#covariances[on] = variance - (variance * variance) / whole;
    this.#covariances[on + 4] = mixed - (variance * mixed) / whole;
    this.#covariances[on + 8]! -= (mixed * mixed) / whole;
  }

  /** Write the box of a slot, as x1, y1, x2, y2. */
  box(slot: number, to: Float64Array, on: number): void {
    const at = slot * STATE;
    const height = this.states[at + 3]!;
    const halfWidth = (this.#kind === "aspect" ? this.states[at + 2]! * height : this.states[at + 2]!) / 2;
    const [cx, cy] = [this.states[at]!, this.states[at + 1]!];
    to[on] = cx - halfWidth;
    to[on + 1] = cy - height / 2;
    to[on + 2] = cx + halfWidth;
    to[on + 3] = cy + height / 2;
  }

  /** Remember a slot as it is. */
  keep(slot: number): void {
    this.#keptStates.set(this.states.subarray(slot * STATE, (slot + 1) * STATE), slot * STATE);
    this.#keptCovariances.set(
      this.#covariances.subarray(slot * COVARIANCE, (slot + 1) * COVARIANCE),
      slot * COVARIANCE,
    );
  }

  /** Have it again as it was remembered. */
  restore(slot: number): void {
    this.states.set(this.#keptStates.subarray(slot * STATE, (slot + 1) * STATE), slot * STATE);
    this.#covariances.set(
      this.#keptCovariances.subarray(slot * COVARIANCE, (slot + 1) * COVARIANCE),
      slot * COVARIANCE,
    );
  }
}

/** Of a slot: of the centre and of the size each a matrix of 4 × 4: two places and their velocities. */
const MATRIX = 16;
const MATRICES = 2 * MATRIX;

/** A filter of width and height in each slot, of which pairs of places may depend on each other. */
export class TurnableMotion extends Motion {
  #covariances = new Float64Array(0);
  readonly #gain = new Float64Array(8);

  constructor() {
    super("size");
  }

  override reserve(slots: number): void {
    super.reserve(slots);
    const covariances = new Float64Array(slots * MATRICES);
    covariances.set(this.#covariances);
    this.#covariances = covariances;
  }

  override start(slot: number, cx: number, cy: number, width: number, height: number): void {
    super.start(slot, cx, cy, width, height);
    const covariances = this.#covariances;
    covariances.fill(0, slot * MATRICES, (slot + 1) * MATRICES);
    for (let pair = 0; pair < 2; pair++) {
      for (let place = 0; place < 2; place++) {
        const size = place === 0 ? width : height;
        const on = slot * MATRICES + pair * MATRIX + place * 5;
        covariances[on] = (2 * POSITION * size) ** 2;
        covariances[on + 10] = (10 * VELOCITY * size) ** 2;
      }
    }
  }

  override predict(slot: number, frames: number): void {
    const { states } = this;
    const at = slot * STATE;
    const sizes = [states[at + 2]!, states[at + 3]!] as const;
    const p = this.#covariances;
    for (let place = 0; place < 4; place++) states[at + place]! += frames * states[at + 4 + place]!;
    for (let pair = 0; pair < 2; pair++) {
      const on = slot * MATRICES + pair * MATRIX;
      // Places take over what velocities say: first the rows, then the columns.
      for (let row = 0; row < 2; row++) {
        for (let column = 0; column < 4; column++)
          p[on + 4 * row + column]! += frames * p[on + 4 * (row + 2) + column]!;
      }
      for (let row = 0; row < 4; row++) {
        for (let column = 0; column < 2; column++) p[on + 4 * row + column]! += frames * p[on + 4 * row + column + 2]!;
      }
      for (let place = 0; place < 2; place++) {
        p[on + 5 * place]! += frames * (POSITION * sizes[place]!) ** 2;
        p[on + 5 * place + 10]! += frames * (VELOCITY * sizes[place]!) ** 2;
      }
    }
  }

  override correct(slot: number, cx: number, cy: number, width: number, height: number): void {
    const at = slot * STATE;
    const sizes = [this.states[at + 2]!, this.states[at + 3]!] as const;
    this.#take(slot, 0, cx, cy, sizes);
    this.#take(slot, 1, width, height, sizes);
  }

  #take(slot: number, pair: number, first: number, second: number, sizes: readonly [number, number]): void {
    const { states } = this;
    const p = this.#covariances;
    const gain = this.#gain;
    const at = slot * STATE + 2 * pair;
    const on = slot * MATRICES + pair * MATRIX;
    const a = p[on]! + (POSITION * sizes[0]) ** 2;
    const b = p[on + 1]!;
    const d = p[on + 5]! + (POSITION * sizes[1]) ** 2;
    const determinant = a * d - b * b;
    const offFirst = first - states[at]!;
    const offSecond = second - states[at + 1]!;
    for (let row = 0; row < 4; row++) {
      const [left, right] = [p[on + 4 * row]!, p[on + 4 * row + 1]!];
      gain[2 * row] = (left * d - right * b) / determinant;
      gain[2 * row + 1] = (right * a - left * b) / determinant;
      states[at + (row & 1) + (row < 2 ? 0 : 4)]! += gain[2 * row]! * offFirst + gain[2 * row + 1]! * offSecond;
    }
    // P − K S Kᵀ, of which S Kᵀ are the first two rows of P.
    const top = [0, 1, 2, 3].map((column) => [p[on + column]!, p[on + 4 + column]!] as const);
    for (let row = 0; row < 4; row++) {
      for (let column = 0; column < 4; column++) {
        p[on + 4 * row + column]! -= gain[2 * row]! * top[column]![0] + gain[2 * row + 1]! * top[column]![1];
      }
    }
  }

  /** The camera has moved: so has all that it sees. */
  warp(slot: number, { a, b, dx, dy }: CameraStep): void {
    const { states } = this;
    const at = slot * STATE;
    for (let pair = 0; pair < STATE; pair += 2) {
      const [x, y] = [states[at + pair]!, states[at + pair + 1]!];
      states[at + pair] = a * x - b * y;
      states[at + pair + 1] = b * x + a * y;
    }
    states[at]! += dx;
    states[at + 1]! += dy;
    const p = this.#covariances;
    for (let matrix = 0; matrix < 2; matrix++) {
      const on = slot * MATRICES + matrix * MATRIX;
      for (let row = 0; row < 4; row += 2) {
        for (let column = 0; column < 4; column++) {
          const [x, y] = [p[on + 4 * row + column]!, p[on + 4 * row + 4 + column]!];
          p[on + 4 * row + column] = a * x - b * y;
          p[on + 4 * row + 4 + column] = b * x + a * y;
        }
      }
      for (let row = 0; row < 4; row++) {
        for (let column = 0; column < 4; column += 2) {
          const [x, y] = [p[on + 4 * row + column]!, p[on + 4 * row + column + 1]!];
          p[on + 4 * row + column] = a * x - b * y;
          p[on + 4 * row + column + 1] = b * x + a * y;
        }
      }
    }
  }
}

/** Frame, x1, y1, x2, y2. */
const ENTRY = 5;

/** The last few boxes that each slot was seen at, and which way it goes by them. */
export class Observations {
  /** In frames: how far apart two boxes are of which a direction is made. */
  readonly #span: number;
  readonly #room: number;
  /** By slot: a ring of entries. */
  #entries = new Float64Array(0);
  /** By slot: how many entries were written. */
  #counts = new Int32Array(0);
  /** By slot: the unit vector that it goes along; 0, 0 for none. */
  #directions = new Float64Array(0);

  constructor(span: number) {
    this.#span = span;
    this.#room = span + 1;
  }

  /** Make room for more slots. */
  reserve(slots: number): void {
    this.#entries = grown(this.#entries, slots * this.#room * ENTRY);
    const counts = new Int32Array(slots);
    counts.set(this.#counts);
    this.#counts = counts;
    this.#directions = grown(this.#directions, 2 * slots);
  }

  /** Begin anew. */
  start(slot: number): void {
    this.#counts[slot] = 0;
    this.#directions[2 * slot] = 0;
    this.#directions[2 * slot + 1] = 0;
  }

  /** Where the box is in {@linkcode boxes} that was seen last. */
  last(slot: number): number {
    return this.#entry(slot, this.#counts[slot]! - 1) + 1;
  }

  /** Boxes by {@linkcode last}: x1, y1, x2, y2. */
  get boxes(): Float64Array {
    return this.#entries;
  }

  /** The frame it was seen in last. */
  lastFrame(slot: number): number {
    return this.#entries[this.#entry(slot, this.#counts[slot]! - 1)]!;
  }

  #entry(slot: number, count: number): number {
    return (slot * this.#room + (count % this.#room)) * ENTRY;
  }

  /** It is seen at a box; the direction is that from the newest box which is at least the span older, else from the oldest that is kept. */
  add(slot: number, frame: number, boxes: Float64Array, at: number): void {
    const count = this.#counts[slot]!;
    const entries = this.#entries;
    if (count > 0) {
      const oldest = Math.max(0, count - this.#room);
      let former = this.#entry(slot, oldest);
      for (let index = count - 1; index > oldest; index--) {
        const entry = this.#entry(slot, index);
        if (entries[entry]! > frame - this.#span) continue;
        former = entry;
        break;
      }
      const dx = boxes[at]! + boxes[at + 2]! - entries[former + 1]! - entries[former + 3]!;
      const dy = boxes[at + 1]! + boxes[at + 3]! - entries[former + 2]! - entries[former + 4]!;
      // In pixels of the sum of two sides: what is no longer than a millionth of one is no direction.
      const length = Math.sqrt(dx * dx + dy * dy) + 2e-6;
      this.#directions[2 * slot] = dx / length;
      this.#directions[2 * slot + 1] = dy / length;
    }
    const entry = this.#entry(slot, count);
    entries[entry] = frame;
    for (let side = 0; side < 4; side++) entries[entry + 1 + side] = boxes[at + side]!;
    this.#counts[slot] = count + 1;
  }

  /** How far off a box lies from where the track was going: the angle over π, 0–1; 0 where it goes nowhere. */
  turn(slot: number, boxes: Float64Array, at: number): number {
    const [alongX, alongY] = [this.#directions[2 * slot]!, this.#directions[2 * slot + 1]!];
    if (alongX === 0 && alongY === 0) return 0;
    const entries = this.#entries;
    const last = this.last(slot);
    const dx = boxes[at]! + boxes[at + 2]! - entries[last]! - entries[last + 2]!;
    const dy = boxes[at + 1]! + boxes[at + 3]! - entries[last + 1]! - entries[last + 3]!;
    const length = Math.sqrt(dx * dx + dy * dy) + 2e-6;
    const cosine = (alongX * dx + alongY * dy) / length;
    return Math.acos(Math.min(Math.max(cosine, -1), 1)) / Math.PI;
  }
}
