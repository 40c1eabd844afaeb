import { expect, test } from "bun:test";
import { BackOff } from "../../src/worker/broker.ts";

test("BackOff doubles up to its bound, with a random part, and starts anew after a success", () => {
  const backOff = new BackOff({ firstMs: 100, mostMs: 1000 }, () => 0);
  expect(Array.from({ length: 6 }, () => backOff.nextMs())).toEqual([50, 100, 200, 400, 500, 500]);
  backOff.reset();
  expect(backOff.nextMs()).toBe(50);
  const high = new BackOff({ firstMs: 100, mostMs: 1000 }, () => 0.999);
  expect(high.nextMs()).toBeCloseTo(100, 0);
  for (let round = 0; round < 2000; round++) expect(high.nextMs()).toBeLessThanOrEqual(1000);
});

test("BackOff.wait() ends when the signal is aborted, before or during", async () => {
  const backOff = new BackOff({ firstMs: 60_000, mostMs: 60_000 });
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 5);
  await backOff.wait(abort.signal);
  await backOff.wait(abort.signal);
  expect(backOff.failures).toBe(2);
});
