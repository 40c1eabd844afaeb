import { expect } from "bun:test";
import { fakeCudaTest } from "../../support/fake-cuda.ts";

fakeCudaTest(
  "GpuJpeg.decoder() is tried again after nvJPEG could not be set up, where it was asked for",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(
      `
    const { Device } = await import("./src/cuda/device.ts");
    const { EventWaits } = await import("./src/cuda/event-waits.ts");
    const { GpuJpeg } = await import("./src/accelerators/tensorrt/gpu-model.ts");
    using device = Device.open(0);
    using jpeg = GpuJpeg.open(device, { mode: "gpu", check: true, waits: new EventWaits("auto", device) });
    const both = await Promise.allSettled([jpeg.decoder(), jpeg.decoder()]);
    for (const { reason } of both) console.log(reason.message.split("\\n", 1)[0]);
    console.log((await jpeg.decoder()).description, (await jpeg.decoder()) === (await jpeg.decoder()));
    `,
    );
    expect(output.split("\n")).toEqual([
      ...Array(2).fill("Cannot decode JPEG by nvJPEG: NVJPEG_STATUS_ALLOCATOR_FAILURE"),
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
    const { GpuJpeg } = await import("./src/accelerators/tensorrt/gpu-model.ts");
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

fakeCudaTest(
  "GpuJpeg.decoder() is tried again after a while where memory was missing for what was not asked for",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { EventWaits } = await import("./src/cuda/event-waits.ts");
    const { GpuJpeg } = await import("./src/accelerators/tensorrt/gpu-model.ts");
    using device = Device.open(0);
    using jpeg = GpuJpeg.open(device, { mode: "auto", check: true, waits: new EventWaits("auto", device), retryMs: 300 });
    console.log(await jpeg.decoder(), await jpeg.decoder());
    await Bun.sleep(310);
    console.log(await jpeg.decoder());
    await Bun.sleep(310);
    console.log((await jpeg.decoder()).description);
    `);
    expect(output.split("\n")).toEqual(["undefined undefined", "undefined", "nvJPEG 12.1.1, 7 engines"]);
  },
);

fakeCudaTest("GpuJpeg.decode() leaves images to the CPU while the device has no memory", async (runOnFakeCuda) => {
  const output = await runOnFakeCuda(`
    const { dlopen } = await import("bun:ffi");
    const { setLogSink } = await import("./src/core/log.ts");
    const { Device } = await import("./src/cuda/device.ts");
    const { EventWaits } = await import("./src/cuda/event-waits.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { FrameMemory } = await import("./src/accelerators/tensorrt/frame-memory.ts");
    const { GpuJpeg } = await import("./src/accelerators/tensorrt/gpu-model.ts");
    const { paintedJpeg } = await import("./test/support/images.ts");
    const { symbols } = dlopen(process.env.BUN_TENSORRT_CUDART, { fakeShortage: { args: ["i32"], returns: "void" } });
    setLogSink((level, text) => level === "warn" && console.log(text));
    using device = Device.open(0);
    const waits = new EventWaits("auto", device);
    using auto = GpuJpeg.open(device, { mode: "auto", check: true, waits, retryMs: 0 });
    while ((await auto.decoder()) === undefined);
    using forced = GpuJpeg.open(device, { mode: "gpu", check: true, waits });
    using stream = Stream.create(device);
    using frame = new FrameMemory({ stream }, { zeroCopy: false });
    const file = { bytes: await paintedJpeg(33, 17), name: "a.jpg" };
    const tell = async (jpeg) => {
      try {
        const image = await jpeg.decode(await jpeg.decoder(), frame, file, {});
        console.log("data" in image ? "host" : "device", image.width, image.height);
      } catch (error) {
        console.log(error.name);
      }
    };
    symbols.fakeShortage(1);
    await tell(auto);
    symbols.fakeShortage(0);
    await forced.decoder();
    symbols.fakeShortage(1);
    await tell(forced);
    symbols.fakeShortage(0);
    await tell(auto);
    const { default: sharp } = await import("sharp");
    const grey = sharp(new Uint16Array(64).fill(772), { raw: { width: 8, height: 8, channels: 1 } });
    const png = { bytes: await grey.toColourspace("grey16").png().toBuffer(), name: "c.png" };
    for (const depth of ["keep", "drop"]) {
      const image = await auto.decode(await auto.decoder(), frame, png, { depth });
      console.log("data" in image ? "host" : "device", image.format, image.pitchBytes);
    }
    const none = { bytes: new TextEncoder().encode("no image"), name: "b.jpg" };
    await auto.decode(await auto.decoder(), frame, none, {}).catch((error) => console.log(error.name));
    console.log(JSON.stringify(auto.counts));
    `);
  expect(output.split("\n")).toEqual([
    "The CPU decodes a.jpg, as the GPU has no memory for it: cudaErrorFake",
    "host 33 17",
    "OutOfMemoryError",
    "device 33 17",
    // With 16 bits to keep it is the CPU's.
    "host GREY16 16",
    "device RGB 24",
    "ImageError",
    expect.stringContaining('"failed":1'),
  ]);
});

fakeCudaTest(
  "nvJPEG is set up once for a backend and the one that takes its place, and torn down with the last of them",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { ledger } = await import("./src/core/resource.ts");
    const { GpuGround } = await import("./src/accelerators/tensorrt/gpu-model.ts");
    const ground = GpuGround.open({ device: 0, jpeg: "gpu" });
    const quick = ground.hold();
    const { jpeg } = ground;
    // The fake libnvjpeg refuses two at first.
    for (let at = 0; at < 2; at++) await jpeg.decoder().catch(() => undefined);
    const decoder = await jpeg.decoder();
    const full = ground.hold();
    const made = () => ledger.labels().filter((label) => label.startsWith("NvJpegHandle")).length;
    console.log((await ground.jpeg.decoder()) === decoder, made());
    quick[Symbol.dispose]();
    quick[Symbol.dispose]();
    console.log(ground.closed, decoder.closed, (await ground.jpeg.decoder()) === decoder, made());
    full[Symbol.dispose]();
    console.log(ground.closed, decoder.closed, ledger.size);
    try {
      ground.hold();
    } catch (error) {
      console.log(error.message);
    }
    `);
    expect(output.split("\n").slice(0, 3)).toEqual(["true 1", "false false true 1", "true true 0"]);
    expect(output.split("\n")[3]).toMatch(/^Cannot run a model: .* closed/);
  },
);

fakeCudaTest(
  "decoders of one device share a handle of nvJPEG, which the last of them closes",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(`
    const { Device } = await import("./src/cuda/device.ts");
    const { NvJpegDecoder } = await import("./src/nvjpeg/nvjpeg-decoder.ts");
    const { NvJpegHandle } = await import("./src/nvjpeg/nvjpeg-handle.ts");
    using first = Device.open(0);
    const hold = (device) => NvJpegHandle.hold(device, "hardware");
    // The first two are refused, and neither is kept for the next.
    for (let at = 0; at < 2; at++) console.log((await Promise.allSettled([hold(first), hold(first)])).map((one) => one.status).join());
    const second = Device.open(0);
    const [a, b] = await Promise.all([hold(second), hold(first)]);
    const decoder = await NvJpegDecoder.create(second, { backend: "hardware" });
    console.log(a.handle === b.handle, decoder.device === second);
    a[Symbol.dispose]();
    b[Symbol.dispose]();
    console.log(a.handle.closed);
    decoder.close();
    second.close();
    console.log(a.handle.closed);
    using again = await hold(first);
    console.log(again.handle === a.handle, again.handle.closed);
    `);
    expect(output.split("\n")).toEqual([
      "rejected,rejected",
      "rejected,rejected",
      "true true",
      "false",
      "true",
      "false false",
    ]);
  },
);
