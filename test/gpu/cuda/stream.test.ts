import { expect, test } from "bun:test";
import { ArgumentError, ClosedError } from "../../../src/core/errors.ts";
import { Event } from "../../../src/cuda/event.ts";
import { Stream } from "../../../src/cuda/stream.ts";
import { Gpu, isGpuMissing, spin } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

gpuTest("Stream.isDone is false while work runs, and true behind synchronize()", () => {
  using gpu = new Gpu();
  spin(gpu.spinner(), 20, gpu.stream);
  expect(gpu.stream.isDone).toBe(false);
  expect(gpu.stream.lastLaunch).toBe("spin");
  gpu.stream.synchronize();
  expect(gpu.stream.isDone).toBe(true);
});

gpuTest("Stream.create() takes the priorities of the device and no others", () => {
  using gpu = new Gpu();
  const [least, greatest] = gpu.device.priorityRange();
  using urgent = Stream.create(gpu.device, { priority: greatest });
  urgent.synchronize();
  expect(() => Stream.create(gpu.device, { priority: least + 1 })).toThrow(ArgumentError);
});

gpuTest("Stream.waitFor() orders streams without blocking the thread", () => {
  using gpu = new Gpu();
  using other = Stream.create(gpu.device);
  using event = Event.create(gpu.device);
  spin(gpu.spinner(), 20, gpu.stream);
  event.record({ stream: gpu.stream });
  other.waitFor(event);
  expect(other.isDone).toBe(false);
  other.synchronize();
  expect(gpu.stream.isDone).toBe(true);
});

gpuTest("Stream.close() waits for its work; a closed stream is refused", () => {
  using gpu = new Gpu();
  const stream = Stream.create(gpu.device);
  using event = Event.create(gpu.device);
  spin(gpu.spinner(), 5, stream);
  event.record({ stream });
  stream.close();
  expect(event.isDone).toBe(true);
  expect(() => stream.synchronize()).toThrow(ClosedError);
  stream.close();
});
