import { expect, test } from "bun:test";
import { Device } from "../../../src/cuda/device.ts";
import { GpuUsage } from "../../../src/nvml/gpu-usage.ts";
import { isGpuMissing } from "../../support/gpu.ts";

test.skipIf(isGpuMissing)("GpuUsage.read() knows the memory CUDA knows", () => {
  using usage = GpuUsage.open();
  const readings = usage.read();
  expect(readings.length).toBeGreaterThan(0);
  const totals = readings.map(({ memoryTotalBytes }) => memoryTotalBytes);
  using device = Device.open();
  // NVML counts what the driver keeps for itself as well.
  expect(totals.some((total) => total >= device.totalBytes && total < device.totalBytes * 1.1)).toBeTrue();
  for (const { memoryUsedBytes, memoryTotalBytes, utilisation = 0 } of readings) {
    expect(memoryUsedBytes).toBeWithin(1, memoryTotalBytes);
    expect(utilisation).toBeWithin(0, 1.001);
  }
});
