/** @module Preload: after every test the ledger must be empty, and a leak names where it was created. */

import { afterEach, expect } from "bun:test";
import { ledger } from "../src/core/resource.ts";

ledger.traceStacks = true;

// Outside test/gpu, which says so itself, a test is one of the CPU, on machines with a GPU too.
process.env.BUN_TENSORRT_BACKEND ??= "cpu";

afterEach(() => {
  expect(ledger.labels(), "resources left open by the test").toEqual([]);
});
