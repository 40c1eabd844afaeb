/** @module SaveImages: images with their results drawn, written into a folder, or one into a file. */

import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { overwritten } from "../core/stats-of.ts";
import { prepareFolder, writeFileWhole } from "../core/whole-file.ts";
import { decodeImage } from "../image/decode.ts";
import { DETECTED_DECODING } from "../image/decode-limits.ts";
import { encodeImage } from "../image/encode.ts";
import { formatOf } from "../image/encode-options.ts";
import type { ImageSource } from "../image/source.ts";
import type { ResultForms } from "../tasks/task-result.ts";
import { VIDEO_FILE_EXTENSIONS } from "../video/encode-arguments.ts";
import type { Rational } from "../video/video-frame.ts";
import type { VideoOptions, VideoSinkOptions } from "../video/video-options.ts";
import type { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import { frameName, type ImageResult } from "./formats.ts";
import { fileStem, isFolder, outputNames, withExtension } from "./images.ts";

/** Writes annotated images. */
export interface ImageSaver {
  /**
   * Draw the result of an image onto a copy of it, and write that.
   *
   * @param source the image itself, where its file is none that can be read again
   * @returns the path of the copy
   * @throws {ImageError} If it cannot be decoded any more, or is too large to be drawn on
   * @throws {BunTensorRtError} If it cannot be written
   */
  save(forms: ResultForms, image: ImageResult, source?: ImageSource): Promise<string>;
}

/** PNG and WebP stay what they are, everything else becomes JPEG. */
function copyName(name: string): string {
  return formatOf(name) !== undefined ? name : withExtension(name, ".jpg");
}

/** @throws {OptionError} If copies would be written over what is read, or where results are written as well */
function refuseCopies(
  copies: readonly string[],
  sources: readonly string[],
  output: string | undefined,
  noun: string,
): void {
  // What is not there yet is known by its path only.
  const isOutput = (path: string): boolean => output !== undefined && resolve(path) === resolve(output);
  if (output !== undefined && (copies.some(isOutput) || overwritten([output], copies) !== undefined)) {
    throw refuse("output", `--output and --save both write ${JSON.stringify(output)}`, "give another file");
  }
  const own = overwritten(copies, sources);
  if (own === undefined) return;
  throw refuse("save", `--save would overwrite ${noun} that is read: ${own}`, "give another place");
}

/** A path for each copy. */
function copyPaths(save: string, files: readonly string[]): string[] {
  if (formatOf(save) === undefined || isFolder(save)) {
    prepareFolder(save);
    return outputNames(files, copyName).map((name) => join(save, name));
  }
  if (files.length === 1) {
    prepareFolder(dirname(save));
    return [save];
  }
  const many = files.length === 0 ? "images that arrive one by one" : `${files.length} images`;
  throw refuse("save", `--save ${JSON.stringify(save)} is one file, got ${many}`, "give a folder");
}

/**
 * Make a place ready for the copies of these files, and in a folder of others that turn up later, which keep their names.
 *
 * @param save   what `--save` says: the file itself for one image, if it is named like one; else a folder
 * @param output where results are written as well
 * @throws {OptionError} If one file is to hold several, or a copy would be written over an image, or over the results
 * @throws {BunTensorRtError} If it cannot be written, or two copies would have the same name
 */
export function openSaver(save: string, files: readonly string[], output?: string): ImageSaver {
  const copies = copyPaths(save, files);
  const paths = new Map(files.map((file, at) => [file, copies[at]!]));
  refuseCopies(copies, files, output, "an image");
  return {
    async save(forms, { file, result, frame }, source = file) {
      const newName = frame === undefined ? copyName(basename(file)) : `${frameName(fileStem(file), frame.index)}.jpg`;
      const path = paths.get(file) ?? join(save, newName);
      const drawn = await forms.draw(await decodeImage(source, DETECTED_DECODING), result);
      const format = formatOf(path)!;
      await writeFileWhole(path, await encodeImage(drawn, { format }));
      return path;
    },
  };
}

function videoCopyName(name: string): string {
  return isVideoFile(name) ? name : withExtension(name, ".mp4").replace(/^\.mp4$/, "video.mp4");
}

function isVideoFile(name: string): boolean {
  return VIDEO_FILE_EXTENSIONS.includes(extname(name).toLowerCase());
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
  const isFile = isVideoFile(save);
  if (isFile && videos.length > 1) {
    throw refuse("save", `--save ${JSON.stringify(save)} is one file, got ${videos.length} videos`, "give a folder");
  }
  if (!isFile) prepareFolder(save);
  const sources = videos.map(localPath);
  const paths = isFile ? [save] : outputNames(sources, videoCopyName).map((name) => join(save, name));
  refuseCopies(paths, sources, output, "a video");
  return paths;
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
