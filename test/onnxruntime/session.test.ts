import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClosedError, OnnxRuntimeError, ShapeError } from "../../src/core/errors.ts";
import { setLogSink } from "../../src/core/log.ts";
import { ledger } from "../../src/core/resource.ts";
import { createTensor, DTYPES, type Tensor, tensorOf, viewOf, volume } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { arithmeticModel, countingModel, fixedModel, identityModel, nonZeroModel } from "../support/onnx-models.ts";
import { onnxModel } from "../support/onnx-writer.ts";

/** Inputs of the counting model: about 0.7 µs a round. */
function rounds(count: number): Record<string, Tensor> {
  return { rounds: tensorOf("i64", [], BigInt64Array.of(BigInt(count))), start: createTensor("f32", [1]) };
}

test("Session describes inputs, outputs and metadata, with -1 for symbolic dimensions", async () => {
  using session = await Session.fromBytes(arithmeticModel(), "arithmetic");
  expect(session.label).toBe('Session "arithmetic"');
  expect(session.model).toEqual({
    inputs: [
      { name: "a", dtype: "f32", shape: [-1, 3] },
      { name: "b", dtype: "f32", shape: [-1, 3] },
    ],
    outputs: [
      { name: "sum", dtype: "f32", shape: [-1, 3] },
      { name: "product", dtype: "f32", shape: [-1, 3] },
    ],
    metadata: { names: "{0: 'Fußgänger', 1: '自転車'}", task: "detect", stride: "32", empty: "" },
  });
  expect(session.inputs).toBe(session.model.inputs);
  expect(session.outputs).toBe(session.model.outputs);
});

test("Session keeps metadata whose key is a property of every object", async () => {
  const model = onnxModel({
    nodes: [{ op: "Identity", inputs: ["x"], outputs: ["y"] }],
    inputs: [{ name: "x", dtype: "f32", shape: [1] }],
    outputs: [{ name: "y", dtype: "f32", shape: [1] }],
    metadata: Object.fromEntries([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]),
  });
  using session = await Session.fromBytes(model, "odd keys");
  expect(Object.entries(session.model.metadata).sort()).toEqual([
    ["__proto__", "a"],
    ["constructor", "b"],
  ]);
});

test.each(
  DTYPES.flatMap((dtype) =>
    [[], [1], [3, 5], [2, 0, 4], [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]].map((shape) => [dtype, shape] as const),
  ),
)("Session.run() passes %s %p through, bit by bit", async (dtype, shape) => {
  const declared = shape.map((_, axis) => `d${axis}`);
  using session = await Session.fromBytes(identityModel(dtype, declared), "identity");
  expect(session.inputs).toEqual([{ name: "x", dtype, shape: shape.map(() => -1) }]);
  const x = createTensor(dtype, shape);
  const bytes = viewOf("u8", x.data.buffer, 0, x.data.byteLength);
  for (let index = 0; index < bytes.length; index++)
    bytes[index] = dtype === "bool" ? index % 2 : (index * 37 + 11) % 128;
  const y = (await session.run({ x })).get("y")!;
  expect(y.dtype).toBe(dtype);
  expect(y.shape).toEqual(shape);
  expect(y.data.length).toBe(volume(shape));
  expect(y.data.constructor).toBe(x.data.constructor);
  expect([...viewOf("u8", y.data.buffer, y.data.byteOffset, y.data.byteLength)]).toEqual([...bytes]);
});

test("Session.run() takes several inputs in any order, and other sizes each time", async () => {
  using session = await Session.fromBytes(arithmeticModel(), "arithmetic");
  for (const rows of [1, 7, 2, 33]) {
    const length = rows * 3;
    const a = tensorOf(
      "f32",
      [rows, 3],
      Float32Array.from({ length }, (_, index) => index),
    );
    const b = tensorOf("f32", [rows, 3], new Float32Array(length).fill(3));
    const outputs = await session.run({ b, a });
    expect([...outputs.keys()]).toEqual(["sum", "product"]);
    expect(outputs.get("sum")).toEqual(
      tensorOf(
        "f32",
        [rows, 3],
        a.data.map((value) => value + 3),
      ),
    );
    expect(outputs.get("product")).toEqual(
      tensorOf(
        "f32",
        [rows, 3],
        a.data.map((value) => value * 3),
      ),
    );
  }
});

test("Session.run() reads the part of a buffer that a tensor's array covers", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity");
  const whole = Float32Array.from({ length: 64 }, (_, index) => index);
  const x = tensorOf("f32", [5], whole.subarray(13, 18));
  expect([...(await session.run({ x })).get("y")!.data]).toEqual([13, 14, 15, 16, 17]);
});

test("Session.run() computes only the outputs that are asked for, in that order", async () => {
  using session = await Session.fromBytes(arithmeticModel(), "arithmetic");
  const a = createTensor("f32", [1, 3]);
  const ask = async (...outputs: string[]) => [...(await session.run({ a, b: a }, { outputs })).keys()];
  expect(await ask("product")).toEqual(["product"]);
  expect(await ask("product", "sum", "product")).toEqual(["product", "sum"]);
  await expect(ask("prodct")).rejects.toThrow(
    'Cannot run "arithmetic": it has no output "prodct"\nHint: did you mean "product"?',
  );
});

test.each([
  ["fixed", fixedModel(), { x: createTensor("f32", [1, 3, 5, 7]) }, "scaled"],
  ["dynamic", identityModel("f32", ["N"]), { x: createTensor("f32", [105]) }, "y"],
] as const)("Session.run() hands out memory of the caller's own for a %s output", async (_, model, inputs, name) => {
  const session = await Session.fromBytes(model, "m");
  inputs.x.data.fill(1);
  const first = (await session.run(inputs)).get(name)!;
  const before = [...first.data];
  inputs.x.data.fill(5);
  const second = (await session.run(inputs)).get(name)!;
  session.close();
  Bun.gc(true);
  expect([...first.data]).toEqual(before);
  expect(second.data[104]).toBe(5 * Number(before[104]));
});

test("Session.run() may overlap with itself", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  const counts = Array.from({ length: 200 }, (_, index) => 1 + index * 3);
  const results = await Promise.all(counts.map((count) => session.run(rounds(count))));
  expect(results.map((outputs) => outputs.get("counted")!.data[0])).toEqual(counts);
});

test("Session.run() lets timers fire while the model runs", async () => {
  using session = await Session.fromBytes(countingModel(), "counting", { intraOpThreads: 1 });
  let ticks = 0;
  const timer = setInterval(() => {
    ticks += 1;
  }, 2);
  await session.run(rounds(100_000));
  clearInterval(timer);
  // 70 ms: on the JS thread the timer would not fire once.
  expect(ticks).toBeGreaterThan(1);
});

test("Session.run() hands out an output whose size only the data decide, also when it is empty", async () => {
  using session = await Session.fromBytes(nonZeroModel(), "non-zero");
  const run = async (...values: number[]) =>
    (await session.run({ x: tensorOf("f32", [values.length], Float32Array.from(values)) })).get("rows")!;
  expect(await run(0, 2, 0, 0, 7)).toEqual(tensorOf("i64", [1, 2], BigInt64Array.of(1n, 4n)));
  expect(await run(0, 0)).toEqual(tensorOf("i64", [1, 0], new BigInt64Array(0)));
  expect((await run(1, 2, 3)).shape).toEqual([1, 3]);
});

test("Session.run() trusts the outputs over a model that declares another shape, with a log line", async () => {
  const model = onnxModel({
    nodes: [{ op: "Reshape", inputs: ["x", "shape"], outputs: ["y"] }],
    inputs: [
      { name: "x", dtype: "f32", shape: [6] },
      { name: "shape", dtype: "i64", shape: [2] },
    ],
    outputs: [{ name: "y", dtype: "f32", shape: [1, 1] }],
  });
  const lines: string[] = [];
  const former = setLogSink((level, text) => lines.push(`${level} ${text}`));
  using session = await Session.fromBytes(model, "liar");
  expect(session.outputs[0]!.shape).toEqual([1, 1]);
  const x = tensorOf("f32", [6], Float32Array.of(1, 2, 3, 4, 5, 6));
  const shape = tensorOf("i64", [2], BigInt64Array.of(2n, 3n));
  expect((await session.run({ x, shape })).get("y")).toEqual(tensorOf("f32", [2, 3], x.data));
  setLogSink(former);
  expect(
    lines.filter((line) => line.startsWith('warn Cannot run "liar" with outputs of the declared shapes')),
  ).toHaveLength(1);
  using inference = session.prepare({ x, shape });
  for (const rows of [2, 3, 6]) {
    shape.data[0] = BigInt(rows);
    shape.data[1] = BigInt(6 / rows);
    expect((await inference.run()).get("y")!.shape).toEqual([rows, 6 / rows]);
  }
});

test("Session.run() takes any shape for an input that declares none", async () => {
  using session = await Session.fromBytes(identityModel("i32", undefined), "shapeless");
  const x = tensorOf("i32", [2, 3], Int32Array.of(1, 2, 3, 4, 5, 6));
  expect((await session.run({ x })).get("y")).toEqual(x);
});

test("Session.run() rejects with ONNX Runtime's own text when the model fails", async () => {
  using session = await Session.fromBytes(arithmeticModel(), "arithmetic");
  const run = session.run({ a: createTensor("f32", [2, 3]), b: createTensor("f32", [4, 3]) });
  const error = (await run.catch((reason: unknown) => reason)) as OnnxRuntimeError;
  expect(error).toBeInstanceOf(OnnxRuntimeError);
  expect(error.call).toBe("Run");
  expect(error.code).toMatch(/^ORT_(FAIL|RUNTIME_EXCEPTION)$/);
  expect(error.message).toStartWith('Cannot run "arithmetic": ');
  expect(error.message).toEndWith(` (Run returned ${error.code})`);
  expect(error.message).toContain("2 by 4");
});

test("Session.close() refuses new calls at once, and lets the running ones finish", async () => {
  const session = await Session.fromBytes(countingModel(), "counting");
  const running = [session.run(rounds(60_000)), session.run(rounds(50_000))];
  session.close();
  session.close();
  expect(session.closed).toBe(true);
  expect(ledger.labels().map((label) => label.split(",")[0])).toEqual(["OrtEnv"]);
  await expect(session.run(rounds(1))).rejects.toThrow(ClosedError);
  expect(() => session.prepare(rounds(1))).toThrow('Cannot prepare a run of "counting": Session "counting" is closed');
  const results = await Promise.all(running);
  expect(results.map((outputs) => outputs.get("counted")!.data[0])).toEqual([60_000, 50_000]);
  expect(ledger.size).toBe(0);
});

test("Session[Symbol.asyncDispose]() waits until running calls have settled", async () => {
  let settled = false;
  {
    await using session = await Session.fromBytes(countingModel(), "counting");
    session.run(rounds(60_000)).then(() => {
      settled = true;
    });
  }
  expect(settled).toBe(true);
  expect(ledger.size).toBe(0);
});

test("Session.run() ends soon after its signal is aborted, with the signal's reason", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  const controller = new AbortController();
  // Six minutes of work.
  const run = session.run(rounds(500_000_000), { signal: controller.signal });
  setTimeout(() => controller.abort(new Error("the user left")), 20);
  await expect(run).rejects.toThrow("the user left");
  expect((await session.run(rounds(3))).get("counted")!.data[0]).toBe(3);
});

test("Session.run() does not begin with a signal that is aborted already", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  const signal = AbortSignal.abort(new Error("too late"));
  await expect(session.run(rounds(500_000_000), { signal })).rejects.toThrow("too late");
});

test("Session.fromBytes() does not need the bytes afterwards", async () => {
  const bytes = arithmeticModel();
  using session = await Session.fromBytes(bytes, "arithmetic");
  bytes.fill(0xff);
  const a = createTensor("f32", [2, 3]);
  expect((await session.run({ a, b: a })).get("sum")!.shape).toEqual([2, 3]);
});

test("Session.run() refuses what is no tensor before any native call", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity");
  const run = (x: unknown) => session.run({ x: x as Tensor });
  await expect(run({ dtype: "f32", shape: [4], data: new Float32Array(3) })).rejects.toThrow(ShapeError);
  await expect(run({ dtype: "f32", shape: [4], data: new Int32Array(4) })).rejects.toThrow(
    'Cannot use the tensor "x": it needs a Float32Array for f32, got Int32Array',
  );
  await expect(run({ dtype: "f32", shape: [-1], data: new Float32Array(1) })).rejects.toThrow("whole dimensions");
  await expect(run({ dtype: "f32", shape: [1.5], data: new Float32Array(1) })).rejects.toThrow("whole dimensions");
});

test("Session refuses a model with thousands of metadata entries, which ONNX Runtime looks up in the square of the time", async () => {
  const metadata = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`key ${index}`, "value"]));
  const withMetadata = (count: number): Uint8Array<ArrayBuffer> =>
    onnxModel({
      nodes: [{ op: "Identity", inputs: ["a"], outputs: ["b"] }],
      inputs: [{ name: "a", dtype: "f32", shape: [1] }],
      outputs: [{ name: "b", dtype: "f32", shape: [1] }],
      metadata: metadata(count),
    });
  using session = await Session.fromBytes(withMetadata(300), "many");
  expect(session.model.metadata).toEqual(metadata(300));
  await expect(Session.fromBytes(withMetadata(1001), "too many")).rejects.toThrow(
    /^Cannot load the model "too many": its metadata may have at most 1000 entries, got 1001\nHint: remove /,
  );
});

test("A quantiser of FP16 rounds to the nearest, halves to the even one, of bytes and of a file", async () => {
  const model = onnxModel({
    opset: 19,
    inputs: [{ name: "x", dtype: "f16", shape: [10] }],
    outputs: [{ name: "y", dtype: "f16", shape: [10] }],
    initializers: [
      { name: "scale", dtype: "f16", shape: [], data: Float16Array.of(2) },
      { name: "zero", dtype: "i8", shape: [], data: new Int8Array(1) },
    ],
    nodes: [
      { op: "QuantizeLinear", inputs: ["x", "scale", "zero"], outputs: ["codes"] },
      { op: "DequantizeLinear", inputs: ["codes", "scale", "zero"], outputs: ["y"] },
    ],
  });
  const path = join(mkdtempSync(join(tmpdir(), "session-")), "halves.onnx");
  writeFileSync(path, model);
  const x = tensorOf("f16", [10], Float16Array.of(0.8, 1, 1.2, 3, 5, -1.2, -3, -4.9, 600, -600));
  for (const open of [() => Session.fromBytes(model, "halves"), () => Session.load(path)]) {
    await using session = await open();
    const { data } = (await session.run({ x })).get("y")!;
    expect([...data].map(Number)).toEqual([0, 0, 2, 4, 4, -2, -4, -4, 254, -256]);
  }
});
