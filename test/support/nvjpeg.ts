/** @module nvJPEG for tests that need a card; `isNvJpegMissing` is the one reason such a test is skipped. */

import { BufferView } from "../../src/cuda/device-buffer.ts";
import { PictureDecoder, type ResidentPicture } from "../../src/image/picture-decoder.ts";
import { JpegSurface } from "../../src/nvjpeg/jpeg-surface.ts";
import { NvJpegDecoder, nvJpegUnavailable } from "../../src/nvjpeg/nvjpeg-decoder.ts";
import type { NvJpegOptions } from "../../src/nvjpeg/nvjpeg-options.ts";
import { Gpu, isGpuMissing } from "./gpu.ts";

/** True on a machine without a GPU, or without libnvjpeg. */
export const isNvJpegMissing: boolean = isGpuMissing || nvJpegUnavailable() !== undefined;

/** A decoder with a surface for each picture in flight, closed in the right order. */
export class JpegRig implements Disposable {
  readonly gpu: Gpu;
  readonly decoder: NvJpegDecoder;
  readonly #surfaces: JpegSurface[] = [];

  private constructor(gpu: Gpu, decoder: NvJpegDecoder) {
    this.gpu = gpu;
    this.decoder = decoder;
  }

  static async create(options: NvJpegOptions = {}): Promise<JpegRig> {
    const gpu = new Gpu();
    return new JpegRig(gpu, gpu.own(await NvJpegDecoder.create(gpu.device, options)));
  }

  /** Decode into the surface of this number. */
  decode(bytes: Uint8Array, index = 0): Promise<ResidentPicture> {
    return this.decoder.decode(bytes, this.surface(index), { source: `picture ${index}` });
  }

  surface(index: number): JpegSurface {
    this.#surfaces[index] ??= this.gpu.own(JpegSurface.create(this.gpu.device));
    return this.#surfaces[index];
  }

  /** The picture's pixels: u8 [height, width, 3]. */
  pixels({ pixels, width, height }: ResidentPicture): Uint8Array {
    return this.gpu.download(BufferView.wrap(pixels, "u8", [height, width, 3]));
  }

  [Symbol.dispose](): void {
    this.gpu[Symbol.dispose]();
  }
}

/** Largest and mean difference of two pictures' levels. */
export interface Difference {
  readonly max: number;
  readonly mean: number;
}

/** How far a picture is from what the CPU makes of the same file; `Infinity` if the sizes differ. */
export async function differenceFromCpu(
  rig: JpegRig,
  picture: ResidentPicture,
  bytes: Uint8Array,
): Promise<Difference> {
  using decoder = PictureDecoder.create();
  const want = await decoder.decode(bytes, "reference");
  if (want.width !== picture.width || want.height !== picture.height) {
    return { max: Number.POSITIVE_INFINITY, mean: Number.POSITIVE_INFINITY };
  }
  const got = rig.pixels(picture);
  let max = 0;
  let sum = 0;
  for (let at = 0; at < got.length; at++) {
    const difference = Math.abs(got[at]! - want.data[at]!);
    max = Math.max(max, difference);
    sum += difference;
  }
  return { max, mean: sum / got.length };
}
