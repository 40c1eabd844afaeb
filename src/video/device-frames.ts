/** @module DeviceFrames: what frames lie in that a GPU decoded: surfaces of the decoder, and copies of them where those run short. */

import { BunTensorRtError, message } from "../core/errors.ts";
import { Owner } from "../core/resource.ts";
import type { DevicePtr } from "../core/units.ts";
import type { DeviceBuffer, PinnedBuffer } from "../cuda/buffers.ts";
import { type CopyRectangle, copyRectangleOnDevice, copyRectangleToHost } from "../cuda/copy.ts";
import type { Device } from "../cuda/device.ts";
import { Event } from "../cuda/event.ts";
import { grownDeviceBuffer, grownPinnedBuffer } from "../cuda/kept-memory.ts";
import { Stream } from "../cuda/stream.ts";
import type { DevicePlanes } from "../image/image.ts";
import { resizedNv12 } from "../image/nv12.ts";
import type { DecodedFrame } from "../nvdec/nvdec.ts";
import type { FrameMemory } from "./video-frame.ts";

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Bytes between rows of a copy are a multiple of this. */
const ALIGNMENT = 256;

/** A plane as a rectangle of bytes, from the device to the device or to the host. */
type PlaneCopy = Writable<CopyRectangle> & { targetOffsetBytes: number };

/** What one frame lies in; used again for later ones. */
class DeviceFrame implements FrameMemory {
  readonly planes: Writable<DevicePlanes>;
  readonly #frames: DeviceFrames;
  /** The surface; `undefined` where it was copied, or nobody has the frame. */
  surface: DecodedFrame | undefined;
  /** Where surfaces are copied to. */
  buffer: DeviceBuffer<"u8"> | undefined;
  #data: Uint8Array | undefined;
  #isHeld = false;
  #isCopied = false;

  constructor(frames: DeviceFrames, device: number) {
    const none = 0 as DevicePtr;
    this.#frames = frames;
    this.planes = { device, bits: 8, pixels: none, pitchBytes: 0, chroma: none, chromaPitchBytes: 0 };
  }

  /** Hand it out. */
  begin(): this {
    this.#isHeld = true;
    this.#isCopied = false;
    return this;
  }

  get resident(): DevicePlanes | undefined {
    return this.#isCopied ? undefined : this.planes;
  }

  get data(): Uint8Array {
    if (this.#isCopied) return this.#data!;
    if (!this.#isHeld) {
      const hint = "keep it with `retain()` until its pixels have been read";
      throw new BunTensorRtError(message("read the pixels of a frame", "it was released", hint));
    }
    this.#data = this.#frames.download(this.planes, this.#data);
    this.#isCopied = true;
    return this.#data;
  }

  give(): void {
    this.#isHeld = false;
    this.#frames.take(this);
  }
}

/** A frame on the host alone. */
class HostFrame implements FrameMemory {
  readonly data: Uint8Array;
  readonly resident: undefined;

  constructor(data: Uint8Array) {
    this.data = data;
  }

  give(): void {}
}

/**
 * Frames of one decoder. They are its surfaces, which their readers hold; while too few of those are left for the decoder to go on,
 * frames are copied on the device. It ends when the last of them has been given back.
 */
export class DeviceFrames extends Owner {
  readonly #device: Device;
  readonly #width: number;
  readonly #height: number;
  /** Surfaces that readers may hold. */
  readonly #limit: number;
  readonly #onCopy: () => void;
  readonly #all: DeviceFrame[] = [];
  readonly #free: DeviceFrame[] = [];
  readonly #on: { readonly stream: Stream };
  readonly #copied: Event;
  readonly #plane: PlaneCopy = {
    widthBytes: 0,
    height: 0,
    targetPitchBytes: 0,
    sourcePitchBytes: 0,
    targetOffsetBytes: 0,
  };
  /** A plane of a frame, for a copy of it. */
  readonly #source = { pointer: 0 as DevicePtr, byteLength: 0 };
  #staging: PinnedBuffer<"u8"> | undefined;
  #surfaces = 0;
  #held = 0;
  #onEnd: (() => void) | undefined;

  /**
   * @param size   of the frames in pixels
   * @param limit  surfaces of the decoder that readers may hold
   * @param onCopy told of each frame whose pixels are copied to the host
   */
  constructor(
    device: Device,
    size: { readonly width: number; readonly height: number },
    limit: number,
    onCopy: () => void,
  ) {
    super("DeviceFrames", device);
    this.#device = device;
    this.#width = size.width;
    this.#height = size.height;
    this.#limit = limit;
    this.#onCopy = onCopy;
    try {
      this.#on = { stream: this.owned.use(Stream.create(device)) };
      this.#copied = this.owned.use(Event.create(device));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What a decoded frame lies in from now on: its surface belongs to this. */
  async adopt(surface: DecodedFrame): Promise<FrameMemory> {
    if (surface.width !== this.#width || surface.height !== this.#height) return this.#resized(surface);
    const frame = this.#free.pop() ?? this.#make();
    const { planes } = frame;
    planes.bits = surface.format === "NV12" ? 8 : 16;
    this.#held += 1;
    if (this.#surfaces < this.#limit) {
      planes.pixels = surface.pixels;
      planes.pitchBytes = surface.pitchBytes;
      planes.chroma = surface.chroma;
      planes.chromaPitchBytes = surface.chromaPitchBytes;
      frame.surface = surface;
      this.#surfaces += 1;
      return frame.begin();
    }
    try {
      this.#copy(surface, frame);
      surface.release(this.#on.stream);
      this.#copied.record(this.#on);
      await this.#copied.wait();
      return frame.begin();
    } catch (error) {
      surface.release();
      this.take(frame);
      throw error;
    }
  }

  #make(): DeviceFrame {
    const frame = new DeviceFrame(this, this.#device.index);
    this.#all.push(frame);
    return frame;
  }

  /** Take a frame back. */
  take(frame: DeviceFrame): void {
    if (frame.surface !== undefined) {
      // What has read the pixels has been waited for.
      frame.surface.release();
      frame.surface = undefined;
      this.#surfaces -= 1;
    }
    this.#free.push(frame);
    this.#held -= 1;
    if (this.#held === 0) this.#onEnd?.();
  }

  /** Close it and what it is of once no frame is held. */
  closeWhenFree(close: () => void): void {
    const end = (): void => {
      try {
        this.close();
      } finally {
        close();
      }
    };
    if (this.#held === 0) end();
    else this.#onEnd = end;
  }

  /** NV12 without gaps, of 8 bits. Blocks. @param former memory to use again */
  download(planes: DevicePlanes, former?: Uint8Array): Uint8Array {
    return this.#downloaded(planes, this.#width, this.#height, former);
  }

  #downloaded(planes: DevicePlanes, width: number, height: number, former?: Uint8Array): Uint8Array {
    this.assertOpen("read the pixels of a frame");
    this.#device.makeCurrent();
    this.#onCopy();
    const sampleBytes = planes.bits / 8;
    const chromaWidth = width + (width & 1);
    const byteLength = width * height + chromaWidth * ((height + 1) >> 1);
    const staging = grownPinnedBuffer(this.#staging, byteLength * sampleBytes, this.#device);
    this.#staging = staging;
    const plane = this.#plane;
    this.#setPlane(planes.pixels, planes.pitchBytes, width * sampleBytes, height);
    plane.targetOffsetBytes = 0;
    plane.targetPitchBytes = plane.widthBytes;
    copyRectangleToHost(staging, this.#source, plane, this.#on);
    this.#setPlane(planes.chroma, planes.chromaPitchBytes, chromaWidth * sampleBytes, (height + 1) >> 1);
    plane.targetOffsetBytes = width * height * sampleBytes;
    plane.targetPitchBytes = plane.widthBytes;
    copyRectangleToHost(staging, this.#source, plane, this.#on);
    this.#on.stream.synchronize();
    const data = former?.length === byteLength ? former : new Uint8Array(new ArrayBuffer(byteLength));
    if (sampleBytes === 1) data.set(staging.data.subarray(0, byteLength));
    else roundSamples(data, new Uint16Array(staging.data.buffer, staging.data.byteOffset, byteLength));
    return data;
  }

  /** Copy a surface into memory of the frame's own. */
  #copy(surface: DecodedFrame, frame: DeviceFrame): void {
    const { planes } = frame;
    const sampleBytes = planes.bits / 8;
    const width = this.#width * sampleBytes;
    const chromaWidth = (this.#width + (this.#width & 1)) * sampleBytes;
    const pitchBytes = Math.ceil(chromaWidth / ALIGNMENT) * ALIGNMENT;
    const chromaRows = (this.#height + 1) >> 1;
    const byteLength = pitchBytes * (this.#height + chromaRows);
    const target = grownDeviceBuffer(frame.buffer, byteLength, this.#device);
    frame.buffer = target;
    planes.pixels = target.pointer;
    planes.pitchBytes = pitchBytes;
    planes.chroma = (target.pointer + pitchBytes * this.#height) as DevicePtr;
    planes.chromaPitchBytes = pitchBytes;
    const plane = this.#plane;
    plane.targetPitchBytes = pitchBytes;
    plane.targetOffsetBytes = 0;
    this.#setPlane(surface.pixels, surface.pitchBytes, width, this.#height);
    copyRectangleOnDevice(target, this.#source, plane, this.#on);
    plane.targetOffsetBytes = pitchBytes * this.#height;
    this.#setPlane(surface.chroma, surface.chromaPitchBytes, chromaWidth, chromaRows);
    copyRectangleOnDevice(target, this.#source, plane, this.#on);
  }

  /** Let the rectangle begin at an address. */
  #setPlane(pointer: DevicePtr, pitchBytes: number, widthBytes: number, height: number): void {
    this.#source.pointer = pointer;
    this.#source.byteLength = pitchBytes * (height - 1) + widthBytes;
    this.#plane.sourcePitchBytes = pitchBytes;
    this.#plane.widthBytes = widthBytes;
    this.#plane.height = height;
  }

  /** A frame of another size than the video's: in that, on the host. */
  #resized(surface: DecodedFrame): FrameMemory {
    const { format, width, height, pixels, pitchBytes, chroma, chromaPitchBytes } = surface;
    const bits = format === "NV12" ? 8 : 16;
    const planes = { device: this.#device.index, bits, pixels, pitchBytes, chroma, chromaPitchBytes } as const;
    try {
      const data = this.#downloaded(planes, width, height);
      return new HostFrame(resizedNv12(data, [width, height], [this.#width, this.#height]));
    } finally {
      surface.release();
    }
  }

  protected override release(): void {
    for (const { buffer } of this.#all) if (buffer !== undefined) this.owned.use(buffer);
    if (this.#staging !== undefined) this.owned.use(this.#staging);
    super.release();
  }
}

/** Samples of 16 bits as 8, as the kernels of pre-processing read them. */
function roundSamples(target: Uint8Array, samples: Uint16Array): void {
  for (let at = 0; at < target.length; at++) target[at] = Math.min((samples[at]! + 128) >> 8, 255);
}
