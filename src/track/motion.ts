/** @module Motion: where tracks are and how they move: Kalman filters of constant velocity, one a track, in flat memory. */

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

function grown(from: Float64Array, length: number): Float64Array {
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
