import { expect, test } from "bun:test";
import manifest from "../../../ptx/manifest.json";
import { DeviceBuffer } from "../../../src/cuda/device-buffer.ts";
import { layOut } from "../../../src/cuda/kernel-arguments.ts";
import type { Orientation } from "../../../src/image/exif.ts";
import { imageOf } from "../../../src/image/image.ts";
import { orient, orientationSteps } from "../../../src/image/orientation.ts";
import { BatchTable } from "../../../src/nvjpeg/batch-table.ts";
import { FLAT, JPEG_KERNEL_PARAMETERS, JpegKernels, UNTOUCHED } from "../../../src/nvjpeg/jpeg-kernels.ts";
import { chance } from "../../support/chance.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";

const SIZES = [
  [1, 1],
  [2, 3],
  [33, 17],
  [101, 77],
  [1, 640],
] as const;

test("JPEG_KERNEL_PARAMETERS are those of the manifest", () => {
  const rows = Object.entries(JPEG_KERNEL_PARAMETERS).map(([name, parameters]) => [
    name,
    layOut(parameters).map(({ name: parameter, type, offsetBytes, byteLength }) => [
      parameter,
      type,
      offsetBytes,
      byteLength,
    ]),
  ]);
  expect(Object.fromEntries(rows)).toEqual(manifest.modules.jpeg.entries);
});

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

test.skipIf(isGpuMissing)("jpeg_inspect tells what was not written since jpeg_mark, and a tail of one colour", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  const kernels = gpu.own(JpegKernels.create(device));
  const table = gpu.own(new BatchTable(device, 4));
  for (const [width, height] of SIZES) {
    const length = width * height * 3;
    const flat = new Uint8Array(length).fill(200);
    // Only the pixel that the tail begins with is another.
    const edged = flat.slice();
    const [tailWidth, tailHeight] = [Math.min(width, 7), Math.min(height, 5)];
    edged[((height - tailHeight) * width + width - tailWidth) * 3 + 1] = 7;
    // The pixel beside it does not count.
    const outside = flat.slice();
    if (width > tailWidth) outside[((height - tailHeight) * width + width - tailWidth - 1) * 3] = 7;
    const pictures = [flat, edged, outside, flat].map((data) => gpu.upload({ dtype: "u8", shape: [length], data }));
    for (const [index, pixels] of pictures.entries()) {
      table.set(index, { bytes: flat, width, height, pixels, tailWidth, tailHeight });
    }
    kernels.mark(table.pictures, 4, { stream });
    gpu.refill(pictures[0]!, flat);
    gpu.refill(pictures[1]!, edged);
    gpu.refill(pictures[2]!, outside);
    kernels.inspect(table.pictures, 4, { stream });
    stream.synchronize();
    const single = length === 3;
    expect(table.flags(0)).toBe(FLAT);
    expect(table.flags(1)).toBe(single ? FLAT : 0);
    expect(table.flags(2)).toBe(FLAT);
    expect(table.flags(3) & UNTOUCHED).toBe(UNTOUCHED);
  }
});
