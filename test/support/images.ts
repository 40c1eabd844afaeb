/** @module Images for tests: made on the spot, or taken from ../shared where it is there. */

import { existsSync } from "node:fs";
import sharp, { type JpegOptions, type Sharp } from "sharp";
import { findTurboJpeg } from "../../src/ffi/turbojpeg.ts";
import { imageOf, type PackedImage } from "../../src/image/image.ts";
import { chance } from "./chance.ts";
import { sharedPath } from "./shared.ts";

/** Real photographs, outside the repository: tests that need them skip by name where they are absent. */
export const PHOTOS: string = sharedPath("images/photos");
export const hasPhotos: boolean = existsSync(PHOTOS);

/** True where libturbojpeg is installed. */
export const hasTurboJpeg: boolean = "path" in findTurboJpeg();

/** Smooth RGB pixels with an edge in them, different in every corner. */
export function paint(width: number, height: number): PackedImage {
  const data = new Uint8Array(new ArrayBuffer(width * height * 3));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      data[at] = Math.round((x / Math.max(1, width - 1)) * 255);
      data[at + 1] = Math.round((y / Math.max(1, height - 1)) * 255);
      data[at + 2] = x * 2 < width && y * 2 < height ? 220 : 30;
    }
  }
  return imageOf(data, { width, height });
}

/** RGB levels that jump, so that a filter's negative lobes reach beyond 0 and 255. */
export function wavy(width: number, height: number): PackedImage {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, k) =>
    Number(((BigInt(k) * 2_654_435_761n) >> 7n) & 255n),
  );
  return imageOf(data, { width, height });
}

/** The image as input for sharp. */
export function sharpOf({ data, width, height }: PackedImage): Sharp {
  return sharp(data, { raw: { width, height, channels: 3 } });
}

/** A baseline JPEG of {@linkcode paint}. */
export function paintedJpeg(width: number, height: number, options: JpegOptions = {}): Promise<Buffer> {
  return sharpOf(paint(width, height))
    .jpeg({ quality: 90, ...options })
    .toBuffer();
}

/** A baseline JPEG of waves and noise. */
export function wavyJpeg(width: number, height: number, options: JpegOptions = {}): Promise<Buffer> {
  const random = chance(width);
  const data = Uint8Array.from(
    { length: width * height * 3 },
    (_, at) => (Math.sin((at % (width * 3)) / 50) * Math.cos(at / width / 21) + random() / 4) * 90 + 120,
  );
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg(options)
    .toBuffer();
}

/** How an EXIF orientation is written. */
export interface ExifForm {
  readonly endian?: "little" | "big";
  /** 1 byte, 3 short, 4 long. */
  readonly type?: number;
}

/** A JPEG with an EXIF orientation put in front of its other segments. */
export function withOrientation(jpeg: Uint8Array, orientation: number, form: ExifForm = {}): Buffer {
  const { endian = "little", type = 3 } = form;
  const tiff = Buffer.alloc(26);
  const little = endian === "little";
  const write = (value: number, at: number, byteLength: number): unknown =>
    little ? tiff.writeUIntLE(value, at, byteLength) : tiff.writeUIntBE(value, at, byteLength);
  tiff.write(little ? "II" : "MM", "latin1");
  write(42, 2, 2);
  write(8, 4, 4);
  write(1, 8, 2);
  write(0x0112, 10, 2);
  write(type, 12, 2);
  write(1, 14, 4);
  write(orientation, 18, type === 1 ? 1 : type === 3 ? 2 : 4);
  return withSegment(jpeg, 0xe1, Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff]));
}

/** A JPEG with one more segment after its first marker. */
export function withSegment(jpeg: Uint8Array, marker: number, body: Uint8Array): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(body.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, body, jpeg.subarray(2)]);
}

/** A JPEG with fifty bytes in front of its end marker that belong to nothing: every pixel is right. */
export function withExtraneousBytes(jpeg: Uint8Array): Buffer {
  return Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(50, 0x11), jpeg.subarray(-2)]);
}

/** A JPEG that ends as it should, but with the last two fifths of its data gone. */
export function withHole(jpeg: Uint8Array): Buffer {
  return Buffer.concat([jpeg.subarray(0, Math.floor(jpeg.length * 0.6)), jpeg.subarray(-2)]);
}

/** The largest difference of two levels; `Infinity` if the lengths differ. */
export function largestDifference(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let at = 0; at < a.length; at++) largest = Math.max(largest, Math.abs(a[at]! - b[at]!));
  return largest;
}

/** Run something as on a machine without libturbojpeg. */
export async function withoutTurboJpeg<T>(work: () => Promise<T>): Promise<T> {
  const before = process.env.BUN_TENSORRT_TURBOJPEG;
  process.env.BUN_TENSORRT_TURBOJPEG = "/nowhere/libturbojpeg.so.0";
  try {
    return await work();
  } finally {
    if (before === undefined) delete process.env.BUN_TENSORRT_TURBOJPEG;
    else process.env.BUN_TENSORRT_TURBOJPEG = before;
  }
}

/** Both decoders of JPEGs, and how something is run with each. */
export const JPEG_PATHS: readonly (readonly [name: string, through: <T>(work: () => Promise<T>) => Promise<T>])[] = [
  ["libturbojpeg", (work) => work()],
  ["sharp", withoutTurboJpeg],
];
