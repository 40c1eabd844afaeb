import { beforeAll, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { type CliResult, cliWords, runCli, spawnCli } from "../../cli/run-cli.ts";
import { fileFolder } from "../../support/folder.ts";
import { Gpu, SLOW_TEST_MS } from "../../support/gpu.ts";
import { isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { toyDetector } from "../../support/toy-detector.ts";
import { gpuEnvironment } from "./gpu-cli.ts";

const gpuTest = test.skipIf(isTensorRtMissing);
const YOLO = "models/yolov8n_640.onnx";

const path = fileFolder("gpu-cli");

beforeAll(async () => {
  writeFileSync(path("toy.onnx"), toyDetector());
  const white = sharp({ create: { width: 64, height: 64, channels: 3, background: "white" } });
  await white.png().toFile(path("white.png"));
});

function cli(cache: string, ...words: readonly string[]): Promise<CliResult> {
  return runCli(words, { cwd: path(), env: gpuEnvironment(path(cache)) });
}

interface Picture {
  readonly detections: readonly { readonly label: string; readonly score: number; readonly box: readonly number[] }[];
}

function objects(output: string): Picture["detections"] {
  return (JSON.parse(output) as Picture[])[0]!.detections;
}

/** The toy's objects on the GPU are those on the CPU. */
async function expectToyObjects(output: string): Promise<void> {
  const words = ["detect", "white.png", "--model", "toy.onnx", "--backend", "cpu", "--format", "json", "--quiet"];
  const onCpu = objects((await cli("cpu", ...words)).output);
  const onGpu = objects(output);
  expect(onGpu.map(({ label }) => label)).toEqual(onCpu.map(({ label }) => label));
  for (const [at, { score, box }] of onGpu.entries()) {
    expect(score).toBeCloseTo(onCpu[at]!.score, 2);
    for (const [corner, side] of box.entries()) expect(side).toBeCloseTo(onCpu[at]!.box[corner]!, 0);
  }
}

gpuTest(
  "build makes ahead what detect runs, in every way of naming it",
  async () => {
    const built = await cli("ahead", "build", "toy.onnx", "--json", "--output", "toy.plan");
    expect(built.errors).toMatch(/^Building toy: \d+ %, (\d+ min )?\d+ s, \w/m);
    expect(built.errors).toMatch(/^Built in (\d+ min )?[\d.]+ m?s: /m);
    using gpu = new Gpu();
    expect(JSON.parse(built.output)).toMatchObject({
      path: "toy.plan",
      isHit: false,
      origin: { gpu: gpu.device.name, computeCapabilities: [[...gpu.device.computeCapability]], precision: "fp16" },
    });
    const detect = ["detect", "white.png", "--format", "json"];
    for (const flags of [[], ["--backend", "gpu", "--device", "0", "--precision", "fp16"]]) {
      const cached = await cli("ahead", ...detect, "--model", "toy.onnx", ...flags);
      expect(cached.code).toBe(0);
      expect(cached.errors).not.toContain("Building");
      await expectToyObjects(cached.output);
    }
    const fromPlan = await cli("empty", ...detect, "--model", "toy.plan");
    expect(fromPlan.code).toBe(0);
    await expectToyObjects(fromPlan.output);
    // How its streams are laid out best was measured, and kept; nothing was built.
    for (const name of readdirSync(path("empty/engines"))) expect(name).toEndWith(".streams.json");
    expect((await cli("ahead", "build", "toy.onnx")).errors).toContain("Taken from the engine cache: ");
  },
  SLOW_TEST_MS,
);

gpuTest(
  "detect builds an engine on first use, says so, and takes the precision from its flag",
  async () => {
    const words = ["detect", "white.png", "--model", "toy.onnx", "--format", "json", "--precision", "fp32"];
    const first = await cli("first", ...words);
    expect(first.code).toBe(0);
    expect(first.errors).toMatch(/^Building toy: \d+ %, (\d+ min )?\d+ s, \w/m);
    await expectToyObjects(first.output);
    const [plan] = readdirSync(path("first/engines")).filter((name) => name.endsWith(".plan"));
    const inspected = await cli("first", "inspect", path("first/engines", plan!), "--json");
    expect(JSON.parse(inspected.output).origin.precision).toBe("fp32");
    const second = await cli("first", ...words, "--quiet");
    expect(second.code).toBe(0);
    expect(second.errors).not.toContain("Building");
  },
  SLOW_TEST_MS,
);

gpuTest(
  "detect shows the build as a bar on a terminal, and no note about the CPU",
  async () => {
    let text = "";
    const decoder = new TextDecoder();
    const { promise: drained, resolve } = Promise.withResolvers<void>();
    const child = Bun.spawn(cliWords(["detect", "white.png", "--model", "toy.onnx"]), {
      cwd: path(),
      env: { ...process.env, TERM: "xterm-256color", ...gpuEnvironment(path("bar")) },
      terminal: {
        cols: 100,
        rows: 24,
        data: (_terminal, bytes) => {
          text += decoder.decode(bytes, { stream: true });
        },
        exit: () => resolve(),
      },
    });
    expect(await child.exited).toBe(0);
    await drained;
    expect(text).toMatch(/toy {2}(\[[#-]{24}\] {2}\d+ % {2})?\d+ s {2}\w/);
    expect(text).not.toContain("Running on the CPU");
  },
  SLOW_TEST_MS,
);

test.skipIf(isTensorRtMissing || isMissing(YOLO)).each([
  ["build", ["build", sharedPath(YOLO)]],
  ["detect", ["detect", "white.png", "--model", sharedPath(YOLO)]],
] as const)(
  "%s on SIGINT cancels the build, leaves no plan, and exits with 130, as yolov8n is there",
  async (name, words) => {
    const cache = path(`cancel-${name}`);
    const child = spawnCli(words, { cwd: path(), env: gpuEnvironment(cache) });
    let errors = "";
    for await (const bytes of child.stderr) {
      const before = errors;
      errors += new TextDecoder().decode(bytes);
      if (!before.includes("Building yolov8n") && errors.includes("Building yolov8n")) child.kill("SIGINT");
    }
    expect(await child.exited).toBe(130);
    expect(await child.stdout.text()).toBe("");
    expect(errors).not.toContain("error");
    expect(readdirSync(join(cache, "engines")).filter((file) => file.endsWith(".plan"))).toEqual([]);
  },
  SLOW_TEST_MS,
);

gpuTest(
  "build refuses a GPU that is not there, and what TensorRT cannot build",
  async () => {
    const [device, capability] = await Promise.all([
      cli("refused", "build", "toy.onnx", "--device", "99"),
      cli("refused", "build", "toy.onnx", "--compute-capability", "8.6"),
    ]);
    expect([device.code, capability.code]).toEqual([1, 1]);
    expect(device.errors).toContain("Cannot open device 99: the devices are 0 to");
    expect(capability.errors).toContain("TensorRT-RTX");
  },
  SLOW_TEST_MS,
);
