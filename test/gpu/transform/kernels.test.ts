import { expect, test } from "bun:test";
import { KernelLaunch, KernelLibrary } from "../../../src/accelerators/tensorrt/kernels.ts";
import { preprocessLaunch } from "../../../src/accelerators/tensorrt/preprocess.ts";
import { allocate, packVectors, type Tensor, vectorVolume } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { placeLaunch } from "../../../src/tasks/image/cuda-image.ts";
import { tilePreprocessing } from "../../../src/tasks/image/image-recognition.ts";
import { Gpu, isGpuMissing, isOnCpu } from "../../support/gpu.ts";
import { noiseImage } from "../../support/image-models.ts";
import { differences, type TileCase, tileCases, tileTables } from "../../support/tile-cases.ts";

/**
 * Pre-process and place one case on the device; what differs from the CPU.
 *
 * @param vector channels that lie side by side in the tensors
 */
function compare(library: KernelLibrary, one: TileCase, vector: number): string[] {
  using gpu = new Gpu();
  const { stream } = gpu;
  const { image, input, made, placed, recognition, size } = one;
  const bytes = (data: Uint8Array): DeviceBuffer<"u8"> =>
    gpu.upload({ dtype: "u8", shape: [data.length], data: data as Uint8Array<ArrayBuffer> });
  const pixels = bytes(image.data);
  // The bytes between the rows must stay as they are.
  const result = bytes(noiseImage(placed.width, placed.height, placed.format, 5).data);
  const tables = tileTables(one, pixels.pointer, result.pointer);
  const output = gpu.own(DeviceBuffer.create(input.dtype, input.shape, { stream }, vector));
  const packed = (tensor: Tensor): Tensor["data"] => {
    const data = allocate(tensor.dtype, vectorVolume(tensor.shape, vector));
    packVectors(data, tensor, vector);
    return data;
  };
  const from = gpu.own(DeviceBuffer.create(made.dtype, made.shape, { stream }, vector));
  gpu.refill(from, packed(made));
  const memory = {
    frame: gpu.upload({ dtype: "i32", shape: [tables.frame.length], data: tables.frame }),
    tiles: gpu.upload({ dtype: "i32", shape: [tables.tiles.length], data: tables.tiles }),
    phases: gpu.upload({ dtype: "i32", shape: [tables.phases.length], data: tables.phases }),
    made: from,
  };
  const table = gpu.upload({ dtype: "f32", shape: [tables.values.length], data: tables.values });
  const regions = { output, images: bytes(tables.regions), table };
  new KernelLaunch(library, preprocessLaunch(tilePreprocessing(recognition.input), regions)).enqueue({ stream });
  const shape = { batch: one.tiles.length, size };
  new KernelLaunch(library, placeLaunch(recognition, shape, memory)).enqueue({ stream });
  return [
    ...differences(input.dtype, gpu.download(output), packed(input)),
    ...differences("u8", gpu.download(result), placed.data),
  ].map((place) => `${one.name} ${place}`);
}

test.skipIf(isGpuMissing)(
  "tiles as regions and transform_place are the CPU's to the bit: every dtype, layout, vector, format, odd sizes and pitches",
  () => {
    using gpu = new Gpu();
    const library = gpu.own(KernelLibrary.create(gpu.device));
    const found: string[] = [];
    for (const one of tileCases()) {
      found.push(...compare(library, one, 1));
      const { layout, dtype } = one.recognition.output;
      // kCHW2 and kHWC8.
      if (layout !== "NCHW" || dtype !== "f16" || one.image.format === "BGR") continue;
      found.push(...compare(library, one, one.image.format === "RGBA" ? 2 : 8));
    }
    expect(found.slice(0, 20)).toEqual([]);
  },
  120_000,
);

test.skipIf(isGpuMissing || isOnCpu)("no kernel of transform spills registers", () => {
  using gpu = new Gpu();
  const library = gpu.own(KernelLibrary.create(gpu.device));
  for (const dtype of ["f32", "f16", "u8"]) {
    expect(library.kernel("transform", `transform_place_${dtype}`).localBytes).toBe(0);
  }
});
