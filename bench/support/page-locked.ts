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

/** A 1920x1080 frame of noise in page-locked memory. @param owner owns it */
export function noiseFrame(owner: DisposableStack): Image {
  const [width, height] = [1920, 1080];
  const noise = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * 2_654_435_761) >>> 24);
  return pageLocked(imageOf(noise, { width, height }), owner);
}
