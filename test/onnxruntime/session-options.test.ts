import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { OptionError, UnavailableError } from "../../src/core/errors.ts";
import { createTensor, type Tensor } from "../../src/core/tensor.ts";
import { CStrings, cString } from "../../src/ffi/memory.ts";
import { openOnnxRuntime } from "../../src/ffi/onnxruntime.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import {
  availableProviders,
  parseSessionOptions,
  physicalCores,
  type SessionOptions,
} from "../../src/onnxruntime/session-options.ts";
import { identityModel } from "../support/onnx-models.ts";
import { onnxModel } from "../support/onnx-writer.ts";

const isLinux = process.platform === "linux";

/** Threads of this process. */
function threadCount(): number {
  return Number(/^Threads:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]);
}

/** Threads a session brings with it: the median of five, as the engine starts and ends threads of its own meanwhile. */
async function threadsOf(options: SessionOptions): Promise<number> {
  const counts: number[] = [];
  for (let round = 0; round < 5; round++) {
    const before = threadCount();
    using _session = await Session.fromBytes(identityModel("f32", [4]), "identity", options);
    counts.push(threadCount() - before);
  }
  return counts.sort((a, b) => a - b)[2]!;
}

test("parseSessionOptions() fills in the defaults, of which $BUN_TENSORRT_SPINNING says one", () => {
  const former = process.env.BUN_TENSORRT_SPINNING;
  try {
    for (const [said, spinning] of [
      ["", true],
      ["on", true],
      ["off", false],
    ] as const) {
      process.env.BUN_TENSORRT_SPINNING = said;
      expect(parseSessionOptions({})).toEqual({
        intraOpThreads: physicalCores(),
        interOpThreads: 1,
        optimization: "all",
        arena: true,
        spinning,
        ignoreUnreadable: false,
        providers: [],
      });
    }
    expect(parseSessionOptions({ spinning: true }).spinning).toBe(true);
    process.env.BUN_TENSORRT_SPINNING = "of";
    expect(() => parseSessionOptions({})).toThrow(
      'Cannot create a session: BUN_TENSORRT_SPINNING must be on or off, got "of"\nHint: unset BUN_TENSORRT_SPINNING, or set it to one of them',
    );
  } finally {
    if (former === undefined) delete process.env.BUN_TENSORRT_SPINNING;
    else process.env.BUN_TENSORRT_SPINNING = former;
  }
});

test("Session.fromBytes() refuses options that are misspelt or out of range", async () => {
  const load = (options: object) => Session.fromBytes(identityModel("f32", [4]), "identity", options);
  await expect(load({ intraOpThread: 1 })).rejects.toThrow('Did you mean "intraOpThreads"?');
  await expect(load({ intraOpThreads: 0 })).rejects.toThrow(OptionError);
  await expect(load({ interOpThreads: 1.5 })).rejects.toThrow(OptionError);
  await expect(load({ optimization: "most" })).rejects.toThrow("disable, basic, extended or all");
  await expect(load({ spinning: "no" })).rejects.toThrow('Option "spinning" must be true or false, got "no"');
});

test.skipIf(!isLinux)("SessionOptions.intraOpThreads is the number of threads, the calling one included", async () => {
  await threadsOf({ intraOpThreads: 1 });
  expect(await threadsOf({ intraOpThreads: 1 })).toBe(0);
  expect(await threadsOf({ intraOpThreads: 4 })).toBe(3);
});

test.skipIf(!isLinux)("SessionOptions.interOpThreads adds threads for operators side by side", async () => {
  expect(await threadsOf({ intraOpThreads: 1, interOpThreads: 1 })).toBe(0);
  expect(await threadsOf({ intraOpThreads: 1, interOpThreads: 3 })).toBeGreaterThanOrEqual(2);
});

test("SessionOptions.optimization decides whether operators are fused", async () => {
  const model = onnxModel({
    nodes: [
      { op: "MatMul", inputs: ["x", "w"], outputs: ["product"] },
      { op: "Add", inputs: ["product", "bias"], outputs: ["y"] },
    ],
    inputs: [{ name: "x", dtype: "f32", shape: ["N", "K"] }],
    outputs: [{ name: "y", dtype: "f32", shape: ["N", 2] }],
    initializers: [
      { name: "w", dtype: "f32", shape: [3, 2], data: new Float32Array(6) },
      { name: "bias", dtype: "f32", shape: [2], data: new Float32Array(2) },
    ],
  });
  // The operator that complains about four columns is the one that is really run.
  const operator = async (optimization: "disable" | "basic" | "extended" | "all") => {
    using session = await Session.fromBytes(model, "linear", { optimization });
    const error: Error = await session.run({ x: createTensor("f32", [1, 4]) }).then(
      () => new Error("no error"),
      (reason: Error) => reason,
    );
    return /while running (\w+) node/.exec(error.message)?.[1];
  };
  expect(await operator("disable")).toBe("MatMul");
  expect(await operator("basic")).toBe("Gemm");
  expect(await operator("all")).toBe("Gemm");
});

/** What Linux tells of a thread; the empty string once it has ended. */
function ofThread(id: string, file: "comm" | "schedstat"): string {
  try {
    return readFileSync(`/proc/self/task/${id}/${file}`, "utf8");
  } catch (error) {
    if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    return "";
  }
}

/** Threads of Bun's pool, and those that were started on one of them and have its name: a session's. */
function poolThreads(): string[] {
  return readdirSync("/proc/self/task").filter((id) => ofThread(id, "comm").startsWith("Bun Pool"));
}

test.skipIf(!existsSync("/proc/self/schedstat"))(
  "SessionOptions.spinning false leaves the cores alone after a run",
  async () => {
    const model = onnxModel({
      nodes: [{ op: "MatMul", inputs: ["x", "x"], outputs: ["y"] }],
      inputs: [{ name: "x", dtype: "f32", shape: [256, 256] }],
      outputs: [{ name: "y", dtype: "f32", shape: [256, 256] }],
    });
    /** Rounds until the session's own threads were busy for so long after its runs, and how long that was. */
    const idle = async (
      spinning: boolean,
      enoughMs: number,
      mostRounds: number,
    ): Promise<[rounds: number, ms: number]> => {
      const others = poolThreads();
      using session = await Session.fromBytes(model, "product", { spinning, intraOpThreads: 2 });
      const own = poolThreads().filter((id) => !others.includes(id));
      // By the scheduler's count of each thread: the engine's other threads work whenever they like.
      const busyMs = (): number =>
        own.reduce((sum, id) => sum + Number(ofThread(id, "schedstat").split(" ")[0]) / 1e6, 0);
      using inference = session.prepare({ x: createTensor("f32", [256, 256]) });
      let busy = 0;
      let rounds = 0;
      for (; rounds < mostRounds && busy < enoughMs; rounds++) {
        await inference.run();
        const before = busyMs();
        await Bun.sleep(10);
        busy += busyMs() - before;
      }
      return [rounds, busy];
    };
    // On a busy machine a thread may get no core to spin on in some rounds.
    const [rounds, spinning] = await idle(true, 10, Number.POSITIVE_INFINITY);
    const [, still] = await idle(false, Number.POSITIVE_INFINITY, rounds);
    expect(still * 2).toBeLessThan(spinning);
  },
);

test("SessionOptions.arena keeps the memory of dynamic outputs; without it each run has other memory", async () => {
  const tensors = async (arena: boolean) => {
    using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity", { arena });
    using inference = session.prepare({ x: createTensor("f32", [50_000]) });
    const seen: Tensor[] = [];
    for (let frame = 0; frame < 6; frame++) seen.push((await inference.run()).get("y")!);
    return { distinct: new Set(seen).size, lengths: seen.map((tensor) => tensor.data.length) };
  };
  expect((await tensors(true)).distinct).toBeLessThan(6);
  const without = await tensors(false);
  expect(without.distinct).toBe(6);
  expect(without.lengths).toEqual([0, 0, 0, 0, 0, 50_000]);
});

test("a provider that the library lacks is refused with those that it has", async () => {
  const load = (providers: unknown) =>
    Session.fromBytes(identityModel("f32", [4]), "identity", { providers } as SessionOptions);
  expect(availableProviders()).toContain("CPUExecutionProvider");
  const fault = await load(["tpu"]).catch((error: unknown) => error);
  expect(fault).toBeInstanceOf(UnavailableError);
  const names = availableProviders().map((name) => name.replace("ExecutionProvider", "").toLowerCase());
  expect((fault as Error).message).toContain(`has no provider "tpu", only ${names.join(", ")}`);
  for (const wrong of [[], [""], [{ device_id: 0 }], "cuda", [{ name: "cuda", device_id: {} }]]) {
    expect(load(wrong)).rejects.toThrow(OptionError);
  }
});

test("a provider whose own library is missing is refused in the same way", async () => {
  const isBuiltIn = availableProviders().includes("CUDAExecutionProvider");
  for (const cuda of ["cuda", { name: "cuda", device_id: 0, enable_cuda_graph: false }] as const) {
    const loading = Session.fromBytes(identityModel("f32", [4]), "identity", { providers: [cuda] });
    const fault = await loading.then((session) => session.close()).catch((error: unknown) => error);
    // A machine that has CUDA's provider takes it.
    if (fault === undefined) continue;
    expect(fault).toBeInstanceOf(UnavailableError);
    expect((fault as Error).message).toContain(isBuiltIn ? "without its files (" : 'has no provider "cuda", only ');
    expect((fault as Error).message).toContain("BUN_TENSORRT_ONNXRUNTIME");
  }
});

test("a provider that is built in, as Microsoft's npm package has CUDA's, is refused without its files", async () => {
  // That library is 28 MB for this test alone: the one that is here plays it, with what it said word for word.
  const api = openOnnxRuntime().api as unknown as Record<string, (...values: never[]) => number | null>;
  const { GetAvailableProviders, ReleaseAvailableProviders, CreateCUDAProviderOptions } = api;
  const names = new CStrings(["CUDAExecutionProvider", "CPUExecutionProvider"]);
  const said = cString("OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library");
  try {
    api.GetAvailableProviders = (out: BigUint64Array, count: BigUint64Array) => {
      out[0] = BigInt(names.address);
      count[0] = BigInt(names.texts.length);
      return null;
    };
    api.ReleaseAvailableProviders = () => null;
    api.CreateCUDAProviderOptions = () => openOnnxRuntime().api.CreateStatus(1, said);
    const loading = Session.fromBytes(identityModel("f32", [4]), "identity", { providers: ["cuda"] });
    const fault = await loading.catch((error: unknown) => error);
    expect(fault).toBeInstanceOf(UnavailableError);
    expect((fault as Error).message).toContain(
      'has the provider "cuda" without its files (Cannot use ONNX Runtime: Ort',
    );
    expect((fault as Error).message).toContain(
      "Hint: name the library of a build that has it in BUN_TENSORRT_ONNXRUNTIME",
    );
  } finally {
    Object.assign(api, { GetAvailableProviders, ReleaseAvailableProviders, CreateCUDAProviderOptions });
  }
});

test("providers that are there are asked for by either name; the CPU's is always there", async () => {
  for (const name of ["cpu", "CPU", "CPUExecutionProvider"]) {
    await using session = await Session.fromBytes(identityModel("f32", [4]), "identity", { providers: [name] });
    expect(session.config.providers).toEqual([{ name, options: {} }]);
  }
});
