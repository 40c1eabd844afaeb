import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest("JpegKernels create() leaves nothing open where a kernel is missing", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(
    `
    const { Device } = await import("./src/cuda/device.ts");
    const { ledger } = await import("./src/core/resource.ts");
    const { JpegKernels } = await import("./src/nvjpeg/batch-check.ts");
    using device = Device.open(0);
    try {
      JpegKernels.create(device);
    } catch (error) {
      console.log(error.call, ledger.labels().join());
    }
    `,
    { FAKE_MISSING_KERNEL: "jpeg_check_judge" },
  );
  expect(output).toBe("cuModuleGetFunction Device 0 ()");
});
