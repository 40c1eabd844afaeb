/** @module SavePictures: pictures with their boxes drawn, written into a folder. */

import { basename, extname, join, resolve } from "node:path";
import { decodeImage } from "../image/decode.ts";
import { drawDetections } from "../image/draw.ts";
import { encodeImage } from "../image/encode.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import type { ImageSource } from "../image/source.ts";
import { refuse } from "./args.ts";
import { overwritten, prepareFolder, writeFileWhole } from "./output.ts";
import { fileStem, outputNames } from "./pictures.ts";
import { frameName, type PictureResult } from "./result-format.ts";

/** Writes annotated pictures. */
export interface PictureSaver {
  /**
   * Draw a picture's boxes onto a copy of it, and write that.
   *
   * @param source the picture itself, where its file is none that can be read again
   * @returns the path of the copy
   * @throws {ImageError} If it cannot be decoded any more, or is too large to be drawn on
   * @throws {Error} If it cannot be written
   */
  save(picture: PictureResult, source?: ImageSource): Promise<string>;
}

const FORMATS: Readonly<Record<string, EncodedFormat>> = { ".png": "png", ".webp": "webp" };

/** PNG and WebP stay what they are, everything else becomes JPEG. */
function copyName(name: string): string {
  const extension = extname(name);
  const isKept = extension.toLowerCase() in FORMATS || /^\.jpe?g$/i.test(extension);
  return isKept ? name : `${name.slice(0, name.length - extension.length)}.jpg`;
}

/** @throws {OptionError} If results are written to one of the files that `--save` writes */
export function refuseCopy(output: string | undefined, copies: readonly string[]): void {
  if (output === undefined || !copies.some((path) => resolve(path) === resolve(output))) return;
  throw refuse("detect", "output", `as ${JSON.stringify(output)} is written by --save as well`, "give another file");
}

/**
 * Make a folder ready for the copies of these files, and of others that turn up later, which keep their names.
 *
 * @param output where results are written as well
 * @throws {OptionError} If a copy would be written over a picture, or over the results
 * @throws {Error} If it cannot be written, or two copies would have the same name
 */
export function openSaver(folder: string, files: readonly string[], output?: string): PictureSaver {
  prepareFolder(folder);
  const names = outputNames(files, copyName);
  const paths = new Map(files.map((file, at) => [file, join(folder, names[at]!)]));
  const copies = [...paths.values()];
  refuseCopy(output, copies);
  const own = overwritten(copies, files);
  if (own !== undefined) {
    throw refuse(
      "detect",
      "save",
      `as ${own} would be written over, which is a picture to read`,
      "give another folder",
    );
  }
  return {
    async save({ file, result, frame }, source = file) {
      const newName = frame === undefined ? copyName(basename(file)) : `${frameName(fileStem(file), frame.index)}.jpg`;
      const path = paths.get(file) ?? join(folder, newName);
      const drawn = await drawDetections(await decodeImage(source), result.detections);
      const format = FORMATS[extname(path).toLowerCase()] ?? "jpeg";
      await writeFileWhole(path, await encodeImage(drawn, { format }));
      return path;
    },
  };
}
