/** @module NvdecDecoder: one stream of video through the engines of a GPU: packets in, frames in device memory out. */

import { ArgumentError, BunTensorRtError, ClosedError, message, UnsupportedVideoError } from "../core/errors.ts";
import { Owner } from "../core/resource.ts";
import type { Handle } from "../core/units.ts";
import { checkDriver } from "../cuda/check.ts";
import { Event } from "../cuda/event.ts";
import { Stream } from "../cuda/stream.ts";
import { OutCells } from "../ffi/memory.ts";
import { VIDEO_CALLS } from "../ffi/nvidia-libraries.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { type DecodedFrame, frameCells, type Nvdec, nvdecNews, SurfaceFrame, waitForNvdec } from "./nvdec.ts";
import {
  CHROMAS,
  CODEC_NUMBERS,
  codecOf,
  type NvdecDecoderConfig,
  type NvdecDecoderOptions,
  parseDecoderOptions,
} from "./nvdec-options.ts";

const {
  BT_RUNNING: RUNNING,
  BT_NVDEC_PART: PART,
  BT_NVDEC_WHOLE: WHOLE,
  BT_NVDEC_END: END,
  BT_NVDEC_NONE: NONE,
  BT_NVDEC_ENDED: ENDED,
  BT_NVDEC_UNSUPPORTED: UNSUPPORTED,
} = SHIM_CONSTANTS;

/** Numbers of a `bt_nvdec_report`, and the places of those that are read. */
const REPORT_NUMBERS = 15;
const IS_PREPARED = 14;
/**
 * Images that the parser asks for beside those that the stream keeps: four, as the memory of decoders on an H200 tells, and two more,
 * as a decoder that is too small is made anew.
 */
const IMAGES_BESIDE = 6;

const out = new OutCells(1);
const told = new Int32Array(new ArrayBuffer(REPORT_NUMBERS * 4));

/** What has become of a stream so far. */
export interface NvdecCounts {
  /** That were given to it. */
  readonly packets: number;
  /** That were decoded; some may not have been taken yet. */
  readonly frames: number;
  /** Of these frames, those that the engine had to conceal, or refused to decode. */
  readonly damaged: number;
  /** Pictures that the engine refused to decode; whether each is shown is for the stream to say. */
  readonly refused: number;
  /** Decoders that were made for it: one more than changes of codec or to a larger size. */
  readonly created: number;
  /** How often a decoder was reconfigured for it: one that another stream had left, or its own. */
  readonly reconfigured: number;
}

/**
 * Decodes one stream of video. A thread of its own parses the packets and feeds the engine, so that no call blocks; frames come in
 * the order in which they are shown, each with the time stamp of its packet. Where the stream's size changes, the decoder is
 * reconfigured or made anew, behind the frames of the former size.
 *
 * @example Every frame of an H.264 stream, packet by packet
 * ```ts
 * import { Device, Stream } from "bun-tensorrt/cuda";
 * import { Nvdec, NvdecDecoder } from "bun-tensorrt/nvdec";
 *
 * using device = Device.open();
 * using nvdec = Nvdec.open(device);
 * using decoder = NvdecDecoder.open(nvdec, { codec: "h264", wholePackets: false });
 * using stream = Stream.create(device);
 * const feed = async () => {
 *   for await (const bytes of Bun.file("street.h264").stream()) await decoder.decode(bytes, 0);
 *   await decoder.flush();
 * };
 * const fed = feed();
 * for (let frame = await decoder.next(); frame !== undefined; frame = await decoder.next()) {
 *   console.log(frame.format, frame.width, frame.height, frame.timestampUs);
 *   // Enqueue on `stream` what reads the pixels …
 *   frame.release(stream);
 * }
 * await fed;
 * ```
 */
export class NvdecDecoder extends Owner {
  readonly nvdec: Nvdec;
  readonly codec: NvdecDecoderConfig["codec"];
  readonly #handle: Handle<"bt_nvdec">;
  readonly #config: NvdecDecoderConfig;
  readonly #kind: number;
  readonly #frames: readonly SurfaceFrame[];
  /** Calls of `decode` that wait for room: later ones wait behind them. */
  #feeding = 0;
  /** Frames that were taken and not given back. */
  #held = 0;
  /** When the last surface that was free was taken. */
  #allHeldSinceMs = 0;
  /** It is closed to all but its thread. */
  #isClosing = false;

  private constructor(nvdec: Nvdec, config: NvdecDecoderConfig) {
    super(`NvdecDecoder (${config.codec})`, nvdec);
    this.nvdec = nvdec;
    this.codec = config.codec;
    this.#config = config;
    this.#kind = config.wholePackets ? WHOLE : PART;
    try {
      const { device } = nvdec;
      device.makeCurrent();
      const own = this.owned.use(Stream.create(device));
      const giveBack = (slot: number, isRecorded: number): void => this.#giveBack(slot, isRecorded);
      const events = Array.from({ length: config.surfaces }, () => {
        return this.owned.use(Event.create(device, { blocking: true }));
      });
      this.#frames = events.map((event, slot) => new SurfaceFrame(slot, event, own, giveBack));
      const handles = new OutCells(events.length);
      for (const [slot, event] of events.entries()) handles.setPointer(slot, event.handle);
      const { surfaces, delay, maxWidth, maxHeight, expected } = config;
      const form = expected && [
        expected.width,
        expected.height,
        CHROMAS.indexOf(expected.chroma),
        expected.bits,
        expected.images + IMAGES_BESIDE,
      ];
      const sizes = [surfaces, delay, maxWidth, maxHeight, ...(form ?? [0, 0, 0, 0, 0])];
      const options = Int32Array.of(CODEC_NUMBERS[config.codec], ...sizes);
      const status = shim().bt_nvdec_open(nvdec.handle, options, own.handle, handles.cells, out.cells);
      if (status !== SHIM_STATUS.ok) {
        throw new BunTensorRtError(message(`open ${this.label}`, "no thread can be started for it"));
      }
      this.#handle = out.pointer() as Handle<"bt_nvdec">;
    } catch (error) {
      this.#handle = 0 as Handle<"bt_nvdec">;
      this.#frames = [];
      this.close();
      throw error;
    }
  }

  /**
   * Open a decoder for one stream; it is made when the stream has told its size, or at once where the option `expected` tells it.
   *
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {UnsupportedVideoError} If the card does not decode the codec at all
   * @throws {CudaError} If the device fails
   */
  static open(nvdec: Nvdec, options: NvdecDecoderOptions): NvdecDecoder {
    const config = parseDecoderOptions(options);
    const refusal = nvdec.refusal({ codec: config.codec });
    if (refusal !== undefined) throw unsupported(refusal);
    return new NvdecDecoder(nvdec, config);
  }

  /** What has become of the stream so far. */
  get counts(): NvdecCounts {
    this.#ask();
    const [packets = 0, frames = 0, damaged = 0, refused = 0, created = 0, reconfigured = 0] = told.subarray(8);
    return { packets, frames, damaged, refused, created, reconfigured };
  }

  /** Frames that were taken and not given back; at most the option `surfaces`. */
  get held(): number {
    return this.#held;
  }

  /**
   * Wait until the decoder that the option `expected` asked for is made; without it there is nothing to wait for. The driver makes one
   * after the other, in 45 to 70 ms each, and lets others decode in between.
   *
   * @throws {ClosedError} If the decoder is closed meanwhile
   */
  async ready(): Promise<void> {
    this.assertOpen("wait for a video decoder");
    const isReady = (): boolean => {
      this.#ask();
      return told[IS_PREPARED] !== 0 || told[0] !== 0;
    };
    if (!isReady()) await this.#later(() => (isReady() ? undefined : WAITING));
  }

  /**
   * Queue a packet if there is room for it. Its bytes are copied.
   *
   * @param packet      the stream's next bytes: H.264 and HEVC in the Annex B form, AV1 as OBUs
   * @param timestampUs of the frame in it, in microseconds: an integer
   * @returns false where 64 packets or 16 MiB wait already: take frames, then try again
   * @throws {UnsupportedVideoError} If the card does not decode the stream
   * @throws {CudaError} If the driver or the device failed
   */
  offer(packet: Uint8Array, timestampUs: number): boolean {
    this.assertOpen("decode video");
    return this.#feeding === 0 && this.#feed(packet, timestampUs, this.#kind);
  }

  /**
   * Queue a packet as {@linkcode NvdecDecoder.offer} does, once there is room for it: frames have to be taken meanwhile.
   *
   * @param packet not to be changed until the promise settles
   */
  async decode(packet: Uint8Array, timestampUs: number): Promise<void> {
    this.assertOpen("decode video");
    await this.#feedInTurn(packet, timestampUs, this.#kind);
  }

  /**
   * Queue the end of the stream: `next` gives the frames that are still to come, then `undefined`. Packets may follow, as of a source
   * that was opened again: the next stream begins with them.
   */
  async flush(): Promise<void> {
    this.assertOpen("flush a video decoder");
    await this.#feedInTurn(NOTHING, 0, END);
  }

  /**
   * The next frame, if it is there. Release it as soon as what reads its pixels is enqueued.
   *
   * @returns the frame, `undefined` where none is there yet, `null` once at the end of the stream
   * @throws {UnsupportedVideoError} If the card does not decode the stream
   * @throws {CudaError} If the driver or the device failed, behind the frames before that
   */
  take(): DecodedFrame | null | undefined {
    this.assertOpen("take a frame");
    const slot = shim().bt_nvdec_take(this.#handle, frameCells.cells);
    if (slot === NONE) return undefined;
    if (slot === ENDED) return null;
    if (slot < 0) this.#fail();
    this.#held += 1;
    if (this.#held === this.#frames.length) this.#allHeldSinceMs = performance.now();
    return this.#frames[slot]!.fill();
  }

  /**
   * Wait for the next frame, as {@linkcode NvdecDecoder.take} gives it.
   *
   * @returns `undefined` at the end of the stream
   * @throws {BunTensorRtError} If all surfaces are held for longer than the option `holdLimitMs`
   * @throws {ClosedError} If the decoder is closed meanwhile
   */
  async next(): Promise<DecodedFrame | undefined> {
    const ready = this.take();
    if (ready !== undefined) return ready ?? undefined;
    return this.#later(() => {
      const frame = this.take();
      if (frame === undefined) this.#assertNotStuck();
      return frame === undefined ? WAITING : (frame ?? undefined);
    });
  }

  #feed(packet: Uint8Array, timestampUs: number, kind: number): boolean {
    if (!Number.isSafeInteger(timestampUs)) {
      throw new ArgumentError(message("decode video", `timestampUs must be an integer, got ${timestampUs}`));
    }
    if (packet.length === 0 && kind !== END) return true;
    const bytes = packet.length === 0 ? null : packet;
    const status = shim().bt_nvdec_feed(this.#handle, bytes, packet.length, timestampUs, kind);
    if (status === RUNNING) return false;
    if (status === SHIM_STATUS.failed) this.#fail();
    if (status !== SHIM_STATUS.ok) {
      throw new BunTensorRtError(message("decode video", `there is no memory for a packet of ${packet.length} bytes`));
    }
    return true;
  }

  async #feedInTurn(packet: Uint8Array, timestampUs: number, kind: number): Promise<void> {
    if (this.#feeding === 0 && this.#feed(packet, timestampUs, kind)) return;
    this.#feeding += 1;
    try {
      await this.#later(() => (this.#feed(packet, timestampUs, kind) ? undefined : WAITING));
    } finally {
      this.#feeding -= 1;
    }
  }

  /** Resolves with what `ask` gives, once it is not `WAITING`. */
  #later<T>(ask: () => T | typeof WAITING): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    waitForNvdec({
      ask: () => {
        try {
          this.assertOpen("wait for a video decoder");
          const found = ask();
          if (found === WAITING) return false;
          resolve(found);
        } catch (error) {
          reject(error);
        }
        return true;
      },
      fail: reject,
    });
    return promise;
  }

  /** @throws {BunTensorRtError} If the surfaces are all held, and have been for too long */
  #assertNotStuck(): void {
    const { surfaces, holdLimitMs } = this.#config;
    if (this.#held < surfaces || performance.now() - this.#allHeldSinceMs < holdLimitMs) return;
    const found = `all ${surfaces} surfaces have been held for ${holdLimitMs} ms`;
    throw new BunTensorRtError(message("decode the next frame", found, "release frames, or set `surfaces` higher"));
  }

  #giveBack(slot: number, isRecorded: number): void {
    this.#held -= 1;
    const status = shim().bt_nvdec_release(this.#handle, slot, isRecorded);
    if (status === SHIM_STATUS.ok) return;
    throw new BunTensorRtError(message("release a frame", `surface ${slot} is not held, status ${status}`));
  }

  #ask(): void {
    this.assertOpen("ask a video decoder");
    const status = shim().bt_nvdec_told(this.#handle, told);
    if (status === SHIM_STATUS.ok) return;
    throw new BunTensorRtError(message("ask a video decoder", `the shim returned ${status}`));
  }

  /** @throws {UnsupportedVideoError} If the card does not decode the stream @throws {CudaError} If a call failed */
  #fail(): never {
    this.#ask();
    const [failure = 0, call = 0, status = 0, codecNumber = 0, chroma = 0, bits = 8, width = 0, height = 0] = told;
    if (failure === UNSUPPORTED) {
      const codec = codecOf(codecNumber) ?? this.codec;
      const form = { codec, chroma: CHROMAS[chroma] ?? "4:4:4", bits, width, height } as const;
      throw unsupported(this.nvdec.refusal(form) ?? `${this.nvdec.device.name} does not decode it`);
    }
    checkDriver(status, VIDEO_CALLS[call] ?? "cuDevicePrimaryCtxRetain");
    throw new BunTensorRtError(message("decode video", `the shim has no reason, failure ${failure}`));
  }

  /**
   * Close it. This waits for its thread, which waits in turn while the driver makes or destroys a decoder.
   *
   * @throws {BunTensorRtError} If frames are held: their surfaces go with it
   */
  override close(): void {
    this.#assertNoneHeld();
    super.close();
  }

  /**
   * Close it as `close` does, once its thread has ended: nothing waits meanwhile.
   *
   * @throws {BunTensorRtError} If frames are held: their surfaces go with it
   */
  async closeLater(): Promise<void> {
    this.#assertNoneHeld();
    this.#isClosing = true;
    while (!this.closed && shim().bt_nvdec_stop(this.#handle) === RUNNING) await nvdecNews();
    this.close();
  }

  override assertOpen(action: string): void {
    if (this.#isClosing) throw new ClosedError(action, this.label);
    super.assertOpen(action);
  }

  #assertNoneHeld(): void {
    if (this.#held === 0) return;
    const found = `${this.#held} of its frames are held`;
    throw new BunTensorRtError(message(`close ${this.label}`, found, "release them first"));
  }

  protected override release(): void {
    if (this.#handle !== 0) shim().bt_nvdec_close(this.#handle);
    super.release();
  }
}

const NOTHING = new Uint8Array(0);
/** What a wait goes on for. */
const WAITING: unique symbol = Symbol("waiting");

function unsupported(reason: string): UnsupportedVideoError {
  const text = message("decode the video on the GPU", reason, "let ffmpeg decode it on the CPU");
  return new UnsupportedVideoError(text, reason);
}
