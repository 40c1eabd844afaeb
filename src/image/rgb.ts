/** @module RGB: the pixels of any image as tight RGB rows, which is what sharp takes. */

import { bytesPerPixel, type Image, isPacked, type PackedImage } from "./image.ts";
import { rgbOfNv12 } from "./nv12.ts";

/** The image itself, or RGB in memory of its own where it is NV12: for code that goes from pixel to pixel. */
export function packedImage(image: Image): PackedImage {
  if (isPacked(image)) return image;
  const { width, height } = image;
  return { width, height, pitchBytes: width * 3, format: "RGB", data: rgbOfNv12(image) };
}

/**
 * Tight RGB rows of an image; alpha is dropped.
 *
 * @returns u8 [height, width, 3]: the image's own memory where it has that form already, else a copy
 */
export function tightRgb(image: Image): Uint8Array {
  const { width, height, pitchBytes, format, data } = packedImage(image);
  const rowBytes = width * 3;
  if (format === "RGB" && pitchBytes === rowBytes) return data.subarray(0, rowBytes * height);
  const rgb = new Uint8Array(rowBytes * height);
  const pixel = bytesPerPixel(format);
  const red = format === "BGR" ? 2 : 0;
  const blue = 2 - red;
  let target = 0;
  for (let y = 0; y < height; y++) {
    let source = y * pitchBytes;
    for (let x = 0; x < width; x++) {
      rgb[target] = data[source + red]!;
      rgb[target + 1] = data[source + 1]!;
      rgb[target + 2] = data[source + blue]!;
      target += 3;
      source += pixel;
    }
  }
  return rgb;
}

/**
 * Tight rows of an RGBA image.
 *
 * @returns u8 [height, width, 4]: the image's own memory where its rows are tight, else a copy
 */
export function tightRgba(image: Image): Uint8Array {
  const { width, height, pitchBytes, data } = image;
  const rowBytes = width * 4;
  if (pitchBytes === rowBytes) return data.subarray(0, rowBytes * height);
  const rgba = new Uint8Array(rowBytes * height);
  for (let y = 0; y < height; y++) {
    rgba.set(data.subarray(y * pitchBytes, y * pitchBytes + rowBytes), y * rowBytes);
  }
  return rgba;
}
