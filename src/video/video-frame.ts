/**
 * @module VideoFrame: one image of a video, and the memory it borrows; and the queue of those that are read ahead, between one who reads
 * and one who takes.
 */

import { Resource } from "../core/resource.ts";
import { PinnedBuffer, type PinnedOptions } from "../cuda/buffers.ts";
import type { Device } from "../cuda/device.ts";
import { imageError } from "../image/decode-limits.ts";
import type { DevicePlanes, Image, ImageForm, PixelFormat, YuvRange, YuvStandard } from "../image/image.ts";

/** What a frame lies in. It is used again once it has been given back. */
export interface FrameMemory {
  /** On the host; of a frame in device memory a copy, made when it is first asked for. */
  readonly data: Uint8Array;
  /** On the GPU that decoded it; `undefined` on the host, and once there is a copy, which may be drawn on. */
  readonly resident: DevicePlanes | undefined;
  /** Nobody uses the pixels any more. */
  give(): void;
}

/**
 * One image of a video: an {@linkcode Image} that any detector takes. Its pixels may be drawn on.
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
  readonly #memory: FrameMemory;
  #holders = 1;

  /** @internal */
  constructor(
    memory: FrameMemory,
    form: ImageForm,
    { index, timestampMs, durationMs }: Pick<VideoFrame, "index" | "timestampMs" | "durationMs">,
  ) {
    this.width = form.width;
    this.height = form.height;
    this.pitchBytes = form.pitchBytes;
    this.format = form.format;
    this.chromaOffset = form.chromaOffset;
    this.chromaPitchBytes = form.chromaPitchBytes;
    this.yuvStandard = form.yuvStandard;
    this.yuvRange = form.yuvRange;
    this.index = index;
    this.timestampMs = timestampMs;
    this.durationMs = durationMs;
    this.#memory = memory;
  }

  /**
   * Without gaps: of NV12 the plane of Y, then that of U, V; else u8 [height, width, 3]. A frame that was decoded on a GPU is copied
   * to the host when this is first asked for, and those of 10 bits are rounded to 8.
   */
  get data(): Uint8Array {
    return this.#memory.data;
  }

  /** Where the frame lies on the GPU that decoded it; `undefined` of frames on the host, and once `data` has been asked for. */
  get resident(): DevicePlanes | undefined {
    return this.#memory.resident;
  }

  /** Keep the pixels for one more holder, who releases them as well. */
  retain(): this {
    this.#holders += 1;
    return this;
  }

  /** The pixels are no longer needed by this holder. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#memory.give();
  }

  /** Releases it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.release();
  }
}

/** One buffer of a pool. */
class PooledBuffer implements FrameMemory {
  readonly data: Uint8Array;
  readonly resident: undefined;
  readonly #give: (buffer: PooledBuffer) => void;

  constructor(data: Uint8Array, give: (buffer: PooledBuffer) => void) {
    this.data = data;
    this.#give = give;
  }

  give(): void {
    this.#give(this);
  }
}

/** Buffers of one size. Only as many are made as are in use at a time. */
export class FramePool {
  readonly #byteLength: number;
  readonly #allocate: ((byteLength: number) => Uint8Array) | undefined;
  readonly #limit: number;
  readonly #free: PooledBuffer[] = [];
  readonly #take = (buffer: PooledBuffer): void => {
    this.#free.push(buffer);
    this.wake();
  };
  #made = 0;
  #onFree: (() => void) | undefined;

  /**
   * @param allocate makes a buffer; without it they come from the JS heap, and those that are never released are collected
   * @param limit    buffers that `allocate` is asked for, at most
   */
  constructor(byteLength: number, allocate: ((byteLength: number) => Uint8Array) | undefined, limit: number) {
    this.#byteLength = byteLength;
    this.#allocate = allocate;
    this.#limit = allocate === undefined ? Number.POSITIVE_INFINITY : limit;
  }

  /** A buffer; `undefined` if all are in use, see {@linkcode freed}. */
  take(): FrameMemory | undefined {
    const known = this.#free.pop();
    if (known !== undefined) return known;
    if (this.#made >= this.#limit) return undefined;
    const buffer = this.#allocate?.(this.#byteLength) ?? new Uint8Array(new ArrayBuffer(this.#byteLength));
    if (buffer.length < this.#byteLength) {
      const found = `\`allocate\` gave ${buffer.length} of ${this.#byteLength} bytes`;
      throw imageError("frame", found, "return at least as many bytes as asked for");
    }
    this.#made += 1;
    return new PooledBuffer(buffer.subarray(0, this.#byteLength), this.#take);
  }

  /** Resolves when a buffer has come back. One waits at a time. */
  freed(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onFree = resolve;
    return promise;
  }

  /** Let who waits for a buffer look again. */
  wake(): void {
    this.#onFree?.();
  }
}

/** Owns the buffers of one source's frames: close it after the source, and after the detector that was fed from it. */
export class PinnedFrames extends Resource {
  readonly #device: Device;
  readonly #options: PinnedOptions;
  readonly #buffers: PinnedBuffer<"u8">[] = [];

  constructor(device: Device) {
    super("PinnedFrames", device);
    this.#device = device;
    // Kernels read a frame that is alone where it lies.
    this.#options = { use: device.attribute("canMapHostMemory") === 1 ? "mapped" : "copy" };
  }

  /** For the option `allocate` of a video. @throws {OutOfMemoryError} If the system locks no more memory */
  allocate(byteLength: number): Uint8Array {
    this.assertOpen("allocate a frame");
    const buffer = PinnedBuffer.create("u8", [byteLength], this.#device, this.#options);
    this.#buffers.push(buffer);
    return buffer.data;
  }

  protected override release(): void {
    // Each is closed whatever happens to the others.
    using owned = new DisposableStack();
    for (const buffer of this.#buffers) owned.use(buffer);
  }
}

/** A number as a fraction, both parts positive. */
export interface Rational {
  readonly numerator: number;
  readonly denominator: number;
}

/** Read `30000/1001` or `25`; `undefined` for what is no positive number, such as ffprobe's `0/0`. */
export function parseRational(text: string | undefined): Rational | undefined {
  const match = /^(\d+)(?:[/:](\d+))?$/.exec(text ?? "");
  const numerator = Number(match?.[1] ?? 0);
  const denominator = Number(match?.[2] ?? 1);
  return numerator > 0 && denominator > 0 ? { numerator, denominator } : undefined;
}

/** As a number. */
export function rationalValue({ numerator, denominator }: Rational): number {
  return numerator / denominator;
}

/** A bounded queue for one writer and one reader. */
export class FrameQueue {
  readonly #capacity: number;
  readonly #frames: VideoFrame[] = [];
  #isEnded = false;
  #error: { readonly reason: unknown } | undefined;
  /** Has whoever waits look again: writer and reader never wait at the same time. */
  #wake: (() => void) | undefined;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Add a frame once there is room; one that comes after the end is released. */
  async push(frame: VideoFrame): Promise<void> {
    while (this.#frames.length >= this.#capacity && !this.#isEnded) await this.#changed();
    this.#add(frame);
  }

  /** Add a frame at once; those that nobody has taken make room for it. @returns how many did */
  replace(frame: VideoFrame): number {
    const dropped = this.#frames.length;
    this.#releaseAll();
    this.#add(frame);
    return dropped;
  }

  /** The oldest frame, once there is one; `undefined` after the last. @throws what {@linkcode fail} was given, after the last frame */
  async shift(): Promise<VideoFrame | undefined> {
    while (this.#frames.length === 0 && !this.#isEnded) await this.#changed();
    const frame = this.#frames.shift();
    this.#wake?.();
    if (frame === undefined && this.#error !== undefined) throw this.#error.reason;
    return frame;
  }

  /** No frame follows; those that are here can still be taken. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  /** End, and have the reader told why. The first reason counts. */
  fail(reason: unknown): void {
    this.#error ??= { reason };
    this.end();
  }

  /** End at once: frames that nobody has taken are released. */
  clear(): void {
    this.#releaseAll();
    this.end();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #add(frame: VideoFrame): void {
    if (this.#isEnded) {
      frame.release();
      return;
    }
    this.#frames.push(frame);
    this.#wake?.();
  }

  #releaseAll(): void {
    for (const frame of this.#frames) frame.release();
    this.#frames.length = 0;
  }
}
