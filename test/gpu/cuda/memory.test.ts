import { expect, test } from "bun:test";
import { ArgumentError, ClosedError, OutOfMemoryError } from "../../../src/core/errors.ts";
import { BufferView, DeviceBuffer, PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { copyToDevice, copyToHost, fill } from "../../../src/cuda/copy.ts";
import { MemoryPool } from "../../../src/cuda/device.ts";
import { Stream } from "../../../src/cuda/stream.ts";
import { Gpu, isGpuMissing, leastLost } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);
const PEBIBYTE = 2 ** 50;

gpuTest("DeviceBuffer.create() gives memory of its shape, in stream order and at once", () => {
  using gpu = new Gpu();
  for (const source of [{ stream: gpu.stream }, { device: gpu.device }]) {
    using buffer = DeviceBuffer.create("f16", [3, 5, 7], source);
    expect([buffer.length, buffer.byteLength]).toEqual([105, 210]);
    expect(buffer.pointer % 256).toBe(0);
    fill(buffer, 0x3c, { stream: gpu.stream });
    expect(gpu.download(buffer)[104]).toBe(1.05859375);
  }
});

gpuTest("DeviceBuffer cannot be used after close(), nor its views", () => {
  using gpu = new Gpu();
  const buffer = DeviceBuffer.create("f32", [8], { stream: gpu.stream });
  const view = buffer.view([2, 2], 4);
  expect(view.pointer).toBe((buffer.pointer + 16) as typeof view.pointer);
  expect(() => gpu.stream.close()).toThrow("resources made from it are still open");
  buffer.close();
  buffer.close();
  expect(() => buffer.pointer).toThrow(ClosedError);
  expect(() => view.pointer).toThrow(ClosedError);
});

gpuTest("BufferView refuses to reach beyond its memory", () => {
  using gpu = new Gpu();
  using buffer = DeviceBuffer.create("f32", [8], { stream: gpu.stream });
  expect(() => buffer.view([3, 2], 4)).toThrow(ArgumentError);
  expect(() => BufferView.wrap(0, "u8", [1])).toThrow("its address is NULL");
});

gpuTest("an allocation beyond the memory names what was asked for and what is free", () => {
  using gpu = new Gpu();
  for (const source of [{ stream: gpu.stream }, { device: gpu.device }]) {
    try {
      DeviceBuffer.create("u8", [PEBIBYTE], source).close();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(OutOfMemoryError);
      const { message, requestedBytes, freeBytes, totalBytes, status, code } = error as OutOfMemoryError;
      expect([requestedBytes, status, code]).toEqual([PEBIBYTE, 2, "cudaErrorMemoryAllocation"]);
      expect(freeBytes).toBeLessThanOrEqual(totalBytes);
      expect(message).toMatch(/^Cannot allocate 1024\.00 TiB of Device 0 .* free on the device\nHint: free/);
    }
  }
  using after = DeviceBuffer.create("u8", [1], { stream: gpu.stream });
  expect(after.byteLength).toBe(1);
});

gpuTest("an empty or dynamic shape is refused", () => {
  using gpu = new Gpu();
  expect(() => DeviceBuffer.create("u8", [3, 0], { stream: gpu.stream })).toThrow("at least one element");
  expect(() => PinnedBuffer.create("u8", [-1], gpu.device)).toThrow("dimension is dynamic");
});

gpuTest("a device's pool is counted; one's own pool is limited", () => {
  using gpu = new Gpu();
  const { pool } = gpu.device;
  if (pool === undefined) return;
  const before = pool.usage().usedBytes;
  using buffer = DeviceBuffer.create("u8", [1 << 20], { stream: gpu.stream });
  expect(pool.usage().usedBytes - before).toBeGreaterThanOrEqual(1 << 20);
  pool.setReleaseThreshold(Number.POSITIVE_INFINITY);
  pool.setReleaseThreshold(0);
  pool.trim();
  using own = MemoryPool.create(gpu.device, { maxBytes: 64 << 20 });
  using stream = Stream.create(gpu.device);
  using inside = DeviceBuffer.create("u8", [32 << 20], { stream, pool: own.view });
  expect(own.view.usage().usedBytes).toBeGreaterThanOrEqual(inside.byteLength);
  expect(() => DeviceBuffer.create("u8", [512 << 20], { stream, pool: own.view })).toThrow(OutOfMemoryError);
  expect(buffer.closed).toBe(false);
});

gpuTest("PinnedBuffer.data is the memory itself, and is detached by close()", () => {
  using gpu = new Gpu();
  const pinned = PinnedBuffer.create("f32", [4, 3], gpu.device);
  const { data } = pinned;
  expect(data.length).toBe(12);
  for (let at = 0; at < 12; at++) data[at] = at * 0.5;
  using buffer = DeviceBuffer.create("f32", [4, 3], { stream: gpu.stream });
  copyToDevice(buffer, pinned, { stream: gpu.stream });
  gpu.stream.synchronize();
  data.fill(0);
  copyToHost(pinned, buffer, { stream: gpu.stream });
  gpu.stream.synchronize();
  expect([...data]).toEqual(Array.from({ length: 12 }, (_, at) => at * 0.5));
  pinned.close();
  expect(data.length).toBe(0);
  expect(() => pinned.data).toThrow(ClosedError);
  Bun.gc(true);
});

gpuTest("PinnedBuffer is written by the GPU in place where it is mapped", () => {
  using gpu = new Gpu();
  using mapped = PinnedBuffer.create("u8", [100], gpu.device, { use: "mapped" });
  using plain = PinnedBuffer.create("u8", [100], gpu.device, { use: "upload" });
  mapped.data.fill(0);
  fill(mapped.mapped, 9, { stream: gpu.stream });
  gpu.stream.synchronize();
  expect(mapped.data.every((value) => value === 9)).toBe(true);
  expect(() => plain.mapped).toThrow("it is not mapped for the device");
});

gpuTest("buffers leave nothing behind", async () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  const round = (): void => {
    using buffer = DeviceBuffer.create("u8", [8 << 20], { stream });
    using pinned = PinnedBuffer.create("u8", [1 << 16], device);
    fill(buffer, pinned.data[0]! & 1, { stream });
  };
  for (let warm = 0; warm < 10; warm++) round();
  stream.synchronize();
  const allowed = 64 << 20;
  const lost = await leastLost(device, allowed, () => {
    for (let at = 0; at < 200; at++) round();
    stream.synchronize();
    device.pool?.trim();
  });
  expect(lost).toBeLessThanOrEqual(allowed);
});
