import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest(
  "grown buffers stay while they have room, and are replaced with a quarter to spare",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { grownDeviceBuffer, grownPinnedBuffer } = await import("./src/cuda/kept-memory.ts");
    using device = Device.open(0);
    for (const grown of [grownDeviceBuffer, grownPinnedBuffer]) {
      const first = grown(undefined, 1000, device);
      const same = grown(first, first.byteLength, device);
      const larger = grown(first, first.byteLength + 1, device);
      console.log(JSON.stringify([first.byteLength, same === first, first.closed, larger.byteLength, larger.closed]));
      larger.close();
      using last = grown(larger, 1, device);
      console.log(last.byteLength);
    }
  `);
    expect(output.split("\n").map((line) => JSON.parse(line))).toEqual([
      [1250, true, true, 1564, false],
      2,
      [1250, true, true, 1564, false],
      2,
    ]);
  },
);
