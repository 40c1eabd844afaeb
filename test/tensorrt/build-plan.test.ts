import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { OptionError, TensorRtError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import type { InputShapes, Precision } from "../../src/tensorrt/build-options.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import type { BuildTurn } from "../../src/tensorrt/build-turn.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import { slowFp8Reason, typedModel } from "../../src/tensorrt/fp16-network.ts";
import { OnnxParser } from "../../src/tensorrt/network.ts";
import type { BuildEvent } from "../../src/tensorrt/observers.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import { parseVersion } from "../../src/tensorrt/version.ts";
import { isMissing, sharedPath } from "../support/shared.ts";
import { BUILD_TEST_MS, openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;
/** nvinfer1::LayerType::kCAST. */
const CAST_LAYER = 1;

const AMPERE = { computeCapabilities: ["8.6"] } as const;

afterEach(() => {
  setLogSink(undefined);
});

test.skipIf(isAbsent)(
  "buildPlan() makes a plan that carries the model's metadata, as TensorRT-RTX has been fetched",
  async () => {
    const metadata = { names: "{0: 'person', 1: \"it's\"}", stride: "32" };
    const built = await buildPlan(tinyModel({ metadata }), AMPERE, { library: openFrom(RTX!) });
    const file = readPlan(built.bytes, "tiny");
    expect(file.metadata).toEqual(metadata);
    expect(file.origin).toEqual({
      tensorRt: "TensorRT-RTX 1.7.1.116",
      precision: "fp16",
      computeCapabilities: [[8, 6]],
    });
    expect(file.header).toMatchObject({
      family: "TensorRT-RTX",
      release: "1.7.1",
      build: 116,
      computeCapabilities: [[8, 6]],
    });
    expect(file.plan.byteOffset % 16).toBe(0);
    expect(built.timingCache.length).toBeGreaterThan(16);
  },
);

test.skipIf(isAbsent)(
  "buildPlan() builds dynamic inputs by batch and size, or by profiles, as TensorRT-RTX has been fetched",
  async () => {
    const model = tinyModel({ shape: ["batch", 3, "height", "width"] });
    const library = openFrom(RTX!);
    const size = { min: [31, 17], opt: [64, 33], max: [97, 65] } as const;
    const byRange = await buildPlan(model, { ...AMPERE, batch: { min: 1, opt: 2, max: 4 }, size }, { library });
    const images = { min: [1, 3, 17, 31], opt: [2, 3, 33, 64], max: [4, 3, 65, 97] };
    const byProfile = await buildPlan(
      model,
      { ...AMPERE, profiles: [{ images }, { images: [1, 3, 33, 33] }] },
      { library },
    );
    expect(byRange.bytes.length).toBeGreaterThan(1000);
    expect(byProfile.bytes.length).toBeGreaterThan(byRange.bytes.length);
  },
);

test.skipIf(isAbsent)("buildPlan() says which input lacks a range, as TensorRT-RTX has been fetched", async () => {
  const model = tinyModel({ shape: ["batch", 3, "height", "width"] });
  const environment = { library: openFrom(RTX!) };
  const first = buildPlan(model, AMPERE, environment);
  await expect(first).rejects.toThrow(
    'the input "images" [?, 3, ?, ?] is dynamic and has no range\nHint: say how many images',
  );
  await first.catch(() => {});
  const second = buildPlan(model, { ...AMPERE, batch: 2 }, environment);
  await expect(second).rejects.toThrow("Hint: say how large the images are");
  await second.catch(() => {});
  const third = buildPlan(model, { ...AMPERE, profiles: [{ image: [1, 3, 5, 5] }] }, environment);
  await expect(third).rejects.toThrow('a profile names the input "image"\nHint: the inputs are "images"');
  await third.catch(() => {});
});

test.skipIf(isAbsent)(
  "buildPlan() refuses wrong options before it starts, as TensorRT-RTX has been fetched",
  async () => {
    const library = openFrom(RTX!);
    const wrong = buildPlan(tinyModel(), { precison: "fp16" } as object, { library });
    await expect(wrong).rejects.toThrow('Unknown option "precison". Did you mean "precision"?');
    await wrong.catch(() => {});
    if (library.hasDevice()) return;
    const homeless = buildPlan(tinyModel(), {}, { library });
    await expect(homeless).rejects.toBeInstanceOf(OptionError);
    await homeless.catch((error: Error) => expect(error.message).toContain('computeCapabilities: ["8.6", "8.9"]'));
  },
);

test.skipIf(isAbsent)(
  "buildPlan() carries TensorRT's own lines when it fails, as TensorRT-RTX has been fetched",
  async () => {
    const lines: string[] = [];
    setLogSink((level, text) => level === "error" && lines.push(text));
    const options = { ...AMPERE, memoryPools: { workspace: 1 } };
    const error = (await buildPlan(tinyModel(), options, { library: openFrom(RTX!) }).catch(
      (e: unknown) => e,
    )) as TensorRtError;
    expect(error).toBeInstanceOf(TensorRtError);
    expect(error.call).toBe("IBuilder::buildSerializedNetwork");
    expect(error.log.length).toBeGreaterThan(0);
    expect(error.message).toContain(error.log[0]!);
    expect(lines.join("\n")).toContain(error.log[0]!);
  },
);

/** What is known of a model of which only its bytes are. */
const AS_IT_IS = { config: { fp32Layers: true, ioFormat: "auto" }, source: "tiny", shapeOf: () => undefined } as const;

/** Element types of what the layers of a model's network make, with how many make it. */
async function layerTypes(model: Uint8Array, library = openFrom(RTX!)): Promise<{ fp32: number; other: number }> {
  using builder = await Builder.create({ library });
  using network = builder.createNetwork();
  using _parser = await OnnxParser.parse(network, model);
  const layers = Array.from({ length: network.layerCount }, (_, index) => network.layer(index).type);
  const isCast = (index: number): boolean => layers[index] === CAST_LAYER;
  const made = layers.flatMap((_, index) => (isCast(index) ? [] : network.layerOutputs(index)));
  const fp32 = made.filter(({ isFloat }) => isFloat).length;
  return { fp32, other: made.length - fp32 };
}

test.skipIf(isAbsent)(
  "buildPlan() computes in FP16 with a strongly typed library, and in FP32 or as the model says where that is asked for, as TensorRT-RTX has been fetched",
  async () => {
    const infos: string[] = [];
    setLogSink((level, text) => level === "info" && infos.push(text));
    const library = openFrom(RTX!);
    const built = async (precision?: Precision, model = tinyModel()) => {
      const { origin } = await buildPlan(model, { ...AMPERE, precision }, { library, source: "tiny" });
      return origin.precision;
    };
    expect(await built()).toBe("fp16");
    expect(infos).toEqual(["Computing tiny in FP16"]);
    expect([await built("fp32"), await built("model")]).toEqual(["model", "model"]);
    expect(await built("fp16", tinyModel({ dtype: "f16" }))).toBe("model");
    expect(await built(undefined, tinyModel({ metadata: { bun_tensorrt_precision: "int8" } }))).toBe("model");
    expect(await layerTypes(tinyModel(), library)).toEqual({ fp32: 2, other: 0 });
    expect(await layerTypes(typedModel(tinyModel(), AS_IT_IS).bytes, library)).toEqual({ fp32: 0, other: 2 });
  },
);

const YOLOV8N = "models/yolov8n_640.onnx";

test.skipIf(isAbsent || isMissing(YOLOV8N))(
  "buildPlan() makes an engine of FP16 of yolov8n, half as large, as it and TensorRT-RTX are there",
  async () => {
    const library = openFrom(RTX!);
    const model = await Bun.file(sharedPath(YOLOV8N)).bytes();
    const typed = typedModel(model, { ...AS_IT_IS, source: "yolov8n" });
    const types = await layerTypes(typed.bytes, library);
    expect([types.fp32 < 30, types.other > 200]).toEqual([true, true]);
    const options = { ...AMPERE, optimizationLevel: 0 } as const;
    const [half, full] = [
      await buildPlan(model, options, { library }),
      await buildPlan(model, { ...options, precision: "fp32" }, { library }),
    ];
    expect(half.bytes.length / full.bytes.length).toBeLessThan(0.75);
    expect(half.origin.fp32Layers).toHaveLength(8);
  },
);

test.skipIf(isAbsent)(
  "buildPlan() starts anew where the timing cache cannot be read, as TensorRT-RTX has been fetched",
  async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const library = openFrom(RTX!);
    const built = await buildPlan(tinyModel(), AMPERE, { library, timingCache: new Uint8Array(99).fill(7) });
    expect(warnings.join("\n")).toMatch(/timing cache/i);
    expect(built.timingCache.length).toBeGreaterThan(99);
  },
);

const YOLO = "models/yolov8n_640.onnx";
const isHeavy = isAbsent || isMissing(YOLO);

test.skipIf(isHeavy)(
  "buildPlan() leaves the JS thread free and reports phases, as yolov8n and TensorRT-RTX are there",
  async () => {
    const events: BuildEvent[] = [];
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 10);
    const model = await Bun.file(sharedPath(YOLO)).bytes();
    const onProgress = (event: BuildEvent): void => void events.push(event);
    const built = await buildPlan(model, AMPERE, { library: openFrom(RTX!), path: sharedPath(YOLO), onProgress });
    clearInterval(timer);
    expect(built.metadata.task ?? "detect").toBe("detect");
    // A build on the JS thread would leave the timer no turn; on a busy machine it gets few.
    expect(ticks).toBeGreaterThan(10);
    expect(events[0]).toMatchObject({ kind: "start", phase: { parent: undefined, step: 0 }, fraction: 0 });
    expect(events.at(-1)).toMatchObject({ kind: "end", phases: [], fraction: 1 });
    expect(events.some((event) => event.phase.parent?.name === events[0]?.phase.name)).toBe(true);
    expect(events.filter((event) => event.kind === "step").length).toBeGreaterThan(10);
    const fractions = events.map((event) => event.fraction);
    expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
    const kinds = Object.groupBy(events, (event) => event.kind);
    expect(kinds.start?.length).toBe(kinds.end!.length);
  },
  120_000,
);

test.skipIf(isHeavy)(
  "buildPlan() is cancelled by a signal, as yolov8n and TensorRT-RTX are there",
  async () => {
    const controller = new AbortController();
    const model = await Bun.file(sharedPath(YOLO)).bytes();
    const environment = {
      library: openFrom(RTX!),
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("the user has had enough")),
    };
    const failed = await buildPlan(model, AMPERE, environment).catch((error: unknown) => error);
    expect((failed as Error).message).toBe("the user has had enough");
    const late = await buildPlan(model, AMPERE, environment).catch((error: unknown) => error);
    expect((late as Error).message).toBe("the user has had enough");
  },
  120_000,
);

test.skipIf(isAbsent)("buildPlan() ends with what onProgress throws, as TensorRT-RTX has been fetched", async () => {
  const onProgress = (): void => {
    throw new Error("the screen is gone");
  };
  const failed = buildPlan(tinyModel(), AMPERE, { library: openFrom(RTX!), onProgress });
  expect(((await failed.catch((error: unknown) => error)) as Error).message).toBe("the screen is gone");
});

test.skipIf(isAbsent)(
  "buildPlan() refuses profiles that contradict the model, as TensorRT-RTX has been fetched",
  async () => {
    const open = tinyModel({ shape: ["batch", 3, 8, 8] });
    const cases: readonly (readonly [model: Uint8Array, shapes: InputShapes, found: string])[] = [
      [tinyModel(), [4, 3, 33, 47], "[1, 3, 33, 47] the shape [4, 3, 33, 47]"],
      [open, [4, 3, 16, 16], "[?, 3, 8, 8] the shape [4, 3, 16, 16]"],
      [open, [4, 3, 8], "[?, 3, 8, 8] the shape [4, 3, 8]"],
      [open, { min: [1, 3, 8, 8], opt: [1, 3, 8, 8], max: [1, 4, 8, 8] }, "[?, 3, 8, 8] the shape [1, 4, 8, 8]"],
    ];
    for (const [model, shapes, found] of cases) {
      const options = { ...AMPERE, profiles: [{ images: shapes }] };
      const failed = await buildPlan(model, options, { library: openFrom(RTX!) }).catch((error: unknown) => error);
      expect(failed).toBeInstanceOf(OptionError);
      expect((failed as OptionError).message).toBe(
        `Cannot build an engine: a profile gives the input "images" ${found}\nHint: only what the model leaves open can be chosen`,
      );
    }
    const fitting = { ...AMPERE, profiles: [{ images: [1, 3, 33, 47] }] };
    expect((await buildPlan(tinyModel(), fitting, { library: openFrom(RTX!) })).bytes.length).toBeGreaterThan(1000);
  },
);

test.skipIf(isHeavy)(
  "buildPlan() in the background pauses while another build wants the GPU, and ends by a signal all the same, as yolov8n and TensorRT-RTX are there",
  async () => {
    let mustWait = true;
    const controller = new AbortController();
    const turn = {
      signal: new AbortController().signal,
      report: () => {},
      get mustWait() {
        return mustWait;
      },
    } as unknown as BuildTurn;
    const library = openFrom(RTX!);
    let measured = 0;
    const environment = {
      library,
      turn,
      isBackground: true,
      onEnded: ({ length }: Uint8Array): void => {
        measured = length;
      },
    };
    // Slower than the first look, which pauses it.
    const model = await Bun.file(sharedPath(YOLO)).bytes();
    let isBuilt = false;
    const building = buildPlan(model, AMPERE, environment).then(() => {
      isBuilt = true;
    });
    await Bun.sleep(3000);
    expect(isBuilt).toBe(false);
    mustWait = false;
    await building;
    mustWait = true;
    const begun = Promise.withResolvers<unknown>();
    const ended = buildPlan(model, AMPERE, { ...environment, signal: controller.signal, onProgress: begun.resolve });
    void begun.promise.then(() => setTimeout(() => controller.abort(new Error("enough")), 500));
    await expect(ended).rejects.toThrow("enough");
    await ended.catch(() => {});
    expect(measured).toBeGreaterThan(16);
  },
);

test.skipIf(isHeavy)(
  "buildPlan() in the background does not keep a process alive, as yolov8n and TensorRT-RTX are there",
  async () => {
    const script = `
      import { buildPlan } from ${JSON.stringify(join(import.meta.dir, "../../src/tensorrt/build-plan.ts"))};
      import { openFrom } from ${JSON.stringify(join(import.meta.dir, "../support/tensorrt.ts"))};
      const model = await Bun.file(${JSON.stringify(sharedPath(YOLO))}).bytes();
      // It pauses for good.
      const turn = { signal: new AbortController().signal, report() {}, mustWait: true };
      const begun = Promise.withResolvers();
      const environment = { library: openFrom(${JSON.stringify(RTX)}), turn, isBackground: true, onProgress: begun.resolve };
      buildPlan(model, ${JSON.stringify(AMPERE)}, environment).then(() => console.log("built"));
      const patience = setTimeout(() => console.log("never begun"), 20_000);
      await begun.promise;
      clearTimeout(patience);
      console.log("over");`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    const timer = setTimeout(() => child.kill(), 30_000);
    expect([await child.stdout.text(), await child.exited]).toEqual(["over\n", 0]);
    clearTimeout(timer);
  },
);

test("FP8 is called slow only with the release and on the kind of GPU where it was measured", () => {
  const hopper = { computeCapability: [9, 0] } as const;
  expect(slowFp8Reason(parseVersion(100600), hopper)).toBe(
    "FP8 is 3 to 6 times slower than FP16 with TensorRT 10.6.0 on this kind of GPU: take fp16 or int8",
  );
  expect(slowFp8Reason(parseVersion(100600), { computeCapability: [8, 9] })).toBeUndefined();
  expect(slowFp8Reason(parseVersion(101501), hopper)).toBeUndefined();
  expect(slowFp8Reason(parseVersion(110000), hopper)).toBeUndefined();
  // TensorRT-RTX counts from 1.
  expect(slowFp8Reason(parseVersion(10701), hopper)).toBeUndefined();
});
