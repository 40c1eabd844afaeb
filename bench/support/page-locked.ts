/** @module PageLocked: a frame in page-locked memory, as a decoder or a camera would hand it over. */

import { PinnedBuffer, type PinnedOptions } from "../../src/cuda/buffers.ts";
import { Device } from "../../src/cuda/device.ts";
import { type Image, imageOf } from "../../src/image/image.ts";

/**
 * Copy a frame into page-locked memory.
 *
 * @param owner owns the memory
 * @param use   how kernels and copies may use it
 */
export function pageLocked(image: Image, owner: DisposableStack, use: PinnedOptions["use"] = "copy"): Image {
  const device = owner.use(Device.open(0));
  const pinned = owner.use(PinnedBuffer.create("u8", [image.data.length], device, { use }));
  pinned.data.set(image.data);
  return imageOf(pinned.data, image);
}

/** A 1920x1080 frame of noise in page-locked memory. @param owner owns it */
export function noiseFrame(owner: DisposableStack): Image {
  const [width, height] = [1920, 1080];
  const noise = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * 2_654_435_761) >>> 24);
  return pageLocked(imageOf(noise, { width, height }), owner);
}

/** An RGB image as video decoders give it: BT.709 in limited range, U and V of the first of each 2 × 2 pixels. */
export function nv12Of({ data, width, height, pitchBytes }: Image): Image {
  const nv12 = new Uint8Array(width * height + width * (height >> 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * pitchBytes + x * 3;
      const [red, green, blue] = [data[at]!, data[at + 1]!, data[at + 2]!];
      nv12[y * width + x] = 16 + 0.1826 * red + 0.6142 * green + 0.062 * blue;
      if ((x | y) & 1) continue;
      const pair = width * height + (y >> 1) * width + x;
      nv12[pair] = 128 - 0.1006 * red - 0.3386 * green + 0.4392 * blue;
      nv12[pair + 1] = 128 + 0.4392 * red - 0.3989 * green - 0.0403 * blue;
    }
  }
  return imageOf(nv12, { width, height, format: "NV12", yuvStandard: "BT.709" });
}
