/**
 * @module Nvdec: the video engines of a device: what they decode, the decoders that they keep for the next stream, and the frames that
 * come of them. One thread watches all decoders of the process; whoever waits for one asks it again when something is new.
 */

import { BunTensorRtError, inShort, LibraryLoadError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { type DevicePtr, type Handle, plural } from "../core/units.ts";
import { checkDriver } from "../cuda/check.ts";
import type { Device } from "../cuda/device.ts";
import type { Event } from "../cuda/event.ts";
import type { Stream } from "../cuda/stream.ts";
import { OutCells } from "../ffi/memory.ts";
import { nvcuvidLibrary } from "../ffi/nvidia-libraries.ts";
import { SHIM_STATUS, shim, shimOffThread } from "../ffi/shim.ts";
import type { YuvRange, YuvStandard } from "../image/image.ts";
import {
  CHROMAS,
  CODEC_NUMBERS,
  formTitle,
  type NvdecOptions,
  parseNvdecOptions,
  type VideoCodec,
  type VideoDecoderCaps,
  type VideoForm,
} from "./nvdec-options.ts";

const out = new OutCells(1);
/** `bt_video_limits` */
const limits = new Int32Array(new ArrayBuffer(32));

const FORMATS = ["NV12", "P016"] as const;
const DEPTHS = [8, 10, 12] as const;

/**
 * The engines of a GPU that decode video, beside its multiprocessors. One object serves every stream of the device.
 *
 * @example What a card decodes
 * ```ts
 * import { Device } from "bun-tensorrt/cuda";
 * import { Nvdec } from "bun-tensorrt/nvdec";
 *
 * using device = Device.open();
 * using nvdec = Nvdec.open(device);
 * console.log(nvdec.caps({ codec: "hevc", bits: 10 }));
 * console.log(nvdec.refusal({ codec: "h264", width: 7680, height: 4320 }) ?? "decoded by the GPU");
 * ```
 */
export class Nvdec extends Resource {
  readonly device: Device;
  /** `bt_video *`. Borrowed: valid while this is open. */
  readonly handle: Handle<"bt_video">;
  readonly #caps = new Map<number, VideoDecoderCaps>();

  private constructor(device: Device, handle: Handle<"bt_video">) {
    super(`Nvdec (${device.name})`, device);
    this.device = device;
    this.handle = handle;
  }

  /**
   * Open the engines of a device. No decoder is made before a stream comes.
   *
   * @throws {LibraryLoadError} If libnvcuvid is nowhere, or the package has no shim for this platform
   * @throws {OptionError} If an option is unknown or out of range
   */
  static open(device: Device, options: NvdecOptions = {}): Nvdec {
    const { idle } = parseNvdecOptions(options);
    const { functions } = nvcuvidLibrary();
    device.makeCurrent();
    const status = shim().bt_video_open(device.index, device.context, functions.cells, idle, out.cells);
    if (status !== SHIM_STATUS.ok) {
      throw new BunTensorRtError(message("open the video engines", `the shim returned ${status}`));
    }
    return new Nvdec(device, out.pointer() as Handle<"bt_video">);
  }

  /** What the engines take of a codec, asked once each. @throws {CudaError} If the driver refuses */
  caps({ codec, chroma = "4:2:0", bits = 8 }: VideoForm): VideoDecoderCaps {
    this.assertOpen("ask for the limits of video engines");
    const numbers = [CODEC_NUMBERS[codec], CHROMAS.indexOf(chroma), bits] as const;
    const key = numbers[0] * 1024 + numbers[1] * 256 + bits;
    let known = this.#caps.get(key);
    if (known === undefined) {
      this.device.makeCurrent();
      checkDriver(shim().bt_video_caps(this.handle, ...numbers, limits), "cuvidGetDecoderCaps");
      const [isSupported = 0, engines = 0, formats = 0] = limits;
      known = {
        isSupported: isSupported !== 0,
        engines,
        formats: FORMATS.filter((_, at) => (formats & (1 << at)) !== 0),
        maxWidth: limits[3]!,
        maxHeight: limits[4]!,
        maxMacroblocks: limits[5]!,
        minWidth: limits[6]!,
        minHeight: limits[7]!,
      };
      this.#caps.set(key, known);
    }
    return known;
  }

  /** Why this card does not decode a video, in one clause; `undefined` where it does. @throws {CudaError} If the driver refuses */
  refusal(form: VideoForm): string | undefined {
    return refusalOf(this.device.name, form, this.caps(form));
  }

  /** For people: `7 engines: H.264, HEVC, HEVC 10 bits, VP9`. @throws {CudaError} If the driver refuses */
  get description(): string {
    let most = 0;
    const titles = (Object.keys(CODEC_NUMBERS) as VideoCodec[]).flatMap((codec) =>
      DEPTHS.flatMap((bits) => {
        if (this.refusal({ codec, bits }) !== undefined) return [];
        most = Math.max(most, this.caps({ codec, bits }).engines);
        return [formTitle(codec, bits)];
      }),
    );
    return `${plural(most, "engine")}: ${titles.join(", ") || "none of the codecs"}`;
  }

  /**
   * From now on keep so many decoders for the next stream, as the option `idle` says.
   *
   * @param idle 0 to 64; those that are kept beyond go one after the other, while others decode in between
   */
  keep(idle: number): void {
    this.assertOpen("keep video decoders");
    const status = shim().bt_video_keep(this.handle, parseNvdecOptions({ idle }).idle);
    if (status === SHIM_STATUS.ok) return;
    throw new BunTensorRtError(message("keep video decoders", `the shim returned ${status}`));
  }

  /** Decoders that no stream uses and that are not destroyed yet: `close` destroys them, which takes up to 70 ms each. */
  get left(): number {
    this.assertOpen("count video decoders");
    const left = shim().bt_video_left(this.handle);
    if (left >= 0) return left;
    throw new BunTensorRtError(message("count video decoders", `the shim returned ${left}`));
  }

  /**
   * Destroy the decoders that no stream uses, one after the other, while others decode in between; then `close` holds up nothing.
   *
   * @param isOver asked now and then: once it returns true, those that are left stay
   */
  async empty(isOver: () => boolean = () => false): Promise<void> {
    this.keep(0);
    while (!this.closed && !isOver() && this.left > 0) await nvdecNews();
  }

  protected override release(): void {
    this.device.makeCurrent();
    checkDriver(shim().bt_video_close(this.handle), "cuvidDestroyDecoder");
  }
}

/** Sides of the blocks that videos are coded in, in pixels. */
const BLOCK = 16;

/**
 * Why engines do not decode a video, in one clause; `undefined` where they do.
 *
 * @param card `NVIDIA H200`
 */
export function refusalOf(
  card: string,
  { codec, chroma = "4:2:0", bits = 8, width, height }: VideoForm,
  caps: VideoDecoderCaps,
): string | undefined {
  const title = formTitle(codec, 8);
  const form = `${title} of ${bits} bits in ${chroma}`;
  if (!caps.isSupported) {
    return chroma === "4:2:0" && bits === 8 ? `${card} does not decode ${title}` : `${card} does not decode ${form}`;
  }
  const isPlain = chroma === "mono" || chroma === "4:2:0";
  if (!isPlain || !caps.formats.includes(bits === 8 ? "NV12" : "P016")) return `${form} gives neither NV12 nor P016`;
  if (width === undefined || height === undefined) return undefined;
  const size = `${width}x${height}`;
  const { minWidth, minHeight, maxWidth, maxHeight, maxMacroblocks } = caps;
  if (width < minWidth || height < minHeight) {
    return `${card} decodes ${title} from ${minWidth}x${minHeight} on, and this is ${size}`;
  }
  if (width > maxWidth || height > maxHeight) {
    return `${card} decodes ${title} up to ${maxWidth}x${maxHeight}, and this is ${size}`;
  }
  if (Math.ceil(width / BLOCK) * Math.ceil(height / BLOCK) > maxMacroblocks) {
    return `${card} decodes ${title} of up to ${maxMacroblocks * BLOCK * BLOCK} pixels, and this is ${size}`;
  }
  // Of 321x241 an H200 gave other pixels than libvpx and ffmpeg, of whole blocks the same ones.
  if (codec === "vp8" && (width % BLOCK !== 0 || height % BLOCK !== 0)) {
    return `GPUs decode VP8 to the bit only in multiples of ${BLOCK} pixels, and this is ${size}`;
  }
  return undefined;
}

/** Why video engines cannot be used at all, in one line; `undefined` where they can. Opens the library, but no device. */
export function nvdecUnavailable(): string | undefined {
  try {
    nvcuvidLibrary();
    shim();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}

/**
 * How long the thread of the pool is held at most, in milliseconds: others of few cores need it as well, such as the waits for the
 * frames that hold the surfaces.
 */
const WATCH_MS = 10;

/** Something that may be there later. */
interface NvdecWait {
  /** Ask whether it is there now, and settle the wait if so. @returns true once it is settled */
  ask(): boolean;
  /** Nobody will learn whether it is there. */
  fail(error: unknown): void;
}

const pending: NvdecWait[] = [];
let seen = 0;
let isWatching = false;

async function watch(): Promise<void> {
  isWatching = true;
  try {
    while (pending.length > 0) {
      seen = await shimOffThread("bt_nvdec_wait")(seen, WATCH_MS);
      if (seen < 0) throw new BunTensorRtError(message("watch video decoders", `the shim returned ${seen}`));
      let kept = 0;
      for (const wait of [...pending]) if (!wait.ask()) pending[kept++] = wait;
      pending.length = kept;
    }
  } catch (error) {
    for (const wait of pending.splice(0)) wait.fail(error);
  } finally {
    isWatching = false;
  }
}

/** Resolves when something is new about any decoder, or after some milliseconds. */
export function nvdecNews(): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const ask = (): boolean => {
    resolve();
    return true;
  };
  waitForNvdec({ ask, fail: reject });
  return promise;
}

/** Wait: `ask` is called in turn with those of others, until it returns true. */
export function waitForNvdec(wait: NvdecWait): void {
  pending.push(wait);
  if (!isWatching) void watch();
}

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

/** `matrix_coefficients` of H.264, H.265 and ITU-T H.273. */
const STANDARDS: ReadonlyMap<number, YuvStandard> = new Map([
  [1, "BT.709"],
  [5, "BT.601"],
  [6, "BT.601"],
  [9, "BT.2020"],
]);

/** @param signal `video_signal_description`: format and range, primaries, transfer, matrix, a byte each */
export function standardOfSignal(signal: number): YuvStandard | undefined {
  return STANDARDS.get(signal >>> 24);
}

/** @param signal `video_signal_description` */
export function rangeOfSignal(signal: number): YuvRange {
  return (signal & 8) !== 0 ? "full" : "limited";
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
