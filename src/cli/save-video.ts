/** @module SaveVideo: where annotated videos go, and how fast they play. */

import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { overwritten } from "../core/stats-of.ts";
import { prepareFolder } from "../core/whole-file.ts";
import { VIDEO_FILE_EXTENSIONS } from "../video/encode-arguments.ts";
import type { Rational } from "../video/rational.ts";
import type { VideoOptions, VideoSinkOptions } from "../video/video-options.ts";
import type { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import { outputNames } from "./pictures.ts";
import { refuseCopy } from "./save-pictures.ts";

function copyName(name: string): string {
  const extension = extname(name);
  if (VIDEO_FILE_EXTENSIONS.includes(extension.toLowerCase())) return name;
  return `${name.slice(0, name.length - extension.length) || "video"}.mp4`;
}

/** The path of a video that is named by a `file:` address; others stay as they are. */
export function localPath(video: string): string {
  return /^file:/i.test(video) ? fileURLToPath(video) : video;
}

/**
 * The files annotated videos are written to.
 *
 * @param save   what `--save` says: the file itself for one video, if it has a video's extension; else a folder
 * @param videos as the user named them
 * @param output where results are written as well
 * @returns a path a video
 * @throws {OptionError} If one file is to hold several videos, a video itself, or the results
 */
export function annotatedPaths(save: string, videos: readonly string[], output?: string): string[] {
  const isFile = VIDEO_FILE_EXTENSIONS.includes(extname(save).toLowerCase());
  if (isFile && videos.length > 1) {
    throw refuse("detect", "save", `${save} is one file, for ${videos.length} videos`, "give a folder");
  }
  if (!isFile) prepareFolder(save);
  const sources = videos.map(localPath);
  const paths = isFile ? [save] : outputNames(sources, copyName).map((name) => join(save, name));
  refuseCopy(output, paths);
  const own = overwritten(paths, sources);
  if (own === undefined) return paths;
  throw refuse("detect", "save", `${own} would be written over while it is read`, "give another place");
}

/** Size and rate of the copy of a video. Without a constant rate frames keep their own times. */
export function annotatedOptions(video: VideoSource, options: VideoOptions): VideoSinkOptions {
  const { width, height, info } = video;
  const isSteady = info.hasConstantRate && !info.isLive && options.fps === undefined && options.policy !== "latest";
  if (!isSteady || info.rate === undefined) return { width, height };
  const { numerator, denominator } = info.rate;
  const rate: Rational = { numerator, denominator: denominator * (options.every ?? 1) };
  return { width, height, rate };
}
