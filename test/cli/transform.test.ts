import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { fileFolder } from "../support/folder.ts";
import { blurModel, identityImageModel, nearestModel, noiseImage } from "../support/image-models.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { type CliResult, cliWords, runCli, spawnCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const path = fileFolder("transform");

beforeAll(async () => {
  for (const sub of ["good", "mixed", "empty"]) mkdirSync(path(sub));
  writeFileSync(path("twice.onnx"), nearestModel([1, 3, 16, 24], [1, 3, 32, 48]));
  writeFileSync(path("toy.onnx"), toyDetector());
  const create = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: "#204060" } });
  await create(64, 40).jpeg().toFile(path("good/a.jpg"));
  await create(33, 9).png().toFile(path("good/b.png"));
  await create(1, 1).tiff().toFile(path("good/c.tif"));
  await sharp({ create: { width: 5, height: 4, channels: 4, background: { r: 9, g: 8, b: 7, alpha: 0.5 } } })
    .webp({ lossless: true })
    .toFile(path("good/d.webp"));
  for (const name of ["a.jpg", "b.png"]) symlinkSync(path("good", name), path("mixed", name));
  writeFileSync(path("mixed/aa.jpg"), "no image");
});

function twice(...words: readonly string[]): Promise<CliResult> {
  return runCli(["transform", "--model", path("twice.onnx"), "--backend", "cpu", "--quiet", ...words], { cwd: path() });
}

async function sizeOf(file: string): Promise<readonly unknown[]> {
  const { width, height, format, hasAlpha } = await sharp(readFileSync(path(file))).metadata();
  return [format, width, height, hasAlpha];
}

test("transform writes one file in the format of its ending", async () => {
  for (const [name, format] of [
    ["one.png", "png"],
    ["one.JPG", "jpeg"],
    ["one.webp", "webp"],
  ] as const) {
    const { code, output, errors } = await twice("good/a.jpg", "--output", name);
    expect(errors).toBe("");
    expect(code).toBe(0);
    expect(output).toMatch(new RegExp(`^good/a\\.jpg {2}${name} {2}128x80, \\d+ tiles, [\\d.]+ m?s\\n$`));
    expect(await sizeOf(name)).toEqual([format, 128, 80, false]);
  }
});

test("transform writes a folder, keeps names and alpha, and tells in JSON what it made", async () => {
  const { code, output, errors } = await twice("good", "-o", "made", "--json");
  expect(errors).toBe("");
  expect(code).toBe(0);
  const rows = JSON.parse(output) as { file: string; output: string; timing: Record<string, number>; tiles: number }[];
  expect(rows.map((row) => row.output)).toEqual(["made/a.jpg", "made/b.png", "made/c.png", "made/d.webp"]);
  for (const { timing, tiles } of rows) {
    expect(Object.keys(timing)).toEqual(["decode", "preprocess", "infer", "postprocess", "total"]);
    expect(tiles).toBeGreaterThan(0);
  }
  expect(await sizeOf("made/c.png")).toEqual(["png", 2, 2, false]);
  expect(await sizeOf("made/d.webp")).toEqual(["webp", 10, 8, true]);
  await twice("good", "-o", "webps", "--format", "webp", "--quality", "50");
  expect(readdirSync(path("webps")).sort()).toEqual(["a.webp", "b.webp", "c.webp", "d.webp"]);
});

test("transform takes a path that ends in a slash for a folder, whatever it is called", async () => {
  const { code, errors } = await twice("good/a.jpg", "--output", "named.png/");
  expect([code, errors]).toEqual([0, ""]);
  expect(readdirSync(path("named.png"))).toEqual(["a.jpg"]);
});

test("transform goes on after a bad image, and exits with 1", async () => {
  const { code, output, errors } = await twice("mixed", "--output", "from-mixed", "--json");
  expect(code).toBe(1);
  expect(errors).toContain('error: Cannot decode "mixed/aa.jpg": it is not an image');
  expect(errors).toContain("1 of 3 images could not be transformed");
  expect(JSON.parse(output).length).toBe(2);
  expect(readdirSync(path("from-mixed")).sort()).toEqual(["a.jpg", "b.png"]);
  const none = await twice("mixed/aa.jpg", "--output", "none.png", "--json");
  expect([none.code, JSON.parse(none.output), existsSync(path("none.png"))]).toEqual([1, [], false]);
});

test("transform never writes over an image that it reads, by whatever name", async () => {
  const before = readFileSync(path("good/a.jpg"));
  for (const words of [
    ["good/a.jpg", "--output", "good/a.jpg"],
    ["good/a.jpg", "--output", "good"],
    ["mixed/a.jpg", "--output", "good"],
    ["good", "--output", "mixed"],
  ]) {
    const { code, errors, output } = await twice(...words);
    expect(code).toBe(2);
    expect(output).toBe("");
    expect(errors).toMatch(
      /^error: --output would overwrite the input "\S+": "\S+"\nHint: choose another file or folder\n$/,
    );
  }
  expect(readFileSync(path("good/a.jpg"))).toEqual(before);
});

test("transform passes tiles and ranges on, and refuses what does not fit", async () => {
  const good = await twice("good/a.jpg", "--output", "t.png", "--overlap", "2", "--multiple", "1", "--json");
  expect(JSON.parse(good.output)[0].tiles).toBe(9);
  const cases: readonly (readonly [words: readonly string[], code: number, text: string])[] = [
    [[], 2, "Missing input: give a file, a folder or a pattern"],
    [["good/a.jpg"], 2, "Missing --output"],
    [["good", "-o", "x.png"], 2, '--output "x.png" is one file, got 4 images'],
    [
      ["good/a.jpg", "-o", "x.tif"],
      2,
      '--output must end in .png, .jpg or .webp, got "x.tif"\nHint: rename it, or give',
    ],
    [
      ["good/a.jpg", "-o", "x.json"],
      2,
      '--output must end in .png, .jpg or .webp, got "x.json"\nHint: rename it, or give',
    ],
    [
      ["good/a.jpg", "-o", "x.bmp"],
      2,
      '--output must end in .png, .jpg or .webp, got "x.bmp"\nHint: rename it, or give',
    ],
    [
      ["good/a.jpg", "-o", "x.png", "-f", "webp"],
      2,
      '--output must end in .webp with --format webp, got "x.png"\nHint: rename it, or omit --format\n',
    ],
    [["good/a.jpg", "-o", "x.png", "--range", "0-3"], 2, "--range must be 0-1, 0-255, -1-1, imagenet"],
    [["good/a.jpg", "-o", "x.png", "--tyle", "3"], 2, 'Did you mean "--tile"?'],
    [["empty", "-o", "x"], 1, 'Cannot transform the folder "empty": it holds no image'],
    [["nope.jpg", "-o", "x"], 1, 'Cannot transform "nope.jpg": there is no such file or folder'],
    [["good/a.jpg", "-o", "x.png", "--model", "toy.onnx"], 1, 'Cannot use "toy.onnx" to transform images'],
    [["good/a.jpg", "-o", "x.png", "--model", "no.onnx"], 1, 'Cannot load the model "no.onnx"'],
    [["good/a.jpg", "-o", "x.png", "--overlap", "16"], 1, "`overlap` must be at most"],
  ];
  for (const [words, code, text] of cases) {
    const result = words.length === 0 ? await twice("-o", "x.png") : await twice(...words);
    expect(result.errors).toContain(text);
    expect(result.code).toBe(code);
    expect(result.output).toBe("");
  }
});

test("transform that is interrupted breaks the image off, and writes none of it", async () => {
  const image = sharp({ create: { width: 3000, height: 3000, channels: 3, background: "#204060" } });
  await image.jpeg().toFile(path("large.jpg"));
  writeFileSync(path("slow.onnx"), blurModel([1, 3, 8, 8]));
  const words = ["--model", path("slow.onnx"), "--backend", "cpu", "--threads", "1", "-o", path("never.png"), "--json"];
  const child = spawnCli(["transform", path("large.jpg"), ...words]);
  // It listens once it has opened a library; without /proc only time tells.
  const maps = `/proc/${child.pid}/maps`;
  if (existsSync(maps)) while (!readFileSync(maps, "utf8").includes("onnxruntime")) await Bun.sleep(10);
  else await Bun.sleep(3000);
  child.kill("SIGINT");
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  expect([code, JSON.parse(output), errors]).toEqual([130, [], "Stopped after 0 of 1 image\n"]);
  expect(existsSync(path("never.png"))).toBe(false);
});

test.skipIf(!hasSmallDisk)("transform on a full disk keeps the image that was there, and no half of one", async () => {
  mkdirSync(path("disk"));
  writeFileSync(path("same.onnx"), identityImageModel([1, 3, "h", "w"]));
  const { data, width, height } = noiseImage(200, 150);
  await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(path("noise.png"));
  const words = cliWords(["transform", "noise.png", "-m", "same.onnx", "--backend", "cpu", "-o", "disk/old.png"]);
  const shell = `mount -t tmpfs -o size=64k tmpfs disk && printf old > disk/old.png; "$@"; ls -A disk; wc -c < disk/old.png`;
  const child = Bun.spawn([...SMALL_DISK, shell, "sh", ...words], { cwd: path(), stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(errors).toContain('error: Cannot write "disk/old.png"');
  expect(output).toBe("old.png\n3\n");
});

test("transform needs a model", async () => {
  const { code, errors } = await runCli(["transform", path("good/a.jpg"), "-o", path("x.png")]);
  expect([code, errors.split("\n", 1)[0]]).toEqual([2, "error: Missing --model"]);
});

test("detect says of a model that makes images of images what runs it", async () => {
  const { code, errors } = await runCli([
    "detect",
    path("good/b.png"),
    "--backend",
    "cpu",
    "--model",
    path("twice.onnx"),
  ]);
  expect([code, errors]).toEqual([
    1,
    expect.stringMatching(/ is an image\nHint: load it with `ImageModel`; on a command line run `transform`\n$/),
  ]);
});

test("inspect says what a model makes of images, and what is assumed of it", async () => {
  const { code, output } = await runCli(["inspect", path("twice.onnx"), "--json"]);
  const { task, confidence, recognition } = JSON.parse(output);
  expect([code, task, confidence]).toEqual([0, "image", "assumed"]);
  expect(recognition).toMatchObject({ scale: 2, fixedWidth: 24, fixedHeight: 16, input: { channels: "RGB" } });
  const text = (await runCli(["inspect", path("twice.onnx")])).output;
  expect(text).toMatch(/image: it makes images of images, load it with `ImageModel`/);
  expect(text).toMatch(
    /takes +RGB, NCHW f32, levels \/ 255\n +makes +RGB, NCHW f32, levels \/ 255, 2 times as wide and high/,
  );
});
