/** @module encodeImage: pixels to the bytes of an image file, through sharp. */

import { ImageError, message } from "../core/errors.ts";
import { type EncodeOptions, parseEncodeOptions } from "./encode-options.ts";
import { type Image, imageOf } from "./image.ts";
import { tightRgb, tightRgba } from "./nv12.ts";
import { loadSharp } from "./sharp.ts";

/**
 * Write an image as JPEG, PNG or WebP, off the JS thread; alpha is dropped unless `alpha` is `keep`.
 *
 * @param image not to be changed until the promise settles
 * @returns the bytes of the file
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {OptionError} If an option is unknown or out of range
 * @throws {ImageError} If the format cannot hold the image: WebP ends at 16383 pixels a side, JPEG at 65500
 *
 * @example
 * ```ts
 * import { decodeImage, encodeImage } from "bun-tensorrt";
 *
 * const image = await decodeImage("street.jpg");
 * await Bun.write("out.webp", await encodeImage(image, { format: "webp", quality: 80 }));
 * ```
 */
export async function encodeImage(image: Image, options: EncodeOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
  const { format, quality, alpha } = parseEncodeOptions(options);
  const complete = imageOf(image.data, image);
  const { width, height } = complete;
  const sharp = await loadSharp();
  const hasAlpha = complete.format === "RGBA" && alpha === "keep" && format !== "jpeg";
  const pixels = hasAlpha ? tightRgba(complete) : tightRgb(complete);
  const raw = sharp(pixels, { raw: { width, height, channels: hasAlpha ? 4 : 3 }, limitInputPixels: false });
  try {
    switch (format) {
      case "jpeg":
        return await raw.jpeg({ quality }).toBuffer();
      case "png":
        return await raw.png().toBuffer();
      case "webp":
        return await raw.webp({ quality }).toBuffer();
    }
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    const text = message(`encode a ${width}x${height} image as ${format}`, found, "try PNG, or a smaller image");
    throw new ImageError(text, `a ${width}x${height} image`, { cause: error });
  }
}
