import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setLogSink } from "../../../src/core/log.ts";
import type { LoadedModel } from "../../../src/pipeline/gpu/gpu-model.ts";
import { chooseStreams, fastest, medianFigures } from "../../../src/pipeline/gpu/stream-choice.ts";
import {
  readStreamChoices,
  type StreamChoice,
  type TrialFigures,
  writeStreamChoices,
} from "../../../src/pipeline/gpu/stream-choice-config.ts";

let folder = "";
const lines: string[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-choice-"));
  lines.length = 0;
  setLogSink((_, text) => lines.push(text));
});

afterEach(() => {
  setLogSink(undefined);
  rmSync(folder, { recursive: true });
});

function figures(streams: TrialFigures["streams"], batchesPerSecond: number, inFlight = 4): TrialFigures {
  return { streams, inFlight, batchesPerSecond, latencyMs: (1000 * inFlight) / batchesPerSecond };
}

test("fastest() takes the simpler layout within two percent, and the faster one beyond", () => {
  const near = [figures("one", 981), figures("split", 1000), figures("parallel", 990)];
  expect(fastest(near).streams).toBe("one");
  const far = [figures("one", 800), figures("split", 979), figures("parallel", 1000)];
  expect(fastest(far).streams).toBe("parallel");
});

test("medianFigures() takes the turn in the middle", () => {
  const turns = [figures("one", 900), figures("one", 100), figures("one", 500)];
  expect(medianFigures(turns).batchesPerSecond).toBe(500);
});

test("stream choices are read as they were written, beside others", async () => {
  const path = join(folder, "new", "model.streams.json");
  const choice: StreamChoice = { streams: "split", inFlight: 3, figures: [figures("split", 2000, 3)] };
  expect(await readStreamChoices(path)).toEqual({});
  await writeStreamChoices(path, { a: choice });
  await writeStreamChoices(path, { ...(await readStreamChoices(path)), b: { ...choice, streams: "one" } });
  expect(await readStreamChoices(path)).toEqual({ a: choice, b: { ...choice, streams: "one" } });
  expect(lines).toEqual([]);
});

test.each([
  ["no JSON", "{"],
  ["another format", '{"format":2,"choices":{}}'],
  ["an unknown layout", '{"format":1,"choices":{"a":{"streams":"all","inFlight":1,"figures":[]}}}'],
  ["nothing", ""],
])("a file of stream choices with %s counts as none, with a line in the log", async (_, text) => {
  const path = join(folder, "model.streams.json");
  await Bun.write(path, text);
  expect(await readStreamChoices(path)).toEqual({});
  expect(lines.length).toBe(1);
  expect(lines[0]).toContain(path);
});

test("a folder that cannot be written is told in the log and nothing else", async () => {
  await Bun.write(join(folder, "file"), "");
  await writeStreamChoices(join(folder, "file", "model.streams.json"), {});
  expect(lines[0]).toContain("cannot be written");
});

test("chooseStreams() measures nothing where the caller says it all, or one frame is in flight", async () => {
  const path = (): string => {
    throw new Error("must not ask for the file");
  };
  const choose = (streams: "auto" | TrialFigures["streams"], inFlight: number): ReturnType<typeof chooseStreams> => {
    const options = { streams, inFlight, batch: 1, size: undefined };
    return chooseStreams({} as LoadedModel, { options, maxBatch: 1, path });
  };
  expect(await choose("split", 5)).toEqual({ streams: "split", inFlight: 5 });
  expect(await choose("one", 1)).toEqual({ streams: "one", inFlight: 1 });
  expect(await choose("auto", 1)).toEqual({ streams: "parallel", inFlight: 1 });
});
