/** @module ImageKind: what a file is, told from its first bytes. */

/** What a file was recognised as. */
export interface ImageKind {
  /** For messages: `JPEG`, `a PDF document`. */
  readonly name: string;
  /** True if this package can decode it. */
  readonly isDecodable: boolean;
  /** True for a video, which another part of this package reads. */
  readonly isVideo?: boolean;
}

const JPEG: ImageKind = { name: "JPEG", isDecodable: true };
const AVIF: ImageKind = { name: "AVIF", isDecodable: true };
const SVG: ImageKind = { name: "SVG", isDecodable: true };
const HEIC: ImageKind = { name: "HEIC", isDecodable: false };
const MP4: ImageKind = { name: "an MP4 or QuickTime video", isDecodable: false, isVideo: true };
const HTML: ImageKind = { name: "an HTML page", isDecodable: false };

/** Latin-1 text that a file starts with, what it means, and where the text lies if not at 0. */
const SIGNATURES: readonly (readonly [text: string, kind: ImageKind, offset?: number])[] = [
  ["\xff\xd8\xff", JPEG],
  ["\x89PNG\r\n\x1a\n", { name: "PNG", isDecodable: true }],
  ["GIF8", { name: "GIF", isDecodable: true }],
  ["WEBP", { name: "WebP", isDecodable: true }, 8],
  ["II*\0", { name: "TIFF", isDecodable: true }],
  ["MM\0*", { name: "TIFF", isDecodable: true }],
  ["II+\0", { name: "TIFF", isDecodable: true }],
  ["BM", { name: "BMP", isDecodable: false }],
  ["\0\0\x01\0", { name: "ICO", isDecodable: false }],
  ["\xff\x0a", { name: "JPEG XL", isDecodable: false }],
  ["\0\0\0\x0cJXL ", { name: "JPEG XL", isDecodable: false }],
  ["\0\0\0\x0cjP  ", { name: "JPEG 2000", isDecodable: false }],
  ["8BPS", { name: "PSD", isDecodable: false }],
  ["qoif", { name: "QOI", isDecodable: false }],
  ["DDS ", { name: "DDS", isDecodable: false }],
  ["v/1\x01", { name: "OpenEXR", isDecodable: false }],
  ["%PDF", { name: "a PDF document", isDecodable: false }],
  ["PK\x03\x04", { name: "a ZIP archive", isDecodable: false }],
  ["\x1f\x8b", { name: "gzip data", isDecodable: false }],
  ["\x1aE\xdf\xa3", { name: "a Matroska or WebM video", isDecodable: false, isVideo: true }],
  ["AVI ", { name: "an AVI video", isDecodable: false, isVideo: true }, 8],
  ["\x7fELF", { name: "an ELF binary", isDecodable: false }],
];

/** The kind behind an ISO base media file, by its brands. */
function isoKind(head: string): ImageKind {
  if (/avi[fs]/.test(head)) return AVIF;
  return /hei[cxms]|hev[cx]|mif1|msf1/.test(head) ? HEIC : MP4;
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
  for (const [text, kind, offset = 0] of SIGNATURES) {
    if (head.startsWith(text, offset)) return kind;
  }
  if (/^\s*(\xef\xbb\xbf)?\s*<(svg|\?xml[\s\S]*<svg)/i.test(head)) return SVG;
  if (/^\s*<(!doctype html|html|head|body)/i.test(head)) return HTML;
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
