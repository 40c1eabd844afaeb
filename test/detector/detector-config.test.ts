import { expect, test } from "bun:test";
import {
  type DetectorOptions,
  nmsOptionsOf,
  parseDetectOptions,
  parseDetectorOptions,
} from "../../src/api/detector-config.ts";
import { OptionError } from "../../src/core/errors.ts";
import { DEFAULT_BACKEND_OPTIONS } from "../support/backends.ts";

test("parseDetectorOptions() leaves to the machine what the caller leaves out", () => {
  const { devices, batchWait, inFlight, streams, wait, jpeg, zeroCopy } = parseDetectorOptions({});
  expect({ device: devices[0], inFlight, streams, wait, jpeg, zeroCopy }).toEqual(
    (({ device, inFlight, streams, wait, jpeg, zeroCopy }) => ({ device, inFlight, streams, wait, jpeg, zeroCopy }))(
      DEFAULT_BACKEND_OPTIONS,
    ),
  );
  expect(devices.length).toBe(1);
  expect(batchWait).toBe(0);
});

test("parseDetectorOptions() takes one device or several", () => {
  expect(parseDetectorOptions({ device: 3 }).devices).toEqual([3]);
  expect(parseDetectorOptions({ device: [2, 0] }).devices).toEqual([2, 0]);
});

test("parseDetectorOptions() keeps what is given", () => {
  const given = {
    batchWait: 2.5,
    inFlight: 7,
    streams: "split",
    wait: "off-thread",
    jpeg: "cpu",
    jpegCheck: false,
    zeroCopy: false,
  } as const;
  expect(parseDetectorOptions(given)).toMatchObject(given);
});

test("parseDetectorOptions() names the option that is out of range, and what would do", () => {
  const cases: readonly (readonly [options: object, text: string])[] = [
    [{ device: [] }, "a list of 1 to 64 different ones"],
    [{ device: [0, 0] }, "a list of 1 to 64 different ones"],
    [{ device: -1 }, "a number from 0 to 1023"],
    [{ device: [1024] }, "a number from 0 to 1023"],
    [{ batchWait: -1 }, "0 or more"],
    [{ batchWait: Number.NaN }, "milliseconds"],
    [{ inFlight: 0 }, "at least 1"],
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

test("parseDetectOptions() takes a signal, and nothing else in its place", () => {
  const defaults = parseDetectorOptions({}).detect;
  expect(parseDetectOptions({ signal: new AbortController().signal }, defaults)).toEqual(defaults);
  expect(() => parseDetectOptions({ signal: {} as AbortSignal }, defaults)).toThrow("an AbortSignal");
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
    fit: "stretch",
    resize: "antialias",
    colour: "BGR",
    scale: 1,
    mean: [1, 2, 3],
    std: 2,
    pad: 0,
  } as const;
  expect(parseDetectorOptions({ preprocessing }).preprocessing).toEqual(preprocessing);
  expect(parseDetectorOptions({}).preprocessing).toBeUndefined();
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
