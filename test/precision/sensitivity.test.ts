import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { setLogSink } from "../../src/core/log.ts";
import {
  type Conversion,
  type ConvertOptions,
  type ConvertProgress,
  compare,
  convert,
  ImageError,
} from "../../src/index.ts";
import { blocksOf } from "../../src/precision/sensitivity.ts";
import { runCli } from "../cli/run-cli.ts";
import { fileFolder } from "../support/folder.ts";
import { onnxModel } from "../support/onnx-writer.ts";

setDefaultTimeout(120_000);

const path = fileFolder("sensitivity");

/** Numbers of chance, the same each time. */
function chance(length: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/**
 * Four convolutions and a head. What the third reads has one channel of `outlier` times the others', which its weights take back:
 * no scale of the tensor fits.
 *
 * @param group of the second one
 */
function network(outlier: number, group = 1): Uint8Array {
  const layers = [
    [32, 3],
    [32, 32 / group],
    [32, 32],
    [32, 32],
    [8, 32],
  ] as const;
  const weights = layers.map(([outputs, inputs], at) => {
    const data = chance(outputs * inputs * 9, at + 1).map((value) => value / Math.sqrt(inputs * 3));
    if (at === 1) for (let one = 0; one < inputs * 9; one++) data[one]! *= outlier;
    if (at === 2)
      for (let one = 0; one < data.length; one++) if (Math.floor(one / 9) % inputs === 0) data[one]! /= outlier;
    return { name: `w${at}`, dtype: "f32" as const, shape: [outputs, inputs, 3, 3], data };
  });
  return onnxModel({
    opset: 17,
    inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 16, 16] }],
    outputs: [{ name: "y", dtype: "f32" }],
    initializers: weights,
    nodes: layers.flatMap((_, at) => {
      const input = at === 0 ? "x" : `r${at - 1}`;
      const output = at === 4 ? "y" : `c${at}`;
      const attributes = { pads: [1, 1, 1, 1], ...(at === 1 && group > 1 && { group }) };
      const conv = { op: "Conv", inputs: [input, `w${at}`], outputs: [output], attributes };
      return at === 4 ? [conv] : [conv, { op: "Relu", inputs: [output], outputs: [`r${at}`] }];
    }),
  });
}

/** Images of noise, named in order. */
async function writeImages(into: string, count: number): Promise<void> {
  mkdirSync(path(into));
  for (let at = 0; at < count; at++) {
    const pixels = chance(16 * 16 * 3, at + 50).map((value) => value * 127 + 128);
    await sharp(Uint8Array.from(pixels), { raw: { width: 16, height: 16, channels: 3 } })
      .png()
      .toFile(path(into, `${String.fromCharCode(97 + at)}.png`));
  }
}

beforeAll(async () => {
  await writeImages("photos", 4);
  await writeImages("many", 20);
  writeFileSync(path("a.onnx"), network(40));
});

const OPTIONS: ConvertOptions = { precision: "int8", method: "max", io: "keep" };

test("convert() puts the layers that cost most back into float, and the same ones again", async () => {
  const calibration = path("photos");
  const convertTo = (name: string, maxLoss: number, onProgress?: (progress: ConvertProgress) => void) =>
    convert(path("a.onnx"), { ...OPTIONS, calibration, output: path(name), maxLoss, onProgress });
  const phases = new Set<string>();
  const all = await convertTo("all.onnx", 1, ({ phase }) => phases.add(phase));
  expect(all.sensitivity).toMatchObject({ loss: all.sensitivity!.lossBefore, layers: [], attempts: [{ kept: 0 }] });
  expect([...phases]).toEqual(["calibrate", "measure"]);
  const { lossBefore } = all.sensitivity!;
  expect(lossBefore).toBeGreaterThan(0.05);

  const some = await convertTo("some.onnx", lossBefore / 4, ({ phase }) => phases.add(phase));
  expect(phases).toContain("rank");
  const { sensitivity } = some;
  const kept = sensitivity!.layers.filter(({ isKept }) => isKept);
  // What reads the outlier costs most, by itself as well.
  expect(sensitivity!.layers[0]!.name).toBe("Conv_4");
  expect(sensitivity!.layers.map(({ sqnr }) => sqnr)).toEqual(
    sensitivity!.layers.map(({ sqnr }) => sqnr).toSorted((a, b) => a - b),
  );
  expect(kept.map(({ name }) => name)).toContain("Conv_4");
  expect(kept.length).toBeLessThan(sensitivity!.layers.length);
  expect(sensitivity!.loss).toBeLessThanOrEqual(lossBefore / 4);
  expect(some.layers.find(({ name }) => name === "Conv_4")!.type).toBe("fp16");
  expect(some.layers.filter(({ type }) => type === "int8").length).toBeGreaterThan(0);
  // The loss that is told is that of the file.
  const { outputs } = await compare(path("a.onnx"), path("some.onnx"), {
    images: calibration,
    first: { backend: "cpu" },
    second: { backend: "cpu" },
  });
  expect(10 ** (-outputs[0]!.sqnr / 20)).toBeCloseTo(sensitivity!.loss, 9);
  const again = await convertTo("again.onnx", lossBefore / 4);
  expect(again.sensitivity).toEqual(sensitivity);
  expect(await Bun.file(path("again.onnx")).bytes()).toEqual(await Bun.file(path("some.onnx")).bytes());
});

test("layers behind a grouped convolution are ranked by themselves too, and are FP16 with it", async () => {
  await Bun.write(path("grouped.onnx"), network(1, 2));
  const options = { ...OPTIONS, calibration: path("photos"), output: path("grouped.int8.onnx") };
  const typesOf = ({ layers }: Conversion): string[] =>
    layers.filter(({ op }) => op === "Conv").map(({ type }) => type);
  expect(typesOf(await convert(path("grouped.onnx"), options))).toEqual(["int8", "int8", "int8", "int8", "fp16"]);
  const back = await convert(path("grouped.onnx"), { ...options, exclude: ["Conv_2"] });
  expect(typesOf(back)).toEqual(["int8", "fp16", "fp16", "int8", "fp16"]);
  expect(back.layers.find(({ name }) => name === "Conv_4")?.reason).toBe(
    "right behind a grouped convolution in FP16, where TensorRT has no INT8 kernel",
  );
  const whole = await convert(path("grouped.onnx"), { ...options, maxLoss: 1 });
  const { sensitivity } = await convert(path("grouped.onnx"), { ...options, maxLoss: whole.sensitivity!.loss * 0.9 });
  expect(sensitivity!.layers.length).toBe(4);
  expect(sensitivity!.loss).toBeLessThanOrEqual(whole.sensitivity!.loss * 0.9);
});

test("convert() puts blocks of neighbouring layers back where single ones are not enough, and says what each cost", async () => {
  const convertTo = (name: string, maxLoss: number, others: Partial<ConvertOptions> = {}) =>
    convert(path("a.onnx"), { ...OPTIONS, calibration: path("photos"), output: path(name), maxLoss, ...others });
  const { lossBefore } = (await convertTo("whole.onnx", 1)).sensitivity!;
  const { sensitivity, layers } = await convertTo("blocks.onnx", lossBefore / 30);
  const { blocks, loss, attempts } = sensitivity!;
  expect(blocks.map(({ name, layers: together }) => [name, together])).toEqual([
    ["Conv_0 to Conv_2", ["Conv_0", "Conv_2"]],
    ["Conv_4 to Conv_6", ["Conv_4", "Conv_6"]],
  ]);
  // The outlier is read in the second.
  expect(blocks[1]!.cost).toBeGreaterThan(blocks[0]!.cost);
  expect(loss).toBeLessThanOrEqual(lossBefore / 30);
  const kept = new Set(sensitivity!.layers.filter(({ isKept }) => isKept).map(({ name }) => name));
  for (const { layers: together, isKept } of blocks) expect(isKept).toBe(together.every((name) => kept.has(name)));
  const reasons = layers.filter(({ name }) => kept.has(name)).map(({ type, reason }) => `${type}: ${reason}`);
  expect(new Set(reasons)).toEqual(new Set(["fp16: put back to stay within the loss that is allowed"]));
  // A block that was measured by itself is not measured again.
  expect(attempts.length).toBeLessThanOrEqual(8);
});

test("blocks are layers whose names begin alike, at most 24, else as many in a row each", () => {
  const named = ["/model.0/conv", "/model.1/cv1/conv", "/model.1/cv2/conv", "/model.2/m/conv", "/model.2/m/last"];
  expect(blocksOf(named).map(({ name, layers }) => [name, layers.length])).toEqual([
    ["/model.0/conv", 1],
    ["/model.1/cv1", 1],
    ["/model.1/cv2", 1],
    ["/model.2/m", 2],
  ]);
  const many = Array.from({ length: 100 }, (_, at) => `/stages.${at >> 4}/block.${at >> 1}/conv.${at}`);
  expect(blocksOf(many).map(({ name }) => name)).toEqual(Array.from({ length: 7 }, (_, at) => `/stages.${at}`));
  const bare = Array.from({ length: 49 }, (_, at) => `Conv_${at}`);
  const blocks = blocksOf(bare);
  expect([blocks.length, blocks[0], blocks.at(-1)!.name]).toEqual([
    17,
    { name: "Conv_0 to Conv_2", layers: bare.slice(0, 3) },
    "Conv_48",
  ]);
  expect(blocks.flatMap(({ layers }) => layers)).toEqual(bare);
});

test("a layer that is excluded from INT8 is FP16, and one that no scale fits too", async () => {
  const convertTo = (name: string, options: Partial<ConvertOptions>) =>
    convert(path("a.onnx"), { precision: "int8", calibration: path("photos"), output: path(name), ...options });
  const excluded = await convertTo("excluded.onnx", { exclude: ["Conv_2"], method: "max" });
  const typeOf = ({ layers }: Conversion, wanted: string): readonly unknown[] => {
    const { type, reason } = layers.find(({ name }) => name === wanted)!;
    return [type, reason];
  };
  expect(typeOf(excluded, "Conv_2")).toEqual(["fp16", "named by `exclude`"]);
  expect(typeOf(excluded, "Conv_4")).toEqual(["int8", undefined]);
  // What the fifth node reads has an outlier that `max` knows nothing of.
  expect(typeOf(await convertTo("unfit.onnx", { method: "mse" }), "Conv_4")).toEqual([
    "fp16",
    "its input has outliers that no scale fits",
  ]);
});

test("the layers that add most noise in FP8 stay in FP16, by what is kept with the ranges; a budget is kept by itself", async () => {
  const convertTo = (name: string, options: Partial<ConvertOptions>) =>
    convert(path("a.onnx"), { precision: "fp8", calibration: path("photos"), output: path(name), ...options });
  const phases = new Set<string>();
  const converted = await convertTo("loud.onnx", { onProgress: ({ phase }) => phases.add(phase) });
  expect([...phases]).toEqual(["calibrate", "rank"]);
  const kept = `${path("loud.onnx")}.calibration.json`;
  const { layerNoise } = JSON.parse(readFileSync(kept, "utf8")) as { layerNoise: Record<string, number> };
  expect(Object.keys(layerNoise).toSorted()).toEqual(["Conv_2", "Conv_4", "Conv_6"]);
  const noises = Object.values(layerNoise);
  expect(noises.reduce((sum, noise) => sum + noise, 0)).toBeGreaterThan(10 ** -2.7);
  const [loudest] = Object.entries(layerNoise).toSorted(([, a], [, b]) => b - a)[0]!;
  const typesOf = ({ layers }: Conversion): readonly string[] =>
    layers.filter(({ name }) => name in layerNoise).map(({ name, type }) => `${name} ${type}`);
  const expected = Object.keys(layerNoise).map((name) => `${name} ${name === loudest ? "fp16" : "fp8"}`);
  expect(typesOf(converted).toSorted()).toEqual(expected.toSorted());
  expect(converted.layers.find(({ name }) => name === loudest)!.reason).toBe(
    "one of the layers that add most noise at the heads",
  );
  phases.clear();
  await convertTo("again.onnx", { calibration: kept, onProgress: ({ phase }) => phases.add(phase) });
  expect([...phases]).toEqual([]);
  expect(readFileSync(path("again.onnx"))).toEqual(readFileSync(path("loud.onnx")));
  // Of the noise of one layer 25 dB and more are left, with Relu before what it reads too.
  for (const noise of noises) expect(noise).toBeLessThan(10 ** -2.5);
  const bounded = await convertTo("bounded.onnx", { maxLoss: 1 });
  expect(typesOf(bounded)).toEqual(
    Object.keys(layerNoise)
      .map((name) => `${name} fp8`)
      .toSorted(),
  );
});

test("convert() measures the loss on images that it held back from the calibration", async () => {
  const unread: string[] = [];
  const convertFrom = (calibration: string | readonly string[], name: string, others: Partial<ConvertOptions> = {}) =>
    convert(path("a.onnx"), { ...OPTIONS, calibration, output: path(name), maxLoss: 1, ...others });
  const { sensitivity, calibration } = await convertFrom(path("many"), "held.onnx");
  // Every fourth of twenty.
  const heldBack = ["a", "e", "i", "m", "q"].map((name) => path("many", `${name}.png`));
  expect(sensitivity).toMatchObject({ images: 5, heldBack, skipped: [] });
  expect(calibration!.images).toBe(15);
  const kept = await Bun.file(calibration!.file).json();
  expect(kept.images.filter((image: string) => heldBack.includes(image))).toEqual([]);
  const cpu = { first: { backend: "cpu" }, second: { backend: "cpu" } } as const;
  const { outputs } = await compare(path("a.onnx"), path("held.onnx"), { images: heldBack, ...cpu });
  expect(10 ** (-outputs[0]!.sqnr / 20)).toBeCloseTo(sensitivity!.loss, 9);
  // The file of the ranges knows what was held back.
  const again = await convertFrom(calibration!.file, "kept.onnx");
  expect(again.sensitivity).toEqual(sensitivity);
  // Without a budget all are calibrated on.
  const all = await convertFrom(path("many"), "all-used.onnx", { maxLoss: undefined });
  expect([all.calibration!.images, all.sensitivity]).toEqual([20, undefined]);

  writeFileSync(path("many/e.png"), "no image");
  const onError = (_: Error, image: string): void => void unread.push(image);
  const broken = await convertFrom(path("many"), "broken.onnx", { onError });
  expect(broken.sensitivity).toMatchObject({ images: 4, heldBack, skipped: [heldBack[1]] });
  expect(unread).toEqual([heldBack[1]!]);
  const failed = await convertFrom(path("many"), "failed.onnx").catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(ImageError);
});

test("convert() warns where a loss is measured on the images of the calibration", async () => {
  const lines: string[] = [];
  const former = setLogSink((level, text) => void lines.push(`${level} ${text}`));
  try {
    const options = { ...OPTIONS, calibration: path("photos"), output: path("few.onnx"), maxLoss: 1 };
    const { sensitivity, calibration } = await convert(path("a.onnx"), options);
    expect([sensitivity!.heldBack, sensitivity!.images, calibration!.images]).toEqual([[], 4, 4]);
  } finally {
    setLogSink(former);
  }
  expect(lines).toContain(
    "warn Calibrating on 4 images: what other images hold beyond their ranges is cut off; give 64 to 512",
  );
  expect(lines).toContain(
    "warn Measuring the loss on the images of the calibration: none of 4 images was held back; of 16 or more a quarter is",
  );
});

test("convert says which layers are in float, and refuses a budget that nothing keeps", async () => {
  const run = (words: string) => runCli(["convert", "a.onnx", ...words.split(" ")], { cwd: path() });
  const { code, errors } = await run("-p int8 --calibration photos --method max --max-loss 0.03 -o cli.onnx");
  expect(code).toBe(0);
  expect(errors).toMatch(
    /\nloss 0\.\d{4} with all layers quantised, 0\.0\d{3} of 0\.03 allowed with \d in float: Conv_4 /,
  );
  const none = await run("-p int8 --calibration photos --max-loss 0 -o none.onnx");
  expect([none.code, none.output]).toEqual([1, ""]);
  expect(none.errors).toMatch(/within a loss of 0: the loss is 0\.\d{4} even with \d of \d layers in float\nHint: /);
  expect(await Bun.file(path("none.onnx")).exists()).toBe(false);
  for (const [words, text] of [
    ["-p fp16 --max-loss 0.1", "--max-loss is for int8 and fp8, and --precision is fp16"],
    ["-p int8 --calibration photos --annotations a.json", "--annotations needs --max-loss"],
    ["-p int8 --calibration photos --max-loss 2", "--max-loss must be a number from 0 to 1"],
  ] as const) {
    const refused = await run(words);
    expect([refused.code, refused.errors]).toEqual([2, expect.stringContaining(text)]);
  }
});
