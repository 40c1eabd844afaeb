import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { modelTask } from "../../src/api/model.ts";
import { imageOf } from "../../src/image/image.ts";
import { encodeImage } from "../../src/image/image-file.ts";
import { loudLayers } from "../../src/precision/calibrated.ts";
import {
  type CalibrateOptions,
  calibrate,
  calibrationImages,
  foundBy,
  keptRanges,
} from "../../src/precision/calibration.ts";
import { CALIBRATION_METHODS } from "../../src/precision/precision-config.ts";
import { Histogram } from "../../src/precision/rounding.ts";
import { fileFolder } from "../support/folder.ts";
import { onnxModel } from "../support/onnx-writer.ts";

const inFolder = fileFolder("calibration");

/** An image of one colour. */
async function paint(name: string, level: number): Promise<string> {
  const path = inFolder("images", name);
  mkdirSync(inFolder("images"), { recursive: true });
  const data = new Uint8Array(32 * 32 * 3).fill(level);
  writeFileSync(path, await encodeImage(imageOf(data, { width: 32, height: 32, format: "RGB" }), { format: "png" }));
  return path;
}

const images = await Promise.all([51, 255, 102].map((level, at) => paint(`${at}.png`, level)));

/** Multiplies an image by a number; then by infinity, where asked. */
function model(factor = 3): Uint8Array<ArrayBuffer> {
  return onnxModel({
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 32, 32] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 3, 32, 32] }],
    initializers: [{ name: "factor", dtype: "f32", shape: [], data: Float32Array.of(factor) }],
    nodes: [
      { op: "Mul", inputs: ["images", "factor"], outputs: ["larger"] },
      { op: "Neg", inputs: ["larger"], outputs: ["y"] },
    ],
  });
}

const bytes = model();
const task = await modelTask(bytes);
const options: CalibrateOptions = { type: "int8", method: "max", tensors: ["images", "larger"], task };
const run = (paths: readonly string[], more: Partial<CalibrateOptions> = {}, of = bytes) =>
  calibrate({ bytes: of, name: "a model" }, paths, { ...options, ...more });

test("calibrate() has the largest magnitude of each tensor, inputs included", async () => {
  const steps: [number, number][] = [];
  const { ranges, skipped } = await run(images, { onProgress: (done, total) => steps.push([done, total]) });
  expect(ranges).toEqual({ images: 1, larger: 3 });
  expect(skipped).toEqual([]);
  expect(steps).toEqual([1, 2, 3].map((done) => [done, 3]));
});

test("calibrate() names an image that cannot be read and skips it; without onError it ends; of none it refuses", async () => {
  const broken = inFolder("broken.jpg");
  writeFileSync(broken, "no image");
  const named: string[] = [];
  const { ranges, skipped } = await run([images[0]!, broken], { onError: (_, path) => named.push(path) });
  expect([ranges.larger, named, skipped]).toEqual([Math.fround(Math.fround(51 / 255) * 3), [broken], [broken]]);
  await expect(run([images[0]!, broken])).rejects.toThrow("broken.jpg");
  await expect(run([broken], { onError: () => undefined })).rejects.toThrow("the image cannot be read");
});

test("calibrate() names a tensor whose numbers are not finite, and the image", async () => {
  await expect(run(images, {}, model(Number.POSITIVE_INFINITY))).rejects.toThrow(
    `its tensor "larger" has numbers that are not finite on ${JSON.stringify(images[0])}`,
  );
});

test("a calibration that was ended goes on, to the bit; one that is done is read again; of other images it begins anew", async () => {
  for (const method of CALIBRATION_METHODS) {
    const whole = inFolder(`${method}.calibration.json`);
    const parts = inFolder(`${method}.parts.json`);
    const averaged = method === "mse" ? ["images", "larger"] : [];
    await run(images, { method, averaged, file: whole });
    const end = new AbortController();
    const first = run(images, { method, averaged, file: parts, signal: end.signal, onProgress: () => end.abort() });
    await expect(first).rejects.toThrow("abort");
    expect(JSON.parse(readFileSync(parts, "utf8")).unfinished.done).toBe(1);
    let done = 0;
    await run(images, { method, averaged, file: parts, onProgress: () => done++ });
    expect(done).toBe(2);
    expect(readFileSync(parts, "utf8")).toBe(readFileSync(whole, "utf8"));
    done = 0;
    await run(images, { method, averaged, file: parts, onProgress: () => done++ });
    expect(done).toBe(0);
    await run(images.slice(1), { method, averaged, file: parts, onProgress: () => done++ });
    expect(done).toBe(2);
  }
});

test("keptRanges() has those of a model, and refuses those of others", async () => {
  const file = inFolder("kept.json");
  const { ranges } = await run(images, { method: "mse", file });
  const take = (of = bytes, more: Partial<CalibrateOptions> = {}) =>
    keptRanges(file, { bytes: of, name: "a model" }, { ...options, ...more });
  expect(take().ranges).toEqual(ranges);
  expect(() => take(model(4))).toThrow(
    `Cannot take the ranges of ${JSON.stringify(file)}: they are not of a model\nHint`,
  );
  expect(() => take(bytes, { type: "fp8" })).toThrow("they are for int8, and by mse depend on that");
  expect(() => take(bytes, { tensors: ["y"] })).toThrow('there is none of the tensor "y"');
  expect(() => take(bytes, { averaged: ["larger"] })).toThrow('the means of the tensor "larger" are missing');
  writeFileSync(file, "{}");
  expect(() => take()).toThrow("another version of bun-tensorrt wrote it, or none");
  writeFileSync(file, "no ranges");
  expect(() => take()).toThrow("it is no JSON");
});

test("calibrate() has the mean of each channel of tensors that are averaged, over all images", async () => {
  const found = await run(images, { averaged: ["larger"] });
  const { means } = foundBy(found);
  expect([...means.keys()]).toEqual(["larger"]);
  const mean = ((51 + 255 + 102) / 255 / 3) * 3;
  for (const one of means.get("larger")!) expect(one).toBeCloseTo(mean, 5);
  expect(foundBy(await run(images)).means.size).toBe(0);
});

test("the loudest layers in FP8 stay in float until the noise is 27 dB below the signal, and half of all at most", () => {
  const noise = { a: 0.0004, b: 0.0015, c: 0.0006, d: 0.0001 };
  expect([...loudLayers(Object.entries(noise))]).toEqual(["b"]);
  expect([...loudLayers(Object.entries({ ...noise, b: 0.0005 }))]).toEqual([]);
  expect([...loudLayers(Object.entries({ ...noise, a: 1, c: 2 }))]).toEqual(["c", "a"]);
  expect([...loudLayers([["only", 1]])]).toEqual([]);
});

test("a calibration begins anew where weights in another file have changed", async () => {
  const [path, file, weights] = ["apart.onnx", "apart.json", "apart.bin"].map((name) => inFolder(name)) as [
    string,
    string,
    string,
  ];
  const apart = onnxModel({
    inputs: [{ name: "images", dtype: "f32", shape: [1, 3, 32, 32] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 3, 32, 32] }],
    initializers: [{ name: "factor", dtype: "f32", shape: [], data: { location: "apart.bin", offset: 0, length: 4 } }],
    nodes: [
      { op: "Mul", inputs: ["images", "factor"], outputs: ["larger"] },
      { op: "Neg", inputs: ["larger"], outputs: ["y"] },
    ],
  });
  writeFileSync(path, apart);
  const of = async (factor: number): Promise<number> => {
    writeFileSync(weights, new Uint8Array(Float32Array.of(factor).buffer));
    utimesSync(weights, factor, factor);
    return (await calibrate({ bytes: apart, name: path, path }, images, { ...options, file })).ranges.larger!;
  };
  expect([await of(3), await of(5)]).toEqual([3, 5]);
});

test("calibrationImages() has the images of folders, evenly where there are too many, and refuses an empty folder", () => {
  expect(calibrationImages(inFolder("images"), 512)).toEqual(images);
  expect(calibrationImages([inFolder("images"), "a.jpg"], 2)).toEqual([images[0]!, images[2]!]);
  const empty = inFolder("empty");
  mkdirSync(empty);
  expect(() => calibrationImages(empty, 512)).toThrow(
    `Cannot calibrate a model: there is no image in ${JSON.stringify(empty)}\nHint: give a folder of images`,
  );
});

/** Numbers near 0, as activations are, and one far out. */
function bell(length: number, outlier: number): Float32Array {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state + 1) / 2 ** 32;
  };
  const numbers = Float32Array.from(
    { length },
    () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
  numbers[length >> 1] = outlier;
  return numbers;
}

test("a histogram does not depend on the order of what is added, and cuts outliers off by its method", () => {
  const [a, b] = [bell(200_000, 40), bell(100_000, 3)];
  const [there, back] = [new Histogram(true), new Histogram(true)];
  for (const one of [a, b]) there.add(one);
  for (const one of [b, a]) back.add(one);
  expect(back.state).toEqual(there.state);
  const rangeOf = (method: (typeof CALIBRATION_METHODS)[number]): number => there.range(method, "int8");
  expect(rangeOf("max")).toBe(40);
  // Of a normal distribution 0.9999 lie within 3.89.
  expect(rangeOf("percentile")).toBeWithin(3.85, 3.95);
  expect(rangeOf("mse")).toBeWithin(12, 20);
  expect(rangeOf("entropy")).toBeWithin(2.5, 12);
  expect(there.range("mse", "fp8")).toBeGreaterThan(20);
});

test("a histogram takes zeros, and refuses NaN wherever it is", () => {
  const histogram = new Histogram(true);
  expect(histogram.add(new Float32Array(8))).toBe(true);
  for (const method of CALIBRATION_METHODS) expect(histogram.range(method, "int8")).toBe(0);
  expect(histogram.add(Float32Array.of(Number.NaN, 1, 2))).toBe(false);
  expect(histogram.add(Float32Array.of(1, Number.NEGATIVE_INFINITY))).toBe(false);
  expect(histogram.largest).toBe(0);
});
