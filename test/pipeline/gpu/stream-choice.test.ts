import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { CudaModel, LoadedModel } from "../../../src/accelerators/tensorrt/gpu-model.ts";
import { chooseStreams, fastest, medianFigures } from "../../../src/accelerators/tensorrt/stream-choice.ts";
import {
  readStreamChoices,
  type StreamChoice,
  type TrialFigures,
  writeStreamChoices,
} from "../../../src/accelerators/tensorrt/stream-choice-config.ts";
import { CudaError, OutOfMemoryError, TensorRtError } from "../../../src/core/errors.ts";
import { setLogSink } from "../../../src/core/log.ts";
import { testFolder } from "../../support/folder.ts";

const inFolder = testFolder("choice");
const lines: string[] = [];

beforeEach(() => {
  lines.length = 0;
  setLogSink((_, text) => lines.push(text));
});

afterEach(() => {
  setLogSink(undefined);
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
  const path = inFolder("new", "model.streams.json");
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
  const path = inFolder("model.streams.json");
  await Bun.write(path, text);
  expect(await readStreamChoices(path)).toEqual({});
  expect(lines.length).toBe(1);
  expect(lines[0]).toContain(path);
});

test("a folder that cannot be written is told in the log and nothing else", async () => {
  await Bun.write(inFolder("file"), "");
  await writeStreamChoices(inFolder("file", "model.streams.json"), {});
  expect(lines[0]).toContain("cannot be written");
});

/** Never reached. */
const CUDA = {} as CudaModel<unknown, unknown>;

test("chooseStreams() measures nothing where the caller says it all, or one frame is in flight", async () => {
  const path = (): string => {
    throw new Error("must not ask for the file");
  };
  const choose = (streams: "auto" | TrialFigures["streams"], inFlight: number): ReturnType<typeof chooseStreams> => {
    const options = { streams, inFlight };
    return chooseStreams({} as LoadedModel, CUDA, { options, path });
  };
  expect(await choose("split", 5)).toEqual({ streams: "split", inFlight: 5 });
  expect(await choose("one", 1)).toEqual({ streams: "one", inFlight: 1 });
  expect(await choose("auto", 1)).toEqual({ streams: "one", inFlight: 1 });
});

test("writeStreamChoices() is whole whoever else of this process writes, and leaves nothing behind", async () => {
  const path = inFolder("model.streams.json");
  const choice: StreamChoice = { streams: "one", inFlight: 2, figures: [] };
  await Promise.all(["a", "b", "c", "d"].map((key) => writeStreamChoices(path, { [key]: choice })));
  expect(Object.keys(await readStreamChoices(path)).length).toBe(1);
  expect(lines).toEqual([]);
  expect(readdirSync(inFolder())).toEqual(["model.streams.json"]);
});

const ALLOCATION = { status: 2, code: "cudaErrorMemoryAllocation" };
const CONTEXT = { call: "ICudaEngine::createExecutionContext", code: "INTERNAL_ERROR" };

/** Measuring fails with this error as it begins. */
function failingModel(error: Error): LoadedModel {
  const device = {
    name: "small",
    assertOpen: () => {
      throw error;
    },
  };
  const model = {
    device,
    rows: 1,
    task: { usualSize: [8, 8], mostImages: 1 },
    waits: { mode: "auto" },
    hasGraph: true,
  };
  return model as unknown as LoadedModel;
}

test.each([
  [
    "page-locked memory",
    new OutOfMemoryError("little", {
      ...ALLOCATION,
      call: "cudaHostAlloc",
      requestedBytes: 2,
      freeBytes: 1,
      totalBytes: 1,
    }),
  ],
  ["a graph", new CudaError("little", { ...ALLOCATION, call: "cudaGraphInstantiate" })],
  [
    "a context",
    new TensorRtError("little", {
      ...CONTEXT,
      log: [
        "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "[executionContext.cpp::initializeExecutionContext::563] Error Code 2: OutOfMemory (Requested size was 9 bytes.)",
      ],
    }),
  ],
  ["what TensorRT allocates", new TensorRtError("little", { ...CONTEXT, code: "FAILED_ALLOCATION", log: [] })],
])(
  "chooseStreams() takes what needs least memory where there is none for %s, and does not keep it",
  async (_, error) => {
    const path = inFolder("model.streams.json");
    const choose = (options: { streams: "auto" | "split"; inFlight: number | undefined }) =>
      chooseStreams(failingModel(error), CUDA, {
        options,
        path: () => path,
      });
    expect(await choose({ streams: "auto", inFlight: undefined })).toEqual({ streams: "one", inFlight: 2 });
    expect(await choose({ streams: "auto", inFlight: 6 })).toEqual({ streams: "one", inFlight: 6 });
    expect(await choose({ streams: "split", inFlight: undefined })).toEqual({ streams: "split", inFlight: 2 });
    expect(lines.length).toBe(3);
    expect(readdirSync(inFolder())).toEqual([]);
  },
);

test("chooseStreams() passes on what is no lack of memory", async () => {
  const errors = [
    new CudaError("broken", { status: 700, code: "cudaErrorIllegalAddress", call: "cudaLaunchKernel" }),
    new TensorRtError("broken", { ...CONTEXT, log: ["Error Code 3: API Usage Error"] }),
  ];
  const options = { streams: "auto", inFlight: undefined } as const;
  for (const error of errors) {
    const chosen = chooseStreams(failingModel(error), CUDA, { options, path: () => inFolder("a.json") });
    expect(await chosen.catch((cause: unknown) => cause)).toBe(error);
  }
});
