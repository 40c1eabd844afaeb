/** @module MadeImage: what an image model makes of one picture. */

import { ImageError, message } from "../../core/errors.ts";
import { formatBytes } from "../../core/units.ts";
import { bytesPerPixel, type PackedImage } from "../../image/image.ts";
import type { ImageRecognition } from "./image-recognition.ts";
import type { TileRules } from "./tile-grid.ts";

/** What a model makes of pictures, and how they are cut for it. */
export interface TiledRecognition extends ImageRecognition {
  readonly tiling: TileRules;
}

/** What is made of one picture, over memory of its own. */
export interface MadeImage {
  /** Of the picture's format, as many times as large as the model says. */
  readonly image: PackedImage;
  /** How many tiles the picture was cut into. */
  readonly tiles: number;
}

/** No larger picture is made: more bytes do not fit into what the encoders and most programs take. */
const MAX_BYTES = 2 ** 31 - 1;

/**
 * Memory for what is made of a picture.
 *
 * @throws {ImageError} If it would be larger than what pictures can be
 */
export function imageFor(
  { width, height, format }: Pick<PackedImage, "width" | "height" | "format">,
  scale: number,
): PackedImage {
  const pitchBytes = width * scale * bytesPerPixel(format);
  const byteLength = pitchBytes * height * scale;
  if (byteLength > MAX_BYTES) {
    const size = `${width * scale}x${height * scale} pixels, ${formatBytes(byteLength)}`;
    const found = `what is made of it may have at most ${formatBytes(MAX_BYTES)}: it would have ${size}`;
    const name = `a picture of ${width}x${height} pixels`;
    throw new ImageError(message(`transform ${name}`, found, "transform parts of it"), name);
  }
  const data = new Uint8Array(new ArrayBuffer(byteLength));
  return { width: width * scale, height: height * scale, pitchBytes, format, data };
}
