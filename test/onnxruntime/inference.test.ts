import { expect, test } from "bun:test";
import { ClosedError, ShapeError } from "../../src/core/errors.ts";
import { ledger } from "../../src/core/resource.ts";
import { createTensor, type Tensor, tensorOf } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { countingModel, fixedModel, identityModel, nonZeroModel } from "../support/onnx-models.ts";

function rounds(count: number): { rounds: Tensor<"i64">; start: Tensor<"f32"> } {
  return { rounds: tensorOf("i64", [], BigInt64Array.of(BigInt(count))), start: createTensor("f32", [1]) };
}

test("Inference.run() reads the inputs anew, and hands out the same tensors: fixed outputs", async () => {
  using session = await Session.fromBytes(fixedModel(), "fixed");
  const x = createTensor("f32", [1, 3, 5, 7]);
  using inference = session.prepare({ x });
  expect(inference.label).toBe('Inference of "fixed"');
  expect(inference.inputs.get("x")).toBe(x);
  const outputs = await inference.run();
  const scaled = outputs.get("scaled")!;
  for (let frame = 1; frame < 20; frame++) {
    x.data.fill(frame);
    expect(await inference.run()).toBe(outputs);
    expect(outputs.get("scaled")).toBe(scaled);
    expect(scaled.data[104]).toBe(2 * frame);
  }
});

test("Inference.run() hands out the same tensor while a dynamic output stays where it is", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity");
  const x = createTensor("f32", [10_007]);
  using inference = session.prepare({ x });
  const seen = new Set<Tensor>();
  for (let frame = 0; frame < 50; frame++) {
    x.data.fill(frame);
    const y = (await inference.run()).get("y")!;
    expect(y.data[10_006]).toBe(frame);
    seen.add(y);
  }
  expect(seen.size).toBeLessThan(5);
});

test("Inference.run() follows an output whose size changes from frame to frame", async () => {
  using session = await Session.fromBytes(nonZeroModel(), "non-zero");
  const x = createTensor("f32", [1000]);
  using inference = session.prepare({ x });
  for (const count of [3, 3, 999, 0, 1, 500, 0, 2]) {
    x.data.fill(0);
    x.data.fill(1, 0, count);
    const rows = (await inference.run()).get("rows")!;
    expect(rows.shape).toEqual([1, count]);
    expect(Array.from(rows.data, Number)).toEqual(Array.from({ length: count }, (_, index) => index));
  }
});

test("Inference.close() empties the arrays over memory of ONNX Runtime, and keeps those of its own", async () => {
  using dynamic = await Session.fromBytes(identityModel("f32", ["N"]), "identity");
  const inference = dynamic.prepare({ x: createTensor("f32", [100]) });
  const y = (await inference.run()).get("y")!;
  expect(y.data.length).toBe(100);
  inference.close();
  expect(y.data.length).toBe(0);
  using fixed = await Session.fromBytes(fixedModel(), "fixed");
  const x = createTensor("f32", [1, 3, 5, 7]);
  x.data.fill(4);
  const other = fixed.prepare({ x });
  const scaled = (await other.run()).get("scaled")!;
  other.close();
  expect(scaled.data[0]).toBe(8);
});

test("Inference.run() refuses a second call while one is running", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  using inference = session.prepare(rounds(30_000));
  const first = inference.run();
  await expect(inference.run()).rejects.toThrow(/the last run of .* has not settled yet/);
  expect((await first).get("counted")!.data[0]).toBe(30_000);
  expect((await inference.run()).get("counted")!.data[0]).toBe(30_000);
});

test("Inference.close() during a run ends it, rejects it, and frees nothing under the worker", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  const inference = session.prepare(rounds(500_000_000));
  const run = inference.run();
  await Bun.sleep(5);
  inference.close();
  inference.close();
  await expect(run).rejects.toThrow(ClosedError);
  await expect(inference.run()).rejects.toThrow(ClosedError);
});

test("Session.close() refuses while an inference is open, and is deferred while one that was closed still runs", async () => {
  const session = await Session.fromBytes(countingModel(), "counting");
  const inference = session.prepare(rounds(500_000_000));
  expect(() => session.close()).toThrow('Cannot close Session "counting": resources made from it are still open (1)');
  const run = inference.run();
  inference.close();
  session.close();
  expect(ledger.labels().map((label) => label.split(",")[0])).toEqual(["OrtEnv"]);
  await expect(run).rejects.toThrow(ClosedError);
  expect(ledger.size).toBe(0);
});

test("Inference.run() can be aborted, and run again", async () => {
  using session = await Session.fromBytes(countingModel(), "counting");
  const inputs = rounds(500_000_000);
  using inference = session.prepare(inputs);
  await expect(inference.run({ signal: AbortSignal.timeout(15) })).rejects.toThrow("timed out");
  inputs.rounds.data[0] = 5n;
  expect((await inference.run()).get("counted")!.data[0]).toBe(5);
  const controller = new AbortController();
  await inference.run({ signal: controller.signal });
  controller.abort();
  expect((await inference.run()).get("counted")!.data[0]).toBe(5);
});

test("Inference.run() refuses an input whose array was transferred away", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity");
  const x = createTensor("f32", [8]);
  using inference = session.prepare({ x });
  await inference.run();
  structuredClone(x.data, { transfer: [x.data.buffer] });
  await expect(inference.run()).rejects.toThrow(ShapeError);
  await expect(inference.run()).rejects.toThrow('the memory of input "x" is gone');
});

test("Inference goes on after a run that failed", async () => {
  using session = await Session.fromBytes(nonZeroModel(), "non-zero");
  using other = await Session.fromBytes(countingModel(), "counting");
  const inputs = rounds(10);
  using inference = other.prepare(inputs);
  expect(() => other.prepare({ ...inputs, start: createTensor("f32", [2]) })).toThrow(ShapeError);
  expect(() => session.prepare({})).toThrow(ShapeError);
  expect((await inference.run()).get("counted")!.data[0]).toBe(10);
});

test("Inference of one session run side by side, each on its own memory", async () => {
  using session = await Session.fromBytes(countingModel(), "counting", { intraOpThreads: 1 });
  const inferences = [1000, 2000, 3000].map((count) => session.prepare(rounds(count)));
  for (let frame = 0; frame < 10; frame++) {
    const outputs = await Promise.all(inferences.map((inference) => inference.run()));
    expect(outputs.map((tensors) => tensors.get("counted")!.data[0])).toEqual([1000, 2000, 3000]);
  }
  for (const inference of inferences) inference.close();
});

test("Inference.run() keeps alive what the worker reads, though nobody else does", async () => {
  using session = await Session.fromBytes(countingModel(), "counting", { intraOpThreads: 1 });
  const collect = setInterval(() => Bun.gc(true), 1);
  for (let round = 0; round < 5; round++) {
    const runs = Array.from({ length: 6 }, (_, index) => session.run(rounds(4000 + index)));
    const counted = (await Promise.all(runs)).map((outputs) => outputs.get("counted")!.data[0]);
    expect(counted).toEqual([4000, 4001, 4002, 4003, 4004, 4005]);
  }
  clearInterval(collect);
});
