import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { OnnxModel } from "../../src/onnx/model.ts";
import { fileFolder } from "../support/folder.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { BUILD_TEST_MS, RTX, tinyModel } from "../support/tensorrt.ts";
import { runCli } from "./run-cli.ts";

setDefaultTimeout(BUILD_TEST_MS);

const YOLO = "models/yolov8n_640.onnx";
const IMAGE = "images/photos/bus.jpg";
const isAbsent = isMissing(YOLO) || isMissing(IMAGE);

const path = fileFolder("convert");
const convert = (...words: readonly string[]) => runCli(["convert", ...words], { cwd: path() });

beforeAll(() => {
  writeFileSync(path("tiny.onnx"), tinyModel());
  mkdirSync(path("photos"));
  writeFileSync(path("photos/broken.jpg"), "no image");
});

test("convert prints the path of the model, and says what it is on standard error", async () => {
  const { code, output, errors } = await convert("tiny.onnx", "--precision", "fp16");
  expect([code, output]).toEqual([0, "tiny.fp16.onnx\n"]);
  expect(errors).toMatch(/^fp16: \d+ B to \d+ B; 2 layers in fp16; 2 casts\n$/);
  const told = await convert("tiny.onnx", "-p", "fp16", "-o", "half.onnx", "--io", "fp16", "--json", "--quiet");
  expect(told.errors).toBe("");
  expect(JSON.parse(told.output)).toMatchObject({ path: "half.onnx", precision: "fp16", casts: 0 });
});

test("convert says what is missing and what is wrong", async () => {
  const cases = [
    [["tiny.onnx"], 2, "Missing --precision\nHint: bunx bun-tensorrt convert yolo11n --precision fp16"],
    [[], 2, "Missing --precision"],
    [["-p", "fp16"], 2, "Expected one model, got 0"],
    [["tiny.onnx", "-p", "int8"], 2, "--precision int8 needs --calibration\nHint: give a folder of 64 to 512 images"],
    [["tiny.onnx", "-p", "int4"], 2, '--precision must be fp16, int8, fp8, got "int4"'],
    [["tiny.onnx", "-p", "int8", "--calibration", "nowhere"], 2, '--calibration "nowhere" does not exist'],
    [["tiny.onnx", "-p", "fp16", "--calibration", "none.txt"], 2, '--calibration "none.txt" cannot be read: ENOENT'],
    [["tiny.onnx", "-p", "fp16", "-o", "tiny.onnx"], 2, "would overwrite the model"],
    [["none.onnx", "-p", "fp16"], 1, "none.onnx"],
    [["tiny.onnx", "-p", "fp16", "--calibration", "photos"], 1, "the image cannot be read"],
  ] as const;
  for (const [words, code, text] of cases) {
    const result = await convert(...words);
    expect([words, result.code, result.output]).toEqual([words, code, ""]);
    expect(result.errors).toContain(text);
  }
});

test.skipIf(isAbsent)(
  "convert makes INT8 of the images of a list, and names and counts a broken one, as yolov8n is there",
  async () => {
    copyFileSync(sharedPath(IMAGE), path("photos/bus.jpg"));
    writeFileSync(path("photos/list.txt"), "# images\nbus.jpg\n\nbroken.jpg\n");
    const { code, output, errors } = await convert(
      ...[sharedPath(YOLO), "--precision", "int8", "--calibration", "photos/list.txt", "--output", "yolo.int8.onnx"],
    );
    expect([code, output]).toEqual([0, "yolo.int8.onnx\n"]);
    expect(errors).toContain("broken.jpg");
    expect(errors).toMatch(
      /^int8: 12\.\d+ MiB to 4\.\d+ MiB; \d+ layers in fp16, \d+ in int8, .*; 1 image, 1 skipped$/m,
    );
    expect(existsSync(path("yolo.int8.onnx.calibration.json"))).toBe(true);
    const { metadata } = OnnxModel.read(readFileSync(path("yolo.int8.onnx")));
    expect([metadata.get("bun_tensorrt_precision"), metadata.get("task")]).toEqual(["int8", "detect"]);
    const again = await convert("yolo.int8.onnx", "--precision", "fp16");
    expect([again.code, again.errors.includes("it was converted to INT8 already")]).toEqual([1, true]);
  },
);

test.skipIf(isAbsent || RTX === undefined)(
  "build converts first where the precision asks for it, as yolov8n and TensorRT-RTX are there",
  async () => {
    copyFileSync(sharedPath(IMAGE), path("photos/bus.jpg"));
    const env = { BUN_TENSORRT_CACHE: path("cache"), BUN_TENSORRT_TENSORRT: RTX! };
    const words = [
      "build",
      sharedPath(YOLO),
      "--compute-capability",
      "8.9",
      "--optimization-level",
      "0",
      "--quiet",
      "--json",
    ];
    const int8 = ["--precision", "int8", "--calibration", "photos"];
    const first = await runCli([...words, ...int8], { cwd: path(), env });
    expect(first.code).toBe(0);
    const built = JSON.parse(first.output);
    expect([built.isHit, built.metadata.bun_tensorrt_precision, built.origin.io]).toEqual([
      false,
      "int8",
      { format: "hwc8" },
    ]);
    // The ranges are in the cache, and the same model comes of them.
    const again = JSON.parse((await runCli([...words, ...int8], { cwd: path(), env })).output);
    expect([again.isHit, again.path]).toEqual([true, built.path]);
    const bare = await runCli([...words, "--precision", "int8"], { cwd: path(), env });
    expect([bare.code, bare.errors.includes("--precision int8 needs --calibration")]).toEqual([2, true]);
    const stray = await runCli([...words, "--method", "mse"], { cwd: path(), env });
    expect(stray.errors).toContain("--method needs --calibration");
    const other = await runCli([...words, "--precision", "fp32", "--calibration", "photos"], { cwd: path(), env });
    expect(other.errors).toContain("--calibration is for fp16, int8 and fp8, and --precision is fp32");
  },
);
