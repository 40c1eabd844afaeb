/** @module GpuDecoding: whether a GPU decodes a video, why not where it does not, and the engines that all videos share. */

import { inShort, LibraryLoadError, message, NativeError, UnsupportedVideoError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Device } from "../cuda/device.ts";
import { CUDA_RUNTIME_SYMBOLS, cudaRuntime } from "../ffi/cuda-runtime.ts";
import { offThread } from "../ffi/off-thread.ts";
import { SHIM_CONSTANTS } from "../ffi/shim-symbols.ts";
import { Nvdec, nvdecUnavailable } from "../nvdec/nvdec.ts";
import { NvdecDecoder } from "../nvdec/nvdec-decoder.ts";
import { isVideoCodec, type VideoChroma, type VideoCodec, type VideoForm } from "../nvdec/nvdec-options.ts";
import type { DecodeJob } from "./decode-run.ts";
import { DeviceFrames } from "./device-frames.ts";
import { DeviceRun, type PacketSource } from "./device-run.ts";
import type { VideoInfo } from "./probe.ts";
import type { VideoConfig } from "./video-options.ts";

/** Surfaces that a file's decoder has for its readers, and a live source's, of which there may be many. */
const SURFACES = { recorded: 16, live: 6 } as const;
/** Surfaces that the decoder keeps to itself, so that it goes on whatever its readers hold. */
const SPARE_SURFACES = 2;

/** Decoders that are kept for the next video, however few are open. */
const LEAST_IDLE = 4;

/** The engines of one GPU, and how many use them. */
interface SharedEngines {
  readonly device: Device;
  readonly nvdec: Nvdec;
  /** Decoders of live sources that are being made. */
  readonly preparing: Set<Promise<void>>;
  /** Videos and their runs. */
  users: number;
  videos: number;
}

const shared = new Map<number, SharedEngines>();

/** By the number of a GPU. */
const ready = new Map<number, Promise<void>>();

/**
 * Set a GPU up, once a process, off the JS thread: what uses one first makes its context, which takes half a second in which nothing else
 * would go on. What is wrong with it is for `Device.open` to say.
 */
async function setUp(index: number): Promise<void> {
  const { cudaSetDevice } = cudaRuntime();
  const status = await offThread(cudaSetDevice.ptr, CUDA_RUNTIME_SYMBOLS.cudaSetDevice)(index);
  if (status !== 0) logger.debug(`GPU ${index} is not set up in advance: cudaSetDevice returned ${status}`);
}

/** @throws {NativeError} If the GPU or its engines cannot be used */
function openEngines(index: number): SharedEngines {
  let engines = shared.get(index);
  if (engines === undefined) {
    const device = Device.open(index);
    try {
      engines = { device, nvdec: Nvdec.open(device, { idle: LEAST_IDLE }), preparing: new Set(), users: 0, videos: 0 };
    } catch (error) {
      device.close();
      throw error;
    }
    shared.set(index, engines);
  }
  engines.users += 1;
  return engines;
}

/** @returns resolves when they are closed, or go on for others */
async function closeEngines(index: number): Promise<void> {
  const engines = shared.get(index)!;
  engines.users -= 1;
  if (engines.users === 0) await closeUnused(index, engines);
}

/** Destroying the decoders that wait for the next video takes a while in which others use the GPU; a video may come meanwhile. */
async function closeUnused(index: number, engines: SharedEngines): Promise<void> {
  const { nvdec, device } = engines;
  const isUsed = (): boolean => engines.users > 0;
  const close = (): void => {
    if (isUsed() || shared.get(index) !== engines) return;
    shared.delete(index);
    // Each is closed whatever happens to the other.
    using owned = new DisposableStack();
    owned.use(device);
    owned.use(nvdec);
  };
  // A thread that destroys a decoder while the process ends would use a driver that is gone.
  process.once("exit", close);
  try {
    if (nvdec.left > 0) await nvdec.empty(isUsed);
    close();
  } catch (error) {
    logger.warn(`The video engines of GPU ${index} did not close: ${inShort(error as Error)}`);
  } finally {
    process.off("exit", close);
  }
}

/** Each video that is opened again finds the decoder that it left. @param by videos more, or less */
function countVideos(engines: SharedEngines, by: number): void {
  engines.videos += by;
  engines.nvdec.keep(Math.min(Math.max(engines.videos, LEAST_IDLE), SHIM_CONSTANTS.BT_VIDEO_IDLE));
}

/** `yuv420p10le`, `nv12`, `p010le`, `yuvj420p`, `gray`, `gray10le`. */
const PLANES = /^(?:yuvj?(4\d\d)p|(nv12)|p0(1\d)|gray)(\d+)?(?:[lb]e)?$/;
const CHROMAS: Readonly<Record<string, VideoChroma>> = { "420": "4:2:0", "422": "4:2:2", "444": "4:4:4" };

/** How a video is coded; `undefined` where its pixels are no Y, U, V. */
function videoForm({ pixelFormat, width, height }: VideoInfo, codec: VideoCodec): VideoForm | undefined {
  const match = PLANES.exec(pixelFormat);
  if (match === null) return undefined;
  const [, subsampling, , deep, bits = "8"] = match;
  const chroma = pixelFormat.startsWith("gray") ? "mono" : (CHROMAS[subsampling ?? "420"] ?? undefined);
  return chroma && { codec, chroma, bits: Number(deep ?? bits), width, height };
}

/** Why ffmpeg decodes a video whatever the card, in one clause. */
function formRefusal(info: VideoInfo, { size, pixels, decoderArguments }: VideoConfig): string | VideoForm {
  if (pixels === "rgb") return 'GPUs decode to NV12, and `pixels` is "rgb"';
  if (size !== undefined && (size[0] !== info.width || size[1] !== info.height)) return "`size` is for ffmpeg to make";
  if (decoderArguments.length > 0) return "`decoderArguments` are ffmpeg's";
  if (info.rotation !== 0) return `its frames are to be turned by ${info.rotation} degrees`;
  if (!isVideoCodec(info.codec)) return `GPUs do not decode ${info.codec}`;
  return videoForm(info, info.codec) ?? `GPUs do not decode to its pixels, ${info.pixelFormat || "which are unknown"}`;
}

/** A GPU that decodes one video. */
export class GpuDecoding {
  readonly #index: number;
  readonly #engines: SharedEngines;
  readonly #codec: VideoCodec;
  #prepared: NvdecDecoder | undefined;
  /** Decoders on their way out. */
  readonly #closing = new Set<Promise<void>>();
  #closed: Promise<void> | undefined;

  private constructor(index: number, engines: SharedEngines, codec: VideoCodec) {
    this.#index = index;
    this.#engines = engines;
    this.#codec = codec;
    countVideos(engines, 1);
  }

  /** Have a GPU decode a video. @returns why it does not, in one clause, where it does not */
  static async choose(info: VideoInfo, config: VideoConfig, index: number): Promise<GpuDecoding | string> {
    const form = formRefusal(info, config);
    if (typeof form === "string") return form;
    const reason = nvdecUnavailable();
    if (reason !== undefined) return reason;
    try {
      await ready.getOrInsertComputed(index, setUp);
      const engines = openEngines(index);
      const refusal = engines.nvdec.refusal(form);
      if (refusal === undefined) return new GpuDecoding(index, engines, form.codec);
      void closeEngines(index);
      return refusal;
    } catch (error) {
      ready.delete(index);
      if (!(error instanceof NativeError || error instanceof LibraryLoadError)) throw error;
      return inShort(error);
    }
  }

  /** The error of a video that a GPU was to decode and does not. */
  static refusal(name: string, reason: string): UnsupportedVideoError {
    const text = message(
      `decode ${JSON.stringify(name)} on the GPU`,
      reason,
      'decode: "cpu" (--decode cpu) lets ffmpeg do it',
    );
    return new UnsupportedVideoError(text, reason);
  }

  /**
   * Make the decoder of a live source before its first packet is asked for: a camera waits for nobody, and what it sends while the
   * driver makes decoders, one after the other, would be late. Sources that are opened together begin together, as decoding stands
   * still while others are made.
   *
   * @throws {ClosedError} If {@linkcode GpuDecoding.stopPreparing} is called meanwhile
   */
  async prepare(info: VideoInfo): Promise<void> {
    if (!info.isLive || info.sequence === undefined) return;
    const { preparing } = this.#engines;
    this.#prepared ??= this.#open(info);
    const ready = this.#prepared.ready();
    preparing.add(ready);
    try {
      await ready;
    } finally {
      preparing.delete(ready);
    }
    await Promise.allSettled(preparing);
  }

  /** Nobody waits for a decoder any more. */
  stopPreparing(): void {
    if (this.#prepared !== undefined) this.#closeLater(this.#prepared);
    this.#prepared = undefined;
  }

  #open({ isLive, sequence }: VideoInfo): NvdecDecoder {
    const { tellsOrder, ...form } = sequence ?? { tellsOrder: false };
    return NvdecDecoder.open(this.#engines.nvdec, {
      codec: this.#codec,
      surfaces: SURFACES[isLive ? "live" : "recorded"],
      // Without a delay images come in the order of decoding, but where the stream says when each is due.
      delay: isLive && tellsOrder ? 0 : 1,
      expected: isLive && "width" in form ? form : undefined,
    });
  }

  /**
   * Decode from one place on.
   *
   * @param onCopy told of each frame whose pixels are copied to the host
   */
  start(job: DecodeJob, packets: PacketSource, onCopy: () => void): DeviceRun {
    const { device } = this.#engines;
    const { width, height } = job.form;
    const surfaces = SURFACES[job.info.isLive ? "live" : "recorded"];
    using made = new DisposableStack();
    openEngines(this.#index);
    made.defer(() => void closeEngines(this.#index));
    const decoder = made.use(this.#prepared ?? this.#open(job.info));
    this.#prepared = undefined;
    const frames = made.use(new DeviceFrames(device, { width, height }, surfaces - SPARE_SURFACES, onCopy));
    made.move();
    const close = (): void => this.#closeLater(decoder, () => closeEngines(this.#index));
    return new DeviceRun(job, { packets, decoder, frames, close });
  }

  /** Nothing waits for a decoder to end but {@linkcode GpuDecoding.close}. */
  #closeLater(decoder: NvdecDecoder, then?: () => Promise<void>): void {
    // Nobody may be there to be told, and what the decoder held is let go of all the same.
    const tell = (error: unknown): void => logger.warn(`${decoder.label} did not close: ${inShort(error as Error)}`);
    const closing = decoder.closeLater().catch(tell).then(then);
    this.#closing.add(closing);
    void closing.finally(() => this.#closing.delete(closing));
  }

  /** The video needs it no longer; its runs may. @returns resolves when all that nobody holds is closed */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.stopPreparing();
    countVideos(this.#engines, -1);
    await Promise.all([...this.#closing, closeEngines(this.#index)]);
  }
}
