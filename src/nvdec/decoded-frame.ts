/** @module DecodedFrame: one frame of a video in device memory, as the GPU's video engines decoded it. */

import type { DevicePtr } from "../core/units.ts";
import type { Event } from "../cuda/event.ts";
import type { Stream } from "../cuda/stream.ts";
import { OutCells } from "../ffi/memory.ts";
import type { YuvRange, YuvStandard } from "../image/yuv.ts";
import { rangeOfSignal, standardOfSignal } from "./video-form.ts";

/**
 * One frame of a video, in a surface of its decoder: a plane of Y and one of interleaved U, V of half the size. The pixels are there:
 * any stream may read them at once.
 *
 * Surfaces are few, and the decoder stops when all of them are held: enqueue what reads the pixels, then `release(stream)`. The
 * object belongs to its surface and is handed out again with a later frame: keep nothing of it beyond `release`.
 */
export interface DecodedFrame extends Disposable {
  /** `"NV12"`: 8 bits a sample. `"P016"`: 16, of which the video's 10 or 12 are the highest. */
  readonly format: "NV12" | "P016";
  /** Of the area that is shown, in pixels. */
  readonly width: number;
  readonly height: number;
  /** The first sample of Y: u8 or u16 [height, width], rows `pitchBytes` apart. */
  readonly pixels: DevicePtr;
  readonly pitchBytes: number;
  /** The first sample of U: u8 or u16 [⌈height / 2⌉, ⌈width / 2⌉, 2], rows `chromaPitchBytes` apart. */
  readonly chroma: DevicePtr;
  readonly chromaPitchBytes: number;
  /** As it was given with the frame's packet, in microseconds. */
  readonly timestampUs: number;
  /** What the stream says of its colours; `undefined` where it says nothing, or names a standard that is neither. */
  readonly yuvStandard: YuvStandard | undefined;
  readonly yuvRange: YuvRange;
  /** True if the data was damaged: the engine concealed it, or some of the frame is not there. */
  readonly isDamaged: boolean;

  /**
   * Give the surface back. Calling it again does nothing.
   *
   * @param stream what it has been given so far may still read the pixels; without it, nothing does
   */
  release(stream?: Stream): void;
}

/** @internal A `bt_nvdec_frame`, of 64-bit cells. */
export const frameCells: OutCells = new OutCells(7);
const words = new Int32Array(frameCells.cells.buffer);

/** @internal A surface of a decoder, and the frame in it. */
export class SurfaceFrame implements DecodedFrame {
  format: "NV12" | "P016" = "NV12";
  width = 0;
  height = 0;
  pixels = 0 as DevicePtr;
  pitchBytes = 0;
  chroma = 0 as DevicePtr;
  chromaPitchBytes = 0;
  timestampUs = 0;
  yuvStandard: YuvStandard | undefined;
  yuvRange: YuvRange = "limited";
  isDamaged = false;
  #isHeld = false;
  readonly #on: { stream: Stream };
  readonly #event: Event;
  readonly #giveBack: (slot: number, isRecorded: number) => void;
  readonly #slot: number;

  constructor(slot: number, event: Event, own: Stream, giveBack: (slot: number, isRecorded: number) => void) {
    this.#slot = slot;
    this.#event = event;
    this.#on = { stream: own };
    this.#giveBack = giveBack;
  }

  /** Take what the shim wrote into {@linkcode frameCells}. */
  fill(): this {
    this.pixels = frameCells.pointer(1) as DevicePtr;
    this.chroma = frameCells.pointer(2) as DevicePtr;
    this.timestampUs = words[7]! * 2 ** 32 + frameCells.u32(3);
    this.pitchBytes = words[8]!;
    this.chromaPitchBytes = words[8]!;
    this.width = words[9]!;
    this.height = words[10]!;
    this.format = words[11] === 8 ? "NV12" : "P016";
    this.yuvStandard = standardOfSignal(words[12]!);
    this.yuvRange = rangeOfSignal(words[12]!);
    this.isDamaged = words[13] !== 0;
    this.#isHeld = true;
    return this;
  }

  release(stream?: Stream): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    let isRecorded = 0;
    try {
      if (stream !== undefined) {
        this.#on.stream = stream;
        this.#event.record(this.#on);
        isRecorded = 1;
      }
    } finally {
      this.#giveBack(this.#slot, isRecorded);
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
