import { expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { openWholeOutput, systemReason, temporaryPath, writeFileWhole, writeWhole } from "../../src/core/whole-file.ts";
import { hasSmallDisk } from "../support/small-disk.ts";

setDefaultTimeout(120_000);

/** It has no such rights, and shorter names. */
const isWindows = process.platform === "win32";

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
    await writeWhole(join(folder, "new/deep/file"), "text");
    expect(readFileSync(join(folder, "new/deep/file"), "utf8")).toBe("text");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.skipIf(isWindows)("writeWhole() leaves a file the rights it had", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const path = join(folder, "tool");
    writeFileSync(path, "former");
    chmodSync(path, 0o751);
    await writeWhole(path, "new");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(statSync(path).mode & 0o7777).toBe(0o751);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("writeWhole() deletes our leftovers older than a day, file or folder, and nothing else", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const aDayAgo = Date.now() / 1000 - 86_500;
    const [old, oldFolder, grown, young] = [1, 2, 3, 4].map(
      (digit) => `.bun-tensorrt-${crypto.randomUUID().replace(/^./, String(digit))}.tmp`,
    ) as [string, string, string, string];
    const foreign = ["b.tmp", "b.1234.tmp", ".bun-tensorrt-2024-11-20.tmp", `${old}.txt`, `x${old}`];
    for (const name of [oldFolder, grown]) mkdirSync(join(folder, name));
    for (const name of [old, young, join(oldFolder, "x"), join(grown, "x"), ...foreign]) {
      writeFileSync(join(folder, name), "half");
    }
    // A folder keeps its time while a file in it grows.
    for (const name of [old, join(oldFolder, "x"), oldFolder, grown, ...foreign]) {
      utimesSync(join(folder, name), aDayAgo, aDayAgo);
    }
    await writeWhole(join(folder, "b"), "whole");
    expect(readdirSync(folder).toSorted()).toEqual([grown, young, "b", ...foreign].toSorted());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.skipIf(isWindows)(
  "what is being written has a short name of its own: every name that the system takes can be written",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
    try {
      const longest = "x".repeat(255);
      expect(basename(temporaryPath(folder)).length).toBeLessThan(64);
      await writeFileWhole(join(folder, longest), "text");
      const output = openWholeOutput(join(folder, longest));
      await output.write("new");
      await output.finish();
      output.close();
      expect(readFileSync(join(folder, longest), "utf8")).toBe("new");
      expect(readdirSync(folder)).toEqual([longest]);
      await expect(writeFileWhole(join(folder, `${longest}x`), "")).rejects.toThrow(
        /^Cannot write ".*x": ENAMETOOLONG.*\nHint: choose a shorter name$/,
      );
      expect(readdirSync(folder)).toEqual([longest]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

test.skipIf(!hasSmallDisk)("writeWhole() writes where even root may not give files away", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const path = join(folder, "file");
    writeFileSync(path, "former");
    if (process.getuid?.() === 0) chownSync(path, 1234, 1234);
    chmodSync(path, 0o666);
    chmodSync(folder, 0o777);
    const module = join(import.meta.dir, "../../src/core/whole-file.ts");
    const script = `import { writeWhole } from ${JSON.stringify(module)}; await writeWhole(${JSON.stringify(path)}, "new");`;
    const child = Bun.spawnSync(["unshare", "-Ur", process.execPath, "-e", script]);
    expect(child.stderr.toString()).toBe("");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(statSync(path).mode & 0o7777).toBe(0o666);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("systemReason() is what the system says, without the call and its paths", () => {
  const said = [
    "ENOENT: no such file or directory, open '/a'",
    "EISDIR: illegal operation on a directory, rename '/a, it's' -> '/b'",
    "ENOSPC: no space left on device, write",
  ];
  expect(said.map((text) => systemReason(new Error(text)))).toEqual([
    "ENOENT: no such file or directory",
    "EISDIR: illegal operation on a directory",
    "ENOSPC: no space left on device",
  ]);
});
