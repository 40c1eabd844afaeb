import { describe, expect, test } from "bun:test";
import { ImageModel } from "../../src/api/image-model.ts";
import type { ImageModelOptions } from "../../src/api/image-model-config.ts";
import { ClosedError, ImageError, ModelError, OptionError, ShapeError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { Image, PixelFormat } from "../../src/image/image.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import {
  batchMeanModel,
  blurModel,
  identityImageModel,
  meanModel,
  nearestModel,
  noiseImage,
  tightPixels,
} from "../support/image-models.ts";
import { paintedJpeg } from "../support/images.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { toyDetector } from "../support/toy-detector.ts";

const SIZES = [
  [1, 1],
  [3, 2],
  [16, 16],
  [17, 33],
  [101, 37],
] as const;

function load(model: Uint8Array, options: ImageModelOptions = {}): Promise<ImageModel> {
  return ImageModel.load(model, { backend: "cpu", threads: 1, ...options });
}

/** The image every pixel of which stands `factor` times in each direction. */
function repeated(image: Image, factor: number): Uint8Array {
  const pixel = image.format === "RGBA" ? 4 : 3;
  const { width, height, pitchBytes, data } = image;
  const large = new Uint8Array(width * height * factor * factor * pixel);
  let at = 0;
  for (let y = 0; y < height * factor; y++) {
    for (let x = 0; x < width * factor; x++) {
      const from = Math.floor(y / factor) * pitchBytes + Math.floor(x / factor) * pixel;
      for (let channel = 0; channel < pixel; channel++) large[at++] = data[from + channel]!;
    }
  }
  return large;
}

const SHAPES = [
  ["RGB", [1, 3, 16, 24]],
  ["RGB, channels last", [1, 16, 24, 3]],
  ["luma", [1, 1, 16, 24]],
  ["luma, channels last", [1, 16, 24, 1]],
  ["RGB of any batch", ["n", 3, 16, 24]],
  ["RGB of any size", ["n", 3, "h", "w"]],
  ["luma of any size", ["n", 1, "h", "w"]],
  ["three at a time", [3, 3, 16, 24]],
] as const;

describe.each(["f32", "f16", "u8"] as const)("an identity of %s", (dtype) => {
  for (const [name, shape] of SHAPES) {
    // An 8-bit luma has lost the fraction, so colours come back within a level.
    const slack = dtype === "u8" && name.startsWith("luma") ? 1 : 0;
    test(`ImageModel gives images back through ${name} to the bit, of every format, size and pitch`, async () => {
      await using model = await load(identityImageModel(shape, dtype), { tile: [24, 16], batch: 2 });
      for (const [width, height] of SIZES) {
        for (const format of ["RGB", "BGR", "RGBA"] as const satisfies readonly PixelFormat[]) {
          const source = noiseImage(width, height, format, 7);
          const { image, tiles } = await model.transform(source);
          expect(image).toMatchObject({ width, height, format, pitchBytes: width * (format === "RGBA" ? 4 : 3) });
          expect(tiles).toBe(model.tiles(width, height).tiles.length);
          const want = tightPixels(source);
          let worst = 0;
          for (let at = 0; at < want.length; at++) worst = Math.max(worst, Math.abs(want[at]! - image.data[at]!));
          expect(worst).toBeLessThanOrEqual(slack);
        }
      }
    });
  }
});

test("ImageModel reports values that are no numbers, or far outside the range that is assumed, once a model", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level}: ${text}`));
  try {
    const source = noiseImage(40, 20);
    const model = identityImageModel([1, 3, 16, 24]);
    // Goes in as 0 to 255, or as -1 to 1, and comes out so: that it is 0 to 1 is a mistake.
    for (const [range, share] of [
      ["0-255", 99],
      ["-1-1", 25],
    ] as const) {
      await using wrong = await load(model, { range, outputRange: "0-1" });
      await wrong.transform(source);
      await wrong.transform(source);
      const found =
        /^warn: Implausible image of .*: (\d+) % of its values lie far outside 0 to 1; say what black and white are by/;
      expect(lines).toHaveLength(1);
      expect(Math.abs(Number(found.exec(lines.pop()!)?.[1]) - share)).toBeLessThan(4);
    }
    // The root of what is below 0.
    const shape = [1, 3, 16, 24];
    const roots = onnxModel({
      nodes: [{ op: "Sqrt", inputs: ["pixels"], outputs: ["image"] }],
      inputs: [{ name: "pixels", dtype: "f32", shape }],
      outputs: [{ name: "image", dtype: "f32", shape }],
    });
    await using broken = await load(roots, { range: "-1-1" });
    await broken.transform(source);
    expect(lines).toEqual([
      expect.stringMatching(/^warn: Implausible image of .* of 1152 numbers are NaN or infinite; FP16/),
    ]);
    lines.length = 0;
    await using right = await load(roots);
    await right.transform(source);
    expect(lines).toEqual([]);
  } finally {
    setLogSink(former);
  }
});

test("ImageModel gives images back through every range and order of colours", async () => {
  const source = noiseImage(40, 20);
  const ranges = ["0-1", "0-255", "-1-1", { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }] as const;
  for (const range of ranges) {
    for (const colour of ["RGB", "BGR"] as const) {
      await using model = await load(identityImageModel([1, 3, 16, 24]), { range, outputRange: range, colour });
      expect((await model.transform(source)).image.data).toEqual(tightPixels(source));
    }
  }
  await using swapped = await load(identityImageModel([1, 3, 16, 24]), { colour: "RGB", outputColour: "BGR" });
  const { data } = (await swapped.transform(source)).image;
  for (let at = 0; at < data.length; at++) expect(data[at]).toBe(source.data[at - (at % 3) + 2 - (at % 3)]!);
});

describe.each([2, 3])("a model that repeats pixels %d times", (factor) => {
  for (const layout of ["NCHW", "NHWC"] as const) {
    test(`ImageModel finds the scale of ${layout}, of fixed and of any size, and leaves no seam`, async () => {
      const fixed = layout === "NCHW" ? [1, 3, 16, 24] : [1, 16, 24, 3];
      const large = fixed.map((dim) => (dim > 3 ? dim * factor : dim));
      const open = layout === "NCHW" ? ["n", 3, "h", "w"] : ["n", "h", "w", 3];
      const unknown = layout === "NCHW" ? ["n", 3, "h2", "w2"] : ["n", "h2", "w2", 3];
      for (const bytes of [
        nearestModel(fixed, large, layout, factor),
        nearestModel(open, unknown, layout, factor),
        nearestModel(open, ["n", "a", "b", "c"], layout, factor),
      ]) {
        await using model = await load(bytes, { tile: [48, 32], overlap: 5 });
        expect(model.scale).toBe(factor);
        for (const [width, height] of SIZES) {
          const source = noiseImage(width, height, "RGB", 3);
          const { image } = await model.transform(source);
          expect(image).toMatchObject({ width: width * factor, height: height * factor });
          expect(image.data).toEqual(repeated(source, factor));
        }
      }
    });
  }
});

test("ImageModel enlarges the colours of a luma model, and the alpha of any, with the image", async () => {
  await using model = await load(nearestModel([1, 1, 16, 24], [1, 1, 32, 48]));
  const flat = noiseImage(1, 1, "RGBA");
  const source: Image = { ...noiseImage(30, 20, "RGBA"), data: new Uint8Array(30 * 20 * 4) };
  for (let at = 0; at < source.data.length; at++) source.data[at] = flat.data[at % 4]!;
  const { image } = await model.transform(source);
  expect(image).toMatchObject({ width: 60, height: 40, format: "RGBA" });
  expect(image.data.every((level, at) => level === flat.data[at % 4])).toBe(true);
});

test("ImageModel makes a grey image of a single channel", async () => {
  await using model = await load(meanModel(8, 8));
  const { image } = await model.transform(noiseImage(5, 3, "BGR"));
  const source = tightPixels(noiseImage(5, 3, "BGR"));
  for (let at = 0; at < source.length; at += 3) {
    const mean = (source[at]! + source[at + 1]! + source[at + 2]!) / 3;
    expect(image.data[at]).toBeWithin(mean - 0.51, mean + 0.51);
    expect([image.data[at + 1], image.data[at + 2]]).toEqual([image.data[at]!, image.data[at]!]);
  }
});

test("ImageModel makes of tiles what it makes of the whole, where they share twice the receptive radius", async () => {
  const source = noiseImage(150, 90);
  const bytes = blurModel(["n", 3, "h", "w"]);
  await using whole = await load(bytes);
  const want = await whole.transform(source);
  expect(want.tiles).toBe(1);
  await using tiled = await load(bytes, { tile: 40, overlap: 4, batch: 3 });
  const got = await tiled.transform(source);
  expect(got.tiles).toBe(15);
  expect(got.image.data).toEqual(want.image.data);
  await using narrow = await load(bytes, { tile: 40, overlap: 0 });
  expect((await narrow.transform(source)).image.data).not.toEqual(want.image.data);
});

test("ImageModel fills a small image up with its last pixels, or mirrors it", async () => {
  const seen = async (padding: "replicate" | "reflect"): Promise<number> => {
    await using model = await load(blurModel([1, 3, 32, 32]), { padding });
    return Bun.hash((await model.transform(noiseImage(6, 5))).image.data) as unknown as number;
  };
  expect(await seen("replicate")).not.toBe(await seen("reflect"));
});

test("ImageModel reads files, keeps their alpha, and can drop it", async () => {
  const source = noiseImage(21, 13, "RGBA");
  const png = await encodeImage(source, { format: "png", alpha: "keep" });
  await using keep = await load(identityImageModel([1, 3, 16, 24]));
  const kept = await keep.transform(png);
  expect(kept.image.format).toBe("RGBA");
  expect(kept.image.data).toEqual(tightPixels(source));
  expect(kept.timing.decode).toBeGreaterThan(0);
  await using drop = await load(identityImageModel([1, 3, 16, 24]), { alpha: "drop" });
  expect((await drop.transform(png)).image.format).toBe("RGB");
  expect((await keep.transform(await paintedJpeg(9, 5))).image).toMatchObject({ format: "RGB", width: 9, height: 5 });
});

test("ImageModel.stream() gives results in order with their places, and goes on after a bad image", async () => {
  await using model = await load(identityImageModel([1, 3, 16, 24]), { inFlight: 3 });
  const sources = [noiseImage(50, 60), new Uint8Array([1, 2, 3]), noiseImage(1, 1), "no-such.png", noiseImage(9, 9)];
  const bad: number[] = [];
  const good: [number, number][] = [];
  const onError = (error: unknown, index: number): void => {
    expect(error).toBeInstanceOf(ImageError);
    bad.push(index);
  };
  for await (const { image, index } of model.stream(sources, { onError })) good.push([index, image.width]);
  expect(bad).toEqual([1, 3]);
  expect(good).toEqual([
    [0, 50],
    [2, 1],
    [4, 9],
  ]);
});

test("ImageModel.stream() closes the sequence when its caller leaves, and ends at the first error without onError", async () => {
  await using model = await load(identityImageModel([1, 3, 16, 24]), { inFlight: 2 });
  let closed = 0;
  let read = 0;
  const endless = function* () {
    try {
      while (true) {
        read += 1;
        yield read === 5 ? new Uint8Array(3) : noiseImage(4, 4);
      }
    } finally {
      closed += 1;
    }
  };
  for await (const { index } of model.stream(endless())) if (index === 1) break;
  expect(closed).toBe(1);
  expect(read).toBeLessThanOrEqual(4);
  read = 0;
  const seen: number[] = [];
  const drain = async (): Promise<void> => {
    for await (const { index } of model.stream(endless())) seen.push(index);
  };
  await expect(drain()).rejects.toThrow(ImageError);
  expect(seen).toEqual([0, 1, 2, 3]);
  expect(closed).toBe(2);
});

test("ImageModel.stream() ends with the signal's reason, also where errors of images are passed over", async () => {
  await using model = await load(identityImageModel([1, 3, 16, 24]), { inFlight: 2 });
  const controller = new AbortController();
  let closed = 0;
  const endless = function* () {
    try {
      while (true) yield noiseImage(20, 20);
    } finally {
      closed += 1;
    }
  };
  let errors = 0;
  const onError = (): void => {
    errors += 1;
  };
  const drain = async (): Promise<void> => {
    for await (const { index } of model.stream(endless(), { signal: controller.signal, onError })) {
      if (index === 3) controller.abort(new Error("enough"));
    }
  };
  await expect(drain()).rejects.toThrow("enough");
  expect([errors, closed]).toEqual([0, 1]);
});

test("ImageModel.stream() throws what its sequence throws, and closes it no more", async () => {
  await using model = await load(identityImageModel([1, 3, 16, 24]));
  let returned = 0;
  const broken: Iterator<Image> = {
    next: () => {
      throw new Error("lost the camera");
    },
    return: () => {
      returned += 1;
      return { done: true, value: undefined };
    },
  };
  await expect(model.stream({ [Symbol.iterator]: () => broken }).next()).rejects.toThrow("lost the camera");
  expect(returned).toBe(0);
});

test("ImageModel refuses a model that makes one image of several, and runs it one at a time", async () => {
  const bytes = batchMeanModel();
  await using several = await load(bytes, { tile: 32, batch: 2 });
  await expect(several.transform(noiseImage(60, 20))).rejects.toThrow("load it with `batch: 1`");
  await using one = await load(bytes, { tile: 32 });
  const source = noiseImage(60, 20);
  expect((await one.transform(source)).image.data).toEqual(tightPixels(source));
});

test("ImageModel stops between two tiles when its signal is aborted, and works on after it", async () => {
  await using model = await load(identityImageModel([1, 3, 16, 24]));
  const controller = new AbortController();
  const running = model.transform(noiseImage(800, 800), { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("enough")), 5);
  await expect(running).rejects.toThrow("enough");
  await expect(model.transform(noiseImage(3, 3), { signal: controller.signal })).rejects.toThrow("enough");
  expect((await model.transform(noiseImage(3, 3))).tiles).toBe(1);
});

test("ImageModel refuses what is no image model, wrong options, and calls after close()", async () => {
  await expect(load(toyDetector())).rejects.toThrow(ModelError);
  await expect(load(toyDetector())).rejects.toThrow(/its task is "detect"\nHint: load it with `Detector`/);
  await expect(load(identityImageModel([1, 3, 8, 8]), { tyle: 3 } as never)).rejects.toThrow('Did you mean "tile"?');
  const badRange = load(identityImageModel([1, 3, 8, 8]), { range: { mean: 0, std: 0 } });
  await expect(badRange).rejects.toThrow(OptionError);
  const narrow = load(identityImageModel([1, 3, 16, 16]), { overlap: 16 });
  await expect(narrow).rejects.toThrow("`overlap` must be at most 8 pixels for tiles of 16, got 16");
  const open = load(identityImageModel([1, 3, -1, -1]), { tile: 32, overlap: 40 });
  await expect(open).rejects.toThrow("for tiles of 32, got 40");
  const coarse = load(identityImageModel([1, 3, 16, 16]), { multiple: 32 });
  await expect(coarse).rejects.toThrow("`multiple` must be at most 16");
  await using enlarging = await load(nearestModel([1, 3, 16, 16], [1, 3, 128, 128], "NCHW", 8));
  const huge: Image = { width: 30_000, height: 30_000, pitchBytes: 0, format: "RGB", data: new Uint8Array(0) };
  await expect(enlarging.transform(huge)).rejects.toThrow(ShapeError);
  const model = await load(identityImageModel([1, 3, 8, 8]));
  const running = model.transform(noiseImage(40, 40));
  const closing = model.close();
  await expect(model.transform(noiseImage(4, 4))).rejects.toThrow(ClosedError);
  expect((await running).image.width).toBe(40);
  await closing;
  await model.close();
});

test("ImageModel says that a tile is ignored where the model's input is fixed, and only there", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => void (level === "warn" && lines.push(text)));
  try {
    for (const options of [{}, { tile: 16 }, { tile: 64 }]) {
      await using _ = await ImageModel.load(nearestModel([1, 3, 16, 16], [1, 3, 32, 32], "NCHW", 2), options);
    }
    await using _ = await ImageModel.load(nearestModel([1, 3, -1, -1], [1, 3, -1, -1], "NCHW", 2), { tile: 64 });
  } finally {
    setLogSink(former);
  }
  expect(lines).toEqual(["Ignoring `tile`: the input of the model from bytes is fixed at 16x16"]);
});

test("ImageModel names an option of a call or a stream that is misspelt or of another type", async () => {
  await using model = await load(nearestModel([1, 3, 16, 16], [1, 3, 32, 32], "NCHW", 2));
  const call = model.transform(noiseImage(4, 4), { singal: AbortSignal.abort() } as object);
  await expect(call).rejects.toThrow('Unknown option "singal". Did you mean "signal"?');
  expect(() => model.stream([], { onerror: () => {} } as object)).toThrow('Did you mean "onError"?');
  expect(() => model.stream([], { policy: "newest" } as object)).toThrow('"policy" must be all or latest');
});

test("ImageModel refuses to make an image of more than 2 GiB", async () => {
  await using model = await load(nearestModel([1, 3, 16, 16], [1, 3, 512, 512], "NCHW", 32));
  await expect(model.transform(noiseImage(1000, 1000))).rejects.toThrow(
    "Cannot transform an image of 1000x1000 pixels: what is made of it may have at most 2.00 GiB: it would have 32000x32000 pixels",
  );
});
