/** @module JpegRoute: whether nvJPEG is to decode a file, from its markers alone. Pure. */

import { imageKind } from "../image/decode-limits.ts";
import { endOfJpeg, type JpegMarkers, readJpegMarkers } from "../image/jpeg-markers.ts";

/** Why nvJPEG does not decode a file, or is not trusted with what it gave. */
export type JpegRefusal =
  /** PNG, WebP, …, or no image. */
  | "no JPEG"
  /** There is no frame or scan in it, or it can be read in several ways: nvJPEG may find a larger image than we do. */
  | "damaged header"
  /** The end marker is missing. */
  | "cut short"
  /**
   * The data codes other pixels than those of the image: fewer, more, or none. nvJPEG does not tell; what is missing would
   * be that of an earlier image.
   */
  | "damaged data"
  /** The height stands behind the pixels. */
  | "no height"
  | "progressive"
  | "extended"
  | "arithmetic"
  | "lossless"
  | "hierarchical"
  /** Each component comes in a scan of its own. */
  | "several scans"
  /** More than 8 bits. */
  | "12-bit"
  /** Four components. */
  | "CMYK"
  /** Three components that are no luminance and chrominance. */
  | "RGB"
  /** Of a chroma sampling the engines do not have, or of two components. */
  | "sampling"
  /** So narrow that libjpeg repeats the colour of its columns where nvJPEG interpolates it. */
  | "narrow"
  /** Too large to be turned upright by the kernel. */
  | "too large to turn"
  /** nvJPEG reported success and wrote nothing. */
  | "not written"
  /** nvJPEG's own word. */
  | `NVJPEG_STATUS_${string}`;

/** What becomes of a file. */
export interface JpegRoute {
  /** Why the CPU decodes it; `undefined` where nvJPEG does. */
  readonly refusal: JpegRefusal | undefined;
  readonly markers: JpegMarkers;
  /** Bytes up to and with the end marker; cameras put more behind it. */
  readonly byteLength: number;
}

/** Samplings the engines know, and those that halve the colour's columns. */
const SAMPLINGS: ReadonlySet<string> = new Set(["grey", "4:4:4", "4:2:2", "4:2:0", "4:4:0"]);
const HALF_COLUMNS: ReadonlySet<string> = new Set(["4:2:2", "4:2:0"]);
/** Most columns of an image with one or two columns of colour, each for two pixels. */
const NARROW = 4;

const NO_MARKERS: JpegMarkers = {
  orientation: 1,
  isProgressive: false,
  scanOffset: 0,
  isOrderly: false,
  frame: undefined,
};

function refusalOf({ frame, isOrderly }: JpegMarkers, end: number): JpegRefusal | undefined {
  if (frame === undefined || frame.scanComponents === 0 || frame.width === 0 || !isOrderly) return "damaged header";
  if (frame.height === 0) return "no height";
  if (frame.precision !== 8) return "12-bit";
  if (frame.coding !== "baseline") return frame.coding;
  if (frame.components === 4) return "CMYK";
  if (frame.isRgb) return "RGB";
  if (!SAMPLINGS.has(frame.sampling)) return "sampling";
  if (frame.scanComponents !== frame.components) return "several scans";
  if (frame.width <= NARROW && HALF_COLUMNS.has(frame.sampling)) return "narrow";
  return end < 0 ? "cut short" : undefined;
}

/**
 * Choose the decoder of a file. Microseconds: no pixel is looked at.
 *
 * @param bytes a whole file of any kind
 *
 * @example
 * ```ts
 * import { routeJpeg } from "bun-tensorrt/nvjpeg";
 *
 * const { refusal, markers } = routeJpeg(await Bun.file("street.jpg").bytes());
 * console.log(refusal ?? "a GPU decodes it", markers.frame?.width, markers.frame?.height);
 * ```
 */
export function routeJpeg(bytes: Uint8Array): JpegRoute {
  const byteLength = bytes.length;
  if (imageKind(bytes)?.name !== "JPEG") return { refusal: "no JPEG", markers: NO_MARKERS, byteLength };
  const markers = readJpegMarkers(bytes);
  const end = endOfJpeg(bytes, markers.scanOffset);
  const refusal = refusalOf(markers, end);
  return { refusal, markers, byteLength: refusal === undefined ? end : byteLength };
}
