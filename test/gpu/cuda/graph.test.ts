import { expect, test } from "bun:test";
import { CudaError } from "../../../src/core/errors.ts";
import { DeviceBuffer, PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { copyOnDevice, copyToHost, fill } from "../../../src/cuda/copy.ts";
import { Graph } from "../../../src/cuda/stream.ts";
import { Gpu, isGpuMissing } from "../../support/gpu.ts";

const gpuTest = test.skipIf(isGpuMissing);

gpuTest("Graph.capture() records and runs nothing; each launch runs it all", () => {
  using gpu = new Gpu();
  const { device, stream } = gpu;
  using source = DeviceBuffer.create("u8", [64], { stream });
  using target = DeviceBuffer.create("u8", [64], { stream });
  using host = PinnedBuffer.create("u8", [64], device);
  fill(source, 1, { stream });
  fill(target, 0, { stream });
  using graph = Graph.capture(
    "copy twice",
    () => {
      copyOnDevice(target, source, { stream });
      copyToHost(host, target, { stream });
    },
    { stream },
  );
  expect(graph.nodeCount()).toBe(2);
  host.data.fill(77);
  using exec = graph.instantiate();
  graph.close();
  stream.synchronize();
  expect(host.data[0]).toBe(77);
  exec.upload({ stream });
  for (const value of [1, 2, 3]) {
    fill(source, value, { stream });
    exec.launch({ stream });
    stream.synchronize();
    expect(host.data.every((byte) => byte === value)).toBe(true);
  }
  expect(stream.lastLaunch).toBe('graph "copy twice"');
});

gpuTest("GraphExec.update() takes other addresses, and refuses another shape", () => {
  using gpu = new Gpu();
  const { stream } = gpu;
  using first = DeviceBuffer.create("u8", [64], { stream });
  using second = DeviceBuffer.create("u8", [64], { stream });
  const capture = (...buffers: DeviceBuffer[]): Graph =>
    Graph.capture(
      "fill",
      () => {
        for (const buffer of buffers) fill(buffer, 5, { stream });
      },
      { stream },
    );
  fill(first, 0, { stream });
  fill(second, 0, { stream });
  using one = capture(first);
  using other = capture(second);
  using both = capture(first, second);
  using exec = one.instantiate();
  exec.update(other);
  exec.launch({ stream });
  expect(gpu.download(first)[0]).toBe(0);
  expect(gpu.download(second)[0]).toBe(5);
  try {
    exec.update(both);
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(CudaError);
    expect((error as CudaError).code).toBe("cudaErrorGraphExecUpdateFailure");
    expect((error as CudaError).message).toMatch(/its topology changed.*\nHint: instantiate the new graph instead/);
  }
  exec.launch({ stream });
  stream.synchronize();
});

gpuTest("Graph.capture() passes on what its body throws, and leaves the stream usable", () => {
  using gpu = new Gpu();
  const { stream } = gpu;
  using buffer = DeviceBuffer.create("u8", [64], { stream });
  const fault = new Error("no luck");
  const capture = (body: () => void) => (): Graph => Graph.capture("broken", body, { stream });
  expect(
    capture(() => {
      fill(buffer, 1, { stream });
      throw fault;
    }),
  ).toThrow(fault);
  expect(capture(() => stream.synchronize())).toThrow(/cudaErrorStreamCapture/);
  expect(stream.isCapturing).toBe(false);
  fill(buffer, 3, { stream });
  expect(gpu.download(buffer)[0]).toBe(3);
});
