/** @module Engine cache of a test file: a folder of its own, so that every engine is built once a run and none stays behind. */

import { afterAll, beforeAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Let the tests of a file, or of a `describe`, keep their engines in a folder that goes with them. `$BUN_TENSORRT_TEST_CACHE`
 * names one that stays: a sanitizer then loads what an earlier run has built, as TensorRT's builder takes hours under it.
 */
export function useEngineCache(): void {
  const kept = process.env.BUN_TENSORRT_TEST_CACHE;
  const former = process.env.BUN_TENSORRT_CACHE;
  let folder = "";

  beforeAll(() => {
    folder = kept ?? mkdtempSync(join(tmpdir(), "bun-tensorrt-engines-"));
    process.env.BUN_TENSORRT_CACHE = folder;
  });

  afterAll(() => {
    if (kept === undefined) rmSync(folder, { recursive: true });
    if (former === undefined) delete process.env.BUN_TENSORRT_CACHE;
    else process.env.BUN_TENSORRT_CACHE = former;
  });
}
