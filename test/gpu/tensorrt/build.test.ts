import { afterEach, expect, test } from "bun:test";
import { openedEngine } from "../../../src/accelerators/tensorrt/gpu-backend.ts";
import { ModelError, OptionError, ShapeError, TensorRtError } from "../../../src/core/errors.ts";
import { setLogSink } from "../../../src/core/log.ts";
import { createTensor, type Shape, type Tensor } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { convert } from "../../../src/precision/precision.ts";
import type { BuildOptions } from "../../../src/tensorrt/build-options.ts";
import { type BuildEnvironment, type BuiltPlan, buildPlan } from "../../../src/tensorrt/build-plan.ts";
import { Builder } from "../../../src/tensorrt/builder.ts";
import type { Engine, ExecutionContext } from "../../../src/tensorrt/engine.ts";
import { EngineCache } from "../../../src/tensorrt/engine-cache.ts";
import type { HostMemory } from "../../../src/tensorrt/native-object.ts";
import { OnnxParser } from "../../../src/tensorrt/network.ts";
import type { BuildEvent } from "../../../src/tensorrt/observers.ts";
import { readPlan } from "../../../src/tensorrt/plan-file.ts";
import { Runtime } from "../../../src/tensorrt/runtime.ts";
import { OutputAllocator, type TensorFormat } from "../../../src/tensorrt/tensor-info.ts";
import { fileFolder } from "../../support/folder.ts";
import { Gpu, SLOW_TEST_MS } from "../../support/gpu.ts";
import { gpuLibrary, isTensorRtMissing } from "../../support/gpu-tensorrt.ts";
import { onnxModel } from "../../support/onnx-writer.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";
import { tinyModel } from "../../support/tensorrt.ts";

const FAST: BuildOptions = { optimizationLevel: 1 };

const inFolder = fileFolder("gpu-tensorrt");

/** Later builds start with the timings of earlier ones. */
let timingCache = new Uint8Array();

afterEach(() => {
  setLogSink(undefined);
});

function buildTest(name: string, run: () => Promise<void>): void {
  test.skipIf(isTensorRtMissing)(name, run, SLOW_TEST_MS);
}

async function build(
  gpu: Gpu,
  model: Uint8Array,
  options: BuildOptions = {},
  environment: BuildEnvironment = {},
): Promise<BuiltPlan> {
  const where = { library: gpuLibrary(), device: gpu.device, timingCache, ...environment };
  const built = await buildPlan(model, { ...FAST, ...options }, where);
  timingCache = built.timingCache as typeof timingCache;
  return built;
}

async function load(gpu: Gpu, plan: Uint8Array): Promise<Engine> {
  const runtime = gpu.own(await Runtime.create({ library: gpuLibrary(), device: gpu.device }));
  return gpu.own(await runtime.deserialize(plan, { source: "the built plan" }));
}

function noise(shape: Shape): Tensor<"f32"> {
  const tensor = createTensor("f32", shape);
  for (let at = 0; at < tensor.data.length; at++) tensor.data[at] = Math.sin(at * 0.7) + Math.cos(at * 0.13);
  return tensor;
}

/** What tinyModel() computes: a 3x3 convolution with a border of zeros, and max(0, x). */
function reference({ data, shape }: Tensor<"f32">): Float32Array {
  const [count, , height, width] = shape as [number, number, number, number];
  const result = new Float32Array(count * 4 * height * width);
  const at = (n: number, c: number, y: number, x: number): number =>
    y < 0 || x < 0 || y >= height || x >= width ? 0 : data[((n * 3 + c) * height + y) * width + x]!;
  for (let index = 0; index < result.length; index++) {
    const [x, y] = [index % width, Math.floor(index / width) % height];
    const [f, n] = [Math.floor(index / (width * height)) % 4, Math.floor(index / (width * height * 4))];
    let sum = 0;
    for (let tap = 0; tap < 27; tap++) {
      const [c, dy, dx] = [Math.floor(tap / 9), (Math.floor(tap / 3) % 3) - 1, (tap % 3) - 1];
      sum += Math.sin(f * 27 + tap) * at(n, c, y + dy, x + dx);
    }
    result[index] = Math.max(0, sum);
  }
  return result;
}

function infer(gpu: Gpu, context: ExecutionContext, input: Tensor<"f32">): Float32Array {
  const images = context.tensor("images");
  if (images.info.shape.includes(-1)) images.setShape(input.shape);
  const output = gpu.own(DeviceBuffer.create("f32", context.tensor("features").shape, { stream: gpu.stream }));
  images.setAddress(gpu.upload(input).pointer);
  context.tensor("features").setAddress(output.pointer);
  context.enqueue(gpu.stream);
  return gpu.download(output);
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, at) => Math.max(worst, Math.abs(value - b[at]!)), 0);
}

buildTest("Builder, BuilderConfig and Network keep what they are told", async () => {
  using gpu = new Gpu();
  using builder = await Builder.create({ library: gpuLibrary(), device: gpu.device });
  const { isStronglyTyped } = builder.library;
  expect(builder.hasFastFp16).toBe(isStronglyTyped ? undefined : true);
  expect(builder.dlaCoreCount).toBe(0);
  builder.setMaxThreads(2);
  using config = builder.createConfig();
  expect(config.flag("tf32")).toBe(true);
  for (const flag of ["tf32", "fp16", "int8", "versionCompatible", "gpuFallback"] as const) {
    const exists = config.setFlag(flag, true);
    expect([flag, config.flag(flag)]).toEqual([flag, exists]);
    config.setFlag(flag, false);
    expect(config.flag(flag)).toBe(false);
  }
  config.optimizationLevel = 5;
  config.profilingVerbosity = "detailed";
  config.hardwareCompatibility = "ampere-plus";
  config.setMemoryPoolLimit("workspace", 2 ** 32 + 2 ** 20);
  expect([config.optimizationLevel, config.profilingVerbosity, config.hardwareCompatibility]).toEqual([
    5,
    "detailed",
    "ampere-plus",
  ]);
  expect(config.memoryPoolLimit("workspace")).toBe(2 ** 32 + 2 ** 20);
  expect(config.profileCount).toBe(0);

  using weak = builder.createNetwork();
  using strong = builder.createNetwork({ stronglyTyped: true });
  expect([weak.flags & 2, strong.flags & 2]).toEqual(isStronglyTyped ? [weak.flags & 2, strong.flags & 2] : [0, 2]);
  strong.name = "müller";
  expect(strong.name).toBe("müller");
  using _parser = await OnnxParser.parse(weak, tinyModel({ shape: ["n", 3, 33, 47] }));
  expect(weak.inputs()).toEqual([{ name: "images", dtype: "f32", shape: [-1, 3, 33, 47], isShapeTensor: false }]);
  expect(weak.outputs()[0]).toMatchObject({ name: "features", shape: [-1, 4, 33, 47] });
  const layers = Array.from({ length: weak.layerCount }, (_, index) => weak.layer(index));
  // Type 0 is a convolution.
  expect(layers.find((layer) => layer.type === 0)?.name).toContain("Conv");
  expect(weak.isQuantized()).toBe(false);
});

buildTest("buildPlan() builds FP32 that is exact without TF32, and FP16 that is near", async () => {
  using gpu = new Gpu();
  const metadata = { names: "{0: 'a'}" };
  const input = noise([1, 3, 33, 47]);
  const expected = reference(input);
  const exact = await build(gpu, tinyModel({ metadata }), { precision: "fp32", tf32: false });
  const file = readPlan(exact.bytes, "tiny");
  expect(file.metadata).toEqual(metadata);
  expect(file.header).toMatchObject({ family: "TensorRT", release: gpuLibrary().version.release });
  expect(file.origin).toMatchObject({ gpu: gpu.device.name, computeCapabilities: [[...gpu.device.computeCapability]] });
  // Where the header names the GPU, it is this one.
  expect(["", gpu.device.computeCapability.join()]).toContain(file.header!.computeCapabilities.join(";"));
  const first = gpu.own(await (await load(gpu, exact.bytes)).createContext());
  expect(largestDifference(infer(gpu, first, input), expected)).toBeLessThan(1e-4);
  const near = await build(gpu, tinyModel({ metadata }), { precision: "fp16" });
  const second = gpu.own(await (await load(gpu, near.bytes)).createContext());
  expect(largestDifference(infer(gpu, second, input), expected)).toBeLessThan(0.05);
});

buildTest("buildPlan() builds dynamic batches and sizes under two profiles", async () => {
  using gpu = new Gpu();
  const images = { min: [1, 3, 1, 1], opt: [2, 3, 33, 47], max: [4, 3, 97, 65] };
  const options = { precision: "fp32", tf32: false, profiles: [{ images }, { images: [1, 3, 128, 96] }] } as const;
  const built = await build(gpu, tinyModel({ shape: ["n", 3, "h", "w"] }), options);
  const engine = await load(gpu, built.bytes);
  expect(engine.profileCount).toBe(2);
  expect(engine.inputs[0]?.profiles).toEqual([
    images,
    { min: [1, 3, 128, 96], opt: [1, 3, 128, 96], max: [1, 3, 128, 96] },
  ]);
  const context = gpu.own(await engine.createContext());
  expect(context.missingShapes()).toEqual(["images"]);
  for (const shape of [
    [1, 3, 1, 1],
    [3, 3, 33, 47],
    [4, 3, 97, 65],
    [2, 3, 5, 64],
  ]) {
    const input = noise(shape);
    expect(largestDifference(infer(gpu, context, input), reference(input))).toBeLessThan(1e-4);
  }
  expect(() => context.tensor("images").setShape([5, 3, 33, 47])).toThrow(ShapeError);
  expect(() => context.tensor("images").setShape([1, 3, 33])).toThrow(ShapeError);
  context.setProfile(1, gpu.stream);
  expect(context.profile).toBe(1);
  const large = noise([1, 3, 128, 96]);
  expect(largestDifference(infer(gpu, context, large), reference(large))).toBeLessThan(1e-4);
  expect(engine.deviceMemoryBytes(1)).toBeLessThanOrEqual(engine.deviceMemoryBytes());
});

buildTest("an output whose shape depends on the data is placed by an allocator", async () => {
  using gpu = new Gpu();
  const model = onnxModel({
    nodes: [{ op: "NonZero", inputs: ["x"], outputs: ["places"] }],
    inputs: [{ name: "x", dtype: "f32", shape: [3, 5] }],
    outputs: [{ name: "places", dtype: "i64", shape: [2, "count"] }],
  });
  const engine = await load(gpu, (await build(gpu, model, { precision: "fp32" })).bytes);
  const context = gpu.own(await engine.createContext());
  const input = createTensor("f32", [3, 5]);
  input.data.set([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3]);
  context.tensor("x").setAddress(gpu.upload(input).pointer);
  const places = context.tensor("places");
  expect(places.info.dtype).toBe("i64");
  expect(places.maxBytes).toBeGreaterThanOrEqual(2 * 15 * 8);
  using allocator = OutputAllocator.create(context, "places");
  const memory = gpu.own(DeviceBuffer.create("i64", [places.maxBytes / 8], { stream: gpu.stream }));
  allocator.setMemory(memory);
  context.enqueue(gpu.stream);
  gpu.stream.synchronize();
  expect(allocator.shape).toEqual([2, 3]);
  expect(allocator.requestedBytes).toBeGreaterThan(0);
  expect([...gpu.download(memory).slice(0, 6)]).toEqual([0n, 1n, 2n, 0n, 3n, 4n]);
});

buildTest("a model with Q/DQ nodes is built with INT8", async () => {
  using gpu = new Gpu();
  const lines: string[] = [];
  setLogSink((_, text) => lines.push(text));
  const scale = { name: "scale", dtype: "f32", shape: [], data: Float32Array.of(0.05) } as const;
  const zero = { name: "zero", dtype: "i8", shape: [], data: Int8Array.of(0) } as const;
  const model = onnxModel({
    nodes: [
      { op: "QuantizeLinear", inputs: ["x", "scale", "zero"], outputs: ["q"] },
      { op: "DequantizeLinear", inputs: ["q", "scale", "zero"], outputs: ["d"] },
      { op: "Relu", inputs: ["d"], outputs: ["y"] },
    ],
    inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 16, 16] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 3, 16, 16] }],
    initializers: [scale, zero],
  });
  const engine = await load(gpu, (await build(gpu, model)).bytes);
  expect(engine.outputs[0]?.shape).toEqual([1, 3, 16, 16]);
  if (!gpuLibrary().isStronglyTyped)
    expect(lines.join("\n")).toContain("The model brings its own quantisation: INT8 is used");
});

buildTest("options reach the engine: verbosity, hardware compatibility, auxiliary streams", async () => {
  using gpu = new Gpu();
  const options = { profilingVerbosity: "detailed", hardwareCompatibility: "ampere-plus", maxAuxStreams: 0 } as const;
  const built = await build(gpu, tinyModel(), options);
  expect(built.origin.hardwareCompatibility).toBe("ampere-plus");
  const engine = await load(gpu, built.bytes);
  expect([engine.hardwareCompatibility, engine.auxStreamCount]).toEqual(["ampere-plus", 0]);
  using inspector = engine.createInspector();
  const layer = inspector.information().Layers[0] as Record<string, unknown>;
  expect(layer.Inputs).toBeDefined();
});

buildTest("a version-compatible build works, or says which library it lacks", async () => {
  using gpu = new Gpu();
  const built = await build(gpu, tinyModel(), { versionCompatible: true }).catch((error: unknown) => error);
  if (built instanceof Error) {
    expect(built).toBeInstanceOf(OptionError);
    expect(built.message).toMatch(/libnvinfer_lean\.so\.1\d is (not there|of TensorRT)/);
    return;
  }
  const options = { library: gpuLibrary(), device: gpu.device, hostCodeAllowed: true };
  using runtime = await Runtime.create(options);
  using engine = await runtime.deserialize((built as BuiltPlan).bytes);
  expect(engine.layerCount).toBeGreaterThan(0);
});

buildTest("the timing cache of one build serves the next", async () => {
  using gpu = new Gpu();
  const warnings: string[] = [];
  setLogSink((level, text) => level === "warn" && warnings.push(text));
  const options = { optimizationLevel: 3 };
  const first = await build(gpu, tinyModel(), options, { timingCache: new Uint8Array() });
  const second = await build(gpu, tinyModel(), options, { timingCache: first.timingCache });
  expect(first.timingCache.length).toBeGreaterThan(100);
  expect(warnings.filter((text) => /timing cache/i.test(text))).toEqual([]);
  expect(second.elapsedMs).toBeLessThan(first.elapsedMs * 1.2);
});

buildTest("EngineCache builds once a GPU", async () => {
  using gpu = new Gpu();
  const cache = new EngineCache(inFolder());
  const environment = { library: gpuLibrary(), device: gpu.device, source: "tiny.onnx" };
  const first = await cache.obtain(tinyModel(), FAST, environment);
  const second = await cache.obtain(tinyModel(), FAST, environment);
  expect([first.isHit, second.isHit]).toEqual([false, true]);
  const engine = await load(gpu, second.bytes);
  expect(engine.name).toBe("tiny.onnx");
});

buildTest("OnnxParser.parse() names node and operator", async () => {
  using gpu = new Gpu();
  const model = onnxModel({
    nodes: [{ op: "FrobnicatePixels", domain: "my.company", inputs: ["x"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "f32", shape: [1, 3, 5, 7] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 3, 5, 7] }],
  });
  const error = (await build(gpu, model).catch((e: unknown) => e)) as ModelError;
  expect(error).toBeInstanceOf(ModelError);
  expect(error.message).toContain('node "FrobnicatePixels_0" (FrobnicatePixels)');
  const unranged = await build(gpu, tinyModel({ shape: ["n", 3, 5, 7] })).catch((e: unknown) => e);
  expect(unranged).toBeInstanceOf(OptionError);
});

buildTest("OptimizationProfile and TensorRT's errors are told apart from a success", async () => {
  using gpu = new Gpu();
  // Refused before TensorRT sees it; what TensorRT itself says is got by its own objects.
  const wrong = [1, 4, 9, 9];
  const model = tinyModel({ shape: ["n", 3, 9, 9] });
  const refused = await build(gpu, model, { profiles: [{ images: wrong }] }).catch((e: unknown) => e);
  expect(refused).toBeInstanceOf(OptionError);
  using builder = await Builder.create({ library: gpuLibrary(), device: gpu.device });
  using network = builder.createNetwork();
  using _parser = await OnnxParser.parse(network, model);
  using settings = builder.createConfig();
  const profile = builder.createProfile();
  profile.setShapes("images", { min: wrong, opt: wrong, max: wrong });
  settings.addProfile(profile);
  const error = (await builder.build(network, settings).catch((e: unknown) => e)) as TensorRtError;
  expect(error).toBeInstanceOf(TensorRtError);
  expect(error.log.length).toBeGreaterThan(0);
});

test.skipIf(isTensorRtMissing || isMissing("models/yolov8n_640.onnx"))(
  "buildPlan() reports progress, leaves the JS thread free, and is cancelled",
  async () => {
    using gpu = new Gpu();
    const controller = new AbortController();
    const events: BuildEvent[] = [];
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 10);
    const path = sharedPath("models/yolov8n_640.onnx");
    const onProgress = (event: BuildEvent): void => {
      events.push(event);
      if (events.length > 5) controller.abort(new Error("enough"));
    };
    const model = await Bun.file(path).bytes();
    const failed = await build(
      gpu,
      model,
      { precision: "fp16" },
      { path, signal: controller.signal, onProgress },
    ).catch((error: unknown) => error);
    clearInterval(timer);
    expect((failed as Error).message).toBe("enough");
    expect(events[0]).toMatchObject({ kind: "start", fraction: 0 });
    expect(longest).toBeLessThan(1000);
  },
  SLOW_TEST_MS,
);

/** tinyModel() as it is built on this version: of FP16 where networks keep the types of the model. */
function halfModel(options: Parameters<typeof tinyModel>[0] = {}): Uint8Array<ArrayBuffer> {
  return tinyModel(gpuLibrary().isStronglyTyped ? { ...options, dtype: "f16" } : options);
}

/** What an engine of one input and one output makes of a tensor, whatever their formats. */
async function runOnce(engine: Engine, tensor: Tensor): Promise<Tensor> {
  const outputs = await openedEngine(engine, "the built plan").sample!("images", tensor);
  return outputs.get("features")!;
}

buildTest("every format of TensorRT lies as `vector` says: engines make the same of the same image", async () => {
  using gpu = new Gpu();
  const library = gpuLibrary();
  const [height, width] = [33, 47];
  const seen: TensorFormat[] = [];
  for (const format of ["linear", "chw2", "chw4", "hwc", "hwc8", "chw16", "chw32", "hwc16"] as const) {
    // TensorRT has it of FP32 alone.
    const dtype = format === "hwc" ? "f32" : "f16";
    const image = createTensor(dtype, [2, 3, height, width]);
    image.data.set(noise(image.shape).data);
    const wanted = reference({ dtype: "f32", shape: image.shape, data: Float32Array.from(image.data) });
    using builder = await Builder.create({ library, device: gpu.device });
    using network = builder.createNetwork();
    using _parser = await OnnxParser.parse(network, halfModel({ shape: ["n", 3, height, width] }), {});
    using settings = builder.createConfig();
    if (!library.isStronglyTyped) settings.setFlag("fp16", true);
    settings.optimizationLevel = 1;
    const profile = builder.createProfile();
    const shape = (batch: number): Shape => [batch, 3, height, width];
    profile.setShapes("images", { min: shape(1), opt: shape(2), max: shape(4) });
    settings.addProfile(profile);
    network.setFormat("input", 0, dtype, format);
    network.setFormat("output", 0, dtype, format);
    let plan: HostMemory;
    try {
      plan = await builder.build(network, settings);
    } catch (error) {
      // Which formats a version has kernels for is its own affair, but for the three below.
      if (!(error instanceof TensorRtError)) throw error;
      continue;
    }
    using _plan = plan;
    const engine = await load(gpu, plan.view());
    expect(engine.tensors.map((one) => one.format)).toEqual([format, format]);
    const made = await runOnce(engine, image);
    seen.push(format);
    for (const [at, value] of wanted.entries()) {
      expect(Math.abs((made.data[at]! as number) - value), `${format}, element ${at}`).toBeLessThan(0.02);
    }
  }
  expect(seen).toEqual(expect.arrayContaining(["linear", "chw4", "hwc8"]));
});

buildTest("images and maps of a model that was cut are built in several formats, and the fastest is kept", async () => {
  using gpu = new Gpu();
  const metadata = { bun_tensorrt_shaped: "{}" };
  const model = halfModel({ shape: ["n", 3, 160, 160], metadata });
  const batch = { min: 1, opt: 2, max: 4 };
  const { bytes, origin } = await build(gpu, model, { batch, optimizationLevel: 3 });
  const measured = Object.entries(origin.io!.measuredMs!);
  expect(measured.length).toBe(gpuLibrary().isStronglyTyped ? 2 : 3);
  for (const [, milliseconds] of measured) expect(milliseconds).toBeGreaterThan(0);
  expect(readPlan(bytes, "the built plan").origin?.io).toEqual(origin.io);
  // Without its metadata, which says that it was cut and not how.
  const engine = await load(gpu, readPlan(bytes, "the built plan").plan);
  const form = { model: "linear", fp16: "linear", hwc8: "hwc8" }[origin.io!.format];
  expect(engine.tensors.map((one) => one.format as string)).toEqual([form, form]);

  const quick = await build(gpu, model, { batch, optimizationLevel: 0 });
  expect(quick.origin.io).toEqual({ format: "hwc8" });
  const asExported = await build(gpu, model, { batch, ioFormat: "model" });
  expect(asExported.origin.io).toBeUndefined();
  const image = createTensor(engine.inputs[0]!.dtype, [3, 3, 160, 160]);
  image.data.set(noise(image.shape).data as never);
  const wanted = reference({ dtype: "f32", shape: image.shape, data: Float32Array.from(image.data as never) });
  const made = await runOnce(engine, image);
  for (const [at, value] of wanted.entries()) expect(Math.abs(Number(made.data[at]) - value)).toBeLessThan(0.02);
});

const YOLO = "models/yolov8n_640.onnx";
const IMAGES = "images/photos";

/** How many layers of an engine give a tensor of some types. */
async function layersOf(
  gpu: Gpu,
  model: Uint8Array,
): Promise<{ origin: BuiltPlan["origin"]; count: Counter; all: number }> {
  const { bytes, origin } = await build(gpu, model, { profilingVerbosity: "detailed" });
  const engine = await load(gpu, bytes);
  using inspector = engine.createInspector();
  const layers = inspector
    .information()
    .Layers.map((layer) => JSON.stringify((layer as { Outputs?: unknown }).Outputs));
  return { origin, all: layers.length, count: (types) => layers.filter((text) => types.test(text ?? "")).length };
}

type Counter = (types: RegExp) => number;

for (const precision of ["fp16", "int8", "fp8"] as const) {
  test.skipIf(isTensorRtMissing || isMissing(YOLO) || isMissing(IMAGES))(
    `a model that was converted to ${precision} is built strongly typed, and the inspector shows it`,
    async () => {
      using gpu = new Gpu();
      const [major = 0, minor = 0] = gpu.device.computeCapability;
      if (precision === "fp8" && major * 10 + minor < 89) return;
      const output = inFolder(`yolo.${precision}.onnx`);
      const calibration = precision === "fp16" ? undefined : sharedPath(IMAGES);
      const { layers } = await convert(sharedPath(YOLO), { precision, output, calibration });
      expect(layers.filter(({ type }) => type === precision).length).toBeGreaterThan(50);
      const { origin, count, all } = await layersOf(gpu, await Bun.file(output).bytes());
      expect(origin.precision).toBe("model");
      expect(all).toBeGreaterThan(20);
      // What is left in FP32 are the boxes, in front of the output.
      expect(count(/FP32|Float/) / all).toBeLessThan(0.2);
      if (precision === "fp16") expect(count(/FP16|Half/) / all).toBeGreaterThan(0.7);
      else expect(count(precision === "int8" ? /INT8|Int8/ : /FP8|E4M3/)).toBeGreaterThan(20);
    },
    SLOW_TEST_MS,
  );
}
