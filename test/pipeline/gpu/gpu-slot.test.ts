import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "FrameMemory.upload() leaves NV12 in mapped memory where it lies, if it is alone and rows are skipped",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { FrameMemory } = await import("./src/accelerators/tensorrt/frame-memory.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { PinnedBuffer } = await import("./src/cuda/buffers.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { imageOf } = await import("./src/image/image.ts");

    using device = Device.open(0);
    using stream = Stream.create(device);
    const rows = { pixels: { first: 1, length: 1, stride: 3, count: 12 }, chroma: { first: 0, length: 18, stride: 18, count: 1 } };
    const isInPlace = ({ zeroCopy = "auto", use = "mapped", format = "NV12", read = rows, turn = "alone" }) => {
      using frame = new FrameMemory({ stream }, zeroCopy);
      using pinned = PinnedBuffer.create("u8", [64 * 36 * 3], device, { use });
      const image = imageOf(pinned.data.subarray(0, format === "NV12" ? 64 * 54 : 64 * 36 * 3), { width: 64, height: 36, format });
      return Number(frame.upload(image, read ?? undefined, turn).pixels) === Number(pinned.pointer);
    };
    const ways = [
      {}, { zeroCopy: true, format: "RGB", read: null, turn: "ahead" },
      { zeroCopy: false }, { use: "copy" }, { format: "RGB" }, { read: null }, { turn: "ahead" }, { turn: "beside" },
    ];
    console.log(JSON.stringify(ways.map(isInPlace)));
    `);
    expect(JSON.parse(output)).toEqual([true, true, false, false, false, false, false, false]);
  },
);

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
