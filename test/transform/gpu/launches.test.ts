import { expect, test } from "bun:test";
import { type LaunchSpec, writeArguments } from "../../../src/accelerators/tensorrt/kernels.ts";
import { ShapeError } from "../../../src/core/errors.ts";
import { volume } from "../../../src/core/tensor.ts";
import type { DevicePtr } from "../../../src/core/units.ts";
import type { TypedDeviceMemory } from "../../../src/cuda/buffers.ts";
import { KernelArguments, kernelParameters } from "../../../src/cuda/kernel.ts";
import { placeLaunch, type TileMemory } from "../../../src/tasks/image/cuda-image.ts";
import { FRAME_BYTES, packFrame, packTile, TILE_BYTES } from "../../../src/tasks/image/image-memory.ts";
import {
  type ImageModelSpec,
  normalisation,
  type PixelTensor,
  pixelShape,
} from "../../../src/tasks/image/image-recognition.ts";

const SOMEWHERE = 0x7f12_3456_7890 as DevicePtr;

function tensor(form: PixelTensor, batch: number, size: readonly [number, number]): TypedDeviceMemory {
  const shape = pixelShape(form, batch, size);
  const length = volume(shape);
  return { dtype: form.dtype, shape, length, byteLength: length * 4, pointer: SOMEWHERE };
}

function memory(byteLength: number): { pointer: DevicePtr; byteLength: number } {
  return { pointer: SOMEWHERE, byteLength };
}

function bind({ module, kernel, config, values }: LaunchSpec): void {
  writeArguments(new KernelArguments(kernelParameters(module, kernel)), values);
  expect(config.block[0] * config.block[1] * config.block[2]).toBe(256);
}

function recognition(dtype: PixelTensor["dtype"], layout: PixelTensor["layout"], luma: boolean): ImageModelSpec {
  const channels = luma ? "luma" : "RGB";
  const form: PixelTensor = { name: "x", layout, channels, dtype, ...normalisation("0-1") };
  return { input: form, output: form, scale: 3, fixedWidth: 37, fixedHeight: 19, fixedBatch: undefined };
}

const SHAPE = { batch: 2, size: [37, 19] } as const;

function memoryFor({ output, scale }: ImageModelSpec): TileMemory {
  return {
    frame: memory(FRAME_BYTES),
    tiles: memory(2 * TILE_BYTES),
    phases: memory(scale * 20),
    made: tensor(output, 2, [37 * scale, 19 * scale]),
  };
}

test("placeLaunch() gives every parameter of its kernels a value", () => {
  for (const dtype of ["f32", "f16", "u8"] as const) {
    for (const layout of ["NCHW", "NHWC"] as const) {
      for (const luma of [false, true]) {
        const found = recognition(dtype, layout, luma);
        const place = placeLaunch(found, SHAPE, memoryFor(found));
        expect(place.config.grid).toEqual([4, 8, 2]);
        bind(place);
      }
    }
  }
});

test("placeLaunch() refuses another tensor and small tables", () => {
  const found = recognition("f32", "NCHW", false);
  const good = memoryFor(found);
  const call = (change: Partial<TileMemory>) => (): void => {
    placeLaunch(found, SHAPE, { ...good, ...change });
  };
  expect(call({ made: tensor(found.output, 2, [37, 19]) })).toThrow(ShapeError);
  expect(call({ made: tensor(found.output, 2, [37, 19]) })).toThrow(
    'Cannot make an image: output "x" must be f32 [2, 3, 57, 111], got f32 [2, 3, 19, 37]\nHint: say what the sides',
  );
  expect(call({ tiles: memory(32) })).toThrow("the table of tiles must be at least 64 bytes, got 32");
  expect(call({ phases: memory(40) })).toThrow("the table of phases must be at least 60 bytes");
  expect(call({ made: tensor(found.output, 1, [111, 57]) })).toThrow("must be f32 [2, 3, 57, 111], got f32 [1, 3");
  expect(call({})).not.toThrow();
});

test("packFrame() and packTile() write what kernels/transform.cu reads", () => {
  const words = new Int32Array(12 + 16).fill(-1);
  const result = 0xffff_ffff as DevicePtr;
  const frame = { pixels: SOMEWHERE, result, pitchBytes: 7, resultPitchBytes: 9, width: 3, height: 2 };
  packFrame(words, { ...frame, pixelBytes: 3, isBgr: true });
  expect([...new BigUint64Array(words.buffer, 0, 2)]).toEqual([0x7f12_3456_7890n, 0xffff_ffffn]);
  expect([...words.subarray(4, 12)]).toEqual([7, 9, 3, 2, 3, 1, 0, 0]);
  packTile(words, 12, { x: 1, y: 2, left: 3, top: 4, right: 5, bottom: 6 });
  packTile(words, 20, undefined);
  expect([...words.subarray(12)]).toEqual([1, 2, 3, 4, 5, 6, 0, 0, ...new Array<number>(8).fill(0)]);
});
