/** @module NativeFlow: corners found and followed by the shim, with the vectors of this machine's processor. */

import { ArgumentError, message } from "../core/errors.ts";
import { allocate } from "../core/tensor.ts";
import { shim } from "../ffi/shim.ts";
import { bytesPerPixel, chromaOffsetOf, chromaPitchOf, type Image } from "../image/image.ts";
import { instructionsId, type ResizeInstructions } from "../image/preprocess-plan.ts";
import type { GreyPyramid, Level } from "./grey-pyramid.ts";
import { type Flow, MOST_CORNERS } from "./optical-flow.ts";

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
