import { expect, test } from "bun:test";
import { ClosedError } from "../../../src/core/errors.ts";
import { Device } from "../../../src/cuda/device.ts";
import { Stream } from "../../../src/cuda/stream.ts";
import { cudaRuntimeVersion } from "../../../src/ffi/cuda-runtime.ts";
import { isGpuMissing } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

gpuTest("Device.open() knows the GPU", () => {
  using device = Device.open();
  expect(device.name).toMatch(/\w/);
  expect(device.computeCapability[0]).toBeGreaterThanOrEqual(5);
  expect(device.multiprocessorCount).toBeGreaterThan(0);
  expect(device.attribute("warpSize")).toBe(32);
  expect(device.uuid()).toMatch(/^[0-9a-f]{32}$/);
  const { freeBytes, totalBytes } = device.memory();
  expect(totalBytes).toBe(device.totalBytes);
  expect(freeBytes).toBeLessThanOrEqual(totalBytes);
  const [least, greatest] = device.priorityRange();
  expect(greatest).toBeLessThanOrEqual(least);
  expect(Math.floor(cudaRuntimeVersion() / 1000)).toBeOneOf([12, 13]);
  console.log(`GPU: ${device.name}, libcudart ${cudaRuntimeVersion()}`);
});

gpuTest("Device can be opened twice, closed and opened again", () => {
  using first = Device.open();
  const second = Device.open();
  expect(second.context).toBe(first.context);
  second.close();
  first.synchronize();
  expect(() => second.assertOpen("go on")).toThrow(ClosedError);
  first.close();
  using third = Device.open();
  using stream = Stream.create(third);
  stream.synchronize();
});

gpuTest("Device.open() names the devices there are", () => {
  expect(() => Device.open(4096)).toThrow(`Cannot open device 4096: the devices are 0 to ${Device.count() - 1}`);
});

gpuTest("Device refuses to close while a stream is open", () => {
  using device = Device.open();
  using stream = Stream.create(device);
  expect(() => device.close()).toThrow("resources made from it are still open (1)");
  stream.close();
});
