import { expect, test } from "bun:test";
import { ArgumentError } from "../../../src/core/errors.ts";
import { DeviceBuffer, PinnedBuffer } from "../../../src/cuda/buffers.ts";
import {
  copyOnDevice,
  copyRectangleOnDevice,
  copyRectangleToDevice,
  copyRectangleToHost,
  copyToDevice,
  copyToHost,
  fill,
  fillRectangle,
} from "../../../src/cuda/copy.ts";
import { Graph } from "../../../src/cuda/stream.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);
const bytes = (length: number, first = 0): number[] => Array.from({ length }, (_, at) => (first + at) & 255);

gpuTest("copies of ordinary arrays and of parts arrive", () => {
  using gpu = new Gpu();
  const { stream } = gpu;
  using buffer = DeviceBuffer.create("u8", [16], { stream });
  using second = DeviceBuffer.create("u8", [16], { stream });
  fill(buffer, 255, { stream });
  copyToDevice(buffer, new Uint8Array(bytes(8, 10)), {
    stream,
    byteLength: 5,
    targetOffsetBytes: 3,
    sourceOffsetBytes: 2,
  });
  expect([...gpu.download(buffer)].slice(0, 9)).toEqual([255, 255, 255, 12, 13, 14, 15, 16, 255]);
  fill(second, 0, { stream });
  copyOnDevice(second, buffer, { stream, byteLength: 4, sourceOffsetBytes: 4, targetOffsetBytes: 12 });
  expect([...gpu.download(second)].slice(11)).toEqual([0, 13, 14, 15, 16]);
  const part = new Uint8Array(6);
  copyToHost(part, second, { stream, byteLength: 2, targetOffsetBytes: 1, sourceOffsetBytes: 12 });
  expect([...part]).toEqual([0, 13, 14, 0, 0, 0]);
});

gpuTest("rectangles keep what lies between their rows", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  using host = PinnedBuffer.create("u8", [5 * 7], device);
  using back = PinnedBuffer.create("u8", [4 * 3], device);
  using buffer = DeviceBuffer.create("u8", [6 * 8], { stream });
  using other = DeviceBuffer.create("u8", [6 * 8], { stream });
  host.data.set(bytes(35));
  fill(buffer, 200, { stream });
  const up = { widthBytes: 3, height: 4, targetPitchBytes: 8, sourcePitchBytes: 7 };
  copyRectangleToDevice(buffer, host, up, { stream });
  fill(other, 100, { stream });
  copyRectangleOnDevice(other, buffer, { ...up, sourcePitchBytes: 8 }, { stream });
  copyRectangleToHost(back, other, { ...up, targetPitchBytes: 3, sourcePitchBytes: 8 }, { stream });
  stream.synchronize();
  expect([...back.data]).toEqual([0, 1, 2, 7, 8, 9, 14, 15, 16, 21, 22, 23]);
  expect([...gpu.download(other)].slice(0, 11)).toEqual([0, 1, 2, 100, 100, 100, 100, 100, 7, 8, 9]);
  fillRectangle(other, 1, { widthBytes: 2, height: 2, targetPitchBytes: 8 }, { stream });
  expect([...gpu.download(other)].slice(0, 11)).toEqual([1, 1, 2, 100, 100, 100, 100, 100, 1, 1, 9]);
});

gpuTest("copies that do not fit are refused before anything is enqueued", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  using buffer = DeviceBuffer.create("u8", [16], { stream });
  using host = PinnedBuffer.create("u8", [32], device);
  expect(() => copyToDevice(buffer, host, { stream })).toThrow(
    "Cannot copy to the device: bytes 0 to 32 of 32 do not fit into bytes 0 to 32 of 16",
  );
  expect(() => copyToHost(host, buffer, { stream, targetOffsetBytes: 20 })).toThrow(ArgumentError);
  expect(() => copyOnDevice(buffer, buffer, { stream, sourceOffsetBytes: -1 })).toThrow(ArgumentError);
  const rectangle = { widthBytes: 9, height: 2, targetPitchBytes: 8, sourcePitchBytes: 16 };
  expect(() => copyRectangleToDevice(buffer, host, rectangle, { stream })).toThrow("Cannot copy a rectangle");
});

gpuTest("an ordinary array cannot be captured", () => {
  using gpu = new Gpu();
  const { stream } = gpu;
  using buffer = DeviceBuffer.create("u8", [16], { stream });
  const capture = (): Graph =>
    Graph.capture("copy", () => copyToDevice(buffer, new Uint8Array(16), { stream }), { stream });
  expect(capture).toThrow("Cannot capture a copy of an ordinary array: its memory may move");
  expect(stream.isCapturing).toBe(false);
  stream.synchronize();
});
