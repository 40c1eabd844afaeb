import { dlopen } from "bun:ffi";
import { beforeAll, describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ClosedError, ShapeError, TensorRtError } from "../../src/core/errors.ts";
import { Resource } from "../../src/core/resource.ts";
import type { DeviceMemory } from "../../src/cuda/buffers.ts";
import type { Device } from "../../src/cuda/device.ts";
import type { Stream } from "../../src/cuda/stream.ts";
import { LayerProfiler } from "../../src/tensorrt/engine.ts";
import { TensorRtLibrary } from "../../src/tensorrt/library.ts";
import { Runtime } from "../../src/tensorrt/runtime.ts";
import { OutputAllocator } from "../../src/tensorrt/tensor-info.ts";
import { fileFolder } from "../support/folder.ts";
import { sharedPath } from "../support/shared.ts";

setDefaultTimeout(120_000);

const headers = sharedPath("tensorrt/slots-min.json");
const isAbsent = !existsSync(headers) || Bun.which("gcc") === null;
const inFolder = fileFolder("fake-tensorrt");

/** Class → tag → method names by slot. */
type Headers = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** What the fake looks at of a stream is its handle. */
const STREAM = { handle: 0x5000 } as unknown as Stream;

function memory(pointer: number, byteLength: number): DeviceMemory {
  return { pointer, byteLength } as DeviceMemory;
}

/** The machine's own threads stay as they are for a device of the number -1. */
class FakeDevice extends Resource {
  readonly index = -1;
  readonly computeCapability = [9, 0];
  timesCurrent = 0;
  whenCurrent = (): void => {};

  constructor() {
    super("FakeDevice");
  }

  makeCurrent(): void {
    this.timesCurrent += 1;
    this.whenCurrent();
  }

  protected override release(): void {}
}

/** Compile the fake with the slots of one release. */
async function compile(tag: string, version: number, layout: number): Promise<string> {
  const slots = (await Bun.file(headers).json()) as Headers;
  const lines = [`#define VERSION ${version}`, `#define LAYOUT ${layout}`, "#include <stddef.h>"];
  for (const type of ["VRuntime", "VCudaEngine", "VExecutionContext", "VEngineInspector", "VHostMemory"]) {
    slots[type]![tag]!.forEach((name, slot, all) => {
      if (all.indexOf(name) === slot && /^\w+$/.test(name)) lines.push(`#define ${type}_${name} ${slot}`);
    });
  }
  const place = inFolder(tag);
  await Bun.write(join(place, "slots.h"), `${lines.join("\n")}\n`);
  const library = join(place, "libnvinfer.so.fake");
  const source = join(import.meta.dir, "../native/fake-tensorrt.c");
  const flags = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-function",
    "-O1",
    "-fPIC",
    "-shared",
    `-I${place}`,
  ];
  const { exitCode, stderr } = Bun.spawnSync(["gcc", ...flags, "-o", library, source], { stderr: "pipe" });
  if (exitCode !== 0) throw new Error(stderr.toString());
  return library;
}

const PLAN = new TextEncoder().encode(`fakeplan${" ".repeat(50)}`);

for (const [tag, version, layout] of [
  ["v10.0.0", 100000, 10],
  ["v10.6.0", 100600, 10],
  ["v10.16", 101600, 10],
  ["v11.1", 110100, 11],
] as const) {
  describe.skipIf(isAbsent)(`a fake TensorRT with the slots of ${tag}, as gcc and shared/tensorrt are there`, () => {
    let library: TensorRtLibrary;
    let alive: () => number;

    beforeAll(async () => {
      const path = await compile(tag, version, layout);
      library = TensorRtLibrary.bind(path);
      alive = dlopen(path, { fakeObjectsAlive: { args: [], returns: "i32" } }).symbols.fakeObjectsAlive;
    });

    test("Engine reads its tensors and profiles", async () => {
      using runtime = await Runtime.create({ library, hostCodeAllowed: true, dlaCore: 0 });
      runtime.setMaxThreads(2);
      using engine = await runtime.deserialize(PLAN, { source: "fake.plan" });
      expect(engine.inputs).toEqual([
        {
          name: "images",
          dtype: "f32",
          shape: [-1, 3, -1, -1],
          mode: "input",
          isShapeInput: false,
          location: "device",
          isLinear: true,
          format: "linear",
          formatText: "Row major linear",
          profiles: [
            { min: [1, 3, 32, 31], opt: [2, 3, 64, 31], max: [3, 3, 96, 31] },
            { min: [1, 3, 32, 62], opt: [2, 3, 64, 62], max: [3, 3, 96, 62] },
          ],
        },
      ]);
      expect(engine.outputs).toMatchObject([
        { name: "rows", dtype: "f16", shape: [-1, 6], mode: "output", profiles: [] },
      ]);
      expect([engine.name, engine.layerCount, engine.auxStreamCount, engine.profileCount]).toEqual([
        "fake network",
        7,
        2,
        2,
      ]);
      expect([engine.isRefittable, engine.hardwareCompatibility]).toEqual([true, "ampere-plus"]);
      expect(engine.deviceMemoryBytes()).toBe(2 ** 33 + 5);
      expect(engine.deviceMemoryBytes(1)).toBe(tag === "v10.0.0" ? 2 ** 33 + 5 : 4097);
      expect(() => engine.tensor("image")).toThrow('its tensors are "images", "rows"');
      using plan = engine.serialize();
      expect(new TextDecoder().decode(plan.copy())).toBe("plan bytes");
      expect(() => runtime.close()).toThrow("are still open (1)");
    });

    test("ExecutionContext sets shapes, addresses and profiles, and runs", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext();
      const images = context.tensor("images");
      const rows = context.tensor("rows");
      expect(context.missingShapes()).toEqual(["images"]);
      expect(() => context.enqueue(STREAM)).toThrow("not all inputs have a shape");
      expect(() => images.setShape([4, 3, 32, 31])).toThrow(ShapeError);
      expect(() => images.setShape([4, 3, 32, 31])).toThrow(
        "it must be within [1, 3, 32, 31] and [3, 3, 96, 31] of profile 0, got [4, 3, 32, 31]",
      );
      images.setShape([2, 3, 33, 31]);
      expect(context.missingShapes()).toEqual([]);
      expect([images.shape, rows.shape, rows.strides]).toEqual([
        [2, 3, 33, 31],
        [2, 6],
        [6, 1],
      ]);
      expect([images.vector, rows.vector]).toEqual([1, 1]);
      expect(rows.maxBytes).toBe(1200);
      images.setAddress(0x7f00_0000_0000);
      const unbound = (): void => context.enqueue(STREAM);
      expect(unbound).toThrow("Cannot run the plan: rows is bound to nothing (TensorRT");
      rows.setAddress(0x7f00_0001_0000);
      context.enqueue(STREAM);
      context.setProfile(1, STREAM);
      expect(context.profile).toBe(1);
      expect(() => context.setProfile(2, STREAM)).toThrow(TensorRtError);
      context.setAuxStreams([STREAM, STREAM]);
      context.setPersistentCacheLimit(2 ** 20);
      context.setEmitsProfile(false);
      expect(context.reportToProfiler()).toBe(true);
      context.close();
      expect(() => context.enqueue(STREAM)).toThrow(ClosedError);
      expect(() => rows.setAddress(0)).toThrow(ClosedError);
    });

    test("ExecutionContext takes memory of the caller", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext({ memory: "user-managed" });
      context.tensor("images").setShape([1, 3, 32, 31]);
      context.tensor("rows").setAddress(0x10000);
      expect(() => context.enqueue(STREAM)).toThrow("the context has no memory");
      const needed = engine.deviceMemoryBytes(0);
      expect(() => context.setDeviceMemory(memory(0x20000, needed - 1))).toThrow(ShapeError);
      expect(context.neededMemoryBytes()).toBe(778);
      context.setDeviceMemory(memory(0x20000, needed));
      context.enqueue(STREAM);
      expect(context.neededMemoryBytes()).toBe(tag === "v10.0.0" ? 778 : 777);
    });

    test("OutputAllocator grants what fits and tells the shape", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext();
      context.tensor("images").setShape([1, 3, 32, 31]);
      using allocator = OutputAllocator.create(context, "rows");
      expect(allocator.shape).toBeUndefined();
      allocator.setMemory(memory(0x10000, 1000));
      expect(() => context.enqueue(STREAM)).toThrow("the allocator gave nothing");
      expect(allocator.requestedBytes).toBe(1200);
      allocator.setMemory(memory(0x10000, 1200));
      context.enqueue(STREAM);
      expect(allocator.shape).toEqual([100, 6]);
      expect(() => OutputAllocator.create(context, "images")).toThrow(TensorRtError);
    });

    test("OutputAllocator that is closed is not used: it is freed with its context", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext();
      const allocator = OutputAllocator.create(context, "rows");
      allocator.close();
      expect(() => allocator.setMemory(memory(0x10000, 1200))).toThrow(ClosedError);
      expect(() => allocator.requestedBytes).toThrow(ClosedError);
      expect(() => allocator.shape).toThrow(ClosedError);
      expect(() => context.tensor("rows").setAllocator(allocator)).toThrow(ClosedError);
    });

    test("LayerProfiler sums the layers' times", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext();
      context.tensor("images").setShape([1, 3, 32, 31]);
      context.tensor("rows").setAddress(0x10000);
      const profiler = LayerProfiler.create(context);
      context.enqueue(STREAM);
      profiler.reset();
      for (let frame = 0; frame < 3; frame++) context.enqueue(STREAM);
      expect(profiler.layers()).toEqual([
        { name: "conv", count: 3, totalMs: 1.5, minMs: 0.5, maxMs: 0.5, meanMs: 0.5 },
        { name: "relu", count: 3, totalMs: 0.75, minMs: 0.25, maxMs: 0.25, meanMs: 0.25 },
      ]);
      profiler.close();
      context.enqueue(STREAM);
    });

    test("EngineInspector reads JSON", async () => {
      using runtime = await Runtime.create({ library });
      using engine = await runtime.deserialize(PLAN);
      using context = await engine.createContext();
      using inspector = engine.createInspector();
      inspector.setContext(context);
      expect(inspector.information().Layers).toEqual(["a", "b"]);
      expect(inspector.layer(6)).toBe('"layer six"');
      context.close();
      expect(() => inspector.information()).toThrow(ClosedError);
      expect(() => inspector.layer(6)).toThrow(ClosedError);
    });

    test("Runtime.deserialize() tells what the error recorder was told", async () => {
      using runtime = await Runtime.create({ library });
      const error = (await runtime.deserialize(new Uint8Array(99)).catch((e: unknown) => e)) as TensorRtError;
      expect(error).toBeInstanceOf(TensorRtError);
      expect([error.code, error.log]).toEqual(["INVALID_CONFIG", ["this is no plan of mine"]]);
    });

    test("runtime, engine and contexts are freed on their own device", async () => {
      using device = new FakeDevice();
      const runtime = await Runtime.create({ library, device: device as unknown as Device });
      const engine = await runtime.deserialize(PLAN);
      const context = await engine.createContext();
      for (const object of [context, engine, runtime]) {
        const before = alive();
        device.whenCurrent = () => expect(alive()).toBe(before);
        object.close();
        expect(alive()).toBe(before - 1);
      }
      expect(device.timesCurrent).toBe(3);

      const lost = await Runtime.create({ library, device: device as unknown as Device });
      device.whenCurrent = () => {
        throw new Error("the device is lost");
      };
      expect(() => lost.close()).toThrow("the device is lost");
    });

    test("Runtime.create() leaves nothing open where an option is of a method that this version lacks", async () => {
      const check = spyOn(library, "check");
      check.mockImplementation((_, method) => {
        throw library.missing(method);
      });
      try {
        await expect(Runtime.create({ library, dlaCore: 1 })).rejects.toThrow("lacks it");
      } finally {
        check.mockRestore();
      }
    });

    test("every object has been deleted", () => {
      expect(alive()).toBe(0);
    });
  });
}
