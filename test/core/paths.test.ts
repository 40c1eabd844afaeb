import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { statsOf } from "../../src/core/paths.ts";

test("statsOf() knows files and folders, and nothing where there is nothing, as below a file", () => {
  expect(statsOf(import.meta.path)?.isFile()).toBe(true);
  expect(statsOf(import.meta.dir)?.isDirectory()).toBe(true);
  expect(statsOf(join(import.meta.dir, "nothing"))).toBeUndefined();
  expect(statsOf(join(import.meta.path, "nothing"))).toBeUndefined();
});

test("statsOf() throws for what cannot be looked at", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-stats-"));
  try {
    const loop = join(folder, "loop");
    symlinkSync(loop, loop);
    expect(() => statsOf(loop)).toThrow("ELOOP");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
