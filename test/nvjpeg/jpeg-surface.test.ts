import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildFakeCuda, isFakeCudaMissing, runOnFakeCuda } from "../support/fake-cuda.ts";

describe.skipIf(isFakeCudaMissing)("JpegSurface with a fake CUDA, as gcc is there", () => {
  const folder = mkdtempSync(join(tmpdir(), "fake-cuda-"));
  let machine: Record<string, string> = {};

  beforeAll(() => {
    machine = buildFakeCuda(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test("decodeOnCpu() puts RGB there, also of a file with alpha whose alpha the caller would keep", async () => {
    const output = await runOnFakeCuda(
      machine,
      `
      const sharp = (await import("sharp")).default;
      const { Device } = await import("./src/cuda/device.ts");
      const { Stream } = await import("./src/cuda/stream.ts");
      const { JpegSurface } = await import("./src/nvjpeg/jpeg-surface.ts");
      const { nativeView } = await import("./src/ffi/pointer.ts");
      const data = new Uint8Array(5 * 3 * 4).map((_, at) => (at % 4 === 3 ? 100 : at));
      const png = await sharp(data, { raw: { width: 5, height: 3, channels: 4 } }).png().toBuffer();
      using device = Device.open(0);
      using stream = Stream.create(device);
      using surface = JpegSurface.create(device);
      const picture = await surface.decodeOnCpu(png, "a file", { alpha: "keep" }, stream);
      const pixels = new Uint8Array(nativeView(picture.pixels, 5 * 3 * 3));
      const wanted = [...data].filter((_, at) => at % 4 !== 3);
      console.log(picture.format, picture.width, picture.height, picture.pitchBytes, String([...pixels]) === String(wanted));
      `,
    );
    expect(output).toBe("RGB 5 3 15 true");
  }, 30_000);
});
