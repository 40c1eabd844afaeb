import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "ImageMemory.reserve() stays where it is for images that become larger by and by, and gives back what was made",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { ImageMemory } = await import("./src/tasks/image/image-memory.ts");
    using device = Device.open(0);
    using stream = Stream.create(device);
    using memory = new ImageMemory(device);
    const places = new Set();
    for (let byteLength = 1000; byteLength <= 1250; byteLength++) places.add(memory.reserve(byteLength));
    memory.download(1001, { stream });
    const target = new Uint8Array(1001);
    memory.read(target);
    console.log(JSON.stringify([places.size, target.length]));
  `);
    expect(JSON.parse(output)).toEqual([1, 1001]);
  },
);
