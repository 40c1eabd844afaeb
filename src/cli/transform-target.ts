/** @module TransformTarget: the files that `transform` writes, named and checked before anything is loaded. */

import { dirname, extname, join } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { fileIdentity } from "../core/stats-of.ts";
import { prepareFolder, writeFileWhole } from "../core/whole-file.ts";
import { encodeImage } from "../image/encode.ts";
import type { EncodedFormat } from "../image/encode-options.ts";
import type { Image } from "../image/image.ts";
import { refuse } from "./args.ts";
import { formatOf, isFolder } from "./image-path.ts";
import { IMAGE_EXTENSIONS, outputNames } from "./images.ts";
import type { TransformArguments } from "./transform-flags.ts";

const EXTENSIONS: Readonly<Record<EncodedFormat, string>> = { png: ".png", jpeg: ".jpg", webp: ".webp" };

/** Where each image goes. */
export interface TransformTarget {
  /** The file that is made of an image. */
  pathOf(file: string): string;
  /**
   * Encode and write what was made of an image; PNG and WebP keep alpha.
   *
   * @throws {ImageError} If the format cannot hold it
   * @throws {BunTensorRtError} If it cannot be written
   */
  write(file: string, image: Image): Promise<void>;
}

/** Keep the name, and the ending where it can be written and nothing else was asked for. */
function renamed(name: string, format: EncodedFormat | undefined): string {
  const known = formatOf(name);
  if (known !== undefined && (format ?? known) === known) return name;
  return `${name.slice(0, name.length - extname(name).length)}${EXTENSIONS[format ?? "png"]}`;
}

/** One path an image: `output` itself where it is named like an image, else a name in that folder. */
function pathsOf({ output, format }: TransformArguments, files: readonly string[]): string[] {
  const named = formatOf(output);
  const isImageFile = IMAGE_EXTENSIONS.includes(extname(output).toLowerCase());
  if (!isImageFile || isFolder(output)) {
    return outputNames(files, (name) => renamed(name, format)).map((name) => join(output, name));
  }
  if (named === undefined || (format !== undefined && format !== named)) {
    const rule = named === undefined ? ".png, .jpg or .webp" : `${EXTENSIONS[format!]} with --format ${format}`;
    const found = `--output must end in ${rule}, got ${JSON.stringify(output)}`;
    const hint = "rename it, or omit --format";
    throw refuse("transform", "output", found, hint);
  }
  if (files.length > 1) {
    const found = `--output is one file, got ${files.length} images: ${JSON.stringify(output)}`;
    throw refuse("transform", "output", found, "give a folder");
  }
  return [output];
}

/**
 * Name the files and make their folders ready.
 *
 * @param files the images, at least one
 * @throws {OptionError} If `--output` does not fit the images, or one of them would be overwritten
 * @throws {BunTensorRtError} If the place cannot be written, or two files would have the same name
 */
export function openTransformTarget(args: TransformArguments, files: readonly string[]): TransformTarget {
  const paths = pathsOf(args, files);
  const sources = new Map(files.map((file) => [fileIdentity(file), file]));
  for (const path of paths) {
    const known = fileIdentity(path);
    const source = known === undefined ? undefined : sources.get(known);
    if (source === undefined) continue;
    const found = `--output would overwrite the input ${JSON.stringify(source)}: ${JSON.stringify(path)}`;
    throw refuse("transform", "output", found, "choose another file or folder");
  }
  for (const folder of new Set(paths.map((path) => dirname(path)))) prepareFolder(folder);
  const byFile = new Map(files.map((file, at) => [file, paths[at]!]));
  const pathOf = (file: string): string => {
    const path = byFile.get(file);
    if (path === undefined)
      throw new BunTensorRtError(message(`write what is made of ${file}`, "it was not named before"));
    return path;
  };
  const { quality } = args;
  return {
    pathOf,
    async write(file, image) {
      const path = pathOf(file);
      const format = formatOf(path)!;
      const bytes = await encodeImage(image, { format, alpha: "keep", ...(quality === undefined ? {} : { quality }) });
      await writeFileWhole(path, bytes);
    },
  };
}
