import { expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { pause } from "../../src/core/resource.ts";

test("pause() takes its time, ends with its signal, and leaves no listener", async () => {
  const abort = new AbortController();
  const started = performance.now();
  await pause(20, abort.signal);
  expect(performance.now() - started).toBeGreaterThanOrEqual(19);
  const waiting = pause(60_000, abort.signal);
  expect(getEventListeners(abort.signal, "abort")).toHaveLength(1);
  abort.abort();
  await waiting;
  await pause(60_000, abort.signal);
  expect(getEventListeners(abort.signal, "abort")).toHaveLength(0);
});
