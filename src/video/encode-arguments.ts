/** @module EncodeArguments: the command line of the ffmpeg that encodes. Pure. */

import { extname, resolve } from "node:path";
import { usualStandard } from "../image/image.ts";
import { LOG_LEVEL } from "./ffmpeg.ts";
import type { VideoSinkConfig } from "./video-options.ts";

const H264: readonly string[] = [".mp4", ".m4v", ".mov", ".mkv", ".ts", ".flv"];

/** Extensions that are taken for a video to write. */
export const VIDEO_FILE_EXTENSIONS: readonly string[] = [...H264, ".webm", ".avi", ".gif"];

const MOVIES: readonly string[] = [".mp4", ".m4v", ".mov"];

/** True for a file that cannot be played before its end is written: its index comes last. */
export function needsEnd(path: string, { outputArguments }: VideoSinkConfig): boolean {
  return MOVIES.includes(extname(path).toLowerCase()) && !outputArguments.some((word) => word.includes("frag"));
}

function codecWords(extension: string, quality: number | undefined): string[] {
  if (H264.includes(extension)) {
    const words = ["-c:v", "libx264", "-preset", "veryfast", "-crf", String(quality ?? 23), "-pix_fmt", "yuv420p"];
    return [
      ...words,
      ...(MOVIES.includes(extension) ? ["-video_track_timescale", "90000", "-movflags", "+faststart"] : []),
    ];
  }
  if (extension === ".webm") {
    const speed = ["-deadline", "realtime", "-cpu-used", "8", "-row-mt", "1"];
    return ["-c:v", "libvpx-vp9", ...speed, "-crf", String(quality ?? 33), "-b:v", "0", "-pix_fmt", "yuv420p"];
  }
  // ffmpeg knows what goes into the others.
  return quality === undefined ? [] : ["-q:v", String(quality)];
}

/**
 * Arguments after the program's path: raw frames in on standard input, a file out.
 *
 * @param passthrough words that make ffmpeg neither repeat nor drop frames
 */
export function encodeArguments(path: string, config: VideoSinkConfig, passthrough: readonly string[]): string[] {
  const { rate, quality, outputArguments, height } = config;
  const extension = extname(path).toLowerCase();
  const isYuv = extension !== ".gif";
  const [matrix, colours] = usualStandard(height) === "BT.709" ? ["bt709", "bt709"] : ["bt601", "smpte170m"];
  // Chroma comes in squares of two by two: odd sizes get a row or a column of black.
  const filters = `pad=w=ceil(iw/2)*2:h=ceil(ih/2)*2,scale=out_color_matrix=${matrix}:out_range=tv`;
  const tags = ["-colorspace", colours, "-color_primaries", colours, "-color_trc", colours, "-color_range", "tv"];
  return [
    ...["-hide_banner", "-nostdin", "-loglevel", LOG_LEVEL],
    ...["-f", "matroska", "-probesize", "32", "-analyzeduration", "0"],
    ...(rate === undefined ? [] : ["-r", `${rate.numerator}/${rate.denominator}`]),
    ...["-i", "pipe:0"],
    ...(isYuv ? ["-vf", filters, ...tags] : []),
    ...(rate === undefined && isYuv ? ["-enc_time_base", "1:10000"] : []),
    ...passthrough,
    ...codecWords(extension, quality),
    ...outputArguments,
    ...["-y", `file:${resolve(path)}`],
  ];
}
