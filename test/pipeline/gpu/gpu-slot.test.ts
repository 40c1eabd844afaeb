import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "GpuSlot.decode() waits for the images of its batch where the decoder of another cannot be made",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Resource } = await import("./src/core/resource.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { EventWaits } = await import("./src/cuda/event-waits.ts");
    const { ImageDecoder } = await import("./src/image/image-decoder.ts");
    const { GpuSlot } = await import("./src/accelerators/tensorrt/gpu-slot.ts");
    const { GpuStreams } = await import("./src/accelerators/tensorrt/gpu-streams.ts");

    class Engine extends Resource {
      release() {}
    }
    using device = Device.open(0);
    using engine = new Engine("Engine", device);
    using streams = new GpuStreams(engine, device, "one", 1);
    const cuda = { createWork: () => ({ [Symbol.dispose]() {} }) };
    const model = { device, streams, cuda, waits: new EventWaits("auto", device), task: { decodeOptions: {} } };
    using slot = new GpuSlot(model, engine);

    const { create } = ImageDecoder;
    let made = 0;
    ImageDecoder.create = (options) => {
      if (++made === 2) throw new Error("no memory for a decoder");
      return create.call(ImageDecoder, options);
    };
    const files = ["first", "second"].map((name) => ({ name, bytes: new TextEncoder().encode("no image: " + name) }));
    for (const { error } of await slot.decode(files)) console.log(error.message.split("\\n", 1)[0]);
    `);
    expect(output.split("\n")).toEqual([expect.stringContaining("first"), "no memory for a decoder"]);
  },
);
