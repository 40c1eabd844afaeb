/** @module Preload: after every test nothing it opened may be left, and a leak names where it was created. */

import { afterEach, expect } from "bun:test";
import { ledger } from "../src/core/resource.ts";

ledger.traceStacks = true;

// Outside test/gpu, which says so itself, a test is one of the CPU, on machines with a GPU too.
process.env.BUN_TENSORRT_BACKEND ??= "cpu";

/** What earlier tests left open: each of them has failed for it. */
let known: readonly string[] = [];

afterEach(() => {
  const open = ledger.labels();
  const left = open.filter((label) => !known.includes(label));
  known = open;
  expect(left, "resources left open by the test").toEqual([]);
});
