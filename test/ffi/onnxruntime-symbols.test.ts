import { expect, test } from "bun:test";
import { addressOf, cString, nativeView, OutCells, pathString, readCString } from "../../src/ffi/memory.ts";
import { ORT_API, openOnnxRuntime } from "../../src/ffi/onnxruntime.ts";
import { onnxModel } from "../support/onnx-writer.ts";

type Api = ReturnType<typeof openOnnxRuntime>["api"];

const called = new Set<string>();

/** The API, noting which members are called. */
const api: Api = new Proxy(openOnnxRuntime().api, {
  get(target, name: keyof Api) {
    called.add(name);
    return target[name];
  },
});

const out = new OutCells(4);

/** The first out cell of a call that must succeed. */
function made(status: number | null): number {
  if (status !== null) throw new Error(readCString(api.GetErrorMessage(status)));
  return out.pointer();
}

function text(pointer: number): string {
  const copy = readCString(pointer);
  made(api.AllocatorFree(allocator, pointer));
  return copy;
}

const model = onnxModel({
  nodes: [{ op: "Add", inputs: ["first", "second"], outputs: ["sum"] }],
  inputs: [
    { name: "first", dtype: "f32", shape: ["N", 3] },
    { name: "second", dtype: "f32", shape: ["N", 3] },
  ],
  outputs: [{ name: "sum", dtype: "f32", shape: ["N", 3] }],
  metadata: { task: "detect", stride: "32" },
});
const path = `${process.env.TMPDIR ?? "/tmp"}/onnxruntime-symbols-${process.pid}.onnx`;
await Bun.write(path, model);

const allocator = made(api.GetAllocatorWithDefaultOptions(out.cells));
const environment = made(api.CreateEnv(4, cString("test"), out.cells));
const options = made(api.CreateSessionOptions(out.cells));
const session = made(api.CreateSessionFromArray(environment, model, model.length, options, out.cells));

test("status members: CreateStatus, GetErrorCode, GetErrorMessage, ReleaseStatus", () => {
  const status = api.CreateStatus(7, cString("broken"));
  expect(api.GetErrorCode(status)).toBe(7);
  expect(readCString(api.GetErrorMessage(status))).toBe("broken");
  expect(api.ReleaseStatus(status)).toBeUndefined();
});

test("DisableTelemetryEvents takes the environment", () => {
  expect(api.DisableTelemetryEvents(environment)).toBeNull();
});

test("option members take a value and refuse a wrong one", () => {
  made(api.SetIntraOpNumThreads(options, 1));
  made(api.SetInterOpNumThreads(options, 1));
  made(api.SetSessionExecutionMode(options, 0));
  made(api.SetSessionGraphOptimizationLevel(options, 99));
  made(api.DisableCpuMemArena(options));
  made(api.AddSessionConfigEntry(options, cString("session.intra_op.allow_spinning"), cString("0")));
  const refusals = [
    [api.SetSessionGraphOptimizationLevel(options, 55), "graph_optimization_level"],
    [api.SetSessionExecutionMode(options, 7), "execution_mode"],
    [api.AddSessionConfigEntry(options, cString(""), cString("0")), "onfig key"],
  ] as const;
  for (const [status, word] of refusals) {
    expect(readCString(api.GetErrorMessage(status))).toContain(word);
    api.ReleaseStatus(status);
  }
});

test("CreateSession reads a file", () => {
  const fromFile = made(api.CreateSession(environment, pathString(path), options, out.cells));
  made(api.SessionGetInputCount(fromFile, out.cells));
  expect(out.pointer()).toBe(2);
  api.ReleaseSession(fromFile);
  const status = api.CreateSession(environment, pathString("/nowhere.onnx"), options, out.cells);
  expect(api.GetErrorCode(status)).toBe(3);
  api.ReleaseStatus(status);
});

test("session members name and describe inputs and outputs", () => {
  expect(made(api.SessionGetInputCount(session, out.cells))).toBe(2);
  expect(made(api.SessionGetOutputCount(session, out.cells))).toBe(1);
  expect(text(made(api.SessionGetInputName(session, 1, allocator, out.cells)))).toBe("second");
  expect(text(made(api.SessionGetOutputName(session, 0, allocator, out.cells)))).toBe("sum");
  for (const describe of [api.SessionGetInputTypeInfo, api.SessionGetOutputTypeInfo]) {
    const type = made(describe(session, 0, out.cells));
    out.clear();
    expect(made(api.GetOnnxTypeFromTypeInfo(type, out.cells))).toBe(1);
    const info = made(api.CastTypeInfoToTensorInfo(type, out.cells));
    out.clear();
    expect(made(api.GetTensorElementType(info, out.cells))).toBe(1);
    expect(made(api.GetDimensionsCount(info, out.cells))).toBe(2);
    const dims = new BigInt64Array(new ArrayBuffer(16));
    made(api.GetDimensions(info, dims, 2) ?? api.GetDimensionsCount(info, out.cells));
    expect([...dims]).toEqual([-1n, 3n]);
    api.ReleaseTypeInfo(type);
  }
});

test("metadata members list keys and look values up", () => {
  const metadata = made(api.SessionGetModelMetadata(session, out.cells));
  const keys = made(api.ModelMetadataGetCustomMetadataMapKeys(metadata, allocator, out.cells, out.cells.subarray(1)));
  const pointers = [...new BigUint64Array(nativeView(keys, out.pointer(1) * 8))].map(Number);
  made(api.AllocatorFree(allocator, keys));
  expect(pointers.map(text).sort()).toEqual(["stride", "task"]);
  const find = (key: string) =>
    made(api.ModelMetadataLookupCustomMetadataMap(metadata, allocator, cString(key), out.cells));
  expect(text(find("stride"))).toBe("32");
  expect(find("absent")).toBe(0);
  api.ReleaseModelMetadata(metadata);
});

test("value members and Run add two tensors in place", () => {
  const memory = made(api.CreateCpuMemoryInfo(0, 0, out.cells));
  const dims = BigInt64Array.of(2n, 3n);
  const arrays = [1, 2, 3].map((factor) => Float32Array.from({ length: 6 }, (_, index) => index * factor));
  const values = arrays.map((data) =>
    made(api.CreateTensorWithDataAsOrtValue(memory, addressOf(data), 24, dims, 2, 1, out.cells)),
  );
  api.ReleaseMemoryInfo(memory);
  const names = ["first", "second", "sum"].map(cString);
  const nameCells = new OutCells(3);
  const valueCells = new OutCells(4);
  for (let index = 0; index < 3; index++) {
    nameCells.setPointer(index, addressOf(names[index]!));
    valueCells.setPointer(index, values[index]!);
  }
  const run = (runOptions: number, output: number) =>
    api.Run(
      session,
      runOptions,
      nameCells.cells,
      valueCells.cells,
      2,
      nameCells.cells.subarray(2),
      1,
      valueCells.cells.subarray(output),
    );
  made(run(0, 2) ?? api.GetTensorMutableData(values[2]!, out.cells));
  expect(out.pointer()).toBe(addressOf(arrays[2]!));
  expect([...arrays[2]!]).toEqual([0, 3, 6, 9, 12, 15]);

  const runOptions = made(api.CreateRunOptions(out.cells));
  made(api.RunOptionsSetTerminate(runOptions));
  const status = run(runOptions, 2);
  expect(readCString(api.GetErrorMessage(status))).toContain("terminate");
  api.ReleaseStatus(status);
  made(api.RunOptionsUnsetTerminate(runOptions));
  expect(run(runOptions, 3)).toBeNull();
  api.ReleaseRunOptions(runOptions);

  const allocated = valueCells.pointer(3);
  const info = made(api.GetTensorTypeAndShape(allocated, out.cells));
  expect(made(api.GetDimensionsCount(info, out.cells))).toBe(2);
  api.ReleaseTensorTypeAndShapeInfo(info);
  const data = made(api.GetTensorMutableData(allocated, out.cells));
  expect([...new Float32Array(nativeView(data, 24))]).toEqual([0, 3, 6, 9, 12, 15]);
  for (const value of [...values, allocated]) api.ReleaseValue(value);
  // What only native code points to is the engine's to collect: it must be used once more.
  expect(names.map((name) => name.length)).toEqual([6, 7, 4]);
});

test("execution providers are listed, and those that are not in this build say so", () => {
  const found = new OutCells(2);
  made(api.GetAvailableProviders(found.cells, found.cells.subarray(1)));
  const names = Array.from(new BigUint64Array(nativeView(found.pointer(), found.i32(1) * 8)), (name) =>
    readCString(Number(name)),
  );
  api.ReleaseAvailableProviders(found.pointer(), found.i32(1));
  expect(names).toContain("CPUExecutionProvider");
  const refused = (status: number | null): string => {
    const said = readCString(api.GetErrorMessage(status));
    api.ReleaseStatus(status);
    return said;
  };
  const keys = new OutCells(1);
  const generic = api.SessionOptionsAppendExecutionProvider(options, cString("Nowhere"), keys.cells, keys.cells, 0);
  expect(refused(generic)).toContain("Nowhere");
  // A build with CUDA makes the options, and misses the provider's own library or takes it; others refuse all of it.
  for (const name of ["CUDA", "TensorRT"] as const) {
    const hasOne = names.some((one) => one.toLowerCase().startsWith(name.toLowerCase()));
    const status = api[`Create${name}ProviderOptions`](found.cells);
    if (!hasOne) expect(refused(status)).toContain(name);
    else expect(status).toBeNull();
    const pointer = hasOne ? found.pointer() : 0;
    const updated = api[`Update${name}ProviderOptions`](pointer, keys.cells, keys.cells, 0);
    if (updated !== null) expect(refused(updated)).toMatch(/librar|CUDA|TensorRT/i);
    const appended = api[`SessionOptionsAppendExecutionProvider_${name}_V2`](options, pointer);
    if (appended !== null) expect(refused(appended)).toMatch(/librar|CUDA|TensorRT/i);
    api[`Release${name}ProviderOptions`](pointer);
  }
});

test("every member of ORT_API was called, at its index, with an effect that was seen", async () => {
  api.ReleaseSession(session);
  api.ReleaseSessionOptions(options);
  api.ReleaseEnv(environment);
  await Bun.file(path).delete();
  expect([...called].sort()).toEqual(Object.keys(ORT_API).sort());
  const indices = Object.values(ORT_API).map(({ index }) => index);
  expect(indices).toEqual([...new Set(indices)].sort((a, b) => a - b));
});
