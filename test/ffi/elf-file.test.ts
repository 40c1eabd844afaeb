import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elfFault } from "../../src/ffi/library.ts";

const LIBM = "/lib/x86_64-linux-gnu/libm.so.6";
const SHIM = join(import.meta.dir, "../../native/prebuilt");

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "elf-file-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const isKnown = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

test.skipIf(!isKnown)("elfFault() finds nothing wrong with a whole library, and names another processor", () => {
  const other = process.arch === "x64" ? "arm64" : "x64";
  const shim = (arch: string): string => join(SHIM, `linux-${arch}`, "libbun_tensorrt_shim.so");
  expect(elfFault(shim(process.arch))).toBeUndefined();
  expect(elfFault(shim(other))).toBe(`it is made for ${other}, and this is ${process.arch}`);
});

test("elfFault() leaves what is no ELF file to the dynamic linker", () => {
  for (const [at, content] of ["", "not a library", "x".repeat(100)].entries()) {
    const path = join(folder, `${at}.so`);
    writeFileSync(path, content);
    expect(elfFault(path)).toBeUndefined();
  }
  expect(() => elfFault(join(folder, "absent.so"))).toThrow("ENOENT");
});

test.skipIf(!existsSync(LIBM))("openLibrary() passes over a library that is cut short, instead of dying of it", () => {
  const whole = readFileSync(LIBM);
  for (const share of [0.1, 0.5, 0.9]) {
    const path = join(folder, "cut.so");
    writeFileSync(path, whole.subarray(0, Math.floor(whole.length * share)));
    expect(elfFault(path)).toMatch(/^it is cut short: it must have \d+ bytes and has \d+$/);
    const script = `
      import { openLibrary } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/library.ts"))};
      const spec = { name: "cut", variable: "CUT", files: ["cut.so"], hint: "copy it again" };
      openLibrary(spec, { fabs: { args: ["f64"], returns: "f64" } });`;
    const child = Bun.spawnSync([process.execPath, "-e", script], { env: { ...process.env, CUT: path } });
    expect(child.signalCode).toBeUndefined();
    expect(child.stderr.toString()).toContain(`${path}: it is cut short`);
  }
});
