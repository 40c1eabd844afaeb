/**
 * @module CameraMotion: how a camera has moved between two frames: turned, zoomed and shifted, as most of what is seen says. The shim
 * finds corners and follows them, with the vectors of this machine's processor.
 */

import { ArgumentError, message } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import { shim } from "../ffi/shim.ts";
import { byteLengthOf, bytesPerPixel, chromaOffsetOf, chromaPitchOf, type Image, isPacked } from "../image/image.ts";
import { bestResizeInstructions, instructionsId, type ResizeInstructions } from "../image/preprocess-plan.ts";
import { GreyPyramid, type Level } from "./grey-pyramid.ts";
import { type Flow, MOST_CORNERS, OpticalFlow } from "./optical-flow.ts";

/** x' = a x − b y + dx, y' = b x + a y + dy, in pixels of the frame. */
export interface CameraStep {
  readonly a: number;
  readonly b: number;
  readonly dx: number;
  readonly dy: number;
}

/** Pairs that a motion needs. */
const LEAST_PAIRS = 5;
/** Squared pixels of the grey copy that a pair may be off. */
const TOLERANCE = 9;
const MOST_TRIES = 2000;
/** Pixels of the least side of a frame that is looked at. */
const LEAST_SIDE = 4;
/** How likely one of the tries is to be free of pairs that are off. */
const CONFIDENCE = 0.99;

/** Numbers by chance, the same ones in each run: those of OpenCV, so that tries are the same, too. */
class Chance {
  #low = 0xffff_ffff;
  #high = 0xffff_ffff;

  /** @returns from 0 up to `end`, which it is not */
  below(end: number): number {
    const factor = 4_164_903_690;
    // 64 bits in parts that are exact.
    const upper = (this.#low >>> 16) * factor;
    const sum = (this.#low & 0xffff) * factor + this.#high + (upper % 65_536) * 65_536;
    this.#low = sum % 2 ** 32;
    this.#high = Math.floor(sum / 2 ** 32) + Math.floor(upper / 65_536);
    return this.#low % end;
  }
}

/** The motion that two points make of two others; `undefined` where they are one. */
function through(from: Float64Array, to: Float64Array, first: number, second: number): CameraStep | undefined {
  const x = from[2 * second]! - from[2 * first]!;
  const y = from[2 * second + 1]! - from[2 * first + 1]!;
  const u = to[2 * second]! - to[2 * first]!;
  const v = to[2 * second + 1]! - to[2 * first + 1]!;
  const length = x * x + y * y;
  if (length === 0) return undefined;
  const a = (x * u + y * v) / length;
  const b = (x * v - y * u) / length;
  return {
    a,
    b,
    dx: to[2 * first]! - a * from[2 * first]! + b * from[2 * first + 1]!,
    dy: to[2 * first + 1]! - b * from[2 * first]! - a * from[2 * first + 1]!,
  };
}

function isWithin({ a, b, dx, dy }: CameraStep, from: Float64Array, to: Float64Array, at: number): boolean {
  const x = a * from[2 * at]! - b * from[2 * at + 1]! + dx - to[2 * at]!;
  const y = b * from[2 * at]! + a * from[2 * at + 1]! + dy - to[2 * at + 1]!;
  return x * x + y * y <= TOLERANCE;
}

/** The motion that pairs which go by another are least off. */
function fitted(step: CameraStep, from: Float64Array, to: Float64Array, count: number): CameraStep {
  let [pairs, x, y, u, v] = [0, 0, 0, 0, 0];
  for (let at = 0; at < count; at++) {
    if (!isWithin(step, from, to, at)) continue;
    pairs += 1;
    x += from[2 * at]!;
    y += from[2 * at + 1]!;
    u += to[2 * at]!;
    v += to[2 * at + 1]!;
  }
  [x, y, u, v] = [x / pairs, y / pairs, u / pairs, v / pairs];
  let [along, turned, length] = [0, 0, 0];
  for (let at = 0; at < count; at++) {
    if (!isWithin(step, from, to, at)) continue;
    const [fromX, fromY] = [from[2 * at]! - x, from[2 * at + 1]! - y];
    const [toX, toY] = [to[2 * at]! - u, to[2 * at + 1]! - v];
    along += fromX * toX + fromY * toY;
    turned += fromX * toY - fromY * toX;
    length += fromX * fromX + fromY * fromY;
  }
  if (length === 0) return step;
  const [a, b] = [along / length, turned / length];
  return { a, b, dx: u - a * x + b * y, dy: v - b * x - a * y };
}

/**
 * The motion that most pairs agree on, by RANSAC; the same for the same pairs.
 *
 * @param from  x and y in turns
 * @param count of pairs
 * @returns `undefined` where there are fewer than five
 */
export function estimateStep(from: Float64Array, to: Float64Array, count: number): CameraStep | undefined {
  if (count < LEAST_PAIRS) return undefined;
  const chance = new Chance();
  let best: CameraStep | undefined;
  let most = 0;
  let tries = MOST_TRIES;
  for (let attempt = 0; attempt < tries; attempt++) {
    const first = chance.below(count);
    let second = chance.below(count);
    while (second === first) second = chance.below(count);
    const step = through(from, to, first, second);
    if (step === undefined) continue;
    let within = 0;
    for (let at = 0; at < count; at++) if (isWithin(step, from, to, at)) within += 1;
    if (within <= Math.max(most, 1)) continue;
    most = within;
    best = step;
    const share = (within / count) ** 2;
    if (share < 1) tries = Math.min(tries, Math.round(Math.log(1 - CONFIDENCE) / Math.log(1 - share)));
    else tries = 0;
  }
  return best === undefined ? undefined : fitted(best, from, to, count);
}

/** Sees the motion of the camera of one stream. */
export class CameraMotion {
  #before: GreyPyramid | undefined;
  #after: GreyPyramid | undefined;
  #flow: Flow | undefined;
  #width = 0;
  #height = 0;
  readonly #instructions: ResizeInstructions;

  constructor(instructions: ResizeInstructions = bestResizeInstructions()) {
    this.#instructions = instructions;
  }

  /**
   * Take the next frame.
   *
   * @returns how its camera has moved since the last one; `undefined` for the first frame of a size, and where too little is seen
   * @throws {ArgumentError} If its pixels are not in host memory, or have no brightness
   */
  step(image: Partial<Image>): CameraStep | undefined {
    const whole = readable(image);
    // Nothing is seen in a few pixels.
    if (whole.width < LEAST_SIDE || whole.height < LEAST_SIDE) return undefined;
    if (whole.width !== this.#width || whole.height !== this.#height) this.#resize(whole);
    const [before, after] = [this.#before!, this.#after!];
    const flow = this.#flow!;
    flow.load(after, whole);
    flow.follow(before, after);
    const found = estimateStep(flow.from, flow.to, flow.count);
    flow.find(after);
    this.#before = after;
    this.#after = before;
    return found && { ...found, dx: 2 * found.dx, dy: 2 * found.dy };
  }

  #resize({ width, height }: Image): void {
    this.#width = width;
    this.#height = height;
    this.#before = new GreyPyramid(width, height);
    this.#after = new GreyPyramid(width, height);
    const [level] = this.#before.levels;
    const instructions = this.#instructions;
    this.#flow = instructions === "none" ? new OpticalFlow(level!) : new NativeFlow(level!, instructions);
  }
}

/** @throws {ArgumentError} If there are no pixels to look at */
function readable(image: Partial<Image>): Image {
  const hint = 'pass the frame to `update`, or load the tracker with `cameraMotion: "none"`';
  const { format } = image;
  if (!(image.data instanceof Uint8Array)) {
    throw new ArgumentError(message("see the motion of the camera", "the frame has no pixels in host memory", hint));
  }
  const whole = image as Image;
  if (!(isPacked(whole) || format === "NV12" || format === "GREY")) {
    throw new ArgumentError(message("see the motion of the camera", `its pixels are ${format}`, hint));
  }
  const wanted = byteLengthOf(whole);
  if (image.data.byteLength < wanted) {
    const found = `its pixels are gone, ${image.data.byteLength} of ${wanted} bytes are left`;
    throw new ArgumentError(message("see the motion of the camera", found, hint));
  }
  return whole;
}

/** Bytes of scratch memory behind two rows of grey. */
const BEHIND_ROWS = 16;

/** @returns a count @throws {ArgumentError} If the shim refused the call */
function checked(status: number, call: string): number {
  if (status >= 0) return status;
  throw new ArgumentError(message("see the motion of the camera", `${call} returned ${status}`));
}

/** What `OpticalFlow` does, to the bit. */
export class NativeFlow implements Flow {
  readonly #load = shim().bt_grey_load;
  readonly #find = shim().bt_flow_find;
  readonly #follow = shim().bt_flow_follow;
  readonly #instructions: number;
  /** `bt_grey_frame`. */
  readonly #frame = allocate("i32", 5);
  readonly #rows: Uint8Array<ArrayBuffer>;
  readonly #strengths: Uint8Array<ArrayBuffer>;
  readonly from: Float64Array<ArrayBuffer> = new Float64Array(new ArrayBuffer(16 * MOST_CORNERS));
  readonly to: Float64Array<ArrayBuffer> = new Float64Array(new ArrayBuffer(16 * MOST_CORNERS));
  count = 0;

  /** @param instructions not `"none"` */
  constructor({ width, height }: Level, instructions: ResizeInstructions) {
    this.#instructions = instructionsId(instructions);
    this.#rows = allocate("u8", 4 * width + BEHIND_ROWS);
    this.#strengths = allocate("u8", checked(shim().bt_flow_scratch(width, height), "bt_flow_scratch"));
  }

  load({ forms, levels, pixels }: GreyPyramid, image: Image): void {
    const { data, format, pitchBytes } = image;
    const isNv12 = format === "NV12";
    const frame = this.#frame;
    frame[0] = isNv12 ? 0 : bytesPerPixel(format);
    frame[1] = pitchBytes;
    frame[2] = Number(format === "BGR");
    frame[3] = isNv12 ? chromaPitchOf(image) : 0;
    frame[4] = Number(image.yuvRange === "full");
    const chroma = isNv12 ? chromaOffsetOf(image) : 0;
    checked(
      this.#load(this.#instructions, frame, data, chroma, forms, levels.length, pixels, this.#rows),
      "bt_grey_load",
    );
  }

  find({ forms, pixels }: GreyPyramid): void {
    this.count = checked(this.#find(this.#instructions, forms, pixels, this.#strengths, this.from), "bt_flow_find");
  }

  follow({ forms, levels, pixels }: GreyPyramid, after: GreyPyramid): void {
    const { from, to, count } = this;
    this.count = checked(
      this.#follow(this.#instructions, forms, levels.length, pixels, after.pixels, from, to, count),
      "bt_flow_follow",
    );
  }
}
