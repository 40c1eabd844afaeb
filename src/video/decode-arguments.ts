/** @module DecodeArguments: the command line of the ffmpeg that decodes. Pure. */

import type { ImageForm } from "../image/image.ts";
import { usualStandard } from "../image/yuv.ts";
import { inputWords, type VideoAddress } from "./address.ts";
import { LOG_LEVEL } from "./message-log.ts";
import type { VideoInfo } from "./probe.ts";
import type { VideoConfig } from "./video-options.ts";

/** What a command line is made from. */
export interface DecodeJob {
  readonly address: VideoAddress;
  readonly info: VideoInfo;
  readonly config: VideoConfig;
  /** How the pixels of a frame lie: without gaps, and what their colours are. */
  readonly form: ImageForm;
  /** Where the file is sought, in whole seconds, so that no time is rounded; 0 begins with its first packet. */
  readonly seekSeconds: number;
}

/** What a command line depends on beside the job. */
export interface DecodeSetting {
  /** Words that make ffmpeg neither repeat nor drop frames. */
  readonly passthrough: readonly string[];
  /** See {@linkcode zeroSeconds}. */
  readonly hasLateZero: boolean;
  /** Descriptors that are written. */
  readonly fds: { readonly frames: number; readonly times: number };
}

/** NV12 or RGB of the size that is wanted; NV12 in the stream's own colours where it can say so. */
export function frameForm({ yuvMatrix, yuvRange, ...info }: VideoInfo, { size, pixels }: VideoConfig): ImageForm {
  const [width, height] = size ?? [info.width, info.height];
  if (pixels === "rgb") return { width, height, pitchBytes: width * 3, format: "RGB" };
  const chroma = { chromaOffset: width * height, chromaPitchBytes: width + (width & 1) };
  const planes = { width, height, pitchBytes: width, format: "NV12", ...chroma } as const;
  if (yuvMatrix === undefined) return { ...planes, yuvStandard: usualStandard(height), yuvRange: "limited" };
  return { ...planes, yuvStandard: yuvMatrix === "bt601" ? "BT.601" : "BT.709", yuvRange };
}

/** Frames a second times this much of a second: far below a frame, far above the rounding of a sum of times. */
const SLACK = 1e-4;

/** True where the time of a frame is that of its arrival, as there is no other. */
function arrives({ info }: DecodeJob): boolean {
  return info.isLive && !info.hasTimes;
}

/** Seconds by which a time may be rounded. */
const ROUNDED = 1e-6;

/** Formats whose times ffmpeg lets begin with the first picture, though the sound come first. */
const MOVES_ZERO = /\b(mpegts|mpeg|hls|concat|ogg)\b/;

/** Where ffmpeg's clock begins, in seconds from the beginning of the file: where it is sought, or with the first picture. */
export function zeroSeconds({ info, seekSeconds }: DecodeJob, hasLateZero: boolean): number {
  return hasLateZero && MOVES_ZERO.test(info.container) ? Math.max(seekSeconds, info.startMs / 1000) : seekSeconds;
}

/** From where to where frames are wanted, in seconds on ffmpeg's clock. */
function wantedPart(job: DecodeJob, hasLateZero: boolean): { readonly start: number; readonly end: number } {
  const { config, info } = job;
  const { startMs, durationMs = Number.POSITIVE_INFINITY } = config;
  // The clock of a live source begins anew with each connection: its end is watched by the reader.
  if (info.isLive) return { start: 0, end: Number.POSITIVE_INFINITY };
  const start = startMs / 1000 - zeroSeconds(job, hasLateZero);
  return { start, end: start + durationMs / 1000 };
}

/** Tries to find the start, the first of them where it ought to be. */
const FIRST_STEP_SECONDS = 4;

/**
 * Where to seek for a start. Files without an index, such as MPEG-TS, are entered in the middle of a group of pictures, of
 * which no length is known: each try begins further in front.
 *
 * @returns whole seconds; 0 is the beginning of the file, where nothing can be missed
 */
export function seekSecondsOf(startMs: number, attempt: number): number {
  const back = attempt === 0 ? 0 : FIRST_STEP_SECONDS ** attempt;
  return Math.max(0, Math.floor(startMs / 1000) - back);
}

/**
 * Frames that are kept, by their number or their time: the first one of each slot of 1 / fps seconds. Where the file is
 * sought, nothing comes before a key frame, and the first one comes even in front of the start, to tell that nothing is
 * missed.
 */
function selection(job: DecodeJob, hasLateZero: boolean): string[] {
  const { every, fps } = job.config;
  const { start, end } = wantedPart(job, hasLateZero);
  const parts: string[] = [];
  // Variables of the expression live as long as the filter.
  if (every > 1) parts.push(`not(mod(st(0,ld(0)+1)-1,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor((${time}-${start.toFixed(6)})*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  const kept = parts.length === 0 ? "1" : parts.join("*");
  const from = (start - ROUNDED).toFixed(6);
  const isFirstKey = "key*not(ld(1))";
  const wanted =
    job.seekSeconds > 0
      ? `if(${isFirstKey},st(1,1)*if(lt(t,${from}),1,${kept}),ld(1)*if(lt(t,${from}),0,${kept}))`
      : start > 0
        ? `if(lt(t,${from}),0,${kept})`
        : kept;
  return [
    ...(end === Number.POSITIVE_INFINITY ? [] : [`trim=end=${Math.max(0, end - ROUNDED).toFixed(6)}`]),
    ...(wanted === "1" ? [] : [`select='${wanted}'`]),
  ];
}

/** Pixels as a frame is to have them, and the words that make them. */
function pixelWords({ format, yuvStandard, yuvRange }: ImageForm): { readonly name: string; readonly scale: string } {
  if (format !== "NV12") return { name: "rgb24", scale: "" };
  const matrix = yuvStandard === "BT.601" ? "bt601" : "bt709";
  return { name: "nv12", scale: `:out_color_matrix=${matrix}:out_range=${yuvRange === "full" ? "pc" : "tv"}` };
}

/**
 * Before ffmpeg 7 a scaler that is to make full range of full range never looks at the range again. Set to the other one at
 * first, it prepares to convert, and does so with the first frame that differs; others come out the same to the bit.
 */
function heedRange({ yuvRange }: ImageForm): string {
  return yuvRange === "full" ? ":dst_range=0" : "";
}

/** The filters: every frame in one size and format, however the stream changes, and a line with its time. */
function filterChain(job: DecodeJob, { fds, hasLateZero }: DecodeSetting): string {
  const { info, form } = job;
  const { name, scale } = pixelWords(form);
  // A stream that tells its matrix may tell another one later.
  const matrix = info.yuvMatrix === undefined || info.tellsMatrix ? "" : `:in_color_matrix=${info.yuvMatrix}`;
  return [
    "settb=expr=1/1000000",
    ...(arrives(job) ? ["setpts=time(0)/TB", "setpts=PTS-STARTPTS"] : []),
    ...selection(job, hasLateZero),
    `scale=w=${form.width}:h=${form.height}:flags=bilinear${matrix}${scale}${heedRange(form)}`,
    `format=pix_fmts=${name}`,
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${fds.times}':direct=1`,
  ].join(",");
}

/** Where the input begins. An offset, too small to be seen, keeps an older ffmpeg from moving the zero point. */
function seekWords({ config, info, seekSeconds }: DecodeJob): string[] {
  if (info.isLive) return config.startMs > 0 ? ["-ss", (config.startMs / 1000).toFixed(6)] : [];
  if (seekSeconds > 0) return ["-noaccurate_seek", "-ss", String(seekSeconds)];
  return MOVES_ZERO.test(info.container) ? ["-itsoffset", "0.000001"] : [];
}

/** Arguments after the program's path: raw frames on one descriptor, their times in microseconds on another. */
export function decodeArguments(job: DecodeJob, setting: DecodeSetting): string[] {
  const { address, config } = job;
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...inputWords(address, config.inputArguments),
    ...config.decoderArguments,
    // Frames that are gathered to guess a rate would arrive all at once.
    ...(arrives(job) ? ["-fpsprobesize", "0"] : []),
    // Filters that are made anew where the stream changes would count from 0 again.
    ...["-reinit_filter:v", "0"],
    ...seekWords(job),
    // Capital V: the cover of a piece of music is no video.
    ...["-i", address.input, "-map", "0:V:0", "-an", "-sn", "-dn"],
    ...["-vf", filterChain(job, setting), ...setting.passthrough],
    // Counted in average frames, two of a variable rate would fall on one time, which ffmpeg takes for an error.
    ...["-enc_time_base", "1:1000000"],
    ...["-f", "rawvideo", "-pix_fmt", pixelWords(job.form).name, `pipe:${setting.fds.frames}`],
  ];
}
