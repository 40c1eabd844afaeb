/** @module DecodeArguments: the command line of the ffmpeg that decodes. Pure. */

import type { ImageForm } from "../image/image.ts";
import { usualStandard } from "../image/yuv.ts";
import type { VideoAddress } from "./address.ts";
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

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toFixed(6);
}

/** Frames that are kept, by their number or their time: the first one of each slot of 1 / fps seconds. */
function selection({ every, fps }: VideoConfig): string[] {
  const parts: string[] = [];
  if (every > 1) parts.push(`not(mod(n,${every}))`);
  if (fps !== undefined) {
    const slot = (time: string): string => `floor(${time}*${fps}+${SLACK})`;
    parts.push(`(isnan(prev_selected_t)+gt(${slot("t")},${slot("prev_selected_t")}))`);
  }
  return parts.length === 0 ? [] : [`select='${parts.join("*")}'`];
}

/** Pixels as a frame is to have them, and the words that make them. */
function pixelWords({ format, yuvStandard, yuvRange }: ImageForm): { readonly name: string; readonly scale: string } {
  if (format !== "NV12") return { name: "rgb24", scale: "" };
  const matrix = yuvStandard === "BT.601" ? "bt601" : "bt709";
  return { name: "nv12", scale: `:out_color_matrix=${matrix}:out_range=${yuvRange === "full" ? "pc" : "tv"}` };
}

/** The filters: every frame in one size and format, however the stream changes, and a line with its time on `timesFd`. */
function filterChain({ info, config, form }: DecodeJob, timesFd: number): string {
  const { name, scale } = pixelWords(form);
  const matrix = info.yuvMatrix === undefined ? "" : `:in_color_matrix=${info.yuvMatrix}`;
  return [
    ...selection(config),
    "settb=expr=1/1000000",
    `scale=w=${form.width}:h=${form.height}:flags=bilinear${matrix}${scale}`,
    `format=pix_fmts=${name}`,
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${timesFd}':direct=1`,
  ].join(",");
}

/**
 * Arguments after the program's path: raw frames on one descriptor, their times in microseconds on another.
 *
 * @param passthrough words that make ffmpeg neither repeat nor drop frames
 */
export function decodeArguments(
  job: DecodeJob,
  passthrough: readonly string[],
  fds: { readonly frames: number; readonly times: number },
): string[] {
  const { address, config, info } = job;
  const { startMs, durationMs } = config;
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...address.words,
    ...config.inputArguments,
    ...config.decoderArguments,
    ...(startMs > 0 ? ["-ss", seconds(startMs)] : []),
    // The clock of a live source begins anew with each connection: its end is watched by the reader.
    ...(durationMs !== undefined && !info.isLive ? ["-t", seconds(durationMs)] : []),
    // Capital V: the cover of a piece of music is no video.
    ...["-i", address.input, "-map", "0:V:0", "-an", "-sn", "-dn"],
    ...["-vf", filterChain(job, fds.times), ...passthrough],
    // Counted in average frames, two of a variable rate would fall on one time, which ffmpeg takes for an error.
    ...["-enc_time_base", "1:1000000"],
    ...["-f", "rawvideo", "-pix_fmt", pixelWords(job.form).name, `pipe:${fds.frames}`],
  ];
}
