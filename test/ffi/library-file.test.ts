import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { libraryFault } from "../../src/ffi/library.ts";
import { testFolder } from "../support/folder.ts";
import { LIBM } from "../support/system-library.ts";

setDefaultTimeout(120_000);

const SHIM = join(import.meta.dir, "../../native/prebuilt");

const inFolder = testFolder("library-file");

const isKnown = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);

test.skipIf(!isKnown)("libraryFault() finds nothing wrong with a whole library, and names another processor", () => {
  const other = process.arch === "x64" ? "arm64" : "x64";
  const shim = (arch: string): string => join(SHIM, `linux-${arch}`, "libbun_tensorrt_shim.so");
  expect(libraryFault(shim(process.arch))).toBeUndefined();
  expect(libraryFault(shim(other))).toBe(`it is made for ${other}, and this is ${process.arch}`);
});

test("libraryFault() leaves what is no ELF file to the dynamic linker", () => {
  for (const [at, content] of ["", "not a library", "x".repeat(100)].entries()) {
    const path = inFolder(`${at}.so`);
    writeFileSync(path, content);
    expect(libraryFault(path)).toBeUndefined();
  }
  expect(() => libraryFault(inFolder("absent.so"))).toThrow("ENOENT");
});

test.skipIf(Bun.which("mkfifo") === null)("openLibrary() ignores a pipe and a folder, and waits for nobody", () => {
  const [pipe, inner] = [inFolder("libpipe.so"), inFolder("libinner.so")];
  Bun.spawnSync(["mkfifo", pipe]);
  mkdirSync(inner);
  const script = `
    import { openLibrary } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/library.ts"))};
    for (const variable of ["PIPE", "UNSET"]) {
      try {
        openLibrary({ name: "pipe", variable, files: ["libpipe.so", "libinner.so"], hint: "copy it" }, {});
      } catch (error) {
        console.log(error.message);
      }
    }`;
  const env = { ...process.env, PIPE: inFolder(), LD_LIBRARY_PATH: inFolder() };
  const child = Bun.spawnSync([process.execPath, "-e", script], { env, timeout: 20_000, killSignal: "SIGKILL" });
  const [named = "", onPath = ""] = child.stdout.toString().split(/(?<=Hint: .*)\n/);
  for (const [text, hint] of [
    [named, "unset PIPE, or let it name the file of such a library"],
    [onPath, "copy it"],
  ] as const) {
    expect([child.signalCode, text]).toEqual([undefined, expect.stringContaining(`Hint: ${hint}`)]);
    expect(text).toContain(`${pipe}: it is a pipe, not a file`);
    expect(text).toContain(`${inner}: it is a folder, not a file`);
  }
  // The dynamic linker would find them by their names, and wait.
  expect(onPath).toContain("libpipe.so: one of the folders above has something of this name that is no file");
});

test.skipIf(!isKnown || LIBM === undefined)(
  "openLibrary() passes over a library that is cut short, instead of dying of it",
  () => {
    const whole = readFileSync(LIBM!);
    for (const share of [0.1, 0.5, 0.9]) {
      const path = inFolder("cut.so");
      writeFileSync(path, whole.subarray(0, Math.floor(whole.length * share)));
      expect(libraryFault(path)).toMatch(/^it is cut short: it must have \d+ bytes and has \d+$/);
      const script = `
      import { openLibrary } from ${JSON.stringify(join(import.meta.dir, "../../src/ffi/library.ts"))};
      const spec = { name: "cut", variable: "CUT", files: ["cut.so"], hint: "copy it again" };
      openLibrary(spec, { fabs: { args: ["f64"], returns: "f64" } });`;
      const child = Bun.spawnSync([process.execPath, "-e", script], { env: { ...process.env, CUT: path } });
      expect(child.signalCode).toBeUndefined();
      expect(child.stderr.toString()).toContain(`${path}: it is cut short`);
    }
  },
);

const WINDOWS = { platform: "win32", arch: "x64" } as const;

test("libraryFault() finds nothing wrong with the shim of Windows there, and names another system or processor", () => {
  const dll = join(SHIM, "windows-x64", "bun_tensorrt_shim.dll");
  const elf = join(SHIM, "linux-x64", "libbun_tensorrt_shim.so");
  expect(libraryFault(dll, WINDOWS)).toBeUndefined();
  expect(libraryFault(dll, { platform: "win32", arch: "arm64" })).toBe("it is made for x64, and this is arm64");
  expect(libraryFault(dll, { platform: "linux", arch: "x64" })).toBe("it is made for Windows");
  expect(libraryFault(elf, WINDOWS)).toBe("it is made for Linux");
});

test("libraryFault() sees where a library of Windows is cut short, down to its headers", () => {
  const whole = readFileSync(join(SHIM, "windows-x64", "bun_tensorrt_shim.dll"));
  const path = inFolder("cut.dll");
  for (const bytes of [whole.length - 1, Math.floor(whole.length / 2), 1000, 300]) {
    writeFileSync(path, whole.subarray(0, bytes));
    expect(libraryFault(path, WINDOWS)).toMatch(
      new RegExp(`^it is cut short: it must have \\d+ bytes and has ${bytes}$`),
    );
  }
  // What ends before its header is left to the system, as is a program for DOS.
  for (const bytes of [100, 64, 10]) {
    writeFileSync(path, whole.subarray(0, bytes));
    expect(libraryFault(path, WINDOWS)).toBeUndefined();
  }
});
