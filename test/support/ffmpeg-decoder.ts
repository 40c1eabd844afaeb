/**
 * @module FfmpegDecoder: ffmpeg in the place of a GPU's video engines: packets in, frames in device memory out, in surfaces of which
 * there are as few, and whose rows lie as far apart.
 */

import { spyOn } from "bun:test";
import type { DevicePtr } from "../../src/core/units.ts";
import { DeviceBuffer } from "../../src/cuda/buffers.ts";
import { copyToDevice } from "../../src/cuda/copy.ts";
import { Device } from "../../src/cuda/device.ts";
import { Stream } from "../../src/cuda/stream.ts";
import type { YuvRange, YuvStandard } from "../../src/image/image.ts";
import type { DecodedFrame } from "../../src/nvdec/nvdec.ts";
import type { DecodeJob } from "../../src/video/decode-run.ts";
import { DeviceFrames } from "../../src/video/device-frames.ts";
import { DeviceRun, type FrameDecoder, type PacketSource } from "../../src/video/device-run.ts";
import { GpuDecoding } from "../../src/video/gpu-decoding.ts";
import type { VideoInfo } from "../../src/video/probe.ts";

/** ffmpeg's names of streams of packets. */
const FORMATS: Readonly<Record<string, string>> = { h264: "h264", hevc: "hevc" };
/** Bytes between rows are a multiple of this, as NVDEC has them. */
const PITCH = 256;

class Surface implements DecodedFrame {
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
  isHeld = false;
  readonly buffer: DeviceBuffer<"u8">;
  readonly #onRelease: () => void;

  constructor(buffer: DeviceBuffer<"u8">, onRelease: () => void) {
    this.buffer = buffer;
    this.#onRelease = onRelease;
  }

  release(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    this.#onRelease();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** What the streams are that it decodes. */
export interface FfmpegDecoderOptions {
  readonly surfaces: number;
  /** Spoil the timestamps, colours, … of a frame as an engine may. */
  readonly onFrame?: ((frame: { -readonly [Key in keyof DecodedFrame]: DecodedFrame[Key] }) => void) | undefined;
}

/** Decodes one stream: all of its frames have the size of the video. */
export class FfmpegDecoder implements FrameDecoder {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #reader;
  readonly #device: Device;
  readonly #stream: Stream;
  readonly #surfaces: readonly Surface[];
  readonly #info: VideoInfo;
  readonly #options: FfmpegDecoderOptions;
  readonly #times: number[] = [];
  #rest: Uint8Array = new Uint8Array(0);
  #wake: (() => void) | undefined;
  #packets = 0;
  #frames = 0;
  /** Most surfaces that were held at once. */
  mostHeld = 0;

  constructor(device: Device, info: VideoInfo, options: FfmpegDecoderOptions) {
    this.#device = device;
    this.#info = info;
    this.#options = options;
    this.#stream = Stream.create(device);
    const { bytes } = this.#layout;
    this.#surfaces = Array.from({ length: options.surfaces }, () => {
      return new Surface(DeviceBuffer.create("u8", [bytes], { device }), () => this.#wake?.());
    });
    const pixels = this.#isDeep ? "p016le" : "nv12";
    const words = ["-nostdin", "-v", "error", "-f", FORMATS[info.codec]!, "-i", "pipe:0", "-fps_mode", "passthrough"];
    const child = Bun.spawn(["ffmpeg", ...words.slice(1), "-f", "rawvideo", "-pix_fmt", pixels, "pipe:1"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child = child;
    this.#reader = child.stdout.getReader();
  }

  get #isDeep(): boolean {
    return this.#info.pixelFormat.includes("p10");
  }

  get #layout(): Readonly<Record<"row" | "chromaRow" | "chromaRows" | "pitch" | "bytes" | "frame", number>> {
    const { width, height } = this.#info;
    const sample = this.#isDeep ? 2 : 1;
    const chromaRow = (width + (width & 1)) * sample;
    const chromaRows = (height + 1) >> 1;
    const pitch = (Math.floor(chromaRow / PITCH) + 1) * PITCH;
    const row = width * sample;
    return {
      row,
      chromaRow,
      chromaRows,
      pitch,
      bytes: pitch * (height + chromaRows),
      frame: row * height + chromaRow * chromaRows,
    };
  }

  get counts(): FrameDecoder["counts"] {
    const none = { damaged: 0, refused: 0, created: 1, reconfigured: 0 };
    return { packets: this.#packets, frames: this.#frames, ...none };
  }

  async decode(packet: Uint8Array, timestampUs: number): Promise<void> {
    this.#packets += 1;
    this.#times.push(timestampUs);
    this.#times.sort((a, b) => a - b);
    this.#child.stdin.write(packet.slice());
    await this.#child.stdin.flush();
  }

  async flush(): Promise<void> {
    await this.#child.stdin.end();
  }

  async next(): Promise<DecodedFrame | undefined> {
    const { height } = this.#info;
    const { row, chromaRow, chromaRows, pitch, bytes, frame: byteLength } = this.#layout;
    const tight = await this.#read(byteLength);
    if (tight === undefined) return undefined;
    let surface = this.#surfaces.find(({ isHeld }) => !isHeld);
    while (surface === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
      surface = this.#surfaces.find(({ isHeld }) => !isHeld);
    }
    // What lies between the rows is not to be read.
    const padded = new Uint8Array(bytes).fill(77);
    for (let y = 0; y < height; y++) padded.set(tight.subarray(y * row, (y + 1) * row), y * pitch);
    for (let y = 0; y < chromaRows; y++) {
      const at = row * height + y * chromaRow;
      padded.set(tight.subarray(at, at + chromaRow), (height + y) * pitch);
    }
    this.#device.makeCurrent();
    copyToDevice(surface.buffer, padded, { stream: this.#stream });
    this.#stream.synchronize();
    surface.format = this.#isDeep ? "P016" : "NV12";
    surface.width = this.#info.width;
    surface.height = height;
    surface.pixels = surface.buffer.pointer;
    surface.pitchBytes = pitch;
    surface.chroma = (surface.buffer.pointer + pitch * height) as DevicePtr;
    surface.chromaPitchBytes = pitch;
    surface.timestampUs = this.#times.shift()!;
    surface.isDamaged = false;
    surface.isHeld = true;
    this.#frames += 1;
    this.mostHeld = Math.max(this.mostHeld, this.#surfaces.filter(({ isHeld }) => isHeld).length);
    this.#options.onFrame?.(surface);
    return surface;
  }

  async #read(byteLength: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length < byteLength) {
      const { value, done } = await this.#reader.read();
      if (done) return undefined;
      this.#rest = this.#rest.length === 0 ? value : Buffer.concat([this.#rest, value]);
    }
    const frame = this.#rest.subarray(0, byteLength);
    this.#rest = this.#rest.subarray(byteLength);
    return frame;
  }

  close(): void {
    this.#child.kill("SIGKILL");
    for (const { buffer } of this.#surfaces) buffer.close();
    this.#stream.close();
  }
}

/** What decodes by ffmpeg while this is open: videos that choose a GPU. */
export class FfmpegEngines implements Disposable {
  readonly decoders: FfmpegDecoder[] = [];
  readonly #device: Device = Device.open();
  readonly #spy;

  /** @param spare surfaces that readers may not hold */
  constructor(options: FfmpegDecoderOptions, spare = 1) {
    this.#spy = spyOn(GpuDecoding, "choose").mockImplementation(async (info) => {
      const start = (job: DecodeJob, packets: PacketSource, onCopy: () => void): DeviceRun => {
        const decoder = new FfmpegDecoder(this.#device, info, options);
        this.decoders.push(decoder);
        const frames = new DeviceFrames(this.#device, job.form, options.surfaces - spare, onCopy);
        return new DeviceRun(job, { packets, decoder, frames, close: () => decoder.close() });
      };
      const prepared = { prepare: () => Promise.resolve(), stopPreparing: () => {} };
      return { ...prepared, start, close: () => Promise.resolve() } as unknown as GpuDecoding;
    });
  }

  [Symbol.dispose](): void {
    this.#spy.mockRestore();
    this.#device.close();
  }
}
