import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildFakeCuda, isFakeCudaMissing, runOnFakeCuda } from "../../support/fake-cuda.ts";

describe.skipIf(isFakeCudaMissing)("with a fake CUDA, as gcc is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
  let machine: Record<string, string> = {};

  beforeAll(() => {
    machine = buildFakeCuda(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("GpuJpeg.decoder() is tried again after nvJPEG could not be set up, where it was asked for", async () => {
    const output = await runOnFakeCuda(
      machine,
      `
      const { Device } = await import("./src/cuda/device.ts");
      const { EventWaits } = await import("./src/cuda/event-waits.ts");
      const { GpuJpeg } = await import("./src/pipeline/gpu/gpu-jpeg.ts");
      using device = Device.open(0);
      using jpeg = GpuJpeg.open(device, { mode: "gpu", check: true, waits: new EventWaits("auto", device) });
      const both = await Promise.allSettled([jpeg.decoder(), jpeg.decoder()]);
      for (const { reason } of both) console.log(reason.message.split("\\n", 1)[0]);
      console.log((await jpeg.decoder()).description, (await jpeg.decoder()) === (await jpeg.decoder()));
      `,
    );
    expect(output.split("\n")).toEqual([
      ...Array(2).fill("Cannot decode JPEG on the GPU as nvJPEG cannot be used: NVJPEG_STATUS_ALLOCATOR_FAILURE"),
      "nvJPEG 12.1.1, 7 engines true",
    ]);
  }, 30_000);
});
