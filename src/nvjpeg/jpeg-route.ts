/** @module JpegRoute: which decoder a JPEG goes to, from its markers alone. Pure. */

import { endOfJpeg, type JpegFrame, type JpegMarkers, readJpegMarkers } from "../image/jpeg-markers.ts";
import { pictureKind } from "../image/picture-kind.ts";

/** Where a JPEG is decoded: the engines made for it, nvJPEG on the multiprocessors and a CPU core, or the CPU alone. */
export type JpegPath = "hardware" | "hybrid" | "cpu";

/** Why nvJPEG does not decode a file, or is not trusted with what it gave. */
export type JpegRefusal =
  /** PNG, WebP, …, or no picture. */
  | "no JPEG"
  /** There is no frame or scan in it. */
  | "damaged header"
  /** The end marker is missing. */
  | "cut short"
  /** The height stands behind the pixels. */
  | "no height"
  /** Four components. */
  | "CMYK"
  /** Three components that are no luminance and chrominance. */
  | "RGB"
  /** More than 8 bits. */
  | "12-bit"
  | "arithmetic"
  | "lossless"
  | "hierarchical"
  /** Of a chroma sampling nvJPEG does not have, or of two components. */
  | "sampling"
  /** So narrow that libjpeg repeats the colour of its columns where nvJPEG interpolates it. */
  | "narrow"
  /** Too large to be turned upright by the kernel. */
  | "too large to turn"
  /** The last pixels have one colour that the data does not account for: it ends too early, or is damaged. */
  | "damaged data"
  /** nvJPEG reported success and wrote nothing. */
  | "not written"
  /** nvJPEG's own word. */
  | `NVJPEG_STATUS_${string}`;

/** What becomes of a file. */
export interface JpegRoute {
  /** The best that can decode it. */
  readonly path: JpegPath;
  /** Why it is the CPU; `undefined` where it is not. */
  readonly refusal: JpegRefusal | undefined;
  readonly markers: JpegMarkers;
  /** Bytes up to and with the end marker; cameras put more behind it. */
  readonly byteLength: number;
}

/** Samplings the engines know. */
const HARDWARE_SAMPLINGS: ReadonlySet<string> = new Set(["grey", "4:4:4", "4:2:2", "4:2:0", "4:4:0"]);

/** Most columns of a picture with one or two columns of colour, each for two pixels. */
const NARROW = 4;

const NO_MARKERS: JpegMarkers = {
  orientation: 1,
  isProgressive: false,
  scanOffset: 0,
  frame: undefined,
  frameTable: 0,
};

function refusalOf(frame: JpegFrame | undefined, end: number): JpegRefusal | undefined {
  if (frame === undefined || frame.scanComponents === 0 || frame.width === 0) return "damaged header";
  if (frame.height === 0) return "no height";
  if (frame.coding === "arithmetic" || frame.coding === "lossless" || frame.coding === "hierarchical") {
    return frame.coding;
  }
  if (frame.precision !== 8) return "12-bit";
  if (frame.components === 4) return "CMYK";
  if (frame.isRgb) return "RGB";
  if (frame.sampling === "other") return "sampling";
  if (frame.unitWidth === 16 && frame.width <= NARROW) return "narrow";
  return end < 0 ? "cut short" : undefined;
}

/**
 * Choose the decoder of a file. Microseconds: no pixel is looked at.
 *
 * @param bytes a whole file of any kind
 */
export function routeJpeg(bytes: Uint8Array): JpegRoute {
  const byteLength = bytes.length;
  if (pictureKind(bytes)?.name !== "JPEG") {
    return { path: "cpu", refusal: "no JPEG", markers: NO_MARKERS, byteLength };
  }
  const markers = readJpegMarkers(bytes);
  const { frame, scanOffset } = markers;
  const end = endOfJpeg(bytes, scanOffset);
  const refusal = refusalOf(frame, end);
  if (frame === undefined || refusal !== undefined) return { path: "cpu", refusal, markers, byteLength };
  const isForEngines =
    frame.coding === "baseline" && frame.scanComponents === frame.components && HARDWARE_SAMPLINGS.has(frame.sampling);
  return { path: isForEngines ? "hardware" : "hybrid", refusal, markers, byteLength: end };
}
