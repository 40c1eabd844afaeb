import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { servedModel } from "../../src/api/model.ts";
import { fileFolder } from "../support/folder.ts";
import { nearestModel } from "../support/image-models.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyTopDown } from "../support/toy-top-down.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("maps");

beforeAll(async () => {
  mkdirSync(path("images"));
  const metadata = { task: "semantic", names: "['road', 'sky, or so', 'car']" };
  writeFileSync(path("semantic.onnx"), toyMap({ classes: 3, size: [16, 16], metadata }));
  writeFileSync(path("depth.onnx"), toyMap({ form: "depth-channel", size: [16, 16], metadata: { task: "depth" } }));
  for (const [name, background] of Object.entries({ a: "#000", b: "#fff" })) {
    await sharp({ create: { width: 20, height: 10, channels: 3, background } })
      .png()
      .toFile(path("images", `${name}.png`));
  }
});

function run(command: "semantic" | "depth", ...words: readonly string[]): Promise<CliResult> {
  return runCli([command, "--model", path(`${command}.onnx`), "--backend", "cpu", ...words], { cwd: path() });
}

/** Pixel of a written image. */
async function pixel(file: string, x: number, y: number): Promise<number[]> {
  const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
  const at = (y * info.width + x) * info.channels;
  return [info.width, info.height, ...data.subarray(at, at + 3)];
}

test("semantic prints areas as a table, JSON and CSV, and draws the classes", async () => {
  const table = await run("semantic", path("images/a.png"), "--save", path("drawn.png"));
  expect([table.code, table.errors]).toEqual([0, ""]);
  expect(table.output).toMatch(
    /a\.png {2}20x10, 1 class, .*\n {2}label +class +pixels +share\n {2}road +0 +200 +1\.0000\n/,
  );
  // Ink lies on black with 150 of 255.
  const [width, height, ...ink] = await pixel(path("drawn.png"), 3, 3);
  expect([width, height, ink.some((level) => level > 40), Math.max(...ink) <= 150]).toEqual([20, 10, true, true]);
  const { output } = await run("semantic", path("images"), "-f", "json", "--tile", "8", "--overlap", "2");
  const areas = [{ label: "road", classId: 0, pixels: 200, share: 1 }];
  expect(JSON.parse(output)).toMatchObject([
    { task: "semantic", width: 20, height: 10, areas },
    { task: "semantic", width: 20, height: 10, areas },
  ]);
  writeFileSync(path("names.txt"), "street\nsky\ncar\n");
  const csv = ["--format", "csv", "--labels", path("names.txt"), "--output", path("out.csv")];
  const named = await run("semantic", path("images/b.png"), ...csv);
  expect([named.code, readFileSync(path("out.csv"), "utf8")]).toEqual([
    0,
    `file,label,class,pixels,share\n${path("images/b.png")},street,0,200,1.0000\n`,
  ]);
});

test("depth prints its range, and writes an image of it", async () => {
  const { code, output, errors } = await run("depth", path("images"), "-f", "jsonl", "--save", path("near"));
  expect([code, errors]).toEqual([0, ""]);
  const [black, white] = output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(black).toMatchObject({ task: "depth", kind: "metric", min: 0, max: 0 });
  expect(white).toMatchObject({ task: "depth", kind: "metric", min: 3, max: 3 });
  // Of one depth everywhere there is neither near nor far.
  expect(await pixel(path("near", "b.png"), 5, 5)).toEqual([20, 10, 0, 0, 4]);
  const table = await run("depth", path("images/b.png"), "--kind", "relative");
  expect(table.output).toMatch(/b\.png {2}20x10, 1 map, .*\n {2}depth +min +max\n {2}relative +3\.0000 +3\.0000\n/);
});

test("inspect says what such models are, and the other commands name the right one", async () => {
  const semantic = await runCli(["inspect", path("semantic.onnx")]);
  expect([semantic.code, semantic.output]).toEqual([0, expect.stringMatching(/task +semantic\n/)]);
  expect(semantic.output).toMatch(/image +letterbox, bilinear, RGB, .*\n.*classes +3: road, sky, or so, car\n/);
  const depth = JSON.parse((await runCli(["inspect", path("depth.onnx"), "--json"])).output);
  expect(depth.recognition).toMatchObject({ task: "depth", kind: "metric", filter: "corners", fixedSize: [16, 16] });
  const commands = [["detect"], ["classify"], ["transform", "--output", path("out.png")]];
  for (const [command = "", ...flags] of commands) {
    const words = [command, path("images/a.png"), "--model", path("depth.onnx"), "--backend", "cpu", ...flags];
    const refused = await runCli(words);
    expect([command, refused.code, refused.errors]).toEqual([
      command,
      1,
      expect.stringContaining("Hint: load it with `DepthEstimator`; on a command line run `depth`"),
    ]);
  }
});

test("serve and worker refuse what they cannot answer with, and say what can be done with it", async () => {
  writeFileSync(path("points.onnx"), toyTopDown("simcc"));
  writeFileSync(path("larger.onnx"), nearestModel([1, 3, 16, 16], [1, 3, 32, 32], "NCHW", 2));
  const cases = [
    ["points", "Cannot serve ", "it finds the points of one person in a crop", "run `detect --pose-model`"],
    ["larger", "Cannot tell the task of ", "it fits none", "`bunx bun-tensorrt inspect` shows"],
  ] as const;
  for (const [name, ...texts] of cases) {
    const { code, errors } = await runCli([
      "serve",
      "--port",
      "0",
      "--model",
      path(`${name}.onnx`),
      "--backend",
      "cpu",
    ]);
    expect([name, code]).toEqual([name, 1]);
    // What `worker` loads a model by, once it is connected.
    const refusal = await servedModel
      .load(path(`${name}.onnx`), { backend: "cpu" })
      .catch((error: Error) => error.message);
    for (const text of [...texts, "Hint: `serve` and `worker` take models of objects, of maps, and classifiers"]) {
      expect(errors).toContain(text);
      expect(refusal).toContain(text);
    }
  }
  // What a caller says it is, it is taken for.
  const forced = ["serve", "--port", "0", "--model", path("semantic.onnx"), "--head", "yolo", "--backend", "cpu"];
  expect((await runCli(forced)).errors).not.toContain("Cannot serve");
});
