import { expect, test } from "bun:test";
import { PlanMismatchError, ShapeError } from "../../../src/core/errors.ts";
import { createTensor, type Tensor } from "../../../src/core/tensor.ts";
import { DeviceBuffer } from "../../../src/cuda/buffers.ts";
import { Graph, Stream } from "../../../src/cuda/stream.ts";
import { Session } from "../../../src/onnxruntime/session.ts";
import { type Engine, type ExecutionContext, LayerProfiler } from "../../../src/tensorrt/engine.ts";
import { readPlan, writePlan } from "../../../src/tensorrt/plan-file.ts";
import { Runtime } from "../../../src/tensorrt/runtime.ts";
import { Gpu, SLOW_TEST_MS } from "../../support/gpu.ts";
import { gpuLibrary, isPlanForeign, PLAN } from "../../support/gpu-tensorrt.ts";
import { isMissing, sharedPath } from "../../support/shared.ts";

const MODEL = "models/yolov8n_640.onnx";

const planTest = test.skipIf(isPlanForeign());

/** A GPU with the plan loaded; the engine closes before the device. */
class Loaded implements AsyncDisposable {
  readonly gpu: Gpu;
  readonly engine: Engine;

  private constructor(gpu: Gpu, engine: Engine) {
    this.gpu = gpu;
    this.engine = engine;
  }

  static async open(): Promise<Loaded> {
    const gpu = new Gpu();
    const runtime = gpu.own(await Runtime.create({ library: gpuLibrary(), device: gpu.device }));
    return new Loaded(gpu, gpu.own(await runtime.load(sharedPath(PLAN))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.gpu[Symbol.dispose]();
  }
}

/** An image that differs everywhere, values in [0, 1]. */
function image(seed: number): Tensor<"f32"> {
  const tensor = createTensor("f32", [1, 3, 640, 640]);
  for (let at = 0; at < tensor.data.length; at++) {
    const [x, y] = [at % 640, Math.floor(at / 640) % 640];
    tensor.data[at] = 0.5 + 0.25 * Math.sin((x * (seed + 3)) / 40) + 0.25 * Math.cos((y * (seed + 5)) / 60);
  }
  return tensor;
}

/** Bind fresh buffers to a context: the image in, the rows out. */
function bind(gpu: Gpu, context: ExecutionContext, seed: number): DeviceBuffer<"f32"> {
  const input = gpu.upload(image(seed));
  const output = gpu.own(DeviceBuffer.create("f32", [1, 84, 8400], { stream: gpu.stream }));
  context.tensor("images").setAddress(input.pointer);
  context.tensor("output0").setAddress(output.pointer);
  return output;
}

planTest("Engine tells what yolov8n takes and gives", async () => {
  await using loaded = await Loaded.open();
  const { engine } = loaded;
  expect(engine.inputs).toMatchObject([
    { name: "images", dtype: "f32", shape: [1, 3, 640, 640], location: "device", isLinear: true },
  ]);
  expect(engine.outputs).toMatchObject([{ name: "output0", dtype: "f32", shape: [1, 84, 8400], isShapeInput: false }]);
  expect(engine.inputs[0]?.profiles[0]?.max).toEqual([1, 3, 640, 640]);
  expect(engine.profileCount).toBe(1);
  expect(engine.layerCount).toBeGreaterThan(20);
  expect(engine.deviceMemoryBytes()).toBeGreaterThan(2 ** 20);
  expect(engine.deviceMemoryBytes(0)).toBe(engine.deviceMemoryBytes());
  expect([engine.isRefittable, engine.hardwareCompatibility]).toEqual([false, "none"]);
});

test.skipIf(isPlanForeign() || isMissing(MODEL))(
  "ExecutionContext.enqueue() computes what ONNX Runtime computes, within FP16",
  async () => {
    await using loaded = await Loaded.open();
    const { gpu, engine } = loaded;
    const context = gpu.own(await engine.createContext());
    expect(context.missingShapes()).toEqual([]);
    const output = bind(gpu, context, 1);
    context.enqueue(gpu.stream);
    const rows = gpu.download(output);
    using session = await Session.load(sharedPath(MODEL));
    const expected = (await session.run({ images: image(1) })).get("output0")!.data as Float32Array;
    let [scores, boxes] = [0, 0];
    for (let at = 0; at < rows.length; at++) {
      const difference = Math.abs(rows[at]! - expected[at]!);
      if (at < 4 * 8400) boxes += difference / (4 * 8400);
      else scores = Math.max(scores, difference);
    }
    expect(scores).toBeLessThan(0.05);
    expect(boxes).toBeLessThan(1);
  },
  SLOW_TEST_MS,
);

planTest("contexts on two streams give what one gives", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const [first, second] = [gpu.own(await engine.createContext()), gpu.own(await engine.createContext())];
  const [one, two] = [bind(gpu, first, 1), bind(gpu, second, 2)];
  first.enqueue(gpu.stream);
  second.enqueue(gpu.stream);
  const alone = [gpu.download(one), gpu.download(two)];
  const side = gpu.own(Stream.create(gpu.device));
  for (let round = 0; round < 20; round++) {
    first.enqueue(gpu.stream);
    second.enqueue(side);
  }
  side.synchronize();
  expect(gpu.download(one)).toEqual(alone[0]!);
  expect(gpu.download(two)).toEqual(alone[1]!);
  expect(alone[0]).not.toEqual(alone[1]);
});

planTest("contexts share memory of the caller", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const plain = gpu.own(await engine.createContext());
  const expected = bind(gpu, plain, 3);
  plain.enqueue(gpu.stream);
  const memory = gpu.own(DeviceBuffer.create("u8", [engine.deviceMemoryBytes(0)], { device: gpu.device }));
  const small = gpu.own(DeviceBuffer.create("u8", [1], { device: gpu.device }));
  for (let at = 0; at < 2; at++) {
    const context = gpu.own(await engine.createContext({ memory: "user-managed" }));
    expect(() => context.setDeviceMemory(small)).toThrow(ShapeError);
    expect(context.neededMemoryBytes()).toBeLessThanOrEqual(memory.byteLength);
    context.setDeviceMemory(memory);
    const output = bind(gpu, context, 3);
    context.enqueue(gpu.stream);
    expect(gpu.download(output)).toEqual(gpu.download(expected));
  }
});

planTest("an inference is captured into a graph", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const { stream } = gpu;
  const context = gpu.own(await engine.createContext());
  const output = bind(gpu, context, 4);
  context.enqueue(stream);
  const expected = gpu.download(output);
  using graph = Graph.capture("yolov8n", () => context.enqueue(stream), { stream });
  expect(graph.nodeCount()).toBeGreaterThan(10);
  using replay = graph.instantiate();
  for (let frame = 0; frame < 10; frame++) replay.launch({ stream });
  expect(gpu.download(output)).toEqual(expected);
});

planTest("ExecutionContext uses auxiliary streams of the caller", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const context = gpu.own(await engine.createContext());
  context.setAuxStreams(Array.from({ length: engine.auxStreamCount }, () => gpu.own(Stream.create(gpu.device))));
  context.setPersistentCacheLimit(0);
  const output = bind(gpu, context, 5);
  context.enqueue(gpu.stream);
  expect(gpu.download(output).some((value) => value > 1)).toBe(true);
});

planTest("LayerProfiler times the layers, and stops when it is closed", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const context = gpu.own(await engine.createContext());
  bind(gpu, context, 6);
  using profiler = LayerProfiler.create(context);
  context.enqueue(gpu.stream);
  gpu.stream.synchronize();
  profiler.reset();
  for (let frame = 0; frame < 5; frame++) context.enqueue(gpu.stream);
  gpu.stream.synchronize();
  const layers = profiler.layers();
  expect(layers.length).toBeGreaterThan(20);
  expect(layers.every((layer) => layer.count === 5 && layer.meanMs >= 0)).toBe(true);
  const total = layers.reduce((sum, layer) => sum + layer.meanMs, 0);
  expect(total).toBeGreaterThan(0.1);
  // Under compute-sanitizer the layers are hundreds of times slower.
  expect(total).toBeLessThan(30_000);
  profiler.close();
  context.enqueue(gpu.stream);
  gpu.stream.synchronize();
});

planTest("LayerProfiler reports later where it is told to", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  const context = gpu.own(await engine.createContext());
  bind(gpu, context, 6);
  using profiler = LayerProfiler.create(context);
  context.setEmitsProfile(false);
  context.enqueue(gpu.stream);
  expect(context.reportToProfiler()).toBe(true);
  expect(profiler.layers().length).toBeGreaterThan(20);
});

planTest("EngineInspector lists the layers", async () => {
  await using loaded = await Loaded.open();
  const { gpu, engine } = loaded;
  using inspector = engine.createInspector();
  expect(inspector.information().Layers.length).toBeGreaterThan(20);
  expect(inspector.layer(0)).not.toBe("");
  const context = gpu.own(await engine.createContext());
  inspector.setContext(context);
  expect(inspector.information().Layers.length).toBeGreaterThan(20);
});

planTest("Runtime.deserialize() uses metadata in front of the plan, and refuses a plan of another GPU", async () => {
  using gpu = new Gpu();
  using runtime = await Runtime.create({ library: gpuLibrary(), device: gpu.device });
  const { plan } = readPlan(await Bun.file(sharedPath(PLAN)).bytes(), "yolov8n");
  const origin = { tensorRt: "TensorRT 10.6.0.26" };
  using engine = await runtime.deserialize(writePlan(plan, { names: "{0: 'person'}" }, origin));
  expect(engine.metadata).toEqual({ names: "{0: 'person'}" });
  const foreign = writePlan(plan, {}, { ...origin, computeCapabilities: [[8, 6]], gpu: "NVIDIA GeForce RTX 3090" });
  const error = (await runtime.deserialize(foreign).catch((e: unknown) => e)) as PlanMismatchError;
  expect(error).toBeInstanceOf(PlanMismatchError);
  expect(error.message).toContain("compute capability 8.6 (NVIDIA GeForce RTX 3090), this GPU has 9.0");
  // An odd offset: the bytes are copied to where TensorRT may read them.
  const odd = new Uint8Array(plan.length + 3);
  odd.set(plan, 3);
  using again = await runtime.deserialize(odd.subarray(3));
  expect(again.layerCount).toBe(engine.layerCount);
  using written = engine.serialize();
  expect(written.byteLength).toBeGreaterThan(2 ** 20);
});

planTest("loading and context creation leave the JS thread free", async () => {
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  const started = performance.now();
  {
    await using loaded = await Loaded.open();
    using context = await loaded.engine.createContext();
    expect(context.memory).toBe("static");
  }
  clearInterval(timer);
  const elapsed = performance.now() - started;
  expect(longest).toBeLessThan(Math.max(60, elapsed / 2));
});
