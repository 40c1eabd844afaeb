import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeWhole } from "../../src/core/whole-file.ts";

test("writeWhole() puts a file in the place of another, several at once, and leaves nothing else", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const path = join(folder, "file");
    await Promise.all(["a", "b", "c"].map((text) => writeWhole(path, text.repeat(100_000))));
    const text = await Bun.file(path).text();
    expect(text).toBe(text[0]!.repeat(100_000));
    expect(readdirSync(folder)).toEqual(["file"]);
    const taken = join(folder, "taken");
    mkdirSync(join(taken, "within"), { recursive: true });
    await expect(writeWhole(taken, new Uint8Array(3))).rejects.toThrow();
    expect(readdirSync(folder).toSorted()).toEqual(["file", "taken"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
