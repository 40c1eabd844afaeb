import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "GpuJpeg.decoder() is tried again after nvJPEG could not be set up, where it was asked for",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(
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
  },
);

fakeCudaTest(
  "GpuJpeg and NvJpegDecoder say that the engines cannot be used, and not that there are none, where nvJPEG has no memory",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { setLogSink } = await import("./src/core/log.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { EventWaits } = await import("./src/cuda/event-waits.ts");
    const { NvJpegDecoder } = await import("./src/nvjpeg/nvjpeg-decoder.ts");
    const { GpuJpeg } = await import("./src/pipeline/gpu/gpu-jpeg.ts");
    setLogSink((level, text) => level === "info" && text.startsWith("JPEG") && console.log(text));
    using device = Device.open(0);
    using jpeg = GpuJpeg.open(device, { mode: "auto", check: true, waits: new EventWaits("auto", device) });
    await jpeg.decoder();
    await NvJpegDecoder.create(device, { backend: "auto" }).catch(() => undefined).then((decoder) => decoder?.close());
    `);
    const reason = "as nvJPEG cannot use the engines of : NVJPEG_STATUS_ALLOCATOR_FAILURE";
    expect(output.split("\n")).toEqual([
      `JPEG is decoded on the CPU, ${reason}`,
      `JPEG is decoded by the multiprocessors, ${reason}`,
    ]);
  },
);
