/** @module TurnableMotion: the filter of BoT-SORT where cameras move: what turns the image mixes places that else are apart. */

import type { CameraStep } from "./camera-motion.ts";
import { Motion } from "./motion.ts";

/** The standard deviations of a position and of a velocity, as parts of the box's size. */
const POSITION = 1 / 20;
const VELOCITY = 1 / 160;

const STATE = 8;
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
