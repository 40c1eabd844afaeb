import { beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { type CliResult, runCli } from "../../cli/run-cli.ts";
import { fileFolder } from "../../support/folder.ts";
import { Gpu, isGpuMissing, SLOW_TEST_MS } from "../../support/gpu.ts";
import { gpuLibrary, isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { onnxModel } from "../../support/onnx-writer.ts";
import { toyDetector } from "../../support/toy-detector.ts";
import { gpuEnvironment } from "./gpu-cli.ts";

const gpuTest = test.skipIf(isTensorRtMissing);

const path = fileFolder("gpu-inspect");

beforeAll(() => {
  writeFileSync(path("toy.onnx"), toyDetector());
  writeFileSync(path("odd.onnx"), oddModel());
});

function cli(...words: readonly string[]): Promise<CliResult> {
  return runCli(words, { cwd: path(), env: gpuEnvironment(path("cache")) });
}

gpuTest(
  "inspect loads a plan and shows tensors, profiles, layers and head",
  async () => {
    const flags = ["--batch", "1,2,4", "--profiling-verbosity", "detailed", "--output", "toy.plan", "--quiet"];
    expect((await cli("build", "toy.onnx", ...flags)).code).toBe(0);
    const text = await cli("inspect", "toy.plan", "--layers");
    expect(text.code).toBe(0);
    expect(text.output).toMatch(/^ {2}images: f32 \[\?, 3, 64, 64\] {2}\S.*kLINEAR/m);
    expect(text.output).toMatch(/^ {4}\[1, 3, 64, 64\] to \[4, 3, 64, 64\], best at \[2, 3, 64, 64\]$/m);
    expect(text.output).toMatch(/^ {2}output0: f32 \[\?, 6, 84\]/m);
    expect(text.output).toMatch(/^ {2}device memory +[\d.]+ \w+ for the activations/m);
    expect(text.output).toMatch(/^ {2}head +yolo$/m);
    expect(text.output).toMatch(/^Layers\n {2} +name +type +tactic\n {2} *0 {2}\S/m);
    const { engine } = JSON.parse((await cli("inspect", "toy.plan", "--json", "--layers")).output);
    expect(engine.layerCount).toBeGreaterThan(0);
    expect(engine.layers).toHaveLength(engine.layerCount);
    expect(engine.recognition.head).toBe("yolo");
    expect(engine.inputs[0].profiles).toEqual([{ min: [1, 3, 64, 64], opt: [2, 3, 64, 64], max: [4, 3, 64, 64] }]);
  },
  SLOW_TEST_MS,
);

/** Two maps of the image, which are no task's. */
function oddModel(): Uint8Array<ArrayBuffer> {
  const shape = [1, 3, 32, 32];
  return onnxModel({
    inputs: [{ name: "images", dtype: "f32", shape }],
    outputs: [
      { name: "ups", dtype: "f32", shape },
      { name: "downs", dtype: "f32", shape },
    ],
    nodes: [
      { op: "Relu", inputs: ["images"], outputs: ["ups"] },
      { op: "Neg", inputs: ["images"], outputs: ["downs"] },
    ],
  });
}

gpuTest(
  "inspect exits with 1 for a plan of no known head, and one that does not load",
  async () => {
    expect((await cli("build", "odd.onnx", "--output", "odd.plan", "--quiet")).code).toBe(0);
    const odd = await cli("inspect", "odd.plan");
    expect(odd.code).toBe(1);
    expect(odd.output).toContain("Not recognised\n");
    writeFileSync(path("junk.plan"), new Uint8Array(5000).fill(7));
    const junk = await cli("inspect", "junk.plan");
    expect(junk.code).toBe(1);
    expect(junk.output).toContain("It could not be loaded: Cannot load the engine of junk.plan");
  },
  SLOW_TEST_MS,
);

test.skipIf(isGpuMissing)(
  "doctor lists every GPU with driver, CUDA and memory, and loads a kernel on each",
  async () => {
    const { code, output } = await runCli(["doctor", "--json"]);
    expect(code).toBe(0);
    const findings: { name: string; state: string; found: string }[] = JSON.parse(output);
    using gpu = new Gpu();
    const capability = gpu.device.computeCapability.join(".");
    const first = findings.find(({ name }) => name === "GPU 0");
    expect(first).toMatchObject({ state: "ok" });
    expect(first?.found).toStartWith(`${gpu.device.name}, compute capability ${capability}, `);
    expect(first?.found).toMatch(/[\d.]+ GiB, (driver [\d.]+, )?CUDA \d+\.\d, kernels \(PTX ISA 8\.2\) load$/);
    expect(findings.find(({ name }) => name === "NVIDIA driver")?.state).toBe("ok");
    expect(findings.find(({ name }) => name === "CUDA runtime")?.found).toMatch(/^1[23]\.\d+ at \S/);
  },
  SLOW_TEST_MS,
);

gpuTest("doctor finds TensorRT, and that detection runs on the GPU", async () => {
  const { output } = await cli("doctor", "--json");
  const findings: { name: string; state: string; found: string }[] = JSON.parse(output);
  const { release } = gpuLibrary().version;
  expect(findings.find(({ name }) => name === "TensorRT")?.found).toStartWith(release);
  expect(findings.find(({ name }) => name === "detection")?.found).toMatch(/^runs on the GPU, with TensorRT/);
});
