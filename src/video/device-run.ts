/**
 * @module DeviceRun: the packets of a video, which ffmpeg reads and does not decode, and its frames, which a GPU decodes beside that.
 */

import { CudaError, inShort, UnsupportedVideoError } from "../core/errors.ts";
import { logger, RepeatedLine } from "../core/log.ts";
import { grownLength } from "../core/units.ts";
import { type ImageForm, usualStandard, type YuvRange, type YuvStandard } from "../image/image.ts";
import type { DecodedFrame } from "../nvdec/nvdec.ts";
import type { NvdecDecoder } from "../nvdec/nvdec-decoder.ts";
import { inputWords } from "./address.ts";
import {
  arrives,
  type DecodeJob,
  FfmpegRun,
  type FrameRun,
  type RunEnd,
  seekWords,
  selectionRules,
} from "./decode-run.ts";
import type { DeviceFrames } from "./device-frames.ts";
import { BYTES_FD, LINES_FD, LOG_LEVEL } from "./ffmpeg.ts";
import { FrameSelection } from "./probe.ts";
import { type FrameMemory, rationalValue } from "./video-frame.ts";

/** What a decoder is given at a time: mostly one frame. */
export interface VideoPacket {
  /** Valid until the next one is asked for. */
  readonly bytes: Uint8Array;
  /** When its frame is shown, in microseconds; NaN where the stream holds no times. */
  readonly timestampUs: number;
  /** True for a frame that others need, and nobody is to see. */
  readonly isHidden: boolean;
}

/** The packets of a video from one place on. Await `finish` before it is closed. */
export interface PacketSource {
  /** Where its times begin, in milliseconds from the beginning of the file. */
  readonly zeroMs: number;
  /** The next packet in the order of decoding; `undefined` after the last. */
  next(): Promise<VideoPacket | undefined>;
  /** Have it end, and what waits for it with it. */
  stop(isGentle: boolean): void;
  /** Wait for its end. */
  finish(): Promise<RunEnd>;
  close(): void;
}

/** What makes elementary streams of packets as files hold them: Annex B of H.264 and HEVC, and headers where they are needed. */
const FILTERS: Readonly<Record<string, string>> = {
  h264: "h264_mp4toannexb",
  hevc: "hevc_mp4toannexb",
  mpeg1video: "dump_extra",
  mpeg2video: "dump_extra",
  mpeg4: "mpeg4_unpack_bframes,dump_extra",
};

/** Cameras may send what a decoder needs at first in the answer to DESCRIBE alone. */
const DESCRIBED = /^rtsps?:/i;

function filterWords({ info: { codec }, address: { input } }: DecodeJob): string[] {
  const filter = FILTERS[codec];
  if (filter === undefined) return [];
  const isDescribed = DESCRIBED.test(input) && !filter.includes("dump_extra");
  return ["-bsf:v", isDescribed ? `${filter},dump_extra` : filter];
}

/** Arguments after the program's path: the bytes of all packets on one descriptor, a line about each on another. */
function packetArguments(job: DecodeJob): string[] {
  const { address, config } = job;
  const copy = ["-map", "0:V:0", "-c:v", "copy", ...filterWords(job)];
  // Times are the stream's own, also those before 0, and nothing waits for more to come.
  const plain = ["-avoid_negative_ts", "disabled", "-flush_packets", "1"];
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...inputWords(address, config.inputArguments),
    ...seekWords(job),
    ...["-i", address.input],
    // The line comes first: bytes wait for their reader, who waits for the line.
    ...copy,
    ...plain,
    ...["-f", "framecrc", `pipe:${LINES_FD}`],
    ...copy,
    ...plain,
    ...["-f", "data", `pipe:${BYTES_FD}`],
  ];
}

/** `#tb 0: 1/30000`, or stream, time of decoding, time, duration, bytes, checksum and flags: `0, -1001, 3003, 1001, 1828, 0x4d70, F=0x0`. */
const LINE = /^(?:#tb 0: (\d+)\/(\d+)|0,\s*-?\d+,\s*(-?\d+),\s*\d+,\s*(\d+), 0x[0-9a-f]+(?:, F=0x([0-9A-F]+))?.*)$/;
/** Below this it is no time: AV_NOPTS_VALUE. */
const LEAST_TIME = -(2 ** 62);
/** AV_PKT_FLAG_DISCARD */
const DISCARD = 4;

/** Packets that ffmpeg reads and does not decode. */
export class PacketRun implements PacketSource {
  readonly #run: FfmpegRun;
  /** Microseconds of a tick of the stream's clock, as a fraction. */
  #tick: readonly [numerator: number, denominator: number] = [1, 1];
  #memory: Uint8Array = new Uint8Array(0);

  private constructor(run: FfmpegRun) {
    this.#run = run;
  }

  /** Start reading. @throws {LibraryLoadError} If ffmpeg is not installed */
  static async start(job: DecodeJob): Promise<PacketRun> {
    return new PacketRun(await FfmpegRun.start(job, packetArguments));
  }

  get zeroMs(): number {
    return this.#run.zeroMs;
  }

  async next(): Promise<VideoPacket | undefined> {
    while (true) {
      const line = await this.#run.nextLine(LINE);
      if (line === undefined) return undefined;
      const [, numerator, denominator, time, byteLength, flags = "0"] = line;
      if (byteLength === undefined) {
        this.#tick = [Number(numerator) * 1e6, Number(denominator)];
        continue;
      }
      this.#run.beLoud();
      const bytes = this.#room(Number(byteLength));
      if (!(await this.#run.read(bytes))) return undefined;
      const ticks = Number(time);
      const [tick, parts] = this.#tick;
      const timestampUs = ticks < LEAST_TIME ? Number.NaN : Math.round((ticks * tick) / parts);
      return { bytes, timestampUs, isHidden: (Number.parseInt(flags, 16) & DISCARD) !== 0 };
    }
  }

  stop(isGentle: boolean): void {
    this.#run.stop(isGentle);
  }

  finish(): Promise<RunEnd> {
    return this.#run.finish();
  }

  close(): void {
    this.#run.close();
  }

  #room(byteLength: number): Uint8Array {
    if (this.#memory.length < byteLength) this.#memory = new Uint8Array(new ArrayBuffer(grownLength(byteLength)));
    return this.#memory.subarray(0, byteLength);
  }
}

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
