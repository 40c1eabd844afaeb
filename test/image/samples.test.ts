import { describe, expect, test } from "bun:test";
import sharp from "sharp";
import { declaredOnly } from "../../src/accelerators/opened-model.ts";
import { readModelFile } from "../../src/accelerators/tensorrt/model-file.ts";
import { Detector } from "../../src/api/detector.ts";
import { createTensor, type Tensor } from "../../src/core/tensor.ts";
import { type Image, imageOf, type PixelFormat } from "../../src/image/image.ts";
import { packedImage, tightRgb } from "../../src/image/nv12.ts";
import {
  channelsOf,
  levelValue,
  type Preprocessing,
  roundedTo,
  YOLO_PREPROCESSING,
} from "../../src/image/preprocessing.ts";
import { type InputTensor, Preprocessor } from "../../src/image/preprocessor.ts";
import { crop } from "../../src/tasks/boxes.ts";
import golden from "../fixtures/samples.json";
import { registerFast } from "../support/backends.ts";
import { finalRows, fixedModel } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";

const SIDE = 16;
const LEVELS: Preprocessing = { ...YOLO_PREPROCESSING, fit: "stretch", scale: 1 };

/** What `pattern` of samples.py draws, with bytes between its rows. */
function pattern(width: number, height: number, channels: number, top: number, gapBytes = 6): Image {
  const bytes = top > 255 ? 2 : 1;
  const pitchBytes = width * channels * bytes + gapBytes;
  const data = new Uint8Array(pitchBytes * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        const sample = (x * 7919 + y * 104729 + c * 15485863 + x * y * 31) % (top + 1);
        const at = y * pitchBytes + (x * channels + c) * bytes;
        data[at] = sample & 255;
        if (bytes === 2) data[at + 1] = sample >> 8;
      }
    }
  }
  const format: PixelFormat = channels === 1 ? "GREY16" : bytes === 2 ? "RGBA16" : "RGBA";
  return imageOf(data, { width, height, format, pitchBytes });
}

function inputOf(image: Image, preprocessing: Preprocessing, side = SIDE): Tensor {
  const { layout, dtype } = preprocessing;
  const channels = channelsOf(preprocessing);
  const shape = layout === "NCHW" ? [1, channels, side, side] : [1, side, side, channels];
  const input = createTensor(dtype, shape) as InputTensor;
  const preprocessor = new Preprocessor(preprocessing);
  preprocessor.run(image, input, 0, preprocessor.place(image, side, side));
  return input;
}

describe("resized samples are those of OpenCV and Pillow", () => {
  for (const { width, height, channels, top, resize, values } of golden) {
    test(`${channels} channels up to ${top}, ${width}x${height}, ${resize}`, () => {
      const colour = channels === 1 ? "luma" : "RGBA";
      const isDeep = top > 255;
      // In samples: their level is a 257th of them.
      const scale = isDeep ? 257 : 1;
      const image = pattern(width, height, channels, top);
      const input = inputOf(image, { ...LEVELS, colour, resize: resize as Preprocessing["resize"], scale });
      expect(input.data).toHaveLength(values.length);
      // Levels of 8 bits are equal for OpenCV; Pillow may resize the columns first.
      const room = isDeep ? 0.3 : resize === "bilinear" ? 0 : 1;
      const worst = values.reduce((most, value, at) => Math.max(most, Math.abs(value - Number(input.data[at]))), 0);
      expect(worst).toBeLessThanOrEqual(room);
    });
  }
});

for (const resize of ["bilinear", "antialias", "bicubic", "lanczos4"] as const) {
  test(`${resize}: each dtype and order holds the values of f32, rounded; red and blue change places`, () => {
    for (const [image, colours] of [
      [pattern(37, 23, 1, 65_535), ["luma"]],
      [pattern(37, 23, 4, 65_535), ["RGBA", "BGRA"]],
      [pattern(37, 23, 4, 255), ["RGBA", "BGRA"]],
    ] as const) {
      for (const colour of colours) {
        const way: Preprocessing = { ...LEVELS, fit: "letterbox", resize, colour, fourth: { mean: 0, std: 1, pad: 7 } };
        const planes = inputOf(image, way).data;
        const channels = channelsOf(way);
        if (channels === 4) {
          const other = inputOf(image, { ...way, colour: colour === "RGBA" ? "BGRA" : "RGBA" }).data;
          const area = SIDE * SIDE;
          expect(other.subarray(0, area)).toEqual(planes.subarray(2 * area, 3 * area));
          expect(other.subarray(3 * area)).toEqual(planes.subarray(3 * area));
          // The first three are what a model of three channels gets, to the bit.
          if (image.format === "RGBA") {
            const three = inputOf(image, { ...way, colour: colour === "RGBA" ? "RGB" : "BGR" }).data;
            expect(planes.subarray(0, 3 * area)).toEqual(three as never);
          }
          expect(planes[3 * area]).toBe(7);
        }
        for (const dtype of ["f32", "f16", "u8", "u16"] as const) {
          const scale = dtype === "u16" ? 257 : 1;
          const exact = scale === 1 ? planes : inputOf(image, { ...way, scale }).data;
          for (const layout of ["NCHW", "NHWC"] as const) {
            const { data } = inputOf(image, { ...way, dtype, layout, scale });
            for (let at = 0; at < data.length; at++) {
              const [pixel, channel] = [Math.floor(at / channels), at % channels];
              const from = layout === "NCHW" ? at : channel * SIDE * SIDE + pixel;
              if (Number(data[at]) !== roundedTo(dtype, Number(exact[from]))) {
                expect([colour, dtype, layout, at, data[at]]).toEqual([
                  colour,
                  dtype,
                  layout,
                  at,
                  roundedTo(dtype, Number(exact[from])),
                ]);
              }
            }
          }
        }
      }
    }
  });
}

test("grey is red, green and blue of one level, for a tensor of three channels and for one of luma", () => {
  const grey = Uint8Array.from({ length: 29 * 17 }, (_, at) => at * 7);
  const image = imageOf(grey, { width: 29, height: 17, format: "GREY" });
  const rgb = imageOf(
    Uint8Array.from({ length: grey.length * 3 }, (_, at) => grey[Math.floor(at / 3)]!),
    image,
  );
  const same = imageOf(rgb.data, { width: 29, height: 17 });
  // Samples of 16 bits of the same levels.
  const words = imageOf(
    Uint16Array.from(grey, (level) => level * 257),
    { width: 29, height: 17, format: "GREY16" },
  );
  for (const resize of ["bilinear", "antialias", "lanczos"] as const) {
    const way = { ...YOLO_PREPROCESSING, resize } as const;
    expect(inputOf(image, way).data).toEqual(inputOf(same, way).data);
    expect(inputOf(words, way).data).toEqual(inputOf(same, way).data);
    const luma = { ...way, colour: "luma" } as const;
    expect(inputOf(image, luma).data).toEqual(inputOf(same, luma).data);
  }
  expect(tightRgb(image)).toEqual(same.data);
  expect(packedImage(words)).toEqual({ ...same, data: same.data });
});

test("levels say which samples are black and white: the image's own come before those of the pre-processing", () => {
  const samples = Uint16Array.of(0, 1000, 1500, 2000, 3000, 65_535, 1001, 1999, 1250);
  const image = imageOf(samples, { width: 3, height: 3, format: "GREY16" });
  const way: Preprocessing = { ...LEVELS, colour: "luma" };
  const valuesOf = (one: Image, levels?: Preprocessing["levels"]): number[] =>
    Array.from(inputOf(one, { ...way, levels }, 3).data as Float32Array);
  const cut = [0, 0, 127.5, 255, 255, 255, 0.255, 254.745, 63.75].map(Math.fround);
  expect(valuesOf(image, [1000, 2000])).toEqual(cut);
  const own = imageOf(samples, { width: 3, height: 3, format: "GREY16", levels: [1000, 2000] });
  expect(valuesOf(own, [0, 10])).toEqual(cut);
  expect(valuesOf(crop(own, [0, 0, 3, 3]))).toEqual(cut);
  expect(valuesOf(image)[5]).toBe(255);
  // The same levels, rounded, in three channels.
  const colours = inputOf(own, { ...LEVELS, fit: "stretch" }, 3).data;
  expect(Array.from(colours as Float32Array).slice(0, 9)).toEqual(cut.map((value) => Uint8ClampedArray.of(value)[0]!));
  expect(() => imageOf(samples, { width: 3, height: 3, format: "GREY16", levels: [5, 5] })).toThrow("two numbers");
  expect(() => imageOf(new Uint8Array(27), { width: 3, height: 3, levels: [0, 5] })).toThrow("formats of 16 bits");
});

test("a tensor of four channels wants an image of four", () => {
  const way: Preprocessing = { ...LEVELS, colour: "RGBA" };
  const image = imageOf(new Uint8Array(12), { width: 2, height: 2 });
  expect(() => inputOf(image, way)).toThrow(
    /its input has four channels, and the image is RGB\nHint: give one of four/,
  );
  expect(levelValue({ ...way, mean: [1, 2, 3], fourth: { mean: 4, std: 2, pad: 0 } }, 3, 10)).toBe(3);
});

const path = fileFolder("samples");

const ROW = [finalRows(6, [[4, 4, 12, 12, 0.9, 1]])];

/** The input that a detector makes of a file. */
async function inputBy(bytes: Uint8Array, options: object, source: string | Image): Promise<Tensor> {
  await using detector = await Detector.load(bytes, {
    backend: "cpu",
    labels: ["a", "b"],
    head: "yolo-end-to-end",
    ...options,
  });
  expect((await detector.detect(source)).detections).toHaveLength(1);
  await using batch = await detector.staged([source]);
  await batch.preprocess();
  return await batch.input();
}

test("detectors of one channel and four take files of 16 bits as they are, those of three in 8 bits", async () => {
  const samples = Uint16Array.from({ length: 32 * 32 }, (_, at) => at * 61);
  const grey = path("thermal.png");
  await sharp(samples, { raw: { width: 32, height: 32, channels: 1 } })
    .toColourspace("grey16")
    .toFile(grey);
  const image = imageOf(samples, { width: 32, height: 32, format: "GREY16" });
  const one = await inputBy(fixedModel(ROW, { channels: 1 }), {}, grey);
  expect(one.shape).toEqual([1, 1, 32, 32]);
  expect(one.data[1]).toBeCloseTo(61 / 65_535, 8);
  expect((await inputBy(fixedModel(ROW, { channels: 1 }), {}, image)).data).toEqual(one.data as never);
  const window = { preprocessing: { levels: [0, 610] } };
  expect((await inputBy(fixedModel(ROW, { channels: 1 }), window, grey)).data[5]).toBeCloseTo(0.5, 6);
  const three = await inputBy(fixedModel(ROW), {}, grey);
  expect(three.data[13]).toBeCloseTo(Math.round((13 * 61) / 257) / 255, 6);
  expect((await inputBy(fixedModel(ROW), window, grey)).data[5]).toBeCloseTo(128 / 255, 6);
  // A model that scales samples itself.
  const whole = await inputBy(fixedModel(ROW, { channels: 1, isSamples: true }), {}, grey);
  expect(whole.dtype).toBe("u16");
  expect(whole.data).toEqual(samples as never);

  const rgbd = Uint16Array.from({ length: 32 * 32 * 4 }, (_, at) => (at % 4 === 3 ? at * 15 : (at % 256) * 257));
  const depth = path("depth.tiff");
  await sharp(rgbd, { raw: { width: 32, height: 32, channels: 4 } })
    .toColourspace("rgb16")
    .tiff({ compression: "none" })
    .toFile(depth);
  const four = await inputBy(fixedModel(ROW, { channels: 4, dtype: "f16" }), {}, depth);
  expect([four.dtype, ...four.shape]).toEqual(["f16", 1, 4, 32, 32]);
  expect(four.data[3 * 1024 + 9]).toBe(Math.f16round((39 * 15) / 65_535));
  expect(four.data[9]).toBe(Math.f16round(36 / 255));
});

test("Ultralytics' metadata says how many channels an open axis has; a family's fourth is assumed with how to say otherwise", async () => {
  const rgba = imageOf(new Uint8Array(32 * 32 * 4).fill(51), { width: 32, height: 32, format: "RGBA" });
  const metadata = { author: "Ultralytics", channels: "4", names: "{0: 'a', 1: 'b'}", task: "detect", end2end: "True" };
  await using detector = await Detector.load(fixedModel(ROW, { channels: -1, metadata }), { backend: "cpu" });
  expect(detector.recognition.preprocessing).toMatchObject({ colour: "RGBA", fourth: { mean: 0, std: 1, pad: 114 } });
  expect((await detector.detect(rgba)).detections).toHaveLength(1);
  const mean = [0.1, 0.2, 0.3, 0.4] as const;
  const said = await inputBy(fixedModel(ROW, { channels: 4 }), { preprocessing: { mean, colour: "BGR" } }, rgba);
  expect([0, 1, 2, 3].map((channel) => Number(Number(said.data[channel * 1024]).toFixed(5)))).toEqual([
    0.1, 0, -0.1, -0.2,
  ]);
  const rgb = imageOf(new Uint8Array(32 * 32 * 3), { width: 32, height: 32 });
  await expect(detector.detect(rgb)).rejects.toThrow("its input has four channels, and the image is RGB");
  await expect(Detector.load(fixedModel(ROW, { channels: 8 }), { backend: "cpu" })).rejects.toThrow(
    "takes 8 channels, and an image has 1, 3 or 4",
  );
});

test("a GPU takes inputs of one channel and four, whatever the resize; for one of u16 the CPU is taken where the choice is open", async () => {
  using _ = registerFast(async (source, task) => {
    await task.check?.(declaredOnly(await readModelFile(source as Uint8Array)));
    throw new Error("The GPU takes it");
  });
  const options = { labels: ["a", "b"], head: "yolo-end-to-end" };
  for (const channels of [1, 4]) {
    for (const resize of ["bilinear", "antialias"] as const) {
      const loading = Detector.load(fixedModel(ROW, { channels }), {
        ...options,
        backend: "fast",
        preprocessing: { resize },
      });
      await expect(loading).rejects.toThrow("The GPU takes it");
    }
  }
  const samples = fixedModel(ROW, { channels: 1, isSamples: true });
  const refused = 'an input of u16 does not run on a GPU\nHint: run it with backend "cpu"';
  await expect(Detector.load(samples, { ...options, backend: "fast" })).rejects.toThrow(refused);
  const former = process.env.BUN_TENSORRT_BACKEND;
  delete process.env.BUN_TENSORRT_BACKEND;
  using restored = new DisposableStack();
  restored.defer(() => {
    if (former !== undefined) process.env.BUN_TENSORRT_BACKEND = former;
  });
  await using detector = await Detector.load(samples, { ...options, backend: "auto" });
  expect(detector.backend.kind).toBe("cpu");
  const image = imageOf(new Uint16Array(32 * 32).fill(7), { width: 32, height: 32, format: "GREY16" });
  expect((await detector.detect(image)).detections).toHaveLength(1);
});

test("warmUp() gives a model of four channels images of four", async () => {
  await using detector = await Detector.load(fixedModel(ROW, { channels: 4 }), {
    backend: "cpu",
    labels: ["a", "b"],
    head: "yolo-end-to-end",
  });
  await detector.warmUp({ size: [40, 30] });
});

test("of colours of 16 bits a tensor of one channel has the luma, with its fraction", () => {
  const pixels = Uint16Array.of(65_535, 0, 0, 9, 0, 65_535, 0, 9, 0, 0, 65_535, 9, 1000, 3000, 5000, 9);
  const image = imageOf(pixels, { width: 4, height: 1, format: "RGBA16" });
  const way = { ...LEVELS, colour: "luma", scale: 257 } as const;
  const input = createTensor("f32", [1, 1, 1, 4]) as InputTensor;
  const preprocessor = new Preprocessor(way);
  preprocessor.run(image, input, 0, preprocessor.place(image, 4, 1));
  const wanted = [19_595, 38_470, 7471].map((weight) => (65_535 * weight) / 65_536);
  const mixed = (1000 * 19_595 + 3000 * 38_470 + 5000 * 7471) / 65_536;
  for (const [at, value] of [...wanted, mixed].entries()) expect(input.data[at]).toBeCloseTo(value, 1);
});
