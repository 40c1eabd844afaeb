/** @module SaveImages: images with their results drawn, written into a folder, or one into a file. */

import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { fileIdentity, overwritten } from "../core/paths.ts";
import { plural } from "../core/units.ts";
import { prepareFolder, writeFileWhole } from "../core/whole-file.ts";
import { DETECTED_DECODING, isImageName } from "../image/decode-limits.ts";
import { type Image, isImage } from "../image/image.ts";
import { decodeImage, encodeImage } from "../image/image-file.ts";
import { formatOf } from "../image/image-options.ts";
import type { ImageSource } from "../image/source.ts";
import type { DrawOptions } from "../tasks/draw-options.ts";
import type { ResultForms } from "../tasks/task-result.ts";
import type { Rational } from "../video/video-frame.ts";
import type { VideoOptions, VideoSinkOptions } from "../video/video-options.ts";
import { VIDEO_FILE_EXTENSIONS } from "../video/video-sink.ts";
import type { VideoSource } from "../video/video-source.ts";
import { refuse } from "./args.ts";
import { type FramePlace, frameName, type ImageResult } from "./formats.ts";
import { fileStem, type Inputs, isFolder, outputNames, withExtension } from "./operands.ts";

/** Writes images that are made of an image and its result. */
export interface ImageSaver {
  /**
   * Make and write them.
   *
   * @param pixels decodes the image, once for all savers
   * @returns the path of the last one; `undefined` where there is none
   * @throws {ImageError} If it cannot be decoded any more, or is too large to be drawn on
   * @throws {BunTensorRtError} If one cannot be written
   */
  save(forms: ResultForms, image: ImageResult, pixels: () => Promise<Image>): Promise<string | undefined>;
}

/** Decodes an image when it is first asked for. @param source a frame's own pixels stay as they are */
export function pixelsOf(source: ImageSource): () => Promise<Image> {
  let decoded: Promise<Image> | undefined;
  return () => (decoded ??= isImage(source) ? Promise.resolve(source) : decodeImage(source, DETECTED_DECODING));
}

/** PNG and WebP stay what they are, everything else becomes JPEG. */
function copyName(name: string): string {
  return formatOf(name) !== undefined ? name : withExtension(name, ".jpg");
}

/** What a copy of an image is called that was not known before, or of a frame. */
function newName({ file, frame }: ImageResult): string {
  return frame === undefined ? copyName(basename(file)) : frameCopyName(`${fileStem(file)}.jpg`, frame);
}

/** `clips/a-000012.jpg` of the frame 12 of what is named `clips/a.jpg`. */
function frameCopyName(name: string, { index }: FramePlace): string {
  return `${frameName(withExtension(name, ""), index)}.jpg`;
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

/** How files end that are neither read nor written here: other images, and results as text. */
const OTHER_FILES = /\.(bmp|heic|ico|jp2|jxl|pdf|ppm|svg|txt|jsonl?|ndjson|csv|xml|ya?ml|html?|zip|np[yz])$/i;

/** True for a place that is named like a file, of an image or of results, whether such a one can be written or not. */
export function isNamedFile(place: string): boolean {
  return !isFolder(place) && (isImageName(place) || OTHER_FILES.test(place));
}

/** How files of images end that are written. */
const WRITTEN_IMAGES = ".jpg, .png or .webp";

/**
 * @param found  `2 videos`
 * @param endings of the one file that could be written: `.jpg or .png`
 * @throws {OptionError} If a place is named like a file, and what is written there is none of that kind
 */
export function refuseOneFile(save: string, found: string, endings?: string): void {
  if (isFolder(save) || !(isNamedFile(save) || isVideoFile(save))) return;
  const hint = endings === undefined ? "give a folder" : `end the name in ${endings}, or give a folder`;
  throw refuse("save", `--save ${JSON.stringify(save)} is one file, got ${found}`, hint);
}

function copyPaths(save: string, files: readonly string[]): string[] {
  if (formatOf(save) === undefined || isFolder(save)) {
    const endings = files.length === 1 ? WRITTEN_IMAGES : undefined;
    refuseOneFile(save, `images, which are written as ${WRITTEN_IMAGES}`, endings);
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
 * @param also.output where results are written as well
 * @param also.draw   how copies are drawn on
 * @throws {OptionError} If one file is to hold several, or a copy would be written over an image, or over the results
 * @throws {BunTensorRtError} If it cannot be written, or two copies would have the same name
 */
export function openSaver(
  save: string,
  files: readonly string[],
  { output, draw }: { readonly output?: string | undefined; readonly draw?: DrawOptions | undefined } = {},
): ImageSaver {
  const copies = copyPaths(save, files);
  const paths = new Map(files.map((file, at) => [file, copies[at]!]));
  refuseCopies(copies, files, output, "an image");
  return {
    async save(forms, image, pixels) {
      const path = paths.get(image.file) ?? join(save, newName(image));
      const drawn = await forms.draw(await pixels(), image.result, draw);
      const format = formatOf(path)!;
      await writeFileWhole(path, await encodeImage(drawn, { format }));
      return path;
    },
  };
}

/** Of a name that is made of a label. */
const MOST_CHARACTERS = 100;

/** A label as the name of a folder. */
function folderName(label: string): string {
  return label.replace(/[^\p{L}\p{N} ._-]|^\.+/gu, "_").slice(0, MOST_CHARACTERS) || "_";
}

/**
 * Make a folder ready for cut-outs: a folder within it for each class, in which files are named by image and number.
 *
 * @param inputs images and videos; images that turn up later keep their names
 * @throws {BunTensorRtError} If it cannot be written, or two images or videos have the same name
 */
export function openCutter(folder: string, { images, videos }: Inputs): ImageSaver {
  prepareFolder(folder);
  const namesOf = (files: readonly string[]): [file: string, name: string][] => {
    const names = outputNames(files, copyName);
    return files.map((file, at) => [file, names[at]!]);
  };
  const nameOf = new Map([...namesOf(images), ...namesOf(videos)]);
  const sources = new Set([...nameOf.keys()].map(fileIdentity));
  return {
    async save(forms, whole, pixels) {
      const { file, result, frame } = whole;
      const known = nameOf.get(file);
      const name = known === undefined ? newName(whole) : frame === undefined ? known : frameCopyName(known, frame);
      const cutOuts = forms.count(result) > 0 ? forms.cutOuts?.(await pixels(), result) : undefined;
      let path: string | undefined;
      for (const { label, image, place } of cutOuts ?? []) {
        path = join(folder, folderName(label), withExtension(name, `-${place + 1}${extname(name)}`));
        const identity = fileIdentity(path);
        if (identity !== undefined && sources.has(identity)) {
          throw refuse("crop", `--crop would overwrite an image that is read: ${path}`, "give another folder");
        }
        await writeFileWhole(path, await encodeImage(image, { format: formatOf(path)! }));
      }
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
  if (!isFile) {
    const endings = VIDEO_FILE_EXTENSIONS.join(", ");
    const found = `${plural(videos.length, "video")}, written as ${endings}`;
    refuseOneFile(save, found, videos.length === 1 ? endings : undefined);
    prepareFolder(save);
  }
  const sources = videos.map(localPath);
  const paths = isFile ? [save] : outputNames(sources, videoCopyName).map((name) => join(save, name));
  refuseCopies(paths, sources, output, "a video");
  // Videos of one name go into folders of their own.
  for (const folder of new Set(paths.map((path) => dirname(path)))) if (!isFile) prepareFolder(folder);
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
