/** @module The errors of decoding: each names the source, what was found and what to do. */

import { ImageError, message, PictureSizeError } from "../core/errors.ts";
import { describeBytes, pictureKind } from "./picture-kind.ts";

const SUPPORTED = "JPEG, PNG, WebP, GIF, AVIF, TIFF and SVG are supported";
/** For who has a video, or the address of one, where a picture is wanted. */
export const VIDEO_HINT = "read videos and live streams by VideoSource of bun-tensorrt/video, and pass its frames";

const CUT_SHORT =
  /premature|unexpected end|not enough data|truncat|bad seek|end of file|unable to parse image|no image|ends before/i;

/** How a source is called inside a sentence: descriptions as they are, paths and URLs in quotes. */
function quoted(source: string): string {
  return source === "bytes" || source.startsWith("a ") ? source : JSON.stringify(source);
}

/**
 * An error of reading or decoding a picture.
 *
 * @param source path, URL or description
 * @param found  the rule and what was found: `it must have 4 axes, got 3`
 * @param hint   the fix
 */
export function imageError(source: string, found: string, hint?: string, options?: ErrorOptions): ImageError {
  return new ImageError(message(`decode ${quoted(source)}`, found, hint), source, options);
}

/** The picture has more pixels than allowed. Sizes in pixels. */
export function tooLargeError(source: string, width: number, height: number, maxPixels: number): PictureSizeError {
  const found = `it must have at most ${maxPixels} pixels: ${width}x${height} is ${width * height}`;
  const hint = "raise maxPixels if the picture can be trusted";
  return new PictureSizeError(message(`decode ${quoted(source)}`, found, hint), source, maxPixels);
}

/**
 * The bytes could not be decoded: what they are decides what is said.
 *
 * @param bytes  the whole file
 * @param source path, URL or description
 * @param reason what the decoder said
 */
export function undecodableError(
  bytes: Uint8Array,
  source: string,
  reason: string,
  options?: ErrorOptions,
): ImageError {
  if (bytes.length === 0) {
    return imageError(source, "it is empty: 0 bytes", "check that the file was written or downloaded completely");
  }
  const kind = pictureKind(bytes);
  if (kind === undefined) {
    return imageError(source, `it is not a picture: ${describeBytes(bytes)}`, SUPPORTED, options);
  }
  if (!kind.isDecodable) {
    const hint = kind.isVideo === true ? VIDEO_HINT : `convert it to PNG or JPEG first; ${SUPPORTED}`;
    return imageError(source, `it is ${kind.name}, which is not supported: ${bytes.length} bytes`, hint, options);
  }
  const isDamaged = reason.includes("its data does not fit");
  const state = CUT_SHORT.test(reason)
    ? "cut short"
    : isDamaged
      ? "damaged"
      : "damaged or of a variant that is not supported";
  const isPartial = kind.name === "JPEG" && (isDamaged || reason.includes("last pixel"));
  const hint = isPartial
    ? 'copy or download the file again, or take what is left of it by damaged: "take"'
    : "copy or download the file again, and see whether another program opens it";
  return imageError(source, `the ${kind.name} is ${state}: ${bytes.length} bytes, ${reason}`, hint, options);
}
