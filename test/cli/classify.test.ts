import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { decodeImage } from "../../src/image/image-file.ts";
import { fileFolder } from "../support/folder.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("classify");

beforeAll(async () => {
  mkdirSync(path("images"));
  const metadata = { task: "classify", names: "['red', 'green, or so', 'blue']" };
  writeFileSync(path("toy.onnx"), toyClassifier({ scores: "means", hasSoftmax: true, metadata }));
  writeFileSync(path("detector.onnx"), toyDetector());
  for (const [name, background] of Object.entries({ a: "#f00", b: "#0f0" })) {
    await sharp({ create: { width: 20, height: 9, channels: 3, background } })
      .png()
      .toFile(path("images", `${name}.png`));
  }
});

function toy(...words: readonly string[]): Promise<CliResult> {
  return runCli(["classify", "--model", path("toy.onnx"), "--backend", "cpu", ...words], { cwd: path() });
}

test("classify prints a table, JSON, lines of JSON, and CSV", async () => {
  const table = await toy(path("images"));
  expect([table.code, table.errors]).toEqual([0, ""]);
  expect(table.output).toMatch(/a\.png {2}20x9, 3 classes, .*\n {2}label +class +score\n {2}red +0 +0\.5761\n/);
  const { output } = await toy(path("images"), "--format", "json", "--top", "1");
  const [first, second] = JSON.parse(output);
  expect(first).toMatchObject({ task: "classify", width: 20, height: 9, classes: [{ label: "red", classId: 0 }] });
  expect(first.classes[0].score).toBeCloseTo(Math.E / (Math.E + 2), 5);
  expect(second.classes).toMatchObject([{ label: "green, or so", classId: 1 }]);
  const lines = (await toy(path("images"), "-f", "ndjson", "-t", "2")).output.trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line).classes.length)).toEqual([2, 2]);
  const csv = await toy(path("images", "*.png"), "--format", "csv", "--top", "1", "--output", path("out.csv"));
  expect([csv.code, csv.output]).toEqual([0, ""]);
  const rows = [`${path("images/a.png")},red,0,0.5761`, `${path("images/b.png")},"green, or so",1,0.5761`];
  expect(readFileSync(path("out.csv"), "utf8")).toBe(`file,label,class,score\n${rows.join("\n")}\n`);
});

test("classify draws the classes onto copies", async () => {
  const { code, errors } = await toy(path("images"), "--save", path("drawn"), "--quiet");
  expect([code, errors]).toEqual([0, ""]);
  for (const name of ["a.png", "b.png"]) {
    const [drawn, image] = await Promise.all([decodeImage(path("drawn", name)), decodeImage(path("images", name))]);
    expect(drawn.data).toHaveLength(image.data.length);
    expect(drawn.data).not.toEqual(image.data);
  }
});

test("classify skips an image that cannot be read, and refuses another model, each by name", async () => {
  writeFileSync(path("broken.jpg"), "no image");
  const { code, output, errors } = await toy(path("broken.jpg"), path("images/a.png"), "-f", "jsonl");
  expect([code, output.trimEnd().split("\n").length]).toEqual([1, 1]);
  expect(errors).toContain("1 of 2 images could not be read");
  const detector = await runCli(["classify", path("images/a.png"), "-m", path("detector.onnx"), "--backend", "cpu"]);
  expect([detector.code, detector.errors]).toEqual([
    1,
    expect.stringContaining("Hint: load it with `Detector`; on a command line run `detect`"),
  ]);
  const refused = await runCli(["detect", path("images/a.png"), "--model", path("toy.onnx"), "--backend", "cpu"]);
  expect(refused.code).toBe(1);
  expect(refused.errors).toMatch(/it is a classifier, its task is "classify"\nHint: load it with `Classifier`/);
});

test("inspect says what a classifier's values are, and how images are prepared", async () => {
  const text = await runCli(["inspect", path("toy.onnx")]);
  expect(text.code).toBe(0);
  expect(text.output).toMatch(/task +classify\n/);
  expect(text.output).toMatch(/image +shorter side 4, its middle 4x4, antialias, RGB, NCHW f32, levels \/ 255\n/);
  expect(text.output).toMatch(/scores +probabilities: taken as they are\n/);
  expect(text.output).toMatch(/classes +3: red, green, or so, blue\n/);
  const { recognition } = JSON.parse((await runCli(["inspect", path("toy.onnx"), "--json", "--colour", "BGR"])).output);
  expect(recognition).toMatchObject({ scores: "probabilities", activation: "none", preprocessing: { colour: "BGR" } });
});
