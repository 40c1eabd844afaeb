/** @module PageLocked: a frame in page-locked memory, as a decoder or a camera would hand it over. */

import { Device } from "../../src/cuda/device.ts";
import { PinnedBuffer } from "../../src/cuda/pinned-buffer.ts";
import { type Image, imageOf } from "../../src/image/image.ts";

/**
 * Copy a frame into page-locked memory.
 *
 * @param owner owns the memory
 */
export function pageLocked(image: Image, owner: DisposableStack): Image {
  const device = owner.use(Device.open(0));
  const pinned = owner.use(PinnedBuffer.create("u8", [image.data.length], device));
  pinned.data.set(image.data);
  return imageOf(pinned.data, image);
}
