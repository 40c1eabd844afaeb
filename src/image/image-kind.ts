/** @module ImageKind: what a file is, told from its first bytes. */

import { extname } from "node:path";

/** What a folder is searched for. A file that is named outright may have any name: its bytes decide. */
export const IMAGE_EXTENSIONS: readonly string[] = [".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff"];

/** True if the name ends as images' do. */
export function isImageName(name: string): boolean {
  return IMAGE_EXTENSIONS.includes(extname(name).toLowerCase());
}

/** What a file was recognised as. */
export interface ImageKind {
  /** For messages: `JPEG`, `a PDF document`. */
  readonly name: string;
  /** True if this package can decode it. */
  readonly isDecodable: boolean;
  /** True for a video, which another part of this package reads. */
  readonly isVideo?: boolean;
}

function kind(name: string, what: "image" | "video" | "other"): ImageKind {
  return { name, isDecodable: what === "image", ...(what === "video" ? { isVideo: true } : {}) };
}

const JPEG = kind("JPEG", "image");

/** Latin-1 text that a file starts with, what it means, and where the text lies if not at 0. */
const SIGNATURES: readonly (readonly [text: string, kind: ImageKind, offset?: number])[] = [
  ["\xff\xd8\xff", JPEG],
  ["\x89PNG\r\n\x1a\n", kind("PNG", "image")],
  ["GIF8", kind("GIF", "image")],
  ["WEBP", kind("WebP", "image"), 8],
  ["II*\0", kind("TIFF", "image")],
  ["MM\0*", kind("TIFF", "image")],
  ["II+\0", kind("TIFF", "image")],
  ["BM", kind("BMP", "other")],
  ["\0\0\x01\0", kind("ICO", "other")],
  ["\xff\x0a", kind("JPEG XL", "other")],
  ["\0\0\0\x0cJXL ", kind("JPEG XL", "other")],
  ["\0\0\0\x0cjP  ", kind("JPEG 2000", "other")],
  ["8BPS", kind("PSD", "other")],
  ["qoif", kind("QOI", "other")],
  ["DDS ", kind("DDS", "other")],
  ["v/1\x01", kind("OpenEXR", "other")],
  ["%PDF", kind("a PDF document", "other")],
  ["PK\x03\x04", kind("a ZIP archive", "other")],
  ["\x1f\x8b", kind("gzip data", "other")],
  ["\x1aE\xdf\xa3", kind("a Matroska or WebM video", "video")],
  ["AVI ", kind("an AVI video", "video"), 8],
  ["\x7fELF", kind("an ELF binary", "other")],
];

/** The kind behind an ISO base media file, by its brands. */
function isoKind(head: string): ImageKind {
  if (/avi[fs]/.test(head)) return kind("AVIF", "image");
  return /hei[cxms]|hev[cx]|mif1|msf1/.test(head) ? kind("HEIC", "other") : kind("an MP4 or QuickTime video", "video");
}

/**
 * Recognise a file by its first bytes.
 *
 * @param bytes at least the first 64 bytes, or the whole file where it is shorter
 * @returns `undefined` for what is not known; sharp may still know it
 */
export function imageKind(bytes: Uint8Array): ImageKind | undefined {
  // The path of nearly every frame: three compares, no text.
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return JPEG;
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 256)).toString("latin1");
  if (head.startsWith("ftyp", 4)) return isoKind(head.slice(8, 64));
  for (const [text, found, offset = 0] of SIGNATURES) {
    if (head.startsWith(text, offset)) return found;
  }
  if (/^\s*(\xef\xbb\xbf)?\s*<(svg|\?xml[\s\S]*<svg)/i.test(head)) return kind("SVG", "image");
  if (/^\s*<(!doctype html|html|head|body)/i.test(head)) return kind("an HTML page", "other");
  return undefined;
}

/** The size and first bytes of a file, for messages: `31 bytes that start with 7b 22 65 72 72 6f 72 22 ({"error")`. */
export function describeBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return "0 bytes";
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 8));
  const hex = [...head].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  const text = head.toString("latin1");
  const readable = /^[\x20-\x7e]+$/.test(text) ? ` (${text})` : "";
  return `${bytes.length} bytes that start with ${hex}${readable}`;
}
