import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename } from "node:path";
import { variantOf } from "../../src/accelerators/opened-model.ts";
import { engineOptions } from "../../src/accelerators/tensorrt/gpu-backend.ts";
import { engineTask } from "../../src/api/model.ts";
import { parseWords } from "../../src/cli/args.ts";
import { BUILD_FLAGS, type BuildArguments, parseBuildFlags } from "../../src/cli/build-flags.ts";
import type { TensorInfo } from "../../src/core/tensor.ts";
import type { ModelSpec } from "../../src/heads/head.ts";
import { recogniseModel } from "../../src/heads/recognition.ts";
import { SHAPED_KEY } from "../../src/heads/shaping-config.ts";
import { OnnxTensor } from "../../src/onnx/messages.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { DEFAULT_DETECT_TASK_OPTIONS, DetectTask } from "../../src/tasks/detect/detect-task.ts";
import { detectorFiles, labelsOfFiles, modelFiles } from "../../src/tasks/model-files.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import { FileLock } from "../../src/tensorrt/build-turn.ts";
import { EngineCache } from "../../src/tensorrt/engine-cache.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { fixedModel, rawGrid } from "../support/fixed-model.ts";
import { fileFolder } from "../support/folder.ts";
import { blurModel } from "../support/image-models.ts";
import { onnxModel } from "../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { hasSmallDisk, SMALL_DISK } from "../support/small-disk.ts";
import { BUILD_TEST_MS, openFrom, RTX, testLibrary, tinyModel } from "../support/tensorrt.ts";
import { toyClassifier } from "../support/toy-classifier.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { toyHead } from "../support/toy-heads.ts";
import { toyMap } from "../support/toy-map.ts";
import { toyTopDown } from "../support/toy-top-down.ts";
import { type CliResult, cliWords, runCli, runProcess, spawnCli } from "./run-cli.ts";

setDefaultTimeout(BUILD_TEST_MS);

/** The tests that need TensorRT-RTX, which `bun scripts/test-libraries.ts rtx` fetches. */
const rtxTest = test.skipIf(RTX === undefined);
const AMPERE = ["--compute-capability", "8.6"];

const path = fileFolder("build");
const environment = (library = RTX ?? "/nowhere"): Record<string, string> => ({
  BUN_TENSORRT_CACHE: path("cache"),
  BUN_TENSORRT_TENSORRT: library,
});

beforeAll(() => {
  writeFileSync(path("tiny.onnx"), tinyModel({ metadata: { stride: "32" } }));
  writeFileSync(path("open.onnx"), tinyModel({ shape: ["batch", 3, "height", "width"] }));
  writeFileSync(path("features.onnx"), tinyModel({ shape: [1, "channels", 8, 8] }));
  writeFileSync(path("toy.onnx"), toyDetector());
});

test("parseBuildFlags() refuses values, and flags that do not go together", () => {
  const cases: readonly (readonly [words: string, text: string])[] = [
    ["--size 640,320,1280", '320,640,1280, got "640,320,1280"'],
    ["--workspace lots", "--workspace must be a number of bytes, such as 64MiB, 2GiB or 1048576"],
    ["--pools tactic=1GiB", "the names are workspace, dla-managed-sram, dla-local-dram"],
    ["--shapes images", "--shapes must be NAME=SHAPE"],
    ["--shapes images=1x3,2x3", "--shapes must be NAME=SHAPE"],
    ["--optimization-level 6", "--optimization-level must be a whole number from 0 to 5"],
    ["--timing-iterations 0", "--timing-iterations must be a whole number from 1 to 1024"],
    [
      "--compute-capability 86",
      '--compute-capability must be compute capabilities such as 8.6, separated by commas, got "86"',
    ],
    ["--no-gpu-fallback", "--no-gpu-fallback needs --dla\nHint: add --dla 0"],
    ["--hardware-compatible --same-compute-capability", "exclude each other"],
    ["--rectangular --size 320,640,1280", "--rectangular makes its own range of sizes"],
    ["--tf32", 'Unknown flag "--tf32". Did you mean "--no-tf32"?'],
  ];
  for (const [words, text] of cases) {
    expect(() => parseBuildFlags(parseWords("build", words.split(" "), BUILD_FLAGS))).toThrow(text);
  }
});

test("parseBuildFlags() turns every flag into the option it stands for", () => {
  const parse = (words: string): BuildArguments => parseBuildFlags(parseWords("build", words.split(" "), BUILD_FLAGS));
  expect(parse("--workspace 1GiB --pools tactic-dram=2GiB,dla-managed-sram=64KiB").options.memoryPools).toEqual({
    workspace: 2 ** 30,
    tacticDram: 2 ** 31,
    dlaManagedSram: 2 ** 16,
  });
  expect(parse("--dla 1 --no-gpu-fallback").options.dla).toEqual({ core: 1, gpuFallback: false });
  expect(parse("--hardware-compatible --version-compatible --plugins").options).toMatchObject({
    hardwareCompatibility: "ampere-plus",
    versionCompatible: true,
    plugins: true,
  });
  expect(parse("--same-compute-capability").options.hardwareCompatibility).toBe("same-compute-capability");
  expect(
    parse("--no-tf32 --aux-streams 0 --optimization-level 0 --timing-iterations 4 --threads 2").options,
  ).toMatchObject({
    tf32: false,
    maxAuxStreams: 0,
    optimizationLevel: 0,
    timingIterations: 4,
    maxThreads: 2,
  });
  expect(parse("--shapes a=1x3,2x3,4x3;b=2").options.profiles).toEqual([
    { a: { min: [1, 3], opt: [2, 3], max: [4, 3] }, b: [2] },
  ]);
  expect(parse("--precision model --batch 1,2,4 --device 3 -o a.plan -q --force")).toMatchObject({
    precision: "model",
    batch: { min: 1, opt: 2, max: 4 },
    device: 3,
    output: "a.plan",
    isQuiet: true,
    isForced: true,
  });
});

function build(...words: readonly string[]): Promise<CliResult> {
  return runCli(["build", ...words], { cwd: path(), env: environment() });
}

/** Plans in the engine cache whose name begins so. */
function plans(stem: string): string[] {
  const engines = path("cache/engines");
  if (!existsSync(engines)) return [];
  return readdirSync(engines).filter((name) => name.startsWith(`${stem}-`) && name.endsWith(".plan"));
}

rtxTest("build prints the path of a plan in the engine cache, and the second time takes it from there", async () => {
  const first = await build("tiny.onnx", ...AMPERE);
  expect(first.code).toBe(0);
  const plan = first.output.trimEnd();
  expect(plan).toMatch(/\/cache\/engines\/tiny-[0-9a-f]{32}\.plan$/);
  expect(first.errors).toMatch(/^Building tiny: \d+ %, \d+ s, \w/m);
  expect(first.errors).toMatch(
    /^Built in [\d.]+ m?s: [\d.]+ KiB, TensorRT-RTX 1\.7\.1\.116 for compute capability 8\.6$/m,
  );
  const again = await build("tiny.onnx", ...AMPERE);
  expect(again.output).toBe(first.output);
  expect(again.errors).toMatch(/^Taken from the engine cache: [\d.]+ KiB, /);
  expect(plans("tiny")).toEqual([basename(plan)]);
});

rtxTest("build --json tells all, --output copies, --force builds anew, --quiet says nothing", async () => {
  const { code, output, errors } = await build("tiny.onnx", ...AMPERE, "--json", "--quiet", "--output", "copy.plan");
  expect([code, errors]).toEqual([0, ""]);
  const bytes = readFileSync(path("copy.plan"));
  expect(JSON.parse(output)).toMatchObject({
    path: "copy.plan",
    byteLength: bytes.length,
    isHit: expect.any(Boolean),
    elapsedMs: expect.any(Number),
    metadata: { stride: "32" },
    origin: { tensorRt: "TensorRT-RTX 1.7.1.116", precision: "fp16", computeCapabilities: [[8, 6]] },
  });
  expect(readPlan(bytes, "copy").header?.family).toBe("TensorRT-RTX");
  const cached = path("cache/engines", plans("tiny")[0]!);
  const before = statSync(cached).mtimeMs;
  const forced = await build("tiny.onnx", ...AMPERE, "--force", "--json", "--quiet");
  expect(JSON.parse(forced.output)).toMatchObject({ path: cached, isHit: false });
  expect(statSync(cached).mtimeMs).toBeGreaterThan(before);
});

rtxTest("build cuts a model at the maps of its head, unless --no-shape leaves it as exported", async () => {
  writeFileSync(path("head.onnx"), toyHead({ family: "yolov8", task: "pose", batch: "batch" }));
  const paths: string[] = [];
  for (const flags of [[], ["--no-shape"]]) {
    const made = await build("head.onnx", ...AMPERE, "--json", "--quiet", ...flags);
    const { path: file, metadata } = JSON.parse(made.output);
    const { head, outputs } = JSON.parse(metadata[SHAPED_KEY] ?? "{}");
    expect([head, outputs?.[0].name]).toEqual(flags.length === 0 ? ["yolo", "output0"] : [undefined, undefined]);
    paths.push(file);
  }
  expect(new Set(paths).size).toBe(2);
  const again = await build("head.onnx", ...AMPERE, "--json", "--quiet");
  expect(JSON.parse(again.output)).toMatchObject({ path: paths[0], isHit: true });
});

rtxTest(
  "build without ONNX Runtime says that the head is not cut, and its plan is not taken for that of a cut one",
  async () => {
    writeFileSync(path("whole.onnx"), toyHead({ family: "yolov8", task: "pose", batch: "batch" }));
    const whole = await runProcess(["build", "whole.onnx", ...AMPERE], {
      cwd: path(),
      env: { ...environment(), BUN_TENSORRT_ONNXRUNTIME: path("none.so") },
    });
    expect(whole.errors).toContain(
      "Building whole.onnx as it was exported, which runs slower: its head is cut only where ONNX Runtime",
    );
    const cut = await build("whole.onnx", ...AMPERE, "--json", "--quiet");
    expect(JSON.parse(cut.output)).toMatchObject({ isHit: false, metadata: { [SHAPED_KEY]: expect.any(String) } });
    const asItIs = await build("whole.onnx", ...AMPERE, "--no-shape", "--json", "--quiet");
    expect(JSON.parse(asItIs.output)).toMatchObject({ isHit: true, path: whole.output.trim() });
  },
);

rtxTest(
  "a plan is read as its ONNX model is: it carries what the files beside that and the names of its weights say",
  async () => {
    const rows = (width: number): number[] => new Array<number>(100 * width).fill(0);
    const outputs = [
      { name: "logits", shape: [1, 100, 7], values: rows(7) },
      { name: "pred_boxes", shape: [1, 100, 4], values: rows(4) },
    ];
    const model = OnnxModel.read(fixedModel(outputs, { side: 64 }));
    const weights = "model.model.decoder.ref_point_head.layers.1.bias";
    model.graph.initializers.set(weights, OnnxTensor.of(weights, "f32", [1], new Uint8Array(4)));
    mkdirSync(path("detr"));
    mkdirSync(path("elsewhere"));
    const onnx = path("detr", "model.onnx");
    writeFileSync(onnx, model.write());
    const plan = path("elsewhere", "other.plan");
    const built = async (...flags: readonly string[]): Promise<string> => {
      const { code, output, errors } = await build("detr/model.onnx", ...AMPERE, "--quiet", ...flags);
      expect([code, errors]).toEqual([0, ""]);
      return output.trimEnd();
    };
    const info = (name: string, shape: number[]): TensorInfo => ({ name, shape, dtype: "f32" });
    const described = {
      inputs: [info("images", [1, 3, 64, 64])],
      outputs: outputs.map(({ name, shape }) => info(name, shape)),
      metadata: {},
    };
    const reading = async (file: string | Uint8Array): Promise<ModelSpec> => {
      const files = await modelFiles(file);
      const beside = { labelsBeside: labelsOfFiles(files, undefined), ...(await detectorFiles(file)) };
      return recogniseModel(described, { isSilent: true, head: "hugging-face", ...beside });
    };
    await built("--output", plan);
    const byNames = await reading(plan);
    expect(byNames).toEqual(await reading(onnx));
    expect(byNames).toMatchObject({ assumptions: [], preprocessing: { mean: [0.485, 0.456, 0.406] } });

    // Files change: the next plan has them, the one in the cache too, though it is not built again.
    writeFileSync(
      path("detr", "config.json"),
      JSON.stringify({ id2label: Object.fromEntries([..."abcdefg"].entries()) }),
    );
    writeFileSync(
      path("detr", "preprocessor_config.json"),
      JSON.stringify({ image_mean: [0.25, 0.5, 0.75], size: { height: 64, width: 64 } }),
    );
    const environment = { library: openFrom(RTX!), path: onnx };
    const options = { computeCapabilities: ["8.6"] };
    const direct = await buildPlan(readFileSync(onnx), options, environment);
    writeFileSync(path("elsewhere", "direct.plan"), direct.bytes);
    for (const file of [await built("--output", plan), await built(), path("elsewhere", "direct.plan"), direct.bytes]) {
      const spec = await reading(file);
      expect(spec).toEqual(await reading(onnx));
      expect(spec).toMatchObject({ labels: [..."abcdefg"], preprocessing: { mean: [0.25, 0.5, 0.75] } });
      expect(await modelFiles(file)).toEqual(await modelFiles(onnx));
      expect(await reading(file).then(({ head }) => head)).toBe("hugging-face");
    }
    // A file beside the plan counts more; the plan of another program says nothing, and what is assumed is said.
    writeFileSync(path("elsewhere", "other.labels"), "one\ntwo\nthree\nfour\nfive\nsix\nseven\n");
    expect((await reading(plan)).labels[0]).toBe("one");
    writeFileSync(path("elsewhere", "alien.plan"), readPlan(readFileSync(plan), plan).plan);
    expect((await reading(path("elsewhere", "alien.plan"))).assumptions).toEqual([
      expect.stringContaining("or put preprocessor_config.json beside it"),
    ]);
  },
);

rtxTest("build --timing-cache FOLDER is refused by the name of the flag", async () => {
  const refused = await build("toy.onnx", ...AMPERE, "--timing-cache", path("."));
  expect([refused.code, refused.output]).toEqual([2, ""]);
  expect(refused.errors).toMatch(/Cannot read .*\nHint: give --timing-cache the name of a file/);
});

rtxTest("build without flags makes the plan that the detector asks for", async () => {
  const bytes = new Uint8Array(readFileSync(path("toy.onnx")));
  const file = { bytes, path: path("toy.onnx"), source: path("toy.onnx"), isPlan: false };
  const cache = new EngineCache(path("cache/engines"));
  for (const [batch, flags] of [
    [1, []],
    [4, ["--batch", "4"]],
  ] as const) {
    const task = new DetectTask({ ...DEFAULT_DETECT_TASK_OPTIONS, batch });
    const options = engineOptions(file, task, { precision: undefined });
    const made = await build("toy.onnx", ...AMPERE, ...flags);
    const asked = await cache.obtain(
      bytes,
      { ...options, computeCapabilities: ["8.6"] },
      { library: openFrom(RTX!), source: file.source, variant: await variantOf(file, task) },
    );
    expect(asked.isHit).toBe(true);
    expect(`${asked.path}\n`).toBe(made.output);
  }
});

/** Toys of every task whose sizes are open, and what each is built for: literals, by the docs of each façade. */
const square = (side: number): readonly [number, number] => [side, side];
const upTo = (most: number): object => ({ min: 1, opt: most, max: most });
const kept = { size: { height: 28, width: 42 }, keep_aspect_ratio: true, ensure_multiple_of: 14 };
const POSE = { task: "pose", names: "{0: 'person'}", kpt_shape: "[17, 3]", imgsz: "[96, 96]" };
const TASKS: readonly (readonly [name: string, model: Uint8Array, shapes: object, preprocessor?: object])[] = [
  ["classify", toyClassifier({ side: "side", scores: "means" }), { batch: upTo(1), size: square(224) }],
  [
    "classify-beside",
    toyClassifier({ side: "side", scores: "means" }),
    { batch: upTo(1), size: square(96) },
    { size: { height: 96, width: 96 } },
  ],
  ["semantic", toyMap({ classes: 4, batch: "n" }), { batch: upTo(1), size: square(512) }],
  ["depth", toyMap({ form: "depth", name: "predicted_depth", batch: "n" }), { batch: upTo(1), size: square(518) }],
  [
    "depth-kept",
    toyMap({ form: "depth", name: "predicted_depth", batch: "n" }),
    { batch: upTo(1), size: { min: [28, 14], opt: [42, 28], max: [84, 56] } },
    kept,
  ],
  ["simcc", toyTopDown("simcc", { isOpen: true }), { batch: upTo(32), size: [192, 256] }],
  ["heatmaps", toyTopDown("heatmap", { name: "heatmaps", isOpen: true }), { batch: upTo(32), size: [192, 256] }],
  [
    "image",
    blurModel(["n", 3, "h", "w"]),
    { batch: upTo(4), size: { min: square(32), opt: square(512), max: square(512) } },
  ],
  ["pose", fixedModel([rawGrid(56, [])], { side: "side", metadata: POSE }), { batch: upTo(1), size: square(96) }],
  ["detect", tinyModel({ shape: ["n", 3, "h", "w"] }), { batch: upTo(1), size: square(640) }],
];

/** The toy as a file, with what lies beside it. */
function taskFile([name, model, , preprocessor]: (typeof TASKS)[number]): string {
  mkdirSync(path(name), { recursive: true });
  writeFileSync(path(name, `${name}.onnx`), model);
  if (preprocessor !== undefined) writeFileSync(path(name, "preprocessor_config.json"), JSON.stringify(preprocessor));
  return path(name, `${name}.onnx`);
}

for (const toy of TASKS) {
  const [name, bytes, shapes] = toy;
  test(`engineTask() has the shapes of the model's task: ${name}`, async () => {
    const source = taskFile(toy);
    expect(engineOptions({ bytes, source }, await engineTask(source, {}), { precision: undefined })).toEqual(
      shapes as never,
    );
  });

  rtxTest(`build without flags makes the plan of the model's task: ${name}`, async () => {
    const source = taskFile(toy);
    const made = await build(source, ...AMPERE, "--quiet");
    expect([made.code, made.errors]).toEqual([0, ""]);
    const options = { ...shapes, computeCapabilities: ["8.6"] };
    const asked = await new EngineCache(path("cache/engines")).obtain(bytes, options, {
      library: openFrom(RTX!),
      path: source,
      source,
      variant: await variantOf({ bytes, source }, await engineTask(source, {})),
    });
    expect([asked.isHit, `${asked.path}\n`]).toEqual([true, made.output]);
  });
}

test("engineTask() takes rows of seven numbers for a classifier's where something says so, and else for a detector's", async () => {
  const inputs = [{ name: "images", dtype: "f32", shape: [-1, 3, -1, -1] }] as const;
  const outputs = [{ name: "output", dtype: "f32", shape: [-1, 7] }] as const;
  const sizeOf = async (source: string | Uint8Array, metadata = {}): Promise<unknown> =>
    (await engineTask(source, {})).engineShapes({ model: { inputs, outputs, metadata }, source: "a model" }).size;
  expect(await sizeOf(new Uint8Array())).toEqual([640, 640]);
  expect(await sizeOf(new Uint8Array(), { task: "classify" })).toEqual([224, 224]);
  expect(await sizeOf(taskFile(TASKS.find(([name]) => name === "classify-beside")!))).toEqual([96, 96]);
});

rtxTest("build --size and --batch win over the model's task", async () => {
  const [, bytes] = TASKS[0]!;
  const source = taskFile(TASKS[0]!);
  const cache = new EngineCache(path("cache/engines"));
  for (const [flags, shapes] of [
    ["--size 64 --batch 2", { batch: { min: 1, opt: 2, max: 2 }, size: [64, 64] }],
    ["--size 32,64,96", { batch: upTo(1), size: { min: [32, 32], opt: [64, 64], max: [96, 96] } }],
    ["--rectangular", { batch: upTo(1), size: { min: [32, 32], opt: [640, 640], max: [640, 640] } }],
  ] as const) {
    const made = await build(source, ...AMPERE, "--quiet", ...flags.split(" "));
    const options = { ...shapes, computeCapabilities: ["8.6"] } as never;
    const asked = await cache.obtain(bytes, options, { library: openFrom(RTX!), path: source, source });
    expect([asked.isHit, `${asked.path}\n`]).toEqual([true, made.output]);
  }
});

rtxTest(
  "build takes ranges, shapes, limits and compatibility from its flags",
  async () => {
    const lines = [
      "--batch 1,2,4 --size 17x31,33x64,65x97",
      "--shapes images=1x3x17x31,2x3x33x64,4x3x65x97",
      "--shapes images=1x3x8x8",
      "--size 64 --rectangular --workspace 64MiB --pools tactic-dram=1GiB",
      "--size 64 --optimization-level 1 --timing-iterations 2 --no-tf32 --profiling-verbosity detailed --aux-streams 0 --threads 1",
    ];
    const results = [];
    for (const line of lines) results.push(await build("open.onnx", ...AMPERE, "--quiet", ...line.split(" ")));
    expect(results.map(({ code }) => code)).toEqual(lines.map(() => 0));
    expect(new Set(results.map(({ output }) => output)).size).toBe(lines.length);
  },
  60_000,
);

rtxTest(
  "build --timing-cache writes the file it is given",
  async () => {
    expect((await build("tiny.onnx", ...AMPERE, "--force", "--timing-cache", "own.timing")).code).toBe(0);
    expect(statSync(path("own.timing")).size).toBeGreaterThan(16);
  },
  60_000,
);

rtxTest("build says in the words of its flags what it needs to know", async () => {
  const [shapes, capability, name] = await Promise.all([
    build("features.onnx", ...AMPERE),
    build("tiny.onnx"),
    build("open.onnx", ...AMPERE, "--shapes", "image=1x3x8x8"),
  ]);
  expect(shapes.code).toBe(2);
  expect(shapes.errors).toContain(
    'the input "images" [1, ?, 8, 8] is dynamic and has no range\nHint: say its shapes: ',
  );
  if (!openFrom(RTX!).hasDevice()) {
    expect(capability.code).toBe(2);
    expect(capability.errors).toContain("Hint: say which to build for: --compute-capability 8.6,8.9");
  }
  expect(name.errors).toContain('a profile names the input "image"\nHint: the inputs are "images"');
});

rtxTest("build refuses a plan, a model that is none, and a place it cannot write", async () => {
  await build("tiny.onnx", ...AMPERE, "--output", "whole.plan");
  writeFileSync(path("text.onnx"), "not a model");
  const [plan, text, folderOutput, itself] = await Promise.all([
    build("whole.plan", ...AMPERE),
    build("text.onnx", ...AMPERE),
    build("tiny.onnx", ...AMPERE, "--output", "nowhere/a.plan"),
    build("tiny.onnx", ...AMPERE, "--output", "tiny.onnx"),
  ]);
  expect(plan.errors).toContain('"whole.plan" is a plan already');
  expect(text.code).toBe(1);
  expect(text.errors).toMatch(/error: Cannot parse text\.onnx: .*ONNX parser/);
  expect(folderOutput.errors).toContain('Cannot write "nowhere/a.plan": ENOENT');
  expect(itself.errors).toContain("--output would overwrite the model");
  expect(readFileSync(path("tiny.onnx")).length).toBeGreaterThan(100);
});

rtxTest("build writes nothing over what it reads, by whatever name", async () => {
  const data = { location: "weights.bin", offset: 0, length: 16 };
  const io = { dtype: "f32", shape: [1, 4] } as const;
  const own = onnxModel({
    nodes: [{ op: "Add", inputs: ["x", "w"], outputs: ["y"] }],
    inputs: [{ name: "x", ...io }],
    outputs: [{ name: "y", ...io }],
    initializers: [{ name: "w", ...io, data }],
  });
  writeFileSync(path("own.onnx"), own);
  writeFileSync(path("weights.bin"), new Uint8Array(16));
  symlinkSync("own.onnx", path("link.plan"));
  linkSync(path("own.onnx"), path("hard.plan"));
  const cases: readonly (readonly [words: readonly string[], text: string])[] = [
    [["-o", "./own.onnx"], "--output would overwrite the model\n"],
    [["-o", "link.plan"], "--output would overwrite the model\n"],
    [["-o", "hard.plan"], "--output would overwrite the model\n"],
    [["-o", "weights.bin"], "--output would overwrite the model's weights\n"],
    [["--timing-cache", "own.onnx"], "--timing-cache would overwrite the model\n"],
    [["--timing-cache", "link.plan", "--force"], "--timing-cache would overwrite the model\n"],
    [["-o", "same.plan", "--timing-cache", "./same.plan"], "--output and --timing-cache name one file\n"],
  ];
  const results = await Promise.all(cases.map(([words]) => build("own.onnx", ...AMPERE, ...words)));
  for (const [at, { code, errors }] of results.entries()) {
    expect(errors).toContain(cases[at]![1]);
    expect(code).toBe(2);
  }
  expect(new Uint8Array(readFileSync(path("own.onnx")))).toEqual(own);
  expect(readFileSync(path("weights.bin")).length).toBe(16);
  expect(existsSync(path("same.plan"))).toBe(false);
});

rtxTest("build --output keeps links, and takes what is no file", async () => {
  writeFileSync(path("target.plan"), "old");
  symlinkSync("target.plan", path("kept.plan"));
  expect((await build("tiny.onnx", ...AMPERE, "-o", "kept.plan")).code).toBe(0);
  expect(lstatSync(path("kept.plan")).isSymbolicLink()).toBe(true);
  expect(readPlan(readFileSync(path("target.plan")), "a").header?.family).toBe("TensorRT-RTX");
  expect((await build("tiny.onnx", ...AMPERE, "-o", "/dev/null")).code).toBe(0);
  expect(readdirSync(path()).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test.skipIf(RTX === undefined || !hasSmallDisk)("build --output on a full disk leaves the former file", async () => {
  await build("tiny.onnx", ...AMPERE);
  const words = [cliWords(["build", "tiny.onnx", ...AMPERE, "-q", "-o", "/mnt/a.plan"]).join(" ")];
  const shell = `mount -t tmpfs -o size=200k tmpfs /mnt && echo former > /mnt/a.plan && ${words}; ls -A /mnt; cat /mnt/a.plan`;
  const child = Bun.spawn([...SMALL_DISK, shell], {
    cwd: path(),
    env: { ...process.env, ...environment() },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(errors).toContain('Cannot write "/mnt/a.plan": ENOSPC');
  expect(output).toBe("a.plan\nformer\n");
});

test("build names what installs TensorRT where there is none", async () => {
  const env = environment("/nowhere");
  const [any, rtx] = await Promise.all([
    runCli(["build", "tiny.onnx"], { cwd: path(), env }),
    runCli(["build", "tiny.onnx", ...AMPERE], { cwd: path(), env }),
  ]);
  expect([any.code, rtx.code]).toEqual([1, 1]);
  expect(any.errors).toContain(
    "Cannot build an engine: TensorRT was not found at BUN_TENSORRT_TENSORRT=/nowhere\nHint: `bunx bun-tensorrt install tensorrt`",
  );
  expect(rtx.errors).toContain("TensorRT-RTX was not found");
});

const PLAIN = testLibrary("10.6");

test.skipIf(PLAIN === undefined || (RTX !== undefined && openFrom(RTX).hasDevice()))(
  "build with TensorRT 10 says that it needs a GPU, as 10.6 has been fetched",
  async () => {
    const { code, errors } = await runCli(["build", "tiny.onnx"], { cwd: path(), env: environment(PLAIN) });
    expect(code).toBe(1);
    expect(errors).toContain("Cannot start the builder of TensorRT 10.6.0: there is no usable CUDA device");
  },
);

rtxTest("build on SIGINT stops waiting for another process, and exits with 130", async () => {
  await build("tiny.onnx", ...AMPERE);
  const plan = path("cache/engines", plans("tiny")[0]!);
  const before = statSync(plan).mtimeMs;
  using _lock = FileLock.tryAcquire(`${plan}.lock`)!;
  const child = spawnCli(["build", "tiny.onnx", ...AMPERE, "--force", "--verbose"], {
    cwd: path(),
    env: environment(),
  });
  let errors = "";
  for await (const bytes of child.stderr) {
    errors += new TextDecoder().decode(bytes);
    if (errors.includes("Waiting for process")) child.kill("SIGINT");
  }
  expect(await child.exited).toBe(130);
  expect(await child.stdout.text()).toBe("");
  expect(statSync(plan).mtimeMs).toBe(before);
});

/** Builds for long enough to be caught at it; it also takes more stack than koffi gives. */
const SLOW = "models/deimv2_hgnetv2_atto_coco.onnx";

test.skipIf(RTX === undefined || isMissing(SLOW))(
  "build on SIGINT cancels TensorRT, leaves no plan, and exits with 130, as DEIM and TensorRT-RTX are there",
  async () => {
    const words = ["build", sharedPath(SLOW), ...AMPERE];
    const child = spawnCli(words, { cwd: path(), env: environment() });
    let errors = "";
    for await (const bytes of child.stderr) {
      errors += new TextDecoder().decode(bytes);
      if (errors.includes("Building deimv2")) child.kill("SIGINT");
    }
    expect(await child.exited).toBe(130);
    expect(await child.stdout.text()).toBe("");
    expect(errors).not.toContain("error");
    expect(plans("deimv2_hgnetv2_atto_coco")).toEqual([]);
  },
  120_000,
);
