/** @module Preload: after every test nothing it opened may be left, and a leak names where it was created. */

import { afterEach, expect } from "bun:test";
import { ledger } from "../src/core/resource.ts";

ledger.traceStacks = true;

// Outside test/gpu, which says so itself, a test is one of the CPU, on machines with a GPU too.
process.env.BUN_TENSORRT_BACKEND ??= "cpu";
// Test files run side by side, more of them than there are cores.
process.env.BUN_TENSORRT_SPINNING ??= "off";

/** What earlier tests left open: each of them has failed for it. */
let known: readonly string[] = [];

function leftOpen(): readonly string[] {
  return ledger.labels().filter((label) => !known.includes(label));
}

/**
 * What ends by itself, and nobody waits for but tests: what makes a full engine in the background ends at its next step, be it a build or
 * the proof of a model that comes before, and decoders on their threads.
 */
const STOPPING = /\.background\.lock|held for .* in the background|^Nvdec/;
const STOPPING_MS = 60_000;

afterEach(async () => {
  const end = performance.now() + STOPPING_MS;
  while (leftOpen().some((label) => STOPPING.test(label)) && performance.now() < end) await Bun.sleep(50);
  const left = leftOpen();
  known = ledger.labels();
  expect(left, "resources left open by the test").toEqual([]);
}, STOPPING_MS + 5000);
