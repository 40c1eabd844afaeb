import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest("DeviceBuffer.close() frees on the buffer's own device, whichever is current", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(
    `
    const { dlopen } = await import("bun:ffi");
    const { Device } = await import("./src/cuda/device.ts");
    const { DeviceBuffer } = await import("./src/cuda/buffers.ts");
    const { symbols } = dlopen(process.env.BUN_TENSORRT_CUDART, { fakeFreedOn: { args: [], returns: "i32" } });
    using own = Device.open(1);
    const buffer = DeviceBuffer.create("u8", [5], { device: own });
    using other = Device.open(0);
    buffer.close();
    console.log(symbols.fakeFreedOn());
    `,
  );
  expect(output).toBe("1");
});

fakeCudaTest("DeviceBuffer counts what fills the last vector of channels", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(
    `
    const { Device } = await import("./src/cuda/device.ts");
    const { DeviceBuffer } = await import("./src/cuda/buffers.ts");
    using device = Device.open(0);
    using plain = DeviceBuffer.create("f16", [1, 3, 5, 7], { device });
    using padded = DeviceBuffer.create("f16", [1, 3, 5, 7], { device }, 8);
    console.log(plain.vector, plain.length, plain.byteLength, padded.vector, padded.length, padded.byteLength);
    `,
  );
  expect(output).toBe("1 105 210 8 280 560");
});
