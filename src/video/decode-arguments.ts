/** @module DecodeArguments: the command line of the ffmpeg that decodes. Pure. */

import type { VideoAddress } from "./address.ts";
import { LOG_LEVEL } from "./message-log.ts";
import type { VideoInfo } from "./probe.ts";
import type { VideoConfig } from "./video-options.ts";

/** What a command line is made from. */
export interface DecodeJob {
  readonly address: VideoAddress;
  readonly info: VideoInfo;
  readonly config: VideoConfig;
  /** Size of the frames in pixels. */
  readonly width: number;
  readonly height: number;
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

/** The filters: every frame in one size and format, however the stream changes, and a line with its time on `timesFd`. */
export function filterChain({ info, config, width, height }: DecodeJob, timesFd: number): string {
  const matrix = info.yuvMatrix === undefined ? "" : `:in_color_matrix=${info.yuvMatrix}`;
  return [
    ...selection(config),
    "settb=expr=1/1000000",
    `scale=w=${width}:h=${height}:flags=bilinear${matrix}`,
    "format=pix_fmts=rgb24",
    // Frames without metadata are not printed.
    "metadata=mode=add:key=t:value=1",
    `metadata=mode=print:file='pipe\\:${timesFd}':direct=1`,
  ].join(",");
}

/**
 * Arguments after the program's path: raw RGB frames on one descriptor, their times in microseconds on another.
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
    ...["-i", address.input, "-map", "0:v:0", "-an", "-sn", "-dn"],
    ...["-vf", filterChain(job, fds.times), ...passthrough],
    ...["-f", "rawvideo", "-pix_fmt", "rgb24", `pipe:${fds.frames}`],
  ];
}
