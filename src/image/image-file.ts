/** @module ImageFile: any source to pixels in one call, and pixels to the bytes of an image file. */

import { ImageError, message } from "../core/errors.ts";
import { type Image, imageOf, isImage, type PackedImage } from "./image.ts";
import { type DecodedImage, type ImageDecodeOptions, ImageDecoder } from "./image-decoder.ts";
import { type EncodeOptions, parseDecodeOptions, parseEncodeOptions } from "./image-options.ts";
import { packedImage, tightRgb, tightRgba } from "./nv12.ts";
import { loadSharp } from "./sharp.ts";
import { type ImageSource, type ReadSourceOptions, readSource } from "./source.ts";

/** How an image is read and decoded. */
export interface DecodeOptions extends ImageDecodeOptions, ReadSourceOptions {}

/** Those of which all images come in bytes. */
export interface ByteDecodeOptions extends DecodeOptions {
  readonly depth?: "drop" | undefined;
}

/**
 * Read and decode an image, off the JS thread.
 *
 * JPEG goes through libturbojpeg where the machine has it, the rest through sharp. EXIF orientation is applied; grey,
 * palette, CMYK and 16-bit images come out as 8-bit RGB, unless `depth` is `keep`; alpha is dropped without blending, as OpenCV does,
 * unless `alpha` is `keep`; of an
 * animation the first frame counts. An Image is checked and passed through as it is.
 *
 * @returns RGB, or RGBA where alpha is kept, with tight rows over memory that is the caller's alone; an Image keeps its own memory and format
 * @throws {ImageError} If the source is missing, not an image, cut short, damaged, SVG that was not asked for, or costs more
 *   to decode than allowed; `DecodeTimeoutError` after `decodeTimeoutMs`
 * @throws {DecodeStalledError} If every place to decode is held by images that take longer than allowed
 * @throws {ShapeError} If an Image's size, pitch and data do not fit together
 * @throws {OptionError} If an option is unknown or out of range
 *
 * @example
 * ```ts
 * import { decodeImage } from "bun-tensorrt";
 *
 * const { width, height, data } = await decodeImage("street.jpg");
 * console.log(width, height, data[0]); // the red of the first pixel
 * ```
 */
export function decodeImage(source: ImageSource, options?: ByteDecodeOptions): Promise<DecodedImage & PackedImage>;
export function decodeImage(source: ImageSource, options: DecodeOptions): Promise<DecodedImage>;
export async function decodeImage(source: ImageSource, options: DecodeOptions = {}): Promise<DecodedImage> {
  const checked = parseDecodeOptions(options);
  if (isImage(source)) {
    const image = packedImage(imageOf(source.data, source));
    return { ...image, sourceWidth: image.width, sourceHeight: image.height };
  }
  const { bytes, name } = await readSource(source, checked);
  using decoder = ImageDecoder.create();
  return await decoder.decode(bytes, name, checked);
}

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
