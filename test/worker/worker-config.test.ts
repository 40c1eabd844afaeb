import { expect, test } from "bun:test";
import { OptionError } from "../../src/core/errors.ts";
import { readConfigFile } from "../../src/worker/worker.ts";
import { parseWorkerOptions, type WorkerOptions } from "../../src/worker/worker-config.ts";
import { fileFolder } from "../support/folder.ts";

const inFolder = fileFolder("config");

async function fromFile(name: string, text: string): Promise<WorkerOptions> {
  const path = inFolder(name);
  await Bun.write(path, text);
  return readConfigFile(path);
}

test("parseWorkerOptions() fills in what is left out", () => {
  const config = parseWorkerOptions({ redis: "redis://h" });
  expect(config).toMatchObject({
    redis: "redis://h",
    input: ["frames"],
    group: "bun-tensorrt",
    output: { stream: "detections", maxLength: 100_000, format: "protobuf", boxes: "pixels" },
    deadLetter: { stream: "detections:dead", maxLength: 1000, maxDeliveries: 3, badFrames: "answer" },
    rules: { policy: "all", threshold: undefined, classes: undefined, edgeMargin: undefined, slices: undefined },
    claim: { idleMs: 30_000, intervalMs: 5_000 },
    http: undefined,
  });
  expect(config.detector).toEqual({ maxPixels: 2 ** 26, decodeTimeoutMs: 10_000 });
  expect(parseWorkerOptions({ detector: { maxPixels: 9, vectors: true } }).detector).toEqual({
    ...config.detector,
    maxPixels: 9,
    vectors: true,
  });
  expect(config.consumer).not.toBe(parseWorkerOptions({ redis: "redis://h" }).consumer);
});

test("parseWorkerOptions() gives a source what the worker has, but for what it says itself", () => {
  const { rules, sources } = parseWorkerOptions({
    policy: "latest",
    threshold: 0.4,
    sources: { gate: { threshold: 0.6, edgeMargin: 0 }, yard: { policy: "all", classes: ["cat"] } },
  });
  expect(rules).toMatchObject({ policy: "latest", threshold: 0.4 });
  expect(sources.get("gate")).toEqual({
    policy: "latest",
    threshold: 0.6,
    classes: undefined,
    edgeMargin: 0,
    slices: undefined,
  });
  expect(sources.get("yard")).toEqual({
    policy: "all",
    threshold: 0.4,
    classes: ["cat"],
    edgeMargin: undefined,
    slices: undefined,
  });
});

test("parseWorkerOptions() names the option that is misspelt or out of range", () => {
  const refused = (options: unknown): string => {
    try {
      parseWorkerOptions(options as WorkerOptions);
    } catch (error) {
      expect(error).toBeInstanceOf(OptionError);
      return (error as OptionError).message;
    }
    throw new Error("it was not refused");
  };
  expect(refused({ modle: "x" })).toContain('Unknown option "modle". Did you mean "model"?');
  expect(refused({ output: { maxLenght: 3 } })).toContain(
    'Unknown option "output.maxLenght". Did you mean "maxLength"?',
  );
  expect(refused({ output: { constructor: 1 } })).toContain('Unknown option "output.constructor"');
  expect(refused({ sources: { gate: { treshold: 0.3 } } })).toContain('Unknown option "sources.gate.treshold"');
  expect(refused({ threshold: 2 })).toContain('Option "threshold" must be a number from 0 to 1, got 2');
  expect(refused({ claim: { idleMs: 0 } })).toContain('Option "claim.idleMs" must be at least 1 ms, got 0');
  expect(refused({ input: [] })).toContain('Option "input" must be a list of at least one stream, got an empty list');
  expect(refused({ redis: "localhost" })).toContain('option "redis" must be the URL');
  expect(refused({ input: "a", output: { stream: "a" } })).toContain(
    'Option "output.stream" must be none of the streams',
  );
  expect(refused({ http: { port: 70_000 } })).toContain('Option "http.port" must be a port from 0 to 65535, got 70000');
  expect(refused([])).toContain("The options to run a worker must be an object, got an empty list");
});

test("readConfigFile() reads TOML, YAML and JSON with comments alike", async () => {
  const wanted = { model: "m.onnx", input: ["a", "b"], sources: { gate: { threshold: 0.5 } } };
  expect(await fromFile("a.toml", 'model = "m.onnx"\ninput = ["a", "b"]\n[sources.gate]\nthreshold = 0.5\n')).toEqual(
    wanted,
  );
  expect(await fromFile("a.yaml", "model: m.onnx\ninput: [a, b]\nsources:\n  gate:\n    threshold: 0.5\n")).toEqual(
    wanted,
  );
  const json = '{ // the model\n "model": "m.onnx", "input": ["a", "b"], "sources": {"gate": {"threshold": 0.5}}, }';
  expect(await fromFile("a.json", json)).toEqual(wanted);
  expect(await fromFile("empty.yaml", "")).toEqual({});
});

test("readConfigFile() says what is wrong with a file", async () => {
  await expect(readConfigFile(inFolder("none.toml"))).rejects.toThrow(/it cannot be read \(ENOENT\)/);
  await expect(fromFile("a.ini", "")).rejects.toThrow(
    /extension must be one of .toml, .yaml, .yml, .json, .jsonc, got ".ini"/,
  );
  await expect(fromFile("b.toml", "model = ")).rejects.toThrow(/it is not valid TOML \(/);
  await expect(fromFile("b.json", "[1]")).rejects.toThrow(/must hold options by name/);
});
