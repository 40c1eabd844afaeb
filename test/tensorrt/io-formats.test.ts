import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { TensorRtError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { type BuildOptions, parseBuildOptions } from "../../src/tensorrt/build-options.ts";
import { buildPlan } from "../../src/tensorrt/build-plan.ts";
import { Builder } from "../../src/tensorrt/builder.ts";
import {
  fastestFormat,
  formatPlanIo,
  formatsToTry,
  type IoQuestion,
  laidOutBy,
  progressOf,
} from "../../src/tensorrt/io-formats.ts";
import { type NetworkTensor, OnnxParser } from "../../src/tensorrt/network.ts";
import type { BuildEvent } from "../../src/tensorrt/observers.ts";
import { readPlan } from "../../src/tensorrt/plan-file.ts";
import type { TensorFormat } from "../../src/tensorrt/tensor-info.ts";
import { BUILD_TEST_MS, openFrom, RTX, tinyModel } from "../support/tensorrt.ts";

setDefaultTimeout(BUILD_TEST_MS);

const isAbsent = RTX === undefined;
const AMPERE = { computeCapabilities: ["8.6"] } as const;
const SHAPED = { bun_tensorrt_shaped: "{}" };

afterEach(() => {
  setLogSink(undefined);
});

function tensor(dtype: NetworkTensor["dtype"], shape: readonly number[], isShapeTensor = false): NetworkTensor {
  return { name: "x", dtype, shape, isShapeTensor };
}

const MAPS = [tensor("f32", [1, 64, 80, 80]), tensor("f32", [1, 6, 8400]), tensor("f16", [-1, 32, -1, -1])];

function question(given: Partial<IoQuestion> = {}, inputs = [tensor("f32", [1, 3, 640, 640])]): IoQuestion {
  const network = { inputs: () => inputs, outputs: () => MAPS };
  return { network, metadata: SHAPED, isTyped: false, hasDevice: true, ...given };
}

const tried = (options: BuildOptions, given: IoQuestion): readonly string[] =>
  formatsToTry(parseBuildOptions(options), given);

describe("laidOutBy()", () => {
  test("changes images and maps, and nothing else", () => {
    expect(laidOutBy("model", question())).toEqual([]);
    expect(laidOutBy("hwc8", question())).toEqual([
      { side: "input", index: 0, dtype: "f16", format: "hwc8" },
      { side: "output", index: 0, dtype: "f16", format: "hwc8" },
      { side: "output", index: 2, dtype: "f16", format: "hwc8" },
    ]);
    expect(laidOutBy("fp16", question())).toEqual([
      { side: "input", index: 0, dtype: "f16", format: "linear" },
      { side: "output", index: 0, dtype: "f16", format: "linear" },
    ]);
  });

  test("changes no type of a network that is typed, and leaves images with the channels last row-major", () => {
    expect(laidOutBy("hwc8", question({ isTyped: true }))).toEqual([
      { side: "output", index: 2, dtype: "f16", format: "hwc8" },
    ]);
    const others = [tensor("f32", [1, 640, 640, 3]), tensor("u8", [1, 3, 8, 8]), tensor("f32", [1, 3, 8, 8], true)];
    const inputs = laidOutBy("hwc8", question({}, others)).filter(({ side }) => side === "input");
    expect(inputs).toEqual([{ side: "input", index: 0, dtype: "f16", format: "linear" }]);
  });
});

describe("formatsToTry()", () => {
  const all = ["model", "fp16", "hwc8"];

  test("tries all for a model that was cut, where a GPU measures them", () => {
    expect(tried({}, question())).toEqual(all);
    expect(tried({ optimizationLevel: 5 }, question())).toEqual(all);
    expect(tried({ precision: "model" }, question({ isTyped: true }))).toEqual(["model", "hwc8"]);
  });

  test("takes channels last where nothing is measured", () => {
    expect(tried({}, question({ hasDevice: false }))).toEqual(["hwc8"]);
    expect(tried({ optimizationLevel: 1 }, question())).toEqual(["hwc8"]);
  });

  test("leaves others as they were exported, unless the caller says otherwise", () => {
    expect(tried({}, question({ metadata: {} }))).toEqual(["model"]);
    expect(tried({ precision: "fp32" }, question())).toEqual(["model"]);
    expect(tried({ dla: { core: 0 } }, question())).toEqual(["model"]);
    expect(tried({ ioFormat: "hwc8" }, question({ metadata: {} }))).toEqual(["hwc8"]);
    expect(tried({ ioFormat: "model" }, question())).toEqual(["model"]);
  });

  test("says so where a format that was asked for suits nothing", () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const network = { inputs: () => [tensor("f32", [1, 3, 8, 8])], outputs: () => [tensor("f32", [1, 10])] };
    expect(tried({ ioFormat: "hwc8" }, question({ isTyped: true, network }))).toEqual(["model"]);
    expect(warnings.join()).toContain('Ignoring ioFormat "hwc8": no image and no raw map of the model is FP16');
  });
});

test("fastestFormat() prefers channels last among equals, and takes what is faster by more than a hundredth", () => {
  expect(fastestFormat({ model: 0.433, fp16: 0.423, hwc8: 0.407 })).toBe("hwc8");
  expect(fastestFormat({ model: 0.4, fp16: 0.401, hwc8: 0.4039 })).toBe("hwc8");
  expect(fastestFormat({ model: 0.4, fp16: 0.401, hwc8: 0.405 })).toBe("fp16");
  expect(fastestFormat({ model: 0.4, hwc8: 0.5 })).toBe("model");
});

test("formatPlanIo() tells what was chosen and what each took", () => {
  const measuredMs = { model: 0.433, fp16: 0.423, hwc8: 0.407 };
  expect(formatPlanIo({ format: "hwc8", measuredMs })).toBe("hwc8: 0.407 ms; model 0.433 ms, fp16 0.423 ms");
  expect(formatPlanIo({ format: "hwc8" })).toBe("hwc8");
});

test("progressOf() goes from 0 to 1 over all builds", () => {
  expect(progressOf(0, 1)(0.5)).toBe(0.5);
  expect([0, 1, 2].flatMap((at) => [progressOf(at, 3)(0), progressOf(at, 3)(1)])).toEqual([
    0,
    0.8,
    0.8,
    expect.closeTo(0.9),
    expect.closeTo(0.9),
    expect.closeTo(1),
  ]);
});

describe.skipIf(isAbsent)("with TensorRT-RTX, as it has been fetched", () => {
  /** True if the builder takes a format for input and output, or the reason why it does not. */
  async function build(dtype: "f32" | "f16", format: TensorFormat): Promise<boolean | string> {
    const library = openFrom(RTX!);
    using builder = await Builder.create({ library });
    using network = builder.createNetwork();
    using _parser = await OnnxParser.parse(network, tinyModel({ dtype }), {});
    using settings = builder.createConfig();
    settings.setComputeCapabilities([86]);
    network.setFormat("input", 0, dtype, format);
    network.setFormat("output", 0, dtype, format);
    try {
      using plan = await builder.build(network, settings);
      return plan.view().byteLength > 0;
    } catch (error) {
      return (error as TensorRtError).message;
    }
  }

  test("the builder takes the formats of each type, and says what it does not take", async () => {
    expect(await build("f16", "hwc8")).toBe(true);
    expect(await build("f16", "chw4")).toBe(true);
    expect(await build("f32", "hwc")).toBe(true);
    expect(await build("f32", "hwc8")).toContain("has dataType Float unsupported by tensor's allowed TensorFormats");
  });

  test("a network keeps its types: another is refused", async () => {
    using builder = await Builder.create({ library: openFrom(RTX!) });
    using network = builder.createNetwork();
    using _parser = await OnnxParser.parse(network, tinyModel(), {});
    expect(() => network.setFormat("input", 0, "f16", "hwc8")).toThrow("ITensor::setType");
  });

  test("buildPlan() builds a model of FP16 that was cut with channels last, and notes it", async () => {
    const library = openFrom(RTX!);
    const events: BuildEvent[] = [];
    const shape = ["batch", 3, "height", "width"];
    const model = tinyModel({ dtype: "f16", shape, metadata: SHAPED });
    const options = { ...AMPERE, batch: { min: 1, opt: 2, max: 4 }, size: [64, 33] } as const;
    const built = await buildPlan(model, options, { library, onProgress: (event) => events.push(event) });
    expect(built.origin.io).toEqual({ format: "hwc8" });
    expect(readPlan(built.bytes, "tiny").origin?.io).toEqual({ format: "hwc8" });
    expect(events.at(-1)?.fraction).toBe(1);
    const asExported = await buildPlan(model, { ...options, ioFormat: "model" }, { library });
    expect(asExported.origin.io).toBeUndefined();
    expect(Buffer.compare(asExported.bytes, built.bytes)).not.toBe(0);
  });

  test("buildPlan() makes images and maps of a cut model FP16 as well, channels last", async () => {
    const library = openFrom(RTX!);
    const { origin } = await buildPlan(tinyModel({ metadata: SHAPED }), AMPERE, { library });
    expect([origin.precision, origin.io]).toEqual(["fp16", { format: "hwc8" }]);
    const whole = await buildPlan(tinyModel(), AMPERE, { library });
    expect([whole.origin.precision, whole.origin.io]).toEqual(["fp16", undefined]);
  });

  test("buildPlan() leaves a model of FP32 as it was exported, where that is asked for", async () => {
    const warnings: string[] = [];
    setLogSink((level, text) => level === "warn" && warnings.push(text));
    const options = { ...AMPERE, precision: "model", ioFormat: "hwc8" } as const;
    const { origin } = await buildPlan(tinyModel({ metadata: SHAPED }), options, { library: openFrom(RTX!) });
    expect(origin.io).toBeUndefined();
    expect(warnings.join()).toContain('Ignoring ioFormat "hwc8"');
  });
});
