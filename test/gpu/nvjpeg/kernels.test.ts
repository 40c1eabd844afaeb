import { expect, test } from "bun:test";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { type Orientation, orient, orientationSteps } from "../../../src/image/exif.ts";
import { imageOf } from "../../../src/image/image.ts";
import { BatchTable, JpegKernels } from "../../../src/nvjpeg/batch-check.ts";
import { chance } from "../../support/chance.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";

const SIZES = [
  [1, 1],
  [2, 3],
  [33, 17],
  [101, 77],
  [1, 640],
] as const;

test.skipIf(isGpuMissing)("jpeg_orient turns every orientation as the CPU does, to the byte", async () => {
  using gpu = new Gpu();
  const kernels = gpu.own(JpegKernels.create(gpu.device));
  const random = chance(5);
  for (const [width, height] of SIZES) {
    const data = Uint8Array.from({ length: width * height * 3 }, () => random() * 256);
    const source = gpu.upload({ dtype: "u8", shape: [data.length], data });
    const target = gpu.own(DeviceBuffer.create("u8", [data.length], { stream: gpu.stream }));
    for (let orientation = 1; orientation <= 8; orientation++) {
      const steps = orientationSteps(orientation as Orientation, width, height, width * 3);
      kernels.orient(target, source, steps, { stream: gpu.stream });
      const stored = imageOf(data, { width, height });
      const want = await orient(stored, orientation as Orientation, new Uint8Array(data.length));
      expect([steps.width, steps.height]).toEqual([want.width, want.height]);
      expect(gpu.download(target)).toEqual(want.data as Uint8Array<ArrayBuffer>);
    }
  }
});

test.skipIf(isGpuMissing)("jpeg_inspect tells which images were not written since jpeg_mark", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  const kernels = gpu.own(JpegKernels.create(device));
  const table = gpu.own(new BatchTable(device, 2));
  for (const [width, height] of SIZES) {
    const bytes = new Uint8Array(width * height * 3).fill(200);
    const images = [0, 1].map(() => gpu.upload({ dtype: "u8", shape: [bytes.length], data: bytes }));
    for (const [index, pixels] of images.entries()) table.set(index, { bytes, width, height, pixels });
    kernels.mark(table.mapped, 2, { stream });
    gpu.refill(images[0]!, bytes);
    kernels.inspect(table.mapped, 2, { stream });
    stream.synchronize();
    expect([table.isUntouched(0), table.isUntouched(1)]).toEqual([false, true]);
  }
});
