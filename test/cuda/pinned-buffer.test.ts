import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest(
  "PinnedBuffer.create() refuses more than an ArrayBuffer may have, and keeps none of it",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(
      `
    const { dlopen } = await import("bun:ffi");
    const { Device } = await import("./src/cuda/device.ts");
    const { PinnedBuffer } = await import("./src/cuda/buffers.ts");
    const { symbols } = dlopen(process.env.BUN_TENSORRT_CUDART, { fakePinned: { args: [], returns: "i32" } });
    using device = Device.open(0);
    try {
      PinnedBuffer.create("f32", [1025, 2 ** 20], device);
    } catch (error) {
      console.log(error.name, error.message);
    }
    using _small = PinnedBuffer.create("f32", [3, 5], device, { use: "mapped" });
    console.log(symbols.fakePinned());
    `,
    );
    expect(output.split("\n")).toEqual([
      "ArgumentError Cannot allocate page-locked f32 [1025, 1048576]: no ArrayBuffer may have 4299161600 bytes",
      "1",
    ]);
  },
);

fakeCudaTest(
  "PinnedFrames.allocate() gives memory that kernels read in place, where the device can",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { PinnedBuffer } = await import("./src/cuda/buffers.ts");
    const { PinnedFrames } = await import("./src/video/video-frame.ts");
    const isMapped = (canMap) => {
      using device = Device.open(0);
      device.attribute = (name) => (name === "canMapHostMemory" ? canMap : 0);
      using frames = new PinnedFrames(device);
      return PinnedBuffer.owning(frames.allocate(96)).isMapped;
    };
    console.log(JSON.stringify([isMapped(1), isMapped(0)]));
    // On a device that is lost each of them is closed all the same.
    const { cudaRuntime } = await import("./src/ffi/cuda-runtime.ts");
    using device = Device.open(0);
    const frames = new PinnedFrames(device);
    const all = [0, 1, 2].map(() => frames.allocate(96));
    const runtime = cudaRuntime();
    const free = runtime.cudaFreeHost;
    runtime.cudaFreeHost = (pointer) => { free(pointer); return 719; };
    let failed = false;
    try { frames.close(); } catch { failed = true; }
    runtime.cudaFreeHost = free;
    console.log(JSON.stringify([failed, all.map((data) => data.length)]));
    `);
    expect(output.split("\n").map((line) => JSON.parse(line))).toEqual([
      [true, false],
      [true, [0, 0, 0]],
    ]);
  },
);
