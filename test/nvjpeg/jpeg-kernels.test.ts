import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildFakeCuda, isFakeCudaMissing, runOnFakeCuda } from "../support/fake-cuda.ts";

describe.skipIf(isFakeCudaMissing)("JpegKernels with a fake CUDA, as gcc is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
  let machine: Record<string, string> = {};

  beforeAll(() => {
    machine = buildFakeCuda(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("create() leaves nothing open where a kernel is missing", async () => {
    const output = await runOnFakeCuda(
      { ...machine, FAKE_MISSING_KERNEL: "jpeg_check_judge" },
      `
      const { Device } = await import("./src/cuda/device.ts");
      const { ledger } = await import("./src/core/resource.ts");
      const { JpegKernels } = await import("./src/nvjpeg/jpeg-kernels.ts");
      using device = Device.open(0);
      try {
        JpegKernels.create(device);
      } catch (error) {
        console.log(error.call, ledger.labels().join());
      }
      `,
    );
    expect(output).toBe("cuModuleGetFunction Device 0 ()");
  }, 30_000);
});
