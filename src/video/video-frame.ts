/** @module VideoFrame: one picture of a video, and the memory it borrows. */

import type { Image, ImageForm, PixelFormat } from "../image/image.ts";
import type { YuvRange, YuvStandard } from "../image/yuv.ts";
import type { FramePool } from "./frame-pool.ts";

/** What a frame is made with. */
export interface FrameFacts {
  /** How the pixels lie. */
  readonly form: ImageForm;
  readonly index: number;
  readonly timestampMs: number;
  readonly durationMs: number;
}

/**
 * One picture of a video: an {@linkcode Image} that any detector takes. Its pixels may be drawn on.
 *
 * Release it when the pixels are no longer needed, and the next frames reuse the memory; a frame that is not released
 * keeps its memory to itself, and costs an allocation.
 */
export class VideoFrame implements Image, Disposable {
  readonly width: number;
  readonly height: number;
  readonly pitchBytes: number;
  /** `"NV12"` or `"RGB"`, by the source's option `pixels`. */
  readonly format: PixelFormat;
  /** Without gaps: of NV12 the plane of Y, then that of U, V; else u8 [height, width, 3]. */
  readonly data: Uint8Array;
  readonly chromaOffset: number | undefined;
  readonly chromaPitchBytes: number | undefined;
  readonly yuvStandard: YuvStandard | undefined;
  readonly yuvRange: YuvRange | undefined;
  /** Place among the frames that were read, from 0 on; frames that were dropped count. */
  readonly index: number;
  /** Time in the video; of a live source, since its first frame. */
  readonly timestampMs: number;
  /** How long it is shown, by the average rate; 0 where that is not known. */
  readonly durationMs: number;
  readonly #pool: FramePool;
  #holders = 1;

  constructor(data: Uint8Array, pool: FramePool, { form, index, timestampMs, durationMs }: FrameFacts) {
    this.width = form.width;
    this.height = form.height;
    this.pitchBytes = form.pitchBytes;
    this.format = form.format;
    this.chromaOffset = form.chromaOffset;
    this.chromaPitchBytes = form.chromaPitchBytes;
    this.yuvStandard = form.yuvStandard;
    this.yuvRange = form.yuvRange;
    this.data = data;
    this.index = index;
    this.timestampMs = timestampMs;
    this.durationMs = durationMs;
    this.#pool = pool;
  }

  /** Keep the pixels for one more holder, who releases them as well. */
  retain(): this {
    this.#holders += 1;
    return this;
  }

  /** The pixels are no longer needed by this holder. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#pool.give(this.data);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
