import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { compare, type ObjectAgreement } from "../../src/index.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("compare");
const run = (words: string): Promise<CliResult> =>
  runCli(["compare", ...words.split(" ")], { cwd: path(), env: { BUN_TENSORRT_BACKEND: "cpu" } });

const metadata = { task: "detect", names: "{0: 'person', 1: 'dog'}" };
/** Centre, width, height in pixels of the input, scores of both classes. */
const PERSON = [12, 16, 16, 12, 0.75, 0];
const DOG = [24, 8, 8, 8, 0, 0.5];
/** Overlaps the dog by a third. */
const OTHER_DOG = [28, 8, 8, 8, 0, 0.875];

const detector = (...rows: readonly (readonly number[])[]): Uint8Array =>
  fixedModel(
    [
      rawGrid(
        6,
        rows.map((row, at) => [at, row] as const),
      ),
    ],
    { metadata },
  );

/** `y = x · factor`, by way of a tensor inside: a model of no known task. */
function plain(factor: number, inner = "inside"): Uint8Array {
  const shape = [1, 3, 8, 8];
  return onnxModel({
    nodes: [
      { op: "Mul", inputs: ["x", "factor"], outputs: [inner] },
      { op: "Neg", inputs: [inner], outputs: ["y"] },
    ],
    inputs: [{ name: "x", dtype: "f32", shape }],
    outputs: [{ name: "y", dtype: "f32", shape }],
    initializers: [{ name: "factor", dtype: "f32", shape: [1], data: Float32Array.of(factor) }],
  });
}

beforeAll(async () => {
  mkdirSync(path("photos"));
  mkdirSync(path("empty"));
  for (const [name, level] of [
    ["white", 255],
    ["half", 128],
  ] as const) {
    const background = { r: level, g: level, b: level };
    await sharp({ create: { width: 32, height: 32, channels: 3, background } })
      .png()
      .toFile(path(`photos/${name}.png`));
  }
  writeFileSync(path("list.txt"), "photos/white.png\nphotos/broken.png\n");
  writeFileSync(path("photos/broken.txt"), "");
  writeFileSync(path("broken.png"), "no image");
  writeFileSync(path("broken.txt"), "photos/white.png\nbroken.png\n");
  writeFileSync(path("only-broken.txt"), "broken.png\n");
  writeFileSync(path("a.onnx"), detector(PERSON, DOG));
  writeFileSync(path("b.onnx"), detector(PERSON, OTHER_DOG));
  writeFileSync(path("toy.onnx"), toyDetector());
  writeFileSync(path("plain.onnx"), plain(1));
  writeFileSync(path("other.onnx"), plain(1.25));
  writeFileSync(
    path("odd.onnx"),
    onnxModel({
      nodes: [{ op: "Sigmoid", inputs: ["x"], outputs: ["z"] }],
      inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 8, 8] }],
      outputs: [{ name: "z", dtype: "f32", shape: [1, 3, 8, 8] }],
    }),
  );
  const names = "['red', 'green', 'blue']";
  writeFileSync(
    path("cls.onnx"),
    toyClassifier({ scores: "means", hasSoftmax: true, metadata: { task: "classify", names } }),
  );
});

test("compare() matches boxes, and measures the second model by the objects of the first", async () => {
  const seen: number[] = [];
  const onProgress = (done: number, total: number): void => void seen.push(done, total);
  const { agreement, outputs, models, isWithin, images } = await compare(path("a.onnx"), path("b.onnx"), {
    images: path("photos"),
    first: { backend: "cpu" },
    second: { backend: "cpu" },
    onProgress,
  });
  expect([images, isWithin, seen]).toEqual([2, true, [1, 2, 2, 2]]);
  expect(models.map(({ task }) => task)).toEqual(["detect", "detect"]);
  const { images: each, ...all } = agreement as ObjectAgreement;
  // Of two classes one is found at every threshold, the other at none.
  expect(all).toEqual({
    kind: "objects",
    matched: 2,
    onlyFirst: 2,
    onlySecond: 2,
    iou: 1,
    scoreChange: 0,
    ap: { box: expect.closeTo(0.5, 10) },
  });
  expect(each[0]).toMatchObject({ path: path("photos/half.png"), matched: 1, onlyFirst: 1, onlySecond: 1 });
  // x of the dog 24 and 28, its score 0.5 and 0.875; the largest value is 28 of 24, of the first 24.
  const [output] = outputs;
  expect(output).toMatchObject({ max: 4, nonFinite: 0 });
  expect(output!.relative).toBeCloseTo(4 / 24, 6);
});

test("a model compared with itself is equal, and every score that is found counts", async () => {
  const options = { images: path("photos"), first: { backend: "cpu" }, second: { backend: "cpu" } } as const;
  const itself = await compare(path("toy.onnx"), path("toy.onnx"), {
    ...options,
    tolerance: 0,
    maxLoss: 0,
    threshold: 0.3,
  });
  expect(itself.isWithin).toBe(true);
  expect(itself.outputs).toMatchObject([{ name: "output0", max: 0, mean: 0, relative: 0, cosine: 1, sqnr: Infinity }]);
  expect(itself.agreement).toMatchObject({ onlyFirst: 0, onlySecond: 0, iou: 1, ap: { box: 1 } });
  const classes = await compare(path("cls.onnx"), path("cls.onnx"), { ...options, maxLoss: 0 });
  expect([classes.agreement, classes.isWithin]).toEqual([{ kind: "classes", top1: 1, top5: 1 }, true]);
});

test("compare prints tables, and exits with 1 where models are too far apart", async () => {
  const near = await run("a.onnx b.onnx --images photos --max-loss 0.5 --tolerance 0.2");
  expect([near.code, near.errors]).toEqual([0, ""]);
  expect(near.output).toMatch(/^a \(ONNX Runtime .*\) and b \(ONNX Runtime .*\), 2 images\n/);
  expect(near.output).toContain("objects 2 matched, 2 only in the first, 2 only in the second; mean IoU 1.000");
  expect(near.output).toContain("mAP of the second by the first: box 0.5000");
  for (const limit of ["--max-loss 0.4", "--tolerance 0.1"]) {
    const far = await run(`a.onnx b.onnx --images photos ${limit}`);
    expect([far.code, far.errors]).toEqual([1, "The models differ by more than was allowed.\n"]);
  }
  const { output, code } = await run("cls.onnx cls.onnx --images photos --json -q");
  expect([code, JSON.parse(output)]).toMatchObject([0, { images: 2, isWithin: true, agreement: { top1: 1 } }]);
});

test("models of no known task are compared by their outputs, and by the tensors inside both", async () => {
  const { code, output } = await run("plain.onnx other.onnx --images photos --layers --json");
  const { outputs, layers, agreement, models } = JSON.parse(output);
  expect([code, agreement, models[0].task]).toEqual([0, undefined, undefined]);
  for (const [tensor] of [outputs, layers]) {
    expect(tensor.shape).toEqual([1, 3, 8, 8]);
    expect(tensor).toMatchObject({
      max: expect.closeTo(0.25, 6),
      relative: expect.closeTo(0.25, 6),
      cosine: expect.closeTo(1, 9),
    });
    // Noise of a quarter.
    expect(tensor.sqnr).toBeCloseTo(20 * Math.log10(4), 4);
  }
  expect([outputs[0].name, layers.map(({ name }: { name: string }) => name)]).toEqual(["y", ["inside"]]);
  const odd = await run("plain.onnx odd.onnx --images photos");
  expect(odd.code).toBe(1);
  expect(odd.output).toContain("y is not compared: only the first model has it");
  expect(odd.output).toContain("z is not compared: only the second model has it");
});

test("compare says what is missing and what is wrong, and skips what cannot be read", async () => {
  const cases = [
    ["a.onnx", 2, "Expected two models, got 1\nHint: bunx bun-tensorrt compare"],
    ["a.onnx b.onnx a.onnx --images photos", 2, "Expected two models, got 3"],
    ["a.onnx b.onnx", 2, "Missing --images\nHint: bunx bun-tensorrt compare"],
    ["a.onnx b.onnx --images nowhere", 2, '--images "nowhere" does not exist'],
    ["a.onnx b.onnx --images none.txt", 2, '--images "none.txt" cannot be read: ENOENT'],
    ["a.onnx b.onnx --images photos --tolerance -1", 2, "--tolerance must be a number from 0 on"],
    ["a.onnx b.onnx --images photos --backend cpu,tpu", 2, "--backend must be one or two of auto, "],
    ["a.onnx b.onnx --images photos --backend cpu --device 1", 2, "--device is for the GPU"],
    ["a.onnx b.onnx --images empty", 1, 'Cannot compare two models: there is no image in "empty"'],
    ["a.onnx none.onnx --images photos", 1, "none.onnx"],
    ["a.onnx cls.onnx --images photos", 1, 'the first is of the task "detect", the second of "classify"'],
    ["plain.onnx other.onnx --images photos --max-loss 0.1", 1, 'the task of "plain.onnx" is not known'],
    ["a.onnx b.onnx --images only-broken.txt", 1, "none of the 1 image can be read"],
  ] as const;
  for (const [words, code, text] of cases) {
    const result = await run(words);
    expect([words, result.code, result.output]).toEqual([words, code, ""]);
    expect(result.errors).toContain(text);
  }
  const some = await run("a.onnx a.onnx --images broken.txt --json");
  expect([some.code, JSON.parse(some.output)]).toMatchObject([
    1,
    { images: 1, skipped: [expect.stringMatching(/broken\.png$/)] },
  ]);
  expect(some.errors).toContain("broken.png");
});
