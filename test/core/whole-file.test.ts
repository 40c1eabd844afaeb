import { expect, test } from "bun:test";
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
import { join } from "node:path";
import { ownerMark } from "../../src/core/owner-mark.ts";
import { WholeFile, writeWhole } from "../../src/core/whole-file.ts";
import { hasSmallDisk } from "../support/small-disk.ts";

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

test("writeWhole() leaves a file the rights it had", async () => {
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

test("WholeFile is nowhere to be seen until it is kept, and leaves nothing where it is not", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const place = join(folder, "file");
    writeFileSync(place, "former");
    {
      using file = new WholeFile(place);
      writeFileSync(file.path, "new");
      expect(readFileSync(place, "utf8")).toBe("former");
    }
    expect(readdirSync(folder)).toEqual(["file"]);
    using file = new WholeFile(place);
    writeFileSync(file.path, "new");
    file.keep();
    expect(readFileSync(place, "utf8")).toBe("new");
    expect(readdirSync(folder)).toEqual(["file"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("writeWhole() clears away what a killed process has left in the folder, and not what others are writing", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const dead = Bun.spawnSync(["true"]).pid;
    const named = (mark: string, digits = "0123abcd"): string => `a.plan.${mark}-${digits}.tmp`;
    const ofProcess = (pid: number): string => ownerMark().replace(/^\d+/, String(pid));
    const killed = named(ofProcess(dead));
    const running = named(ofProcess(process.ppid));
    // Of another machine's process, and of one whose number was given again, only time tells.
    const [elsewhere, forgotten] = [named(`${dead}-${"a".repeat(16)}`), named(`${dead}-${"b".repeat(16)}`)];
    const reused = named(ofProcess(process.ppid), "ffffffff");
    for (const name of [killed, running, elsewhere, forgotten, reused]) writeFileSync(join(folder, name), "half");
    const twoDaysAgo = Date.now() / 1000 - 172_800;
    for (const name of [forgotten, reused]) utimesSync(join(folder, name), twoDaysAgo, twoDaysAgo);
    const foreign = ["b.tmp", "b.1234.tmp", `b.12-${"a".repeat(16)}-0123abcd.txt`, "b.2024-11-20241101.tmp"];
    for (const name of foreign) {
      writeFileSync(join(folder, name), "theirs");
      utimesSync(join(folder, name), twoDaysAgo, twoDaysAgo);
    }
    await writeWhole(join(folder, "b"), "whole");
    expect(readdirSync(folder).toSorted()).toEqual([running, elsewhere, "b", ...foreign].toSorted());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("writeWhole() writes beside what it cannot clear away", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-whole-"));
  try {
    const mark = ownerMark().replace(/^\d+/, String(Bun.spawnSync(["true"]).pid));
    const [taken, killed] = ["a", "b"].map((name) => `${name}.${mark}-0123abcd.tmp`) as [string, string];
    mkdirSync(join(folder, taken, "within"), { recursive: true });
    writeFileSync(join(folder, killed), "half");
    await writeWhole(join(folder, "file"), "whole");
    expect(readdirSync(folder).toSorted()).toEqual([taken, "file"].toSorted());
  } finally {
    rmSync(folder, { recursive: true });
  }
});

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
