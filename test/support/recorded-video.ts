/** @module RecordedVideo: a stream that `scripts/video-streams.ts` has prepared as a video, for a card where there is no ffmpeg. */

import { sequenceHeaderOf } from "../../src/nvdec/sequence-header.ts";
import type { RunEnd } from "../../src/video/decode-run.ts";
import type { PacketSource, VideoPacket } from "../../src/video/device-run.ts";
import type { VideoInfo } from "../../src/video/probe.ts";
import type { VideoOptions } from "../../src/video/video-options.ts";
import { VideoSource } from "../../src/video/video-source.ts";
import type { ReadStream } from "./video-streams.ts";

const SIZES: Readonly<Record<string, readonly [width: number, height: number]>> = {
  "h264-vtest": [768, 576],
  "h264-cropped": [322, 242],
  camera: [320, 240],
};
const HD = [1920, 1080] as const;

/** How a stream is read. */
export interface RecordedOptions {
  /** How often, one after the other. Default once. */
  readonly rounds?: number;
  /** Frames per second at which packets come, as of a camera. Default: at once. */
  readonly rate?: number;
  /** From when the first packet is asked for, as a camera is that begins to send, until it comes. Default 0. */
  readonly phaseMs?: number;
}

/** The packets of a stream, again and again. Its first packet is a key frame. */
class RecordedPackets implements PacketSource {
  readonly zeroMs = 0;
  readonly #stream: ReadStream;
  readonly #options: RecordedOptions;
  /** Of one round. */
  readonly #lengthUs: number;
  #at = 0;
  #startMs: number | undefined;
  #isStopped = false;

  constructor(stream: ReadStream, options: RecordedOptions) {
    this.#stream = stream;
    this.#options = options;
    const times = stream.frames.map(([timestampUs]) => timestampUs);
    this.#lengthUs = Math.round((times.at(-1)! - times[0]!) * (times.length / (times.length - 1)));
  }

  async next(): Promise<VideoPacket | undefined> {
    const { data, packets } = this.#stream;
    const { rounds = 1, rate, phaseMs = 0 } = this.#options;
    const at = this.#at++;
    const round = Math.floor(at / data.length);
    if (this.#isStopped || round >= rounds) return undefined;
    if (rate !== undefined) {
      this.#startMs ??= performance.now() + phaseMs;
      const waitMs = this.#startMs + (at * 1000) / rate - performance.now();
      if (waitMs > 0) await Bun.sleep(waitMs);
    }
    const [timestampUs] = packets[at % data.length]!;
    return { bytes: data[at % data.length]!, timestampUs: timestampUs + round * this.#lengthUs, isHidden: false };
  }

  stop(): void {
    this.#isStopped = true;
  }

  finish(): Promise<RunEnd> {
    return Promise.resolve({ code: 0, error: undefined, isTruncated: false });
  }

  close(): void {
    this.#isStopped = true;
  }
}

/** The video. */
export function recordedVideo(
  stream: ReadStream,
  recorded: RecordedOptions = {},
  options: VideoOptions = {},
): Promise<VideoSource> {
  const [width, height] = SIZES[stream.name] ?? HD;
  const isLive = recorded.rate !== undefined;
  const info: VideoInfo = {
    ...{ width, height, rate: { numerator: 25, denominator: 1 }, hasConstantRate: false, startMs: 0, rotation: 0 },
    ...{ frames: isLive ? undefined : stream.frames.length * (recorded.rounds ?? 1), durationMs: undefined },
    ...{ hasTimes: true, codec: stream.codec, container: stream.codec, isLive, tellsMatrix: false },
    ...{ yuvMatrix: height > 576 ? "bt709" : "bt601", yuvRange: "limited" },
    pixelFormat: stream.bits === 8 ? "yuv420p" : "yuv420p10le",
    sequence: isLive ? sequenceHeaderOf(stream.codec, stream.data[0]!) : undefined,
  };
  const once = { reconnect: false, ...options } as const;
  return VideoSource.ofPackets(stream.name, info, once, () => Promise.resolve(new RecordedPackets(stream, recorded)));
}
