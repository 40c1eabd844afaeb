import { expect, test } from "bun:test";
import { ledger } from "../../src/core/resource.ts";
import { Environment } from "../../src/onnxruntime/environment.ts";

test("Environment is shared: every share has the same OrtEnv, and each is closed by itself", () => {
  const first = Environment.create();
  const second = Environment.create();
  expect(second.pointer).toBe(first.pointer);
  first.close();
  const third = Environment.create();
  expect(third.pointer).toBe(second.pointer);
  second.close();
  third.close();
  expect(ledger.size).toBe(0);
});

test("Environment can be made again after the last share was closed", () => {
  for (let round = 0; round < 50; round++) {
    using environment = Environment.create();
    expect(environment.pointer).toBeGreaterThan(0);
  }
});
