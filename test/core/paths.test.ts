import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
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

const NOBODY = ["/usr/bin/setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", process.execPath];
const canBeNobody = existsSync(NOBODY[0]!) && Bun.spawnSync([...NOBODY, "--version"]).exitCode === 0;

test.skipIf(!canBeNobody)("a user without a home has the cache of the root folder, and a library's paths", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-home-"));
  try {
    // Neither this user nor Bun's own folder can be asked for one.
    const out = join(folder, "paths.js");
    const script = `
      import { cacheFolder } from "${import.meta.dir}/../../src/core/paths.ts";
      import { candidatePaths } from "${import.meta.dir}/../../src/ffi/discovery.ts";
      const paths = candidatePaths({ name: "one", variable: "ONE", files: ["libone.so"], hint: "" });
      console.log(cacheFolder(), paths.find((path) => path.includes("cache")));`;
    writeFileSync(join(folder, "paths.ts"), script);
    Bun.spawnSync([process.execPath, "build", "--target=bun", `--outfile=${out}`, join(folder, "paths.ts")]);
    chmodSync(folder, 0o755);
    const child = Bun.spawnSync([...NOBODY, out], { cwd: "/", env: { PATH: process.env.PATH }, stderr: "pipe" });
    expect([child.exitCode, child.stderr.toString()]).toEqual([0, ""]);
    expect(child.stdout.toString()).toBe("/.cache/bun-tensorrt /.cache/bun-tensorrt/lib/libone.so\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
