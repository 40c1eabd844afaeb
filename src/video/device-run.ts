/** @module DeviceRun: the frames of a video that a GPU decodes, from packets that are read beside it. */

import { CudaError, inShort, UnsupportedVideoError } from "../core/errors.ts";
import { logger, RepeatedLine } from "../core/log.ts";
import { type ImageForm, usualStandard, type YuvRange, type YuvStandard } from "../image/image.ts";
import type { DecodedFrame } from "../nvdec/nvdec.ts";
import type { NvdecDecoder } from "../nvdec/nvdec-decoder.ts";
import { arrives, type DecodeJob, type FrameRun, type RunEnd, selectionRules } from "./decode-run.ts";
import type { DeviceFrames } from "./device-frames.ts";
import { FrameSelection } from "./frame-selection.ts";
import type { PacketSource } from "./packet-run.ts";
import { type FrameMemory, rationalValue } from "./video-frame.ts";

/** What a run asks of a decoder. */
export type FrameDecoder = Pick<NvdecDecoder, "decode" | "flush" | "next" | "counts">;

/** What a run is made of. */
interface DeviceRunParts {
  readonly packets: PacketSource;
  readonly decoder: FrameDecoder;
  readonly frames: DeviceFrames;
  /** Close the decoder: the last frame has been given back. */
  readonly close: () => void;
}

/** Codecs of which each packet is a frame that is shown. */
const ONE_BY_ONE = /^(h264|hevc)$/;

/** Frames that are decoded on a GPU, in its memory. */
export class DeviceRun implements FrameRun {
  readonly #job: DecodeJob;
  readonly #parts: DeviceRunParts;
  readonly #selection: FrameSelection;
  readonly #feeding: Promise<void>;
  readonly #damage = new RepeatedLine((text) => logger.warn(text));
  /** Times of frames that are decoded for others alone. */
  readonly #hidden = new Set<number>();
  readonly #startedAt = performance.now();
  #form: ImageForm;
  /** What the first frame says of its colours: the video's own differ only where those of a later one do. */
  #told: { readonly standard: YuvStandard | undefined; readonly range: YuvRange } | undefined;
  /** Frames without a time of their own that were shown. */
  #shown = 0;
  #next: DecodedFrame | undefined;
  #isStopped = false;
  /** The decoder has told its end, which it does once. */
  #isEnded = false;
  /** Why no more packets go to the decoder. */
  #fault: { readonly reason: unknown } | undefined;

  constructor(job: DecodeJob, parts: DeviceRunParts) {
    this.#job = job;
    this.#parts = parts;
    this.#form = job.form;
    this.#selection = new FrameSelection(selectionRules(job, parts.packets.zeroMs));
    this.#feeding = this.#feed();
  }

  get zeroMs(): number {
    return this.#parts.packets.zeroMs;
  }

  get form(): ImageForm {
    return this.#form;
  }

  async nextTime(): Promise<number | undefined> {
    this.#skip();
    while (!this.#isStopped) {
      const frame = await this.#decoded();
      if (frame === undefined) break;
      const time = this.#timeOf(frame);
      const verdict = this.#hidden.delete(time) ? "skip" : this.#selection.next(time);
      if (verdict !== "keep") {
        frame.release();
        if (verdict === "end") this.#parts.packets.stop(false);
        if (verdict === "end") this.#isStopped = true;
        continue;
      }
      if (frame.isDamaged) this.#damage.tell(`${this.#job.address.name}: a frame is damaged; the GPU concealed it`);
      this.#next = frame;
      return time;
    }
    if (this.#fault !== undefined) throw this.#fault.reason;
    return undefined;
  }

  async take(): Promise<FrameMemory | undefined> {
    const frame = this.#next;
    this.#next = undefined;
    if (frame === undefined) return undefined;
    this.#setColours(frame);
    return this.#parts.frames.adopt(frame);
  }

  stop(isGentle: boolean): void {
    this.#isStopped = true;
    this.#parts.packets.stop(isGentle);
  }

  async finish(): Promise<RunEnd> {
    const { packets } = this.#parts;
    const wasStopped = this.#isStopped;
    this.#skip();
    try {
      // What waits for room in the decoder goes on.
      for (let frame = await this.#decoded(); frame !== undefined; frame = await this.#decoded()) frame.release();
    } catch (error) {
      logger.debug(`${this.#job.address.name}: ${(error as Error).message}`);
      packets.stop(false);
    }
    await this.#feeding;
    const end = await packets.finish();
    if (!wasStopped) this.#tellLost();
    return wasStopped ? { ...end, code: 0 } : end;
  }

  close(): void {
    const { packets, decoder, frames, close } = this.#parts;
    packets.close();
    this.#skip();
    frames.closeWhenFree(() => {
      const { created, reconfigured } = decoder.counts;
      logger.debug(`${this.#job.address.name}: ${created} decoders made, ${reconfigured} reconfigured`);
      close();
    });
  }

  /** The next frame; `undefined` from the end on. */
  async #decoded(): Promise<DecodedFrame | undefined> {
    if (this.#isEnded) return undefined;
    const frame = await this.#parts.decoder.next();
    this.#isEnded = frame === undefined;
    return frame;
  }

  /** Packets to the decoder, until there are none. It never rejects: who asks for frames is told. */
  async #feed(): Promise<void> {
    const { packets, decoder } = this.#parts;
    try {
      for (let packet = await packets.next(); packet !== undefined; packet = await packets.next()) {
        const { bytes, timestampUs, isHidden } = packet;
        if (isHidden) this.#hidden.add(timestampUs);
        await decoder.decode(bytes, Number.isNaN(timestampUs) ? 0 : timestampUs);
      }
    } catch (error) {
      this.#fault = { reason: error };
      packets.stop(false);
    }
    // A decoder that has failed says so to who asks for frames.
    await decoder.flush().catch(() => {});
  }

  /** Give back a frame that nobody has taken. */
  #skip(): void {
    this.#next?.release();
    this.#next = undefined;
  }

  /** Microseconds of the run's clock. */
  #timeOf(frame: DecodedFrame): number {
    const { info } = this.#job;
    if (info.hasTimes) return frame.timestampUs;
    if (arrives(this.#job)) return this.#shown++ === 0 ? 0 : Math.round((performance.now() - this.#startedAt) * 1000);
    return Math.round((this.#shown++ * 1e6) / (info.rate === undefined ? 25 : rationalValue(info.rate)));
  }

  #setColours({ yuvStandard: standard, yuvRange: range }: DecodedFrame): void {
    const { form, info } = this.#job;
    // Where nobody has told the colours, the frames do.
    this.#told ??= info.yuvMatrix === undefined ? { standard: undefined, range: form.yuvRange! } : { standard, range };
    const yuvStandard = standard === this.#told.standard ? form.yuvStandard : (standard ?? usualStandard(form.height));
    const yuvRange = range === this.#told.range ? form.yuvRange : range;
    if (yuvStandard === this.#form.yuvStandard && yuvRange === this.#form.yuvRange) return;
    this.#form = { ...form, yuvStandard, yuvRange };
  }

  /** Say what nobody will see. */
  #tellLost(): void {
    const { info, address } = this.#job;
    const { packets, frames } = this.#parts.decoder.counts;
    // The end of the stream is a packet as well.
    const lost = packets - frames;
    if (!ONE_BY_ONE.test(info.codec) || lost <= 0) return;
    logger.warn(`${address.name}: ${lost} of ${packets} packets gave no frame`);
  }
}

/** Why ffmpeg may do what the GPU does not: it does not decode the stream, or the driver makes no further decoder. */
export function refusalBy(error: unknown): string | undefined {
  if (error instanceof UnsupportedVideoError) return error.reason;
  return error instanceof CudaError && error.call === "cuvidCreateDecoder" ? inShort(error) : undefined;
}
