import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { gpuUnavailable } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { pulled } from "../support/catalogue.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { runCli, runProcess } from "./run-cli.ts";

setDefaultTimeout(120_000);

const COMMANDS = [
  "detect",
  "classify",
  "semantic",
  "depth",
  "val",
  "transform",
  "demo",
  "convert",
  "compare",
  "build",
  "serve",
  "worker",
  "inspect",
  "models",
  "install",
  "doctor",
  "version",
  "completions",
];

test("--help lists every command, and each has a help with usage, flags and examples", async () => {
  const overall = await runCli(["--help"]);
  expect(overall.code).toBe(0);
  for (const command of COMMANDS) expect(overall.output).toContain(`\n  ${command} `);
  const helps = await Promise.all(COMMANDS.map((command) => runCli([command, "--help"])));
  for (const [at, { code, output, errors }] of helps.entries()) {
    expect(code).toBe(0);
    expect(errors).toBe("");
    expect(output).toContain(`Usage:\n  bun-tensorrt ${COMMANDS[at]}`);
    expect(output).toContain("\nFlags:\n");
    expect(output).toContain("-h, --help");
    expect(output).toContain(`\nExamples:\n  bun-tensorrt ${COMMANDS[at]}`);
    expect(output.split("\n").every((line) => line.length <= 120)).toBe(true);
  }
  expect((await runCli(["help", "detect"])).output).toBe(helps[0]!.output);
});

test("detect --help names every flag", async () => {
  const { output } = await runCli(["detect", "-h"]);
  const flags =
    "model backend device threshold iou max-detections classes size batch batch-wait-ms in-flight streams wait jpeg zero-copy format output save head class-agnostic rectangular threads quiet annotations verbose";
  for (const flag of flags.split(" ")) expect(output).toContain(`--${flag} `);
});

test("--version prints the package's version", async () => {
  const version = { code: 0, output: `${manifest.version}\n`, errors: "" };
  expect(await runCli(["--version"])).toEqual(version);
  expect(await runProcess(["-v"])).toEqual(version);
});

test("flags may stand before the command, and a missing or foreign command is answered with the right one", async () => {
  const first = await runCli(["--quiet", "detect", "none.jpg"]);
  expect([first.code, first.errors]).toEqual([1, expect.stringContaining('Cannot detect in "none.jpg"')]);
  for (const [words, found] of [
    [["street.jpg"], 'Missing command before "street.jpg"\nHint: bunx bun-tensorrt detect street.jpg'],
    [["--conf", "0.5"], 'Missing command before "--conf"\nHint: bunx bun-tensorrt --help lists the commands'],
    [["predict", "model=a.onnx"], 'Unknown command "predict". Did you mean "detect"?'],
    [
      ["export"],
      'Unknown command "export". Did you mean "build"?\nHint: `build` makes an engine of an ONNX file, `convert` a model',
    ],
    [["track"], 'Unknown command "track". Did you mean "detect --track bytetrack"?'],
    [["segment"], 'Unknown command "segment". Did you mean "detect --model yolo11n-seg"?'],
    [["detetc"], 'Unknown command "detetc". Did you mean "detect"?'],
  ] as const) {
    const { code, errors, output } = await runCli(words);
    expect([code, errors, output]).toEqual([2, expect.stringContaining(found), ""]);
  }
});

test("a .pt of the catalogue's is its ONNX export, and any other is answered with the way to ONNX", async () => {
  const cwd = mkdtempSync(join(tmpdir(), "bun-tensorrt-pt-"));
  try {
    const { code, errors } = await runCli(["inspect", "yolo11x.pt"], { cwd });
    expect([code, errors]).toEqual([
      1,
      expect.stringContaining('Cannot load the model "yolo11x.pt": there is no such'),
    ]);
    expect(errors).toContain("a PyTorch checkpoint is not loaded as it is");
    expect(errors).toMatch(
      /^Hint: .*; then export it to ONNX, with Ultralytics: yolo export model=yolo11x\.pt format=onnx/m,
    );
    const other = await runCli(["inspect", "weights/best.pt"], { cwd });
    expect([other.code, other.errors]).toEqual([1, expect.stringContaining("yolo export model=best.pt format=onnx")]);
    writeFileSync(join(cwd, "yolo11x.pt"), "x");
    expect((await runCli(["inspect", "yolo11x.pt"], { cwd })).errors).toContain("yolo export model=yolo11x.pt");
    if (!(await pulled("yolo11n"))) return;
    const known = await runCli(["inspect", "yolo11n.pt"], { cwd });
    expect([known.code, known.errors]).toEqual([0, "Taking yolo11n, the ONNX export of yolo11n.pt\n"]);
  } finally {
    rmSync(cwd, { recursive: true });
  }
});

test("version --json tells of Bun and of every library that was found", async () => {
  expect(await runCli(["version"])).toEqual({ code: 0, output: `${manifest.version}\n`, errors: "" });
  const { code, output } = await runCli(["version", "--json"]);
  expect(code).toBe(0);
  const { libraries, ...rest } = JSON.parse(output);
  const platform = `${process.platform}-${process.arch}`;
  expect(rest).toEqual({ version: manifest.version, bun: Bun.version, platform });
  const runtime = libraries.find(({ name }: { name: string }) => name === "ONNX Runtime");
  expect(runtime.version).toMatch(/^1\.\d+/);
  expect(existsSync(runtime.path)).toBe(true);
  expect(libraries.map(({ name }: { name: string }) => name)).toContain("sharp");
});

test("a library that is missing prints each path once, also with --verbose", async () => {
  const cwd = mkdtempSync(join(tmpdir(), "bun-tensorrt-missing-"));
  const library = join(cwd, "libonnxruntime.so.1");
  try {
    writeFileSync(library, "no library");
    writeFileSync(join(cwd, "toy.onnx"), toyDetector());
    const env = { BUN_TENSORRT_ONNXRUNTIME: library };
    for (const words of [[], ["--verbose"]]) {
      const { code, errors } = await runProcess(["inspect", "toy.onnx", ...words], { cwd, env });
      expect(code).toBe(1);
      expect(errors).toContain("error: Cannot load the library onnxruntime: it was found at none of these paths:\n");
      expect(errors.split(library)).toHaveLength(2);
      expect(errors).toContain("\nHint: unset BUN_TENSORRT_ONNXRUNTIME, or let it name the file of such a library");
    }
  } finally {
    rmSync(cwd, { recursive: true });
  }
});

test("the process ends with the command's exit code, and with what it wrote on the streams it belongs to", async () => {
  const [wrong, failed] = await Promise.all([runProcess(["detect"]), runProcess(["inspect", "nothing.onnx"])]);
  expect([wrong.code, wrong.output, failed.code, failed.output]).toEqual([2, "", 1, ""]);
  for (const { errors } of [wrong, failed]) expect(errors).toMatch(/^error: .*\nHint: .*\n$/);
});

test("a wrong command line exits with 2, says what is wrong, and puts nothing on standard output", async () => {
  const cases: readonly (readonly [words: string, text: string])[] = [
    ["", "Usage:\n  bun-tensorrt <command>"],
    ["detetc a.jpg", 'error: Unknown command "detetc". Did you mean "detect"?'],
    [
      "paint",
      "Hint: choose one of detect, classify, semantic, depth, val, transform, demo, convert, compare, build, serve, worker, inspect, models, install, doctor",
    ],
    ["detect a.jpg --treshold 0.5", 'Unknown flag "--treshold". Did you mean "--threshold"?'],
    ["detect a.jpg --threshold 2", '--threshold must be a number from 0 to 1, got "2"'],
    ["detect a.jpg --backend tpu", '--backend must be one of auto, onnxruntime, cpu, tensorrt, gpu, got "tpu"'],
    [
      "detect a.jpg --size 0x3",
      '--size must be a side from 1 to 16384 pixels, or width x height such as 640x480, got "0x3"',
    ],
    ["detect a.jpg --slice 640x", 'or width x height such as 640x480, got "640x"'],
    ["detect a.jpg --keypoint-shape 17", 'must be points, and 2 or 3 numbers a point, such as 17,3, got "17"'],
    ["detect a.jpg --batch 1.5", "--batch must be a whole number from 1 to 1024"],
    ["detect a.jpg --format xml", "--format must be one of table, json, jsonl, csv, coco, yolo, dota"],
    ["detect a.jpg --format yolo", "--format yolo needs a folder"],
    ["detect a.jpg --annotations b.json", "--annotations needs --format coco"],
    ["detect", "Missing input: give a file, a folder or a pattern"],
    [
      "detect a.jpg --precision int8",
      '--precision must be fp32 or fp16 (`convert` makes models of int8 and fp8), got "int8"',
    ],
    ["detect a.jpg --device -1", "--device must be a number from 0 to 1023, or a list of 1 to 64 different ones"],
    ["detect a.jpg --device 0,0", 'different ones, got "0,0"'],
    ["detect a.jpg --batch-wait -1", "--batch-wait-ms must be 0 to 60000 milliseconds"],
    ["detect a.jpg --in-flight 129", "--in-flight must be a whole number from 1 to 128"],
    ["detect a.jpg --streams two", "--streams must be auto, one, split or parallel"],
    ["detect a.jpg --wait long", "--wait must be auto, poll or off-thread"],
    ["detect a.jpg --jpeg tpu", "--jpeg must be auto, gpu or cpu"],
    ["detect a.jpg --zero-copy yes", "--zero-copy must be auto, true or false"],
    [
      "detect a.jpg --backend cpu --streams one",
      "--streams is for the GPU, and the model is to run on the CPU\nHint: leave it out, or run on the GPU",
    ],
    ["detect a.jpg --backend cpu --wait poll", "--wait is for the GPU"],
    ["detect a.jpg --backend cpu --jpeg gpu", "--jpeg is for the GPU"],
    ["detect a.jpg --backend onnxruntime --precision fp16", "--precision is for the GPU"],
    ["detect a.jpg --backend cpu --zero-copy on", "--zero-copy is for the GPU"],
    ["detect a.jpg --backend cpu --no-jpeg-check", "--no-jpeg-check is for the GPU"],
    ["detect a.jpg --backend cpu --device 1", "--device is for the GPU"],
    ["serve --backend cpu --device 0,1", "--device is for the GPU"],
    [
      "detect a.jpg --backend gpu --threads 4",
      "--threads is for the CPU, and the model is to run on the GPU\nHint: leave it out, or run on the CPU",
    ],
    ["detect a.jpg --backend tensorrt --providers cuda", "--providers is for the CPU"],
    ["detect a.jpg --providers coreml --streams one", "--streams is for the GPU"],
    ["transform a.jpg -m a.onnx -o b.png --backend cpu --device 2", "--device is for the GPU"],
    ["classify", "Missing --model\nHint: add --model yolo11n-cls.onnx"],
    ["semantic", "Missing --model\nHint: add --model segformer/model.onnx"],
    ["depth a.jpg --model a.onnx --kind far", '--kind must be metric or relative, got "far"'],
    ["classify --model a.onnx", "Missing input: give a file, a folder or a pattern"],
    ["classify a.jpg --model a.onnx --top 0", '--top must be a whole number from 1 to 100000, got "0"'],
    ["classify a.jpg --model a.onnx --format yolo", "--format must be one of table, json, jsonl, csv, ndjson"],
    ["classify a.jpg --model a.onnx --fit letterbox", "--fit must be shorter-side, longer-side or stretch"],
    ["classify a.jpg --model a.onnx --crop 2", '--crop must be a share from 0.01 to 1, got "2"'],
    ["classify a.jpg --model a.onnx --threshold 0.5", 'Unknown flag "--threshold"'],
    ["classify a.jpg -m a.onnx --backend cpu --streams one", "--streams is for the GPU"],
    ["transform a.jpg -m a.onnx -o b.png --backend gpu --threads 2", "--threads is for the CPU"],
    [
      "detect a.jpg --fit stretch --pad 0",
      "--pad is for letterboxed images: an image that is stretched has no padding\n" +
        "Hint: leave it out, or choose letterbox or letterbox-top-left",
    ],
    ["inspect yolo11n --pad 114 --fit stretch", "--pad is for letterboxed images"],
    ["detect a.jpg --fps 5", "--fps is for videos, and the input is images"],
    ["detect - --duration 5", "--duration is for videos, and the input is images"],
    ["detect --watch . --video", "--watch takes images, and --video was given"],
    ["detect a.jpg --stdin length", "--stdin is for images on standard input\nHint: give `-` in place of files"],
    ["val", "Expected one model, got 0"],
    ["val a.onnx", "Missing --data\nHint: bunx bun-tensorrt val yolo11n --data"],
    ["val a.onnx --data a.json --crop 0.5", "--crop is for classifiers, and the dataset is for models of objects"],
    ["val a.onnx --data data.yaml --images b", '--images is for COCO annotations, and --data is "data.yaml"'],
    ["val a.onnx --data a.json --threshold 2", "--threshold must be a number from 0 to 1"],
    ["val a.onnx --data . --iou 0.5", "--iou is for models of objects, and the dataset is for classifiers"],
    ["build", "Expected one model, got 0"],
    [
      "build yolo11n --batch 8,4,2",
      "--batch must be a whole number from 1 to 65536, or least,typical,largest such as 1,4,8",
    ],
    ["inspect", "Expected one model, got 0"],
    ["inspect a b", "Expected one model, got 2"],
    ["models pul yolo11n", 'Did you mean "pull"?'],
    ["models pull", "Missing name: models pull takes one or more"],
    ["models pull yolo11m", 'Unknown catalogue entry "yolo11m". Did you mean "yolo11n"?'],
    ["demo --image sample9", 'got "sample9"'],
    ["doctor --jsn", 'Did you mean "--json"?'],
    [
      "doctor yolo11n",
      'Unexpected argument "yolo11n": doctor takes no files\nHint: bunx bun-tensorrt doctor --help lists the flags',
    ],
    ["demo street.jpg", 'Unexpected argument "street.jpg": demo takes no files'],
    ["serve model.onnx", 'Unexpected argument "model.onnx": serve takes no files'],
    ["models list yolo11n", 'Unexpected argument "yolo11n": models list takes no names'],
  ];
  const results = await Promise.all(cases.map(([words]) => runCli(words.split(" ").filter((word) => word !== ""))));
  for (const [at, { code, output, errors }] of results.entries()) {
    expect(errors).toContain(cases[at]![1]);
    expect(code).toBe(2);
    expect(output).toBe("");
  }
});

test.skipIf(gpuUnavailable() === undefined)("what this machine has not is a failure, and no wrong usage", async () => {
  const model = join(mkdtempSync(join(tmpdir(), "bun-tensorrt-usage-")), "toy.onnx");
  writeFileSync(model, toyDetector());
  const words = ["detect", import.meta.path, "--model", model];
  const [gpu, wrong] = await Promise.all([
    runCli([...words, "--backend", "gpu"]),
    runCli([...words, "--backend", "tpu"]),
  ]);
  expect([gpu.code, wrong.code]).toEqual([1, 2]);
  expect(gpu.errors).toContain("Cannot load a detector on the GPU: ");
  expect(gpu.errors).toContain('`backend: "cpu"` (`--backend cpu`) runs anywhere');
  expect(gpu.errors).not.toContain("BUN_TENSORRT_BACKEND");
  // Who has not asked on the command line is told who has.
  const env = { BUN_TENSORRT_BACKEND: "gpu" };
  const { code, errors } = await runProcess(words, { cwd: dirname(model), env });
  expect([code, errors]).toEqual([1, expect.stringContaining("\nHint: BUN_TENSORRT_BACKEND=gpu asks for it; ")]);
  rmSync(dirname(model), { recursive: true });
});

test("an error shows its stack to those who ask alone", async () => {
  const words = ["inspect", "nothing.onnx"];
  const [plain, verbose, debug] = await Promise.all([
    runCli(words, { cwd: tmpdir() }),
    runCli([...words, "--verbose"], { cwd: tmpdir() }),
    runCli(words, { cwd: tmpdir(), env: { BUN_TENSORRT_DEBUG: "1" } }),
  ]);
  expect(plain.errors).toBe(
    'error: Cannot load the model "nothing.onnx": there is no such file\n' +
      `Hint: paths are relative to ${realpathSync(tmpdir())}\n`,
  );
  expect(verbose.errors).toContain("model-source.ts:");
  expect(debug.errors).toContain("model-source.ts:");
  expect([plain.code, verbose.code, debug.code]).toEqual([1, 1, 1]);
});

test("doctor reports on a machine with nothing installed, and exits with 1 where detection cannot work", async () => {
  const nowhere = "/nowhere/lib.so";
  const env = {
    BUN_TENSORRT_ONNXRUNTIME: nowhere,
    BUN_TENSORRT_TURBOJPEG: nowhere,
    BUN_TENSORRT_CACHE: "/proc/nowhere",
  };
  const [here, bare] = await Promise.all([runCli(["doctor", "--json"]), runProcess(["doctor", "--json"], { env })]);
  expect(here.code).toBe(0);
  const listed: string[] = JSON.parse(here.output).map(({ name }: { name: string }) => name);
  // One line a GPU, where there are some.
  const names = [...new Set(listed.map((name) => name.replace(/^GPU \d+$/, "NVIDIA GPU")))];
  expect(names).toEqual([
    "Bun",
    "CPU",
    "ONNX Runtime",
    "sharp",
    "libturbojpeg",
    "ffmpeg",
    "NVIDIA GPU",
    "NVIDIA driver",
    "CUDA runtime",
    "TensorRT shim",
    "TensorRT",
    "TensorRT-RTX",
    "nvJPEG",
    "NVDEC",
    "detection",
    "cache folder",
  ]);
  expect(bare.code).toBe(1);
  const runtime = JSON.parse(bare.output)[2];
  expect(runtime).toEqual({
    name: "ONNX Runtime",
    state: "broken",
    found: `was not found at BUN_TENSORRT_ONNXRUNTIME=${nowhere}`,
    fix: "unset BUN_TENSORRT_ONNXRUNTIME, or let it name a library",
    tried: [`${nowhere}: no such file`],
  });
  expect(JSON.parse(bare.output).at(-2)).toEqual({
    name: "detection",
    state: "broken",
    found: "not ok, because of: ONNX Runtime, cache folder",
  });
  expect(JSON.parse(bare.output)[4].state).toBe("absent");
  expect((await runCli(["doctor"])).output).toMatch(/^ok\s+Bun\s+\d/);
});
