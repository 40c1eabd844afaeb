/** @module decodeImage: any source to pixels in one call. */

import { parseDecodeOptions } from "./decode-options.ts";
import { imageOf, isImage, type PackedImage } from "./image.ts";
import { type DecodedImage, type ImageDecodeOptions, ImageDecoder } from "./image-decoder.ts";
import { packedImage } from "./nv12.ts";
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
