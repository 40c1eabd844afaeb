/** @module DecodedFrame: one frame of a video in device memory, as the GPU's video engines decoded it. */

import type { DevicePtr } from "../core/units.ts";
import type { Stream } from "../cuda/stream.ts";
import type { YuvRange, YuvStandard } from "../image/yuv.ts";

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
