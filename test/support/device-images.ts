/** @module Device images: images of noise in every format, with odd sizes, pitches and addresses, on host and device. */

import type { DeviceImage } from "../../src/accelerators/tensorrt/preprocess.ts";
import type { DevicePtr } from "../../src/core/units.ts";
import {
  bytesPerPixel,
  type Image,
  imageOf,
  isDeep,
  type YuvCoefficients,
  yuvCoefficients,
} from "../../src/image/image.ts";
import { chance } from "./chance.ts";
import { rgbOfNv12 } from "./reference/nv12.ts";

/** One image: what the CPU is given, and where it lies in the arena. */
export interface NoiseImage {
  readonly image: Image;
  readonly format: DeviceImage["format"];
  readonly offset: number;
  readonly pitchBytes: number;
  readonly chromaOffset: number;
  readonly chromaPitchBytes: number;
  readonly coefficients: YuvCoefficients;
}

/** Images in one piece of memory, so that they lie at odd addresses. */
export interface NoiseArena {
  /** u8: what is copied to the device. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly images: readonly NoiseImage[];
}

/** Every format in every size. */
export function noiseArena(sizes: readonly (readonly [width: number, height: number])[], seed: number): NoiseArena {
  const random = chance(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const formats: readonly DeviceImage["format"][] = ["RGB", "BGR", "RGBA", "NV12", "P016", "GREY", "GREY16", "RGBA16"];
  const area = sizes.reduce((sum, [width, height]) => sum + (width * 8 + 64) * (height + 2) * formats.length, 0);
  const bytes = new Uint8Array(new ArrayBuffer(area));
  for (let at = 0; at < bytes.length; at++) bytes[at] = below(256);
  const pictures: NoiseImage[] = [];
  let end = 0;
  for (const [width, height] of sizes) {
    for (const format of formats) {
      const pixelBytes = format === "NV12" ? 1 : format === "P016" ? 2 : bytesPerPixel(format);
      const pitchBytes = width * pixelBytes + below(3) * 7;
      const offset = end + below(5);
      const isPlanar = format === "NV12" || format === "P016";
      const sampleBytes = isPlanar ? pixelBytes : 1;
      const chromaPitchBytes = Math.ceil(width / 2) * 2 * sampleBytes + below(5);
      const chromaOffset = offset + pitchBytes * height + below(3);
      end = isPlanar ? chromaOffset + chromaPitchBytes * Math.ceil(height / 2) : offset + pitchBytes * height;
      const coefficients = yuvCoefficients(below(2) === 0 ? "BT.601" : "BT.709", below(2) === 0 ? "limited" : "full");
      const tight = Math.ceil(width / 2) * 2;
      // The samples of P016 rounded to 8 bits, without gaps.
      const rounded = (from: number, pitch: number, rows: number): Uint8Array =>
        Uint8Array.from({ length: tight * rows }, (_, at) => {
          const sample = from + Math.floor(at / tight) * pitch + (at % tight) * 2;
          return Math.min((bytes[sample]! + bytes[sample + 1]! * 256 + 128) >> 8, 255);
        });
      const isNv12 = format === "NV12";
      const image = isPlanar
        ? rgbOfNv12(
            {
              width,
              height,
              luma: isNv12 ? bytes.subarray(offset) : rounded(offset, pitchBytes, height),
              pitchBytes: isNv12 ? pitchBytes : tight,
              chroma: isNv12
                ? bytes.subarray(chromaOffset)
                : rounded(chromaOffset, chromaPitchBytes, Math.ceil(height / 2)),
              chromaPitchBytes: isNv12 ? chromaPitchBytes : tight,
            },
            coefficients,
          )
        : imageOf(bytes.subarray(offset, end), {
            width,
            height,
            format,
            pitchBytes,
            // Some of them say nothing, some cut on both sides.
            ...(isDeep(format) && below(2) === 0 ? { levels: [900 + below(9), 50_000.5] } : {}),
          });
      pictures.push({ image, format, offset, pitchBytes, chromaOffset, chromaPitchBytes, coefficients });
    }
  }
  return { bytes, images: pictures };
}

/** The bytes of an image, from a multiple of 16 in the arena on and up to its last pixel: what is read beside it is then noticed. */
export function bytesOf(picture: NoiseImage, arena: NoiseArena): readonly [start: number, Uint8Array<ArrayBuffer>] {
  const { image, format, offset, pitchBytes, chromaOffset, chromaPitchBytes } = picture;
  const { width, height } = image;
  const end =
    format === "NV12" || format === "P016"
      ? chromaOffset +
        (Math.ceil(height / 2) - 1) * chromaPitchBytes +
        Math.ceil(width / 2) * (format === "NV12" ? 2 : 4)
      : offset + (height - 1) * pitchBytes + width * bytesPerPixel(format);
  const start = offset - (offset % 16);
  return [start, arena.bytes.slice(start, end)];
}

/** An image as the device sees it, with the arena at an address. */
export function deviceImage(picture: NoiseImage, arena: number): DeviceImage {
  const { image, format, pitchBytes, chromaPitchBytes, coefficients } = picture;
  const { width, height } = image;
  const pixels = (arena + picture.offset) as DevicePtr;
  if (format !== "NV12" && format !== "P016")
    return { format, width, height, pixels, pitchBytes, levels: image.levels };
  const chroma = (arena + picture.chromaOffset) as DevicePtr;
  return { format, width, height, pixels, pitchBytes, chroma, chromaPitchBytes, coefficients };
}
