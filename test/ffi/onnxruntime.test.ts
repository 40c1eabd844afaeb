import { JSCallback } from "bun:ffi";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { candidatePaths } from "../../src/ffi/discovery.ts";
import { openLibrary } from "../../src/ffi/library.ts";
import { addressOf, cString, OutCells } from "../../src/ffi/memory.ts";
import { ONNXRUNTIME, onnxRuntimeUnavailable, openOnnxRuntime, testOnnxRuntime } from "../../src/ffi/onnxruntime.ts";

setDefaultTimeout(120_000);

const named = process.env.BUN_TENSORRT_ONNXRUNTIME;

afterEach(() => {
  if (named === undefined) delete process.env.BUN_TENSORRT_ONNXRUNTIME;
  else process.env.BUN_TENSORRT_ONNXRUNTIME = named;
});

/** An OrtApiBase whose library says it is `version`, and has no API at all. */
function fakeBase(version: string): { address: number; close: () => void; keep: unknown } {
  const text = cString(version);
  const getVersion = new JSCallback(() => addressOf(text), { args: [], returns: "ptr" });
  const getApi = new JSCallback(() => null, { args: ["u32"], returns: "ptr" });
  const cells = new OutCells(2);
  cells.setPointer(0, Number(getApi.ptr));
  cells.setPointer(1, Number(getVersion.ptr));
  const close = () => {
    getVersion.close();
    getApi.close();
  };
  return { address: addressOf(cells.cells), close, keep: [cells, text] };
}

test("openOnnxRuntime() finds the library of the platform's package, and opens it once", () => {
  const library = openOnnxRuntime();
  expect(library.version).toMatch(/^1\.\d+\.\d+/);
  expect(openOnnxRuntime()).toBe(library);
  if (named === undefined) {
    const name = process.platform === "darwin" ? "libonnxruntime.dylib" : "libonnxruntime.so";
    expect(library.path).toEndWith(join(`sherpa-onnx-${process.platform}-${process.arch}`, name));
  }
});

test.skipIf(named !== undefined)("the ONNX Runtime that is installed by default cannot open a connection", async () => {
  // What a library imports of others stands in it by name.
  const bytes = Buffer.from(await Bun.file(openOnnxRuntime().path).bytes());
  const prefix = process.platform === "darwin" ? "_" : "";
  const imports = (name: string): boolean => bytes.includes(`\0${prefix}${name}\0`);
  expect(imports("dlopen")).toBe(true);
  expect(["socket", "connect", "getaddrinfo"].filter(imports)).toEqual([]);
});

test("Intel Macs are refused by name, and no other machine is", () => {
  const unavailable = onnxRuntimeUnavailable("darwin", "x64")!;
  process.env.BUN_TENSORRT_ONNXRUNTIME = "/none/libonnxruntime.dylib";
  expect(() => openLibrary({ ...ONNXRUNTIME, unavailable }, {})).toThrow(
    "Cannot load the library onnxruntime: this is an Intel Mac (darwin-x64), for which ONNX Runtime is no longer made\n" +
      "Hint: use Apple silicon or Linux, or set BUN_TENSORRT_ONNXRUNTIME to a library of your own",
  );
  const others = ["darwin-arm64", "linux-x64", "linux-arm64", "win32-x64"].map((one) => one.split("-"));
  expect(others.filter(([platform, arch]) => onnxRuntimeUnavailable(platform, arch) !== undefined)).toEqual([]);
});

test("ONNXRUNTIME never names an addon, and finds the versioned file of Python's wheel", () => {
  const folder = mkdtempSync(join(tmpdir(), "onnxruntime-"));
  process.env.BUN_TENSORRT_ONNXRUNTIME = folder;
  const name = process.platform === "darwin" ? "libonnxruntime.1.31.1.dylib" : "libonnxruntime.so.1.31.1";
  writeFileSync(join(folder, name), "");
  writeFileSync(join(folder, "onnxruntime_binding.node"), "");
  const paths = candidatePaths(ONNXRUNTIME);
  rmSync(folder, { recursive: true });
  expect(paths).toContain(join(folder, name));
  expect(paths.filter((path) => path.endsWith(".node"))).toEqual([]);
});

test.each([
  ["1.16.3", "it must be version 1.17 or newer, below 2, got 1.16.3"],
  ["2.0.0", "it must be version 1.17 or newer, below 2, got 2.0.0"],
  ["nightly", 'its version has an unknown form, "nightly"'],
  ["1.30.0", "version 1.30.0 has no API 17"],
])("testOnnxRuntime() refuses a library of version %s without the API, by name", (version, fault) => {
  const base = fakeBase(version);
  expect(testOnnxRuntime(base.address)).toBe(fault);
  base.close();
});

test("testOnnxRuntime() refuses NULL", () => {
  expect(testOnnxRuntime(null)).toBe("OrtGetApiBase returned NULL");
});

test("openOnnxRuntime() in a process of its own names the file it cannot use, and its hint", async () => {
  const script = `
    import { openOnnxRuntime } from "./src/ffi/onnxruntime.ts";
    try { openOnnxRuntime(); } catch (error) { process.stdout.write(error.name + "\\n" + error.message); }`;
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, "-e", script], {
    cwd: join(import.meta.dir, "../.."),
    env: { ...process.env, BUN_TENSORRT_ONNXRUNTIME: "/nowhere/libonnxruntime.so" },
  });
  expect(exitCode).toBe(0);
  expect(stdout.toString()).toBe(
    [
      "LibraryLoadError",
      "Cannot load the library onnxruntime: it was found at none of these paths:",
      "  /nowhere/libonnxruntime.so: no such file",
      "Hint: unset BUN_TENSORRT_ONNXRUNTIME, or let it name the file of such a library",
    ].join("\n"),
  );
});
