/** @module Nvdec: the video engines of a device: what they decode, and the decoders that they keep for the next stream. */

import { BunTensorRtError, inShort, LibraryLoadError, message } from "../core/errors.ts";
import { Resource } from "../core/resource.ts";
import { type Handle, plural } from "../core/units.ts";
import { checkDriver } from "../cuda/check.ts";
import type { Device } from "../cuda/device.ts";
import { OutCells } from "../ffi/memory.ts";
import { nvcuvidLibrary } from "../ffi/nvcuvid.ts";
import { SHIM_STATUS, shim } from "../ffi/shim.ts";
import { type NvdecOptions, parseNvdecOptions } from "./nvdec-options.ts";
import { nvdecNews } from "./nvdec-waits.ts";
import {
  CHROMAS,
  CODEC_NUMBERS,
  formTitle,
  refusalOf,
  type VideoCodec,
  type VideoDecoderCaps,
  type VideoForm,
} from "./video-form.ts";

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
