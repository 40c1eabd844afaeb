/** @module Image: a decoded picture in host memory. */

import { message, ShapeError } from "../core/errors.ts";

/** Order of the bytes of one pixel. */
export type PixelFormat = "RGB" | "BGR" | "RGBA";

const BYTES_PER_PIXEL: Readonly<Record<PixelFormat, number>> = { RGB: 3, BGR: 3, RGBA: 4 };

/** A decoded picture: u8 [height, width, channels] (HWC), rows `pitchBytes` apart. Whoever made `data` owns it. */
export interface Image {
  /** In pixels, at least 1. */
  readonly width: number;
  /** In pixels, at least 1. */
  readonly height: number;
  /** Distance between the starts of two rows in bytes, at least `width` × the bytes of a pixel. */
  readonly pitchBytes: number;
  readonly format: PixelFormat;
  /** At least `pitchBytes` × (`height` − 1) + one row of pixels. Alpha is ignored. */
  readonly data: Uint8Array;
}

/** Bytes of one pixel. */
export function bytesPerPixel(format: PixelFormat): number {
  return BYTES_PER_PIXEL[format];
}

/** What {@linkcode imageOf} takes beside the pixels. */
export interface ImageLayout {
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  /** Default `"RGB"`. */
  readonly format?: PixelFormat;
  /** In bytes; default `width` × the bytes of a pixel. */
  readonly pitchBytes?: number;
}

/**
 * A picture over pixels the caller owns; nothing is copied.
 *
 * @param data   u8 [height, width, channels], rows `pitchBytes` apart
 * @param layout size, pixel format and row pitch
 * @throws {ShapeError} If a dimension is not a positive integer, the format unknown, the pitch too small or the data too short
 */
export function imageOf(data: Uint8Array, layout: ImageLayout): Image {
  const { width, height, format = "RGB" } = layout;
  const refuse = (expected: string, actual: string, hint: string): never => {
    throw new ShapeError(message("use the pixels as an image", `as ${expected}: received ${actual}`, hint), {
      tensor: "image",
      expected,
      actual,
    });
  };
  for (const [side, value] of [
    ["width", width],
    ["height", height],
  ] as const) {
    if (!Number.isInteger(value) || value < 1) {
      refuse(`${side} must be a positive integer`, String(value), "give the size in pixels");
    }
  }
  const pixelBytes: number | undefined = BYTES_PER_PIXEL[format];
  if (pixelBytes === undefined) refuse("format must be RGB, BGR or RGBA", String(format), "convert the pixels first");
  const rowBytes = width * (pixelBytes ?? 0);
  const pitchBytes = layout.pitchBytes ?? rowBytes;
  if (!Number.isInteger(pitchBytes) || pitchBytes < rowBytes) {
    refuse(
      `pitchBytes must be at least ${rowBytes}`,
      String(pitchBytes),
      "pitchBytes is the distance between two rows",
    );
  }
  const needed = pitchBytes * (height - 1) + rowBytes;
  if (!(data instanceof Uint8Array) || data.length < needed) {
    const actual = data instanceof Uint8Array ? `${data.length} bytes` : typeof data;
    refuse(`${width}x${height} ${format} needs ${needed} bytes`, actual, "check width, height, format and pitch");
  }
  return { width, height, pitchBytes, format, data };
}
