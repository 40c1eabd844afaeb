/**
 * @module Probe: what ffprobe tells of a video before it is decoded; and which of its frames are wanted, by their number or their time: as
 * a filter of ffmpeg, and as code; and when each is shown.
 */

import { message, VideoError } from "../core/errors.ts";
import { usualStandard, type YuvRange } from "../image/image.ts";
import { isVideoCodec } from "../nvdec/nvdec-options.ts";
import { type SequenceHeader, sequenceHeaderOf } from "../nvdec/sequence-header.ts";
import { cameraHint, inputWords, type VideoAddress } from "./address.ts";
import { APART, endWithUs, findFfmpeg, MessageLog } from "./ffmpeg.ts";
import { parseRational, type Rational, rationalValue } from "./video-frame.ts";
import type { VideoConfig } from "./video-options.ts";

/** What is known of a video. */
export interface VideoInfo {
  /** Size of the frames in pixels, after the rotation that the file asks for. */
  readonly width: number;
  readonly height: number;
  /** Frames per second, on average; `undefined` where the source does not tell. A file without times has ffmpeg's guess. */
  readonly rate: Rational | undefined;
  /** True if the container, an MP4 or MOV, tells that all frames are equally long; the others do not tell. */
  readonly hasConstantRate: boolean;
  /** Frames of the whole, by the container's own word, else by its length; `undefined` for a live source. */
  readonly frames: number | undefined;
  /** When the first image is due, in milliseconds: later than 0 where the sound comes first. */
  readonly startMs: number;
  /** In milliseconds. */
  readonly durationMs: number | undefined;
  /** False for a format without times, such as raw H.264 and MJPEG over HTTP: live frames have the time they arrive at. */
  readonly hasTimes: boolean;
  /** ffmpeg's name: `h264`. */
  readonly codec: string;
  /** ffmpeg's names: `mpegts`, `mov,mp4,m4a,3gp,3g2,mj2`. */
  readonly container: string;
  /**
   * Clockwise degrees the frames are turned by before they are handed out: 0, 90, 180 or 270. By others what is seen in a frame is
   * turned, whose size stays.
   */
  readonly rotation: number;
  /** True for a source that has no end of its own: a camera, a stream. */
  readonly isLive: boolean;
  /** Whether its pixels are Y, U, V, and by which matrix; `undefined` where the stream does not tell. */
  readonly yuvMatrix: "bt601" | "bt709" | "bt2020" | undefined;
  /** True if the stream itself says so; else it is the usual one for its height. */
  readonly tellsMatrix: boolean;
  /** Which levels are black and white; `"limited"` where the stream does not tell. */
  readonly yuvRange: YuvRange;
  /** ffmpeg's name of how the pixels lie: `yuv420p`, `yuv420p10le`; empty where it is not known. */
  readonly pixelFormat: string;
  /** What a live stream of H.264 or HEVC says that a GPU's decoder is made by, where it is told in front of the packets. */
  readonly sequence?: SequenceHeader | undefined;
}

interface ProbedStream {
  readonly codec_name?: string;
  readonly width?: number;
  readonly height?: number;
  readonly pix_fmt?: string;
  readonly color_space?: string;
  readonly color_range?: string;
  readonly r_frame_rate?: string;
  readonly avg_frame_rate?: string;
  readonly nb_frames?: string;
  readonly start_time?: string;
  readonly duration?: string;
  readonly extradata?: string;
  readonly tags?: { readonly rotate?: string };
  readonly side_data_list?: readonly { readonly rotation?: number }[];
}

interface Probed {
  readonly streams?: readonly ProbedStream[];
  readonly format?: { readonly start_time?: string; readonly duration?: string; readonly format_name?: string };
}

const ENTRIES =
  "stream=codec_name,width,height,pix_fmt,color_space,color_range,r_frame_rate,avg_frame_rate,nb_frames,start_time,duration,extradata" +
  ":stream_tags=rotate:stream_side_data=rotation:format=start_time,duration,format_name";

/** Formats that hold one image after the other and no times; ffmpeg would count 25 a second. */
const WITHOUT_TIMES =
  /^(mp?jpeg|mjpeg_2000|h26[134]|hevc|vvc|evc|m4v|mpegvideo|obu|cavsvideo|avs[23]|dirac|vc1|dnxhd|\w+_pipe)$/;
/** Options by which a caller says the times. */
const OWN_TIMES: readonly string[] = ["-framerate", "-r", "-use_wallclock_as_timestamps"];

/** MP4 and MOV count their frames and their times; the average of the others is what their first frames let expect. */
const COUNTS_FRAMES = /\bmp4\b/;

/** 0 for `N/A`. */
function secondsOf(text: string | undefined): number {
  const value = Number(text);
  return Number.isFinite(value) ? value : 0;
}

function positive(text: string | undefined): number | undefined {
  const value = secondsOf(text);
  return value > 0 ? value : undefined;
}

function matrixOf({ pix_fmt = "", color_space = "unknown", height = 0 }: ProbedStream): VideoInfo["yuvMatrix"] {
  if (!/^(yuv|nv|p0|uyvy|yuyv|y2)/.test(pix_fmt)) return undefined;
  if (color_space === "bt709") return "bt709";
  if (color_space.startsWith("bt2020")) return "bt2020";
  if (color_space !== "unknown") return "bt601";
  return usualStandard(height) === "BT.709" ? "bt709" : "bt601";
}

function rangeOf({ pix_fmt = "", color_range }: ProbedStream): YuvRange {
  return color_range === "pc" || pix_fmt.startsWith("yuvj") ? "full" : "limited";
}

function rotationOf({ tags, side_data_list }: ProbedStream): number {
  // The matrix in the file turns against the clock, the tag of older files with it.
  const matrix = side_data_list?.find(({ rotation }) => rotation !== undefined)?.rotation;
  const degrees = matrix === undefined ? Number(tags?.rotate ?? 0) : -matrix;
  // A matrix of nothing is told as -2^63.
  if (!Number.isFinite(degrees) || Math.abs(degrees) > 360) return 0;
  const quarters = Math.round(degrees / 90) * 90;
  // Only by these ffmpeg turns the frame as a whole; by others it turns what is in it.
  const turned = Math.abs(degrees - quarters) < 1 ? quarters : Math.round(degrees);
  return (turned + 360) % 360;
}

/** `00000000: 0164 000a ffe1 0018  .d......`, a line for 16 bytes. */
const DUMPED = /^[0-9a-f]{8}: ((?:[0-9a-f]{2,4} )+)/gm;

function sequenceOf({ codec_name = "", extradata = "" }: ProbedStream): SequenceHeader | undefined {
  if (!isVideoCodec(codec_name)) return undefined;
  const digits = Array.from(extradata.matchAll(DUMPED), ([, bytes = ""]) => bytes.replaceAll(" ", "")).join("");
  return sequenceHeaderOf(codec_name, Buffer.from(digits, "hex"));
}

function infoOf(
  stream: ProbedStream,
  { format = {} }: Probed,
  { kind }: VideoAddress,
  { live, inputArguments }: VideoConfig,
): VideoInfo {
  const rotation = rotationOf(stream);
  const isTurned = rotation % 180 === 90;
  const { width = 0, height = 0 } = stream;
  const average = parseRational(stream.avg_frame_rate);
  const told = average ?? parseRational(stream.r_frame_rate);
  const seconds = positive(stream.duration) ?? positive(format.duration);
  const isLive = live ?? (kind === "camera" || (kind === "network" && seconds === undefined));
  const container = format.format_name ?? "unknown";
  const hasTimes = !WITHOUT_TIMES.test(container) || inputArguments.some((word) => OWN_TIMES.includes(word));
  const rate = isLive && !hasTimes ? undefined : told;
  const isCounted = COUNTS_FRAMES.test(container);
  const counted = positive(stream.nb_frames);
  const estimated = seconds === undefined || rate === undefined ? undefined : Math.round(seconds * rationalValue(rate));
  return {
    width: isTurned ? height : width,
    height: isTurned ? width : height,
    rate,
    hasConstantRate: average !== undefined && stream.avg_frame_rate === stream.r_frame_rate && isCounted,
    frames: isLive ? undefined : (counted ?? estimated),
    startMs: isLive ? 0 : Math.max(0, secondsOf(stream.start_time) - secondsOf(format.start_time)) * 1000,
    durationMs: isLive || seconds === undefined ? undefined : seconds * 1000,
    hasTimes,
    codec: stream.codec_name ?? "unknown",
    container,
    rotation,
    isLive,
    yuvMatrix: matrixOf(stream),
    tellsMatrix: (stream.color_space ?? "unknown") !== "unknown",
    yuvRange: rangeOf(stream),
    pixelFormat: stream.pix_fmt ?? "",
    sequence: isLive ? sequenceOf(stream) : undefined,
  };
}

/**
 * Ask ffprobe about a video's first image stream.
 *
 * @throws {VideoError} If it cannot be read, is no video, or does not answer in time
 * @throws {LibraryLoadError} If ffprobe is not installed
 */
export async function probeVideo(address: VideoAddress, config: VideoConfig): Promise<VideoInfo> {
  const { inputArguments, openTimeoutMs, signal } = config;
  const refuse = (found: string, hint: string): never => {
    const text = message(`open the video ${JSON.stringify(address.name)}`, found, hint);
    throw new VideoError(text, address.name);
  };
  signal?.throwIfAborted();
  const wanted = [
    "-loglevel",
    "level+error",
    "-show_data",
    "-select_streams",
    "V:0",
    "-show_entries",
    ENTRIES,
    "-of",
    "json",
  ];
  const words = [...wanted, ...inputWords(address, inputArguments), "-i", address.input];
  const pipes = { stdin: "ignore", stdout: "pipe", stderr: "pipe", ...APART } as const;
  const child = Bun.spawn([findFfmpeg("ffprobe"), ...words], pipes);
  endWithUs(child);
  const late = AbortSignal.timeout(openTimeoutMs);
  const stop = (): void => child.kill("SIGKILL");
  for (const end of [late, signal]) end?.addEventListener("abort", stop);
  const log = new MessageLog(child.stderr, address.name, address.input, 0);
  try {
    const [text] = await Promise.all([child.stdout.text(), log.ended]);
    const code = await child.exited;
    signal?.throwIfAborted();
    if (late.aborted)
      return refuse(`it did not answer within ${openTimeoutMs} ms`, "check the address and the network");
    const probed = (text.trim() === "" ? {} : JSON.parse(text)) as Probed;
    const stream = probed.streams?.[0];
    if (stream === undefined) {
      const said = log.last(`ffprobe ended with code ${code}`).replace(`${address.name}: `, "");
      if (log.errors.some((line) => line.startsWith("Format not on whitelist"))) {
        const hint = "only what is named .m3u8, .mpd, .ffconcat or .sdp may name other files and addresses";
        return refuse("it is a playlist, or of another format that is not opened by that name", hint);
      }
      if (log.errors.some((line) => /^Protocol '\w+' not on whitelist|^Unsafe file name/.test(line))) {
        const hint = "name files by relative paths in it, or open the playlist by the address it came from";
        return refuse("it is a playlist, and a local one may only name files beside or below it", hint);
      }
      const why = code === 0 ? "it has no video stream" : said;
      if (address.kind === "camera") return refuse(`ffmpeg gets no video from it (${why})`, cameraHint());
      return address.kind === "network"
        ? refuse(`ffmpeg gets no video from it (${why})`, "check the address, and that it can be reached")
        : refuse(`it is no video that ffmpeg can read (${why})`, "check that the file is complete");
    }
    const info = infoOf(stream, probed, address, config);
    if (info.width < 1 || info.height < 1) {
      const why = log.last(`${info.codec} without a size`);
      return refuse(`its video stream has no size (${why})`, "check that the file is complete");
    }
    return info;
  } finally {
    for (const end of [late, signal]) end?.removeEventListener("abort", stop);
  }
}

/** What decides which frames are wanted. */
export interface SelectionRules {
  readonly config: Pick<VideoConfig, "every" | "fps" | "startMs" | "durationMs">;
  /** The clock of a live source begins anew with each connection: the reader watches for its end. */
  readonly isLive: boolean;
  /** Where the clock of the times begins, in seconds from the beginning of the file. */
  readonly zeroSeconds: number;
  /** True where the file is sought: the first frame comes even in front of the start, to tell that nothing is missed. */
  readonly isSought: boolean;
}

/** Seconds by which a time may be rounded. */
const ROUNDED = 1e-6;
/** This much of a slot of 1 / fps seconds: far below a frame, far above the rounding of a sum of times. */
const SLACK = 1e-4;

/** Frames that are wanted of a video, about; `undefined` where nobody knows. */
export function expectedFrames(
  { frames, durationMs: wholeMs }: Pick<VideoInfo, "frames" | "durationMs">,
  { every, fps, startMs, durationMs }: SelectionRules["config"],
): number | undefined {
  if (frames === undefined) return undefined;
  if (wholeMs === undefined) return every === 1 && fps === undefined ? frames : undefined;
  const partMs = Math.max(0, Math.min(wholeMs - startMs, durationMs ?? Number.POSITIVE_INFINITY));
  const kept = Math.ceil(Math.round((frames * partMs) / wholeMs) / every);
  return fps === undefined ? kept : Math.min(kept, Math.ceil((partMs / 1000) * fps));
}

/** Start and end in seconds of the clock. */
function spanOf({ config, isLive, zeroSeconds }: SelectionRules): readonly [start: number, end: number] {
  const { startMs, durationMs = Number.POSITIVE_INFINITY } = config;
  const start = isLive ? 0 : startMs / 1000 - zeroSeconds;
  return [start, isLive ? Number.POSITIVE_INFINITY : start + durationMs / 1000];
}

/**
 * Filters that keep frames by their number or their time: the first one of each slot of 1 / fps seconds. Where the file is
 * sought, nothing comes before a key frame.
 */
export function selectionFilters(rules: SelectionRules): string[] {
  const { every, fps } = rules.config;
  const [start, end] = spanOf(rules);
  const parts: string[] = [];
  // Variables of the expression live as long as the filter.
  if (every > 1) parts.push(`not(mod(st(0,ld(0)+1)-1,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor((${time}-${start.toFixed(6)})*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  const kept = parts.length === 0 ? "1" : parts.join("*");
  const isEarly = `lt(t,${(start - ROUNDED).toFixed(6)})`;
  let wanted = kept;
  if (rules.isSought) {
    wanted = `if(key*not(ld(1)),st(1,1)*if(${isEarly},1,${kept}),ld(1)*if(${isEarly},0,${kept}))`;
  } else if (start > 0) wanted = `if(${isEarly},0,${kept})`;
  return [
    ...(end === Number.POSITIVE_INFINITY ? [] : [`trim=end=${Math.max(0, end - ROUNDED).toFixed(6)}`]),
    ...(wanted === "1" ? [] : [`select='${wanted}'`]),
  ];
}

/** The same of frames that come one after the other, the first of which is a key frame. */
export class FrameSelection {
  readonly #every: number;
  readonly #fps: number | undefined;
  readonly #start: number;
  readonly #end: number;
  readonly #isSought: boolean;
  #isFirst = true;
  #count = 0;
  #slot = Number.NEGATIVE_INFINITY;

  constructor(rules: SelectionRules) {
    const [start, end] = spanOf(rules);
    this.#every = rules.config.every;
    this.#fps = rules.config.fps;
    this.#start = start;
    this.#end = end;
    this.#isSought = rules.isSought;
  }

  /** What becomes of the next frame. @param microseconds of the clock */
  next(microseconds: number): "keep" | "skip" | "end" {
    const time = microseconds / 1e6;
    if (time >= this.#end - ROUNDED) return "end";
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    if (time < this.#start - ROUNDED) {
      if (!(isFirst && this.#isSought)) return "skip";
      return "keep";
    }
    if (this.#count++ % this.#every !== 0) return "skip";
    if (this.#fps === undefined) return "keep";
    const slot = Math.floor((time - this.#start) * this.#fps + SLACK);
    if (slot <= this.#slot) return "skip";
    this.#slot = slot;
    return "keep";
  }
}

/** When the frames of a source are shown. A live source's clock begins anew with each connection; this one goes on. */
export class SourceClock {
  /** How long a frame is shown, by the average rate; 0 where that is not known. */
  readonly frameMs: number;
  readonly #isLive: boolean;
  readonly #endMs: number;
  /** Added to the times of this connection, so that they go on where those of the last one ended. */
  #offsetMs = 0;
  #firstAt: number | undefined;
  #lastMs: number | undefined;

  constructor(
    { rate, isLive }: Pick<VideoInfo, "rate" | "isLive">,
    { fps, every, durationMs }: SelectionRules["config"],
  ) {
    const perSecond = fps ?? (rate === undefined ? 0 : rationalValue(rate) / every);
    this.frameMs = perSecond === 0 ? 0 : 1000 / perSecond;
    this.#isLive = isLive;
    this.#endMs = isLive ? (durationMs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
  }

  /**
   * Milliseconds in the video.
   *
   * @param microseconds in the connection; NaN where it does not tell
   * @param zeroMs       of the connection's first frame: where its clock begins
   */
  timeOf(microseconds: number, zeroMs: number | undefined): number {
    const now = performance.now();
    this.#firstAt ??= now;
    const inRun = Number.isNaN(microseconds) ? undefined : microseconds / 1000;
    if (zeroMs !== undefined) {
      // A server may have sent more than its time: the next connection must not begin before what was seen.
      const soonestMs = this.#lastMs === undefined ? 0 : this.#nextMs;
      this.#offsetMs = this.#isLive ? Math.max(now - this.#firstAt, soonestMs) - (inRun ?? 0) : zeroMs;
    }
    return inRun === undefined ? this.#nextMs : inRun + this.#offsetMs;
  }

  /** A frame was handed out, or would have been. */
  shown(timestampMs: number): void {
    this.#lastMs = timestampMs;
  }

  /** True from the end on that a live source was given. @param nextMs when the next frame is due */
  isPastEnd(nextMs: number = this.#nextMs): boolean {
    return nextMs >= this.#endMs;
  }

  get #nextMs(): number {
    return (this.#lastMs ?? 0) + this.frameMs;
  }
}
