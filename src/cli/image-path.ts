/** @module ImagePath: what the path that images are to be written to asks for: a folder, or one file of a format. */

import { extname } from "node:path";
import { statsOf } from "../core/stats-of.ts";
import type { EncodedFormat } from "../image/encode-options.ts";

const FORMATS: Readonly<Record<string, EncodedFormat>> = {
  ".png": "png",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  ".webp": "webp",
};

/** The format that a name asks for; `undefined` where it ends as none that can be written. */
export function formatOf(path: string): EncodedFormat | undefined {
  return FORMATS[extname(path).toLowerCase()];
}

/** True for a folder, whatever it is called: one that is there, or that ends in a slash. */
export function isFolder(path: string): boolean {
  return path.endsWith("/") || statsOf(path)?.isDirectory() === true;
}
