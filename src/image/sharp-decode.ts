/** @module sharp decode: any picture file to RGB pixels through sharp, upright, first frame only. */

import type { SharpOptions } from "sharp";
import type { RepeatedLine } from "../core/repeated-line.ts";
import { imageError, tooLargeError, undecodableError } from "./decode-errors.ts";
import { imageOf, type PackedImage } from "./image.ts";
import { isHarmlessWarning } from "./jpeg-warning.ts";
import { pictureKind } from "./picture-kind.ts";
import { loadSharp, type Sharp } from "./sharp-library.ts";

/** The reason in sharp's message: its first line without what sharp puts in front. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const line = text.split("\n")[0] ?? "";
  return line.replace(/^Input (buffer|Bit Array) (has corrupt header: |)/, "").trim();
}

/**
 * Types of samples whose black and white are known. Others are measurements (float, signed or 32-bit TIFF): libvips would
 * cut them to 0–255, which leaves most of them black.
 */
const DEPTHS: readonly (string | undefined)[] = ["uchar", "ushort"];

/** How a picture is decoded. */
export interface SharpDecodeOptions {
  /** Refused before any pixel is allocated. */
  readonly maxPixels: number;
  /** `keep`: a file with an alpha channel gives RGBA. */
  readonly alpha: "drop" | "keep";
  /** Told of what is wrong with a picture that is whole nevertheless. */
  readonly warnings: RepeatedLine;
}

/** How strict libvips is: `warning` stops at any of libjpeg's warnings, `error` only at a picture that is not whole. */
type Strictness = "warning" | "error";

async function pixels(
  sharp: Sharp,
  bytes: Uint8Array,
  strictness: Strictness,
  hasAlpha: boolean,
): Promise<PackedImage> {
  const upright = sharp(bytes, { failOn: strictness, limitInputPixels: false, ignoreIcc: true }).autoOrient();
  const { data, info } = await (hasAlpha ? upright.ensureAlpha() : upright.removeAlpha())
    .toColourspace("srgb")
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  return imageOf(data, { width: info.width, height: info.height, format: hasAlpha ? "RGBA" : "RGB" });
}

/** libvips cannot let single warnings pass, so a harmless one costs a second decoding. */
async function jpegPixels(
  sharp: Sharp,
  bytes: Uint8Array,
  source: string,
  warnings: RepeatedLine,
): Promise<PackedImage> {
  try {
    return await pixels(sharp, bytes, "warning", false);
  } catch (error) {
    const reason = reasonOf(error);
    if (!isHarmlessWarning(reason)) throw error;
    warnings.tell(`Decoding ${source} gives a warning: ${reason}`);
  }
  return pixels(sharp, bytes, "error", false);
}

/**
 * Decode a picture through sharp, off the JS thread.
 *
 * @param bytes  the whole file, not to be changed until the promise settles
 * @param source what to call it in messages
 * @returns RGB or RGBA, tight rows, over memory of its own
 * @throws {ImageError} If the bytes are not a picture, cut short, damaged, or have more pixels than allowed
 * @throws {LibraryLoadError} If sharp's addon is not installed for this machine
 */
export async function decodeWithSharp(
  bytes: Uint8Array,
  source: string,
  decode: SharpDecodeOptions,
): Promise<PackedImage> {
  const { maxPixels, alpha, warnings } = decode;
  const kind = pictureKind(bytes);
  if (bytes.length === 0 || kind?.isDecodable === false) throw undecodableError(bytes, source, "");
  const sharp = await loadSharp();
  const orRefuse = (error: unknown): never => {
    throw undecodableError(bytes, source, reasonOf(error), { cause: error });
  };
  const options: SharpOptions = { failOn: "error", limitInputPixels: false };
  const header = await sharp(bytes, options).metadata().catch(orRefuse);
  const { width, height, pageHeight = height, hasAlpha, depth } = header;
  if (!DEPTHS.includes(depth)) {
    const found = `as its samples must be whole numbers of 8 or 16 bits from 0 on: they are of type ${depth}`;
    throw imageError(source, found, "convert it to 8 or 16 bits first: only you know which values are black and white");
  }
  if (width * pageHeight > maxPixels) throw tooLargeError(source, width, pageHeight, maxPixels);
  if (kind?.name === "JPEG") return jpegPixels(sharp, bytes, source, warnings).catch(orRefuse);
  return pixels(sharp, bytes, "error", hasAlpha && alpha === "keep").catch(orRefuse);
}
