import { expect, test } from "bun:test";
import { z } from "zod";
import { type Registration, registerAccelerator } from "../../src/accelerators/accelerator.ts";
import { nmsOptionsOf } from "../../src/api/call-options.ts";
import { Detector } from "../../src/api/detector.ts";
import {
  DETECT_CALLS,
  type DetectorOptions,
  detectConfig,
  type GivenDetectOptions,
  parseDetectorOptions,
} from "../../src/api/detector-config.ts";
import { type ImageModelOptions, parseImageModelOptions } from "../../src/api/image-model-config.ts";
import { OptionError } from "../../src/core/errors.ts";
import type { MachineOptions } from "../../src/runtime/backend.ts";
import { toyDetector } from "../support/toy-detector.ts";

test("parseDetectorOptions() leaves to the machine what the caller leaves out", () => {
  const { backend, devices, batchWaitMs, inFlight, accelerators } = parseDetectorOptions({});
  expect({ backend, devices, batchWaitMs, inFlight }).toEqual({
    backend: "auto",
    devices: [0],
    batchWaitMs: 0,
    inFlight: undefined,
  });
  expect(accelerators).toEqual({ tensorrt: {}, onnxruntime: {} });
});

test("parseDetectorOptions() takes one device or several", () => {
  expect(parseDetectorOptions({ device: 3 }).devices).toEqual([3]);
  expect(parseDetectorOptions({ device: [2, 0] }).devices).toEqual([2, 0]);
});

test("parseDetectorOptions() keeps what is given", () => {
  expect(parseDetectorOptions({ batchWaitMs: 2.5, inFlight: 7 })).toMatchObject({ batchWaitMs: 2.5, inFlight: 7 });
  const tensorrt = {
    streams: "split",
    wait: "off-thread",
    jpeg: "cpu",
    jpegCheck: false,
    zeroCopy: false,
  } as const;
  expect(parseDetectorOptions({ tensorrt }).accelerators.tensorrt).toEqual(tensorrt);
  // The spelling of former versions.
  expect(parseDetectorOptions(tensorrt).accelerators.tensorrt).toEqual(tensorrt);
  const both = parseDetectorOptions({ streams: "one", precision: "fp32", tensorrt: { streams: "split" } });
  expect(both.accelerators.tensorrt).toEqual({ streams: "split", precision: "fp32" });
  expect(both.build.precision).toBe("fp32");
  const onnxruntime = { threads: 2, providers: ["cuda", { name: "coreml", MLComputeUnits: "ALL" }] } as const;
  expect(parseDetectorOptions({ onnxruntime }).accelerators.onnxruntime).toEqual(onnxruntime);
});

test("parseDetectorOptions() refuses options that what was asked for cannot heed", () => {
  const cases: readonly (readonly [DetectorOptions, string])[] = [
    [{ backend: "cpu", streams: "split" }, 'Option "streams" is for the GPU, and the model is to run on the CPU'],
    [{ backend: "onnxruntime", tensorrt: { graph: false } }, 'Option "graph" is for the GPU'],
    [{ backend: "cpu", device: [0, 1] }, 'Option "device" is for the GPU'],
    [{ backend: "gpu", threads: 2 }, 'Option "threads" is for the CPU, and the model is to run on the GPU'],
    [{ backend: "tensorrt", onnxruntime: { providers: ["cuda"] } }, 'Option "providers" is for the CPU'],
  ];
  for (const [options, text] of cases) expect(() => parseDetectorOptions(options)).toThrow(text);
  const heeded = { jpeg: "cpu", zeroCopy: false, streams: "auto", wait: "auto", precision: "fp32" } as const;
  expect(parseDetectorOptions({ backend: "cpu", threads: 2, ...heeded }).backend).toBe("cpu");
  expect(parseDetectorOptions({ backend: "gpu", device: [0, 1], streams: "one" }).devices).toEqual([0, 1]);
});

test("options that others call otherwise, or were called so before, are told by their names", () => {
  const cases: Readonly<Record<string, string>> = {
    conf: "threshold",
    imgsz: "size",
    max_det: "maxDetections",
    agnostic_nms: "classAgnostic",
    half: "tensorrt.precision",
    batchWait: "batchWaitMs",
    decodeTimeout: "decodeTimeoutMs",
    layout: "head",
    conf_thres: "threshold",
    confidenceThreshold: "threshold",
    iou_thres: "iou",
    img_size: "size",
    batch_size: "batch",
    class_names: "labels",
    fp16: "tensorrt.precision",
    rect: "rectangular",
  };
  for (const [name, right] of Object.entries(cases)) {
    const load = (): unknown => parseDetectorOptions({ [name]: 1 } as DetectorOptions);
    expect(load).toThrow(`Unknown option "${name}". Did you mean "${right}"?`);
  }
  expect(() => DETECT_CALLS.call({ conf: 0.5 })).toThrow('Did you mean "threshold"?');
});

test("a third accelerator has options of its own under its name, and is given them", async () => {
  const opened: MachineOptions[] = [];
  const registration: Registration = {
    names: ["abacus"],
    machine: "abacus",
    preference: -1,
    options: {
      rods: { schema: z.int("a whole number").min(1, "at least 1").optional() },
      threads: { schema: z.boolean("true or false").optional() },
    },
    load: async () => {
      const { cpuAccelerator } = await import("../../src/accelerators/cpu/cpu-backend.ts");
      return {
        unavailable: () => undefined,
        open: (source, task, options) => {
          opened.push(options);
          return cpuAccelerator.open(source, task, options);
        },
      };
    },
  };
  const options = { backend: "abacus", abacus: { rods: 3 } } as DetectorOptions;
  {
    using _ = registerAccelerator(registration);
    await using detector = await Detector.load(toyDetector(), options);
    expect(detector.backend.kind).toBe("cpu");
    expect(opened[0]?.accelerators).toEqual({ abacus: { rods: 3 }, tensorrt: {}, onnxruntime: {} });
    // What stands beside the groups is of those that had it there first.
    const beside = parseDetectorOptions({ threads: 1 });
    expect(beside.accelerators).toEqual({ abacus: {}, tensorrt: {}, onnxruntime: { threads: 1 } });
    expect(parseImageModelOptions(options as ImageModelOptions).accelerators.abacus).toEqual({ rods: 3 });
    const load = (abacus: object) => (): unknown => parseDetectorOptions({ ...options, abacus } as DetectorOptions);
    expect(load({ rods: 0 })).toThrow('Option "abacus.rods" must be at least 1, got 0');
    expect(load({ rod: 3 })).toThrow('Unknown option "abacus.rod". Did you mean "rods"?');
    expect(() => parseDetectorOptions({ rods: 3 } as DetectorOptions)).toThrow('Unknown option "rods"');
  }
  expect(() => parseDetectorOptions(options)).toThrow(OptionError);
});

test("any accelerator that is registered can be asked for, and the refusal lists them", () => {
  expect(["tensorrt", "gpu", "onnxruntime", "cpu"].map((backend) => parseDetectorOptions({ backend }).backend)).toEqual(
    ["tensorrt", "gpu", "onnxruntime", "cpu"],
  );
  expect(() => parseDetectorOptions({ backend: "tpu" })).toThrow("one of auto, onnxruntime, cpu, tensorrt, gpu");
});

test("parseDetectorOptions() names the option that is out of range, and what would do", () => {
  const cases: readonly (readonly [options: object, text: string])[] = [
    [{ device: [] }, "a list of 1 to 64 different ones"],
    [{ device: [0, 0] }, "a list of 1 to 64 different ones"],
    [{ device: -1 }, "a number from 0 to 1023"],
    [{ device: [1024] }, "a number from 0 to 1023"],
    [{ batchWaitMs: -1 }, "0 to 60000 milliseconds"],
    [{ batchWaitMs: Number.NaN }, "milliseconds"],
    [{ inFlight: 0 }, "a whole number from 1 to 128"],
    [{ streams: "two" }, "auto, one, split or parallel"],
    [{ wait: "sleep" }, "auto, poll or off-thread"],
    [{ jpegCheck: "no" }, "true or false"],
    [{ jpeg: "tpu" }, "auto, gpu or cpu"],
    [{ zeroCopy: "yes" }, "auto, true or false"],
    [{ signal: "stop" }, "an AbortSignal"],
  ];
  for (const [options, text] of cases) {
    let found: unknown;
    try {
      parseDetectorOptions(options as DetectorOptions);
    } catch (error) {
      found = error;
    }
    expect(found).toBeInstanceOf(OptionError);
    expect((found as OptionError).option.split(".")[0]).toBe(Object.keys(options)[0]!);
    expect((found as OptionError).message).toContain(text);
  }
});

test("calls take a signal, and nothing else in its place", () => {
  const defaults = parseDetectorOptions({}).detect;
  expect(
    detectConfig(DETECT_CALLS.call({ signal: new AbortController().signal }) as GivenDetectOptions, defaults),
  ).toEqual(defaults);
  expect(() => DETECT_CALLS.call({ signal: {} as AbortSignal })).toThrow("an AbortSignal");
});

test("nmsOptionsOf() keeps every class that has the name, and those that detections call by their number", () => {
  const config = parseDetectorOptions({}).detect;
  const idsOf = (...classes: string[]): number[] => {
    const { classIds } = nmsOptionsOf({ ...config, classes }, ["cat", "dog", "cat", ""]);
    return [...classIds!];
  };
  expect(idsOf("cat")).toEqual([0, 2]);
  expect(idsOf("dog", "class 3")).toEqual([1, 3]);
  expect(() => idsOf("")).toThrow(OptionError);
});

test("nmsOptionsOf() lists the names of a model of thousands of classes no further than helps", () => {
  const config = { ...parseDetectorOptions({}).detect, classes: ["xylophone"] };
  const labels = Array.from({ length: 5000 }, (_, id) => `kind ${id}`);
  expect(() => nmsOptionsOf(config, labels)).toThrow("kind 98, kind 99, …");
});

test("the options of the pre-processing are checked one by one", () => {
  const preprocessing = {
    fit: "letterbox-top-left",
    resize: "antialias",
    colour: "BGR",
    scale: 1,
    mean: [1, 2, 3],
    std: 2,
    pad: 0,
  } as const;
  expect(parseDetectorOptions({ preprocessing }).preprocessing).toEqual(preprocessing);
  expect(parseDetectorOptions({}).preprocessing).toBeUndefined();
  expect(() => parseDetectorOptions({ preprocessing: { fit: "stretch", pad: 0 } })).toThrow(
    'Option "preprocessing.pad" is for letterboxed images: an image that is stretched has no padding',
  );
  expect(() => parseDetectorOptions({ preprocessing: { color: "RGB" } as never })).toThrow(
    'Unknown option "preprocessing.color". Did you mean "colour"?',
  );
  const wrong = [
    { fit: "crop" },
    { resize: "cubic" },
    { color: "RGB" },
    { colour: "GRB" },
    { scale: 0 },
    { std: 0 },
    { std: [1, 0, 1] },
    { mean: [1, 2] },
    { pad: 256 },
  ];
  for (const one of wrong) {
    expect(() => parseDetectorOptions({ preprocessing: one as never })).toThrow(OptionError);
  }
});
