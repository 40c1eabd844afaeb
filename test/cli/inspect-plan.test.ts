import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { type EngineFacts, formatPlan, type PlanInspection, planJson } from "../../src/cli/commands/inspect.ts";
import { paintOf } from "../../src/cli/terminal.ts";
import { writePlan } from "../../src/tensorrt/plan-file.ts";
import type { EngineTensor } from "../../src/tensorrt/tensor-info.ts";
import { fileFolder } from "../support/folder.ts";
import { isGpuMissing } from "../support/gpu.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { RTX, tinyModel } from "../support/tensorrt.ts";
import { toyDetector } from "../support/toy-detector.ts";
import { type CliResult, runCli } from "./run-cli.ts";

setDefaultTimeout(120_000);

const PLAN = "engines/yolov8n_640_fp16_trt10.6.0_sm90.plan";

const path = fileFolder("inspect");

beforeAll(() => {
  const origin = {
    tensorRt: "TensorRT 10.6.0.26",
    gpu: "NVIDIA H200\x1b[2J",
    computeCapabilities: [[9, 0]] as const,
    hardwareCompatibility: "ampere-plus",
    precision: "fp16",
    io: { format: "hwc8", measuredMs: { model: 0.433, fp16: 0.423, hwc8: 0.407 } } as const,
  };
  writeFileSync(path("own.plan"), writePlan(new Uint8Array(64), { stride: "32", names: "{0: 'cat'}" }, origin));
  writeFileSync(path("unknown.engine"), new Uint8Array(64));
  writeFileSync(path("toy.onnx"), toyDetector());
});

function inspect(...words: readonly string[]): Promise<CliResult> {
  return runCli(["inspect", ...words], { cwd: path() });
}

test("inspect shows what a plan's header tells, whoever runs it", async () => {
  const { output } = await inspect("own.plan");
  expect(output).toMatch(/^own\.plan\nPlan\n {2}built by +TensorRT 10\.6\.0\.26\n {2}made with +bun-tensorrt\n/);
  expect(output).toMatch(/^ {2}compute capability +9\.0$/m);
  expect(output).toMatch(/^ {2}built on +NVIDIA H200\\u001b\[2J$/m);
  expect(output).toMatch(/^ {2}runs on +every GPU from Ampere on$/m);
  expect(output).toMatch(/^ {2}images and maps +hwc8: 0\.407 ms; model 0\.433 ms, fp16 0\.423 ms$/m);
  expect(output).toMatch(/^ {2}precision +fp16$/m);
  expect(output).toMatch(/^Metadata\n {2}stride +32\n {2}names +\{0: 'cat'\}$/m);
});

test("inspect leaves out a compatibility it does not know, whatever it is called", async () => {
  for (const hardwareCompatibility of ["constructor", "__proto__", "toString", "every-gpu"]) {
    writeFileSync(
      path("odd.plan"),
      writePlan(new Uint8Array(64), {}, { tensorRt: "TensorRT 10", hardwareCompatibility }),
    );
    const { output, errors } = await inspect("odd.plan");
    expect(output).toMatch(/^ {2}built by +TensorRT 10$/m);
    expect(output + errors).not.toMatch(/runs on|TypeError|function/);
  }
});

test.skipIf(!isGpuMissing)(
  "inspect says what of a plan needs a GPU: no failure, unless nothing else is told",
  async () => {
    const [own, unknown, json] = await Promise.all([
      inspect("own.plan"),
      inspect("unknown.engine"),
      inspect("own.plan", "--json"),
    ]);
    expect([own.code, unknown.code, json.code]).toEqual([0, 1, 0]);
    expect(own.output).toMatch(/^Engine\n {2}Inputs, outputs, profiles, layers and the head need a GPU: \S+/m);
    expect(unknown.output).toContain("unknown: its header has an unknown form");
    expect(unknown.output).toContain("another program than bun-tensorrt");
    expect(JSON.parse(json.output)).toMatchObject({
      file: "own.plan",
      metadata: { stride: "32" },
      origin: { tensorRt: "TensorRT 10.6.0.26", computeCapabilities: [[9, 0]] },
      engine: { isMissingGpu: true },
    });
  },
);

test.skipIf(!isGpuMissing)("inspect and detect refuse what a plan cannot do without a GPU", async () => {
  const [layers, detect, cpu] = await Promise.all([
    inspect("own.plan", "--layers"),
    runCli(["detect", import.meta.path, "--model", "own.plan"], { cwd: path() }),
    runCli(["detect", import.meta.path, "--model", "own.plan", "--backend", "cpu"], { cwd: path() }),
  ]);
  expect(layers.code).toBe(1);
  expect(layers.errors).toContain('Cannot show the layers of "own.plan": the plan was not loaded on a GPU. ');
  expect(detect.errors).toContain("Cannot load a detector on the GPU");
  // With "cpu" it would be refused as well.
  expect(detect.errors).toEndWith("; the ONNX model it was built from runs anywhere\n");
  expect(cpu.errors).toContain('"own.plan" is a plan, which runs on a GPU only');
});

test("inspect refuses layers of a model, and plans that are cut short or empty", async () => {
  const whole = readFileSync(path("own.plan"));
  writeFileSync(path("cut.plan"), whole.subarray(0, 40));
  writeFileSync(path("empty.plan"), "");
  const [none, layers, cut, empty] = await Promise.all([
    inspect(),
    inspect("toy.onnx", "--layers"),
    inspect("cut.plan"),
    inspect("empty.plan"),
  ]);
  expect([none.code, layers.code, cut.code, empty.code]).toEqual([2, 2, 1, 1]);
  expect(none.errors).toEndWith("Hint: bunx bun-tensorrt inspect yolo11n\n"); // a name that works as it stands
  expect(layers.errors).toContain('--layers is for plans: "toy.onnx" is a model');
  expect(layers.errors).toContain("bunx bun-tensorrt build toy.onnx --profiling-verbosity detailed\n");
  expect(cut.errors).toContain("it is cut short");
  expect(empty.errors).toContain("it is empty");
});

test.skipIf(RTX === undefined)("inspect reads what build made, as TensorRT-RTX has been fetched", async () => {
  writeFileSync(path("tiny.onnx"), tinyModel({ metadata: { task: "detect" } }));
  const env = { BUN_TENSORRT_TENSORRT: RTX!, BUN_TENSORRT_CACHE: path("cache") };
  const words = ["build", "tiny.onnx", "--compute-capability", "8.6,8.9", "-o", "tiny.plan", "--quiet"];
  expect((await runCli(words, { cwd: path(), env })).code).toBe(0);
  const { output } = await runCli(["inspect", "tiny.plan", "--json"], { cwd: path(), env });
  expect(JSON.parse(output)).toMatchObject({
    header: { family: "TensorRT-RTX", release: "1.7.1", build: 116 },
    origin: {
      computeCapabilities: [
        [8, 6],
        [8, 9],
      ],
    },
    metadata: { task: "detect" },
  });
});

test.skipIf(isMissing(PLAN))("inspect reads a plan of trtexec, as it is there", async () => {
  const { output } = await inspect(sharedPath(PLAN));
  expect(output).toMatch(/^ {2}built by +TensorRT 10\.6\.0\.26$/m);
  expect(output).toMatch(/^ {2}compute capability +9\.0$/m);
  expect(output).toMatch(/^ {2}size +8\.23 MiB$/m);
});

function tensor(mode: "input" | "output", overrides: Partial<EngineTensor>): EngineTensor {
  return {
    name: mode === "input" ? "images" : "output0",
    dtype: "f32",
    shape: [1, 3, 64, 64],
    mode,
    isShapeInput: false,
    location: "device",
    isLinear: true,
    format: "linear",
    formatText: "Row major linear FP32 format (kLINEAR)",
    profiles: [],
    ...overrides,
  };
}

const RANGE = { min: [1, 3, 64, 64], opt: [2, 3, 64, 64], max: [8, 3, 64, 64] };
const FACTS: EngineFacts = {
  loadedBy: "TensorRT 10.6.0, NVIDIA H200",
  inputs: [tensor("input", { shape: [-1, 3, 64, 64], profiles: [RANGE, RANGE] })],
  outputs: [tensor("output", { shape: [-1, 6, 84], location: "host" })],
  profileCount: 2,
  layerCount: 12,
  auxStreamCount: 1,
  deviceMemoryBytes: 3 * 2 ** 20,
  hardwareCompatibility: "none",
  isRefittable: false,
  recognition: { problem: "Cannot recognise it\nHint: say --head" },
  layers: ["first", { Name: "second", LayerType: "Convolution", TacticName: "sm90_xmma", Bias: {} }],
};

test("formatPlan() shows an engine's tensors with profiles, its needs, its head and its layers", () => {
  const inspection: PlanInspection = {
    file: "a.plan",
    byteLength: 100,
    plan: { metadata: {}, header: undefined, origin: undefined },
    engine: FACTS,
  };
  const text = formatPlan(inspection, paintOf(false));
  const expected = [
    "Inputs",
    "  images: f32 [?, 3, 64, 64]  Row major linear FP32 format (kLINEAR)",
    "    profile 0: [1, 3, 64, 64] to [8, 3, 64, 64], best at [2, 3, 64, 64]",
    "    profile 1: [1, 3, 64, 64] to [8, 3, 64, 64], best at [2, 3, 64, 64]",
    "Outputs",
    "  output0: f32 [?, 6, 84]  Row major linear FP32 format (kLINEAR), in host memory",
    "Engine",
    "  loaded by      TensorRT 10.6.0, NVIDIA H200",
    "  layers         12",
    "  profiles       2",
    "  streams        2",
    "  device memory  3.00 MiB for the activations of one context",
    "  refittable     no",
    "Not recognised",
    "  Cannot recognise it",
    "  Hint: say --head",
    "Layers",
    "     name    type         tactic",
    "  0  first",
    "  1  second  Convolution  sm90_xmma",
    "",
  ];
  expect(text.slice(text.indexOf("Inputs"))).toBe(expected.join("\n"));
  expect(planJson(inspection)).toMatchObject({ engine: { layers: FACTS.layers } });
});

test("formatPlan() tells a plan that does not fit this GPU from one that no GPU was there for", () => {
  const plan = { metadata: {}, header: undefined, origin: undefined };
  const engine = {
    problem: "Cannot load a.plan: it was built for 9.0, this is 8.6\nHint: build",
    isMissingGpu: false,
  };
  expect(formatPlan({ file: "a.plan", byteLength: 9, plan, engine }, paintOf(false))).toEndWith(
    "Engine\n  It could not be loaded: Cannot load a.plan: it was built for 9.0, this is 8.6\n  Hint: build\n",
  );
});
