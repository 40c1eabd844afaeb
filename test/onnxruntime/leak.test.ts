import { dlopen } from "bun:ffi";
import { expect, test } from "bun:test";
import { createTensor } from "../../src/core/tensor.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { arithmeticModel, identityModel } from "../support/onnx-models.ts";
import { sharedFile } from "../support/shared.ts";

/** What may come and go with the allocators; a leak of the tensors below is fifty times that. */
const SLACK_BYTES = 24 * 2 ** 20;

function residentBytes(): number {
  Bun.gc(true);
  return process.memoryUsage.rss();
}

test("2,000 prepared runs with 500 kB in and out leave resident memory flat", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity", { intraOpThreads: 1 });
  using inference = session.prepare({ x: createTensor("f32", [125_000]) });
  for (let warm = 0; warm < 50; warm++) await inference.run();
  const before = residentBytes();
  for (let round = 0; round < 2000; round++) await inference.run();
  expect(residentBytes() - before).toBeLessThan(SLACK_BYTES);
});

test("2,000 single runs, whose outputs are copied, leave resident memory flat", async () => {
  using session = await Session.fromBytes(identityModel("f32", ["N"]), "identity", { intraOpThreads: 1 });
  const x = createTensor("f32", [125_000]);
  for (let warm = 0; warm < 50; warm++) await session.run({ x });
  const before = residentBytes();
  for (let round = 0; round < 2000; round++) {
    await session.run({ x });
    if (round % 100 === 0) Bun.gc(true);
  }
  expect(residentBytes() - before).toBeLessThan(SLACK_BYTES * 3);
});

test("50 sessions opened, run and closed, and 50 refused ones, leave resident memory flat", async () => {
  const model = arithmeticModel();
  const a = createTensor("f32", [1000, 3]);
  const once = async () => {
    await using session = await Session.fromBytes(model, "arithmetic", { intraOpThreads: 2 });
    await session.run({ a, b: a });
    await expect(Session.fromBytes(model.subarray(0, 90), "cut")).rejects.toThrow("Cannot load the model");
  };
  for (let warm = 0; warm < 10; warm++) await once();
  const before = residentBytes();
  for (let round = 0; round < 50; round++) await once();
  expect(residentBytes() - before).toBeLessThan(SLACK_BYTES);
});

const detector = sharedFile("models", "yolov8n_640.onnx");

test.skipIf(process.platform !== "linux" || detector === undefined)(
  "a session that is closed leaves the allocator of the C library nothing to give back",
  async () => {
    const { symbols } = dlopen("libc.so.6", { malloc_trim: { args: ["usize"], returns: "i32" } });
    const session = await Session.load(detector!);
    await session.run({ images: createTensor("f32", [1, 3, 640, 640]) });
    await session[Symbol.asyncDispose]();
    const before = process.memoryUsage.rss();
    symbols.malloc_trim(0);
    expect(before - process.memoryUsage.rss()).toBeLessThan(SLACK_BYTES / 3);
  },
);
