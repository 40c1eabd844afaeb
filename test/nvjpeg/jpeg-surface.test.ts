import { expect } from "bun:test";
import { fakeCudaTest } from "../support/fake-cuda.ts";

fakeCudaTest(
  "JpegSurface decodeOnCpu() puts RGB there, also of a file with alpha whose alpha the caller would keep",
  async (runOnFakeCuda) => {
    const output = await runOnFakeCuda(
      `
    const sharp = (await import("sharp")).default;
    const { Device } = await import("./src/cuda/device.ts");
    const { Stream } = await import("./src/cuda/stream.ts");
    const { JpegSurface } = await import("./src/nvjpeg/nvjpeg-decoder.ts");
    const { nativeView } = await import("./src/ffi/memory.ts");
    const data = new Uint8Array(5 * 3 * 4).map((_, at) => (at % 4 === 3 ? 100 : at));
    const png = await sharp(data, { raw: { width: 5, height: 3, channels: 4 } }).png().toBuffer();
    using device = Device.open(0);
    using stream = Stream.create(device);
    using surface = JpegSurface.create(device);
    const image = await surface.decodeOnCpu(png, "a file", { alpha: "keep" }, stream);
    const pixels = new Uint8Array(nativeView(image.pixels, 5 * 3 * 3));
    const wanted = [...data].filter((_, at) => at % 4 !== 3);
    console.log(image.format, image.width, image.height, image.pitchBytes, String([...pixels]) === String(wanted));
    `,
    );
    expect(output).toBe("RGB 5 3 15 true");
  },
);
