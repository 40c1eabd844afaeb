/** @module nvJPEG for tests that need a card; `isNvJpegMissing` is the one reason such a test is skipped. */

import { BufferView } from "../../src/cuda/buffers.ts";
import { ImageDecoder, type ResidentImage } from "../../src/image/image-decoder.ts";
import { JpegSurface, NvJpegDecoder, nvJpegUnavailable } from "../../src/nvjpeg/nvjpeg-decoder.ts";
import type { NvJpegOptions } from "../../src/nvjpeg/nvjpeg-options.ts";
import { Gpu, isGpuMissing } from "./gpu.ts";

/** True on a machine without a GPU, or without libnvjpeg. */
export const isNvJpegMissing: boolean = isGpuMissing || nvJpegUnavailable() !== undefined;

/** A decoder with a surface for each image in flight, closed in the right order. */
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
  decode(bytes: Uint8Array, index = 0): Promise<ResidentImage> {
    return this.decoder.decode(bytes, this.surface(index), { source: `image ${index}` });
  }

  surface(index: number): JpegSurface {
    this.#surfaces[index] ??= this.gpu.own(JpegSurface.create(this.gpu.device));
    return this.#surfaces[index];
  }

  /** The image's pixels: u8 [height, width, 3]. */
  pixels({ pixels, width, height }: ResidentImage): Uint8Array {
    return this.gpu.download(BufferView.wrap(pixels, "u8", [height, width, 3]));
  }

  [Symbol.dispose](): void {
    this.gpu[Symbol.dispose]();
  }
}

/** Largest and mean difference of two images' levels. */
export interface Difference {
  readonly max: number;
  readonly mean: number;
}

/** How far an image is from what the CPU makes of the same file; `Infinity` if the sizes differ. */
export async function differenceFromCpu(rig: JpegRig, image: ResidentImage, bytes: Uint8Array): Promise<Difference> {
  using decoder = ImageDecoder.create();
  const want = await decoder.decode(bytes, "reference");
  if (want.width !== image.width || want.height !== image.height) {
    return { max: Number.POSITIVE_INFINITY, mean: Number.POSITIVE_INFINITY };
  }
  const got = rig.pixels(image);
  let max = 0;
  let sum = 0;
  for (let at = 0; at < got.length; at++) {
    const difference = Math.abs(got[at]! - want.data[at]!);
    max = Math.max(max, difference);
    sum += difference;
  }
  return { max, mean: sum / got.length };
}
