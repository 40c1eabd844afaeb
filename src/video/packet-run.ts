/** @module PacketRun: the packets of a video, as a decoder of elementary streams takes them, from its start to its end. */

import { grownLength } from "../core/units.ts";
import { inputWords } from "./address.ts";
import { type DecodeJob, FfmpegRun, type RunEnd, seekWords } from "./decode-run.ts";
import { LOG_LEVEL } from "./ffmpeg.ts";
import { BYTES_FD, LINES_FD } from "./ffmpeg-pipes.ts";

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
