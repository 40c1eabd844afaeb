/** @module drawDetections: a copy of a picture with boxes and labels on it. */

import { ImageError, message } from "../core/errors.ts";
import { type Image, imageOf } from "./image.ts";
import { type LabelledBox, overlaySvg } from "./overlay.ts";
import { tightRgb } from "./rgb.ts";
import { prepareFonts, withVectors } from "./sharp-library.ts";

/**
 * Draw boxes, labels and scores onto a copy of a picture, off the JS thread. Each class has a colour of its own that
 * depends on its name alone.
 *
 * @param image not to be changed until the promise settles; stays as it is
 * @param rows  what a detector returned for this picture
 * @returns RGB with tight rows; `encodeImage` makes a file of it
 * @throws {ShapeError} If the image's size, pitch and data do not fit together
 * @throws {ImageError} If the overlay cannot be rendered, as memory does not suffice
 *
 * @example
 * ```ts
 * const { image, detections } = await detector.detect("street.jpg");
 * await Bun.write("boxes.jpg", await encodeImage(await drawDetections(image, detections)));
 * ```
 */
export async function drawDetections(image: Image, rows: readonly LabelledBox[]): Promise<Image> {
  const complete = imageOf(image.data, image);
  const { width, height } = complete;
  const markup = overlaySvg(width, height, rows);
  if (markup.includes("<text ")) await prepareFonts();
  const overlay = Buffer.from(markup);
  try {
    const data = await withVectors((sharp) =>
      sharp(tightRgb(complete), { raw: { width, height, channels: 3 }, limitInputPixels: false })
        .composite([{ input: overlay, limitInputPixels: false, unlimited: true }])
        .removeAlpha()
        .raw()
        .toBuffer(),
    );
    return imageOf(data, { width, height });
  } catch (error) {
    const found = `as the overlay cannot be rendered: ${error instanceof Error ? error.message : String(error)}`;
    const text = message(`draw onto a ${width}x${height} picture`, found, "draw onto a smaller picture");
    throw new ImageError(text, `a ${width}x${height} image`, { cause: error });
  }
}
