import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { ImageModel } from "../../../src/api/image-model.ts";
import type { ImageModelOptions } from "../../../src/api/image-model-config.ts";
import { setLogSink } from "../../../src/core/log.ts";
import { PinnedBuffer } from "../../../src/cuda/buffers.ts";
import { type Image, imageOf } from "../../../src/image/image.ts";
import { decodeImage, encodeImage } from "../../../src/image/image-file.ts";
import { useEngineCache } from "../../support/engine-cache.ts";
import { Gpu, isGpuMissing, leastLost, SLOW_TEST_MS, times } from "../../support/gpu.ts";
import { blurModel, identityImageModel, nearestModel, noiseImage, tightPixels } from "../../support/image-models.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

// The first use of a model builds its engine.
setDefaultTimeout(SLOW_TEST_MS);

const SIZES = [
  [1, 1],
  [17, 33],
  [101, 37],
  [64, 64],
] as const;

function load(model: Uint8Array | string, options: ImageModelOptions = {}): Promise<ImageModel> {
  return ImageModel.load(model, { backend: "gpu", precision: "fp32", ...options });
}

/** Largest and mean difference of two images of one size. */
function distance(a: Image, b: Image): { readonly worst: number; readonly mean: number } {
  expect([a.width, a.height, a.format]).toEqual([b.width, b.height, b.format]);
  let worst = 0;
  let sum = 0;
  for (let at = 0; at < a.data.length; at++) {
    const difference = Math.abs(a.data[at]! - b.data[at]!);
    worst = Math.max(worst, difference);
    sum += difference;
  }
  return { worst, mean: sum / a.data.length };
}

describe.skipIf(isGpuMissing)("ImageModel on a GPU", () => {
  useEngineCache();

  const shapes = [
    ["RGB", [1, 3, 16, 24]],
    ["RGB, channels last", [1, 16, 24, 3]],
    ["luma", [1, 1, 16, 24]],
    ["RGB of any batch", ["n", 3, 16, 24]],
    ["three at a time", [3, 3, 16, 24]],
    ["RGB of any size", ["n", 3, "h", "w"]],
    ["luma of any size", ["n", 1, "h", "w"]],
  ] as const;
  for (const dtype of ["f32", "f16"] as const) {
    for (const [name, shape] of shapes) {
      test(`gives images back to the bit: ${name}, ${dtype}; the first time and replayed as a graph`, async () => {
        const precision = dtype === "f16" ? "fp16" : "fp32";
        await using model = await load(identityImageModel(shape, dtype), { tile: [48, 40], batch: 3, precision });
        expect(model.backend.kind).toBe("gpu");
        for (let round = 0; round < 3; round++) {
          for (const [width, height] of SIZES) {
            for (const format of ["RGB", "BGR", "RGBA"] as const) {
              const source = noiseImage(width, height, format, round * 5);
              const { image } = await model.transform(source);
              expect(image).toMatchObject({ width, height, format });
              expect(Buffer.compare(image.data, tightPixels(source))).toBe(0);
            }
          }
        }
      });
    }
  }

  test("makes what the CPU makes: enlarged, luma with its colours, alpha", async () => {
    for (const bytes of [
      nearestModel(["n", 3, "h", "w"], ["n", 3, "h2", "w2"], "NCHW", 3),
      nearestModel([1, 1, 16, 24], [1, 1, 32, 48]),
    ]) {
      await using gpu = await load(bytes, { tile: 40, overlap: 6 });
      await using cpu = await load(bytes, { tile: 40, overlap: 6, backend: "cpu" });
      expect(gpu.recognition).toEqual(cpu.recognition);
      for (const [width, height] of SIZES) {
        for (const format of ["BGR", "RGBA"] as const) {
          const source = noiseImage(width, height, format, 3);
          const [a, b] = [await gpu.transform(source), await cpu.transform(source)];
          expect(a.tiles).toBe(b.tiles);
          // The arithmetic around the model is the same; a model may place a value on either side of a half.
          expect(distance(a.image, b.image).worst).toBeLessThanOrEqual(1);
        }
      }
    }
  });

  test("reports of the first image that its values lie far outside the range that is assumed", async () => {
    const lines: string[] = [];
    const former = setLogSink((level, text) => level === "warn" && lines.push(text));
    try {
      await using wrong = await load(identityImageModel([1, 3, 16, 24]), { range: "0-255", outputRange: "0-1" });
      for (let round = 0; round < 2; round++) await wrong.transform(noiseImage(40, 20));
      expect(lines.filter((line) => line.startsWith("Implausible"))).toEqual([
        expect.stringMatching(/^Implausible image of .* lie far outside 0 to 1; say what black and white are/),
      ]);
    } finally {
      setLogSink(former);
    }
  });

  test("makes of tiles what it makes of the whole, within what tensor cores round", async () => {
    const bytes = blurModel(["n", 3, "h", "w"]);
    const source = noiseImage(150, 90);
    await using whole = await load(bytes, { tile: 160 });
    await using tiled = await load(bytes, { tile: 40, overlap: 4, batch: 3 });
    await using cpu = await load(bytes, { backend: "cpu" });
    const want = await whole.transform(source);
    const got = await tiled.transform(source);
    expect([want.tiles, got.tiles]).toEqual([1, 15]);
    expect(distance(got.image, want.image).worst).toBeLessThanOrEqual(1);
    expect(distance(got.image, (await cpu.transform(source)).image).worst).toBeLessThanOrEqual(2);
  });

  test("takes files and page-locked frames, and several at once, in order", async () => {
    await using model = await load(identityImageModel([1, 3, 16, 24]), { inFlight: 3 });
    const source = noiseImage(90, 61, "RGBA");
    const png = await encodeImage(source, { format: "png", alpha: "keep" });
    expect(Buffer.compare((await model.transform(png)).image.data, source.data)).toBe(0);
    using gpu = new Gpu();
    using pinned = PinnedBuffer.create("u8", [50 * 40 * 3], gpu.device);
    pinned.data.set(noiseImage(50, 40).data);
    const frame = imageOf(pinned.data, { width: 50, height: 40 });
    expect(Buffer.compare((await model.transform(frame)).image.data, pinned.data)).toBe(0);
    const sources = Array.from({ length: 30 }, (_, at) => noiseImage(20 + at * 3, 70 - at));
    let count = 0;
    for await (const { image, index } of model.stream(sources)) {
      expect(index).toBe(count++);
      expect(Buffer.compare(image.data, sources[index]!.data)).toBe(0);
    }
    expect(count).toBe(30);
  });

  test("300 images, and 10 models loaded and closed, leave device memory as it was", async () => {
    const bytes = nearestModel(["n", 3, 64, 64], ["n", 3, 128, 128]);
    const once = async (pictures: number): Promise<void> => {
      await using model = await load(bytes);
      for (let at = 0; at < pictures; at++) await model.transform(noiseImage(300, 200));
    };
    await once(5);
    using gpu = new Gpu();
    const allowed = 16 * 2 ** 20;
    const lost = await leastLost(gpu.device, allowed, async () => {
      await once(times(300));
      for (let round = 0; round < 10; round++) await once(1);
      gpu.device.synchronize();
    });
    expect(lost).toBeLessThanOrEqual(allowed);
  });

  const photo = ["images", "photos", "darknet_dog.jpg"] as const;
  for (const [name, precision] of [
    ["i2i_super_resolution_3x_y.onnx", "fp32"],
    ["i2i_super_resolution_3x_y.onnx", "fp16"],
    ["i2i_tbefn_lowlight_480x640.onnx", "fp32"],
    ["i2i_tbefn_lowlight_480x640.onnx", "fp16"],
  ] as const) {
    test.skipIf(isMissing("models", name) || isMissing(...photo))(
      `${name} in ${precision} makes what the CPU makes, as ../shared is there`,
      async () => {
        const path = sharedPath("models", name);
        await using gpu = await load(path, { precision });
        await using cpu = await load(path, { backend: "cpu" });
        const image = await decodeImage(sharedPath(...photo));
        const source = name.includes("lowlight") ? { ...image, data: image.data.map((level) => level >> 2) } : image;
        const want = await cpu.transform(source);
        for (let round = 0; round < 3; round++) {
          const { image: made, tiles, timing } = await gpu.transform(source);
          const { worst, mean } = distance(made, want.image);
          console.log(`${name} ${precision}: ${tiles} tiles`, timing, `worst ${worst}, mean ${mean.toFixed(4)}`);
          expect(tiles).toBe(want.tiles);
          expect(worst).toBeLessThanOrEqual(precision === "fp32" ? 2 : 8);
          expect(mean).toBeLessThan(precision === "fp32" ? 0.05 : 0.5);
        }
      },
    );
  }
});
