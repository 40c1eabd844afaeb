import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest("Stream that is closed takes no more work: CUDA would follow its handle", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { Event } = await import("./src/cuda/event.ts");
    const { Module } = await import("./src/cuda/kernel.ts");
    const { Graph } = await import("./src/cuda/stream.ts");
    const { DeviceBuffer } = await import("./src/cuda/buffers.ts");
    const { PinnedBuffer } = await import("./src/cuda/buffers.ts");
    const { copyOnDevice, copyToDevice, copyToHost, fill } = await import("./src/cuda/copy.ts");
    const { layOut } = await import("./src/cuda/kernel.ts");
    using device = Device.open(0);
    using buffer = DeviceBuffer.create("u8", [7], { device });
    using other = DeviceBuffer.create("u8", [7], { device });
    using pinned = PinnedBuffer.create("u8", [7], device);
    using event = Event.create(device);
    using module = Module.load(device, "no code", { name: "none" });
    const kernel = module.kernel("none", layOut([["images", "pointer"]]));
    const args = kernel.createArguments();
    const stream = Stream.create(device);
    const on = { stream };
    using graph = Graph.capture("none", () => undefined, on);
    using executable = graph.instantiate();
    stream.close();
    const calls = {
      record: () => event.record(on),
      copyToDevice: () => copyToDevice(buffer, pinned, on),
      copyToHost: () => copyToHost(pinned, buffer, on),
      copyOnDevice: () => copyOnDevice(other, buffer, on),
      fill: () => fill(buffer, 0, on),
      kernel: () => kernel.launch({ grid: [1, 1, 1], block: [1, 1, 1] }, args, on),
      graph: () => executable.launch(on),
      upload: () => executable.upload(on),
    };
    for (const [name, call] of Object.entries(calls)) {
      try {
        call();
        console.log(name, "ran");
      } catch (error) {
        console.log(name, error.name);
      }
    }
    `);
  const names = ["record", "copyToDevice", "copyToHost", "copyOnDevice", "fill", "kernel", "graph", "upload"];
  expect(output.split("\n")).toEqual(names.map((name) => `${name} ClosedError`));
});

fakeCudaTest(
  "Event.create() says what its former options are called, and what others may be",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { Event } = await import("./src/cuda/event.ts");
    using device = Device.open(0);
    using event = Event.create(device, { timing: true, blocking: true });
    console.log(event.label);
    for (const options of [{ purpose: "timing" }, { waiting: "sleep" }, { quick: true }]) {
      try {
        Event.create(device, options);
      } catch (error) {
        console.log(error.name, error.message);
      }
    }
  `);
    expect(output.split("\n")).toEqual([
      "Event (timing)",
      'OptionError Unknown option "purpose". Did you mean "timing"?',
      'OptionError Unknown option "waiting". Did you mean "blocking"?',
      'OptionError Unknown option "quick"',
      "Hint: choose one of timing, blocking",
    ]);
  },
);
