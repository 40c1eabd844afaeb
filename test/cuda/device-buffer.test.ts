import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildFakeCuda, isFakeCudaMissing, runOnFakeCuda } from "../support/fake-cuda.ts";

describe.skipIf(isFakeCudaMissing)("with a fake CUDA, as gcc is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
  let machine: Record<string, string> = {};

  beforeAll(() => {
    machine = buildFakeCuda(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("DeviceBuffer.close() frees on the buffer's own device, whichever is current", async () => {
    const output = await runOnFakeCuda(
      machine,
      `
      const { dlopen } = await import("bun:ffi");
      const { Device } = await import("./src/cuda/device.ts");
      const { DeviceBuffer } = await import("./src/cuda/device-buffer.ts");
      const { symbols } = dlopen(process.env.BUN_TENSORRT_CUDART, { fakeFreedOn: { args: [], returns: "i32" } });
      using own = Device.open(1);
      const buffer = DeviceBuffer.create("u8", [5], { device: own });
      using other = Device.open(0);
      buffer.close();
      console.log(symbols.fakeFreedOn());
      `,
    );
    expect(output).toBe("1");
  }, 30_000);
});
