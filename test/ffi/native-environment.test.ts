import { CString, dlopen, type Pointer } from "bun:ffi";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { setNativeDefault } from "../../src/ffi/libc.ts";
import { cString } from "../../src/ffi/memory.ts";

setDefaultTimeout(120_000);

const NAME = "BUN_TENSORRT_TEST_VARIABLE";

const { symbols } = dlopen(process.platform === "win32" ? "ucrtbase.dll" : "libc.so.6", {
  getenv: { args: ["ptr"], returns: "ptr" },
});

function nativeValue(name: string): string | undefined {
  const found = symbols.getenv(cString(name)) as Pointer | null;
  return found === null ? undefined : new CString(found).toString();
}

afterEach(() => {
  delete process.env[NAME];
});

test("setNativeDefault() lets native libraries see the value, which process.env alone does not", () => {
  process.env[`${NAME}_2`] = "only here";
  expect(nativeValue(`${NAME}_2`)).toBeUndefined();
  delete process.env[`${NAME}_2`];
  setNativeDefault(NAME, "32");
  expect(nativeValue(NAME)).toBe("32");
});

test("setNativeDefault() leaves what the user has set, wherever", () => {
  process.env[NAME] = "8";
  setNativeDefault(NAME, "32");
  expect(nativeValue(NAME)).toBe("8");
});

test("setNativeDefault() refuses a value that C would cut short", () => {
  expect(() => setNativeDefault(NAME, "3\u00002")).toThrow("it holds a NUL");
});

test.skipIf(process.platform === "win32")(
  "cudaDriver() gives the GPU as many queues as there can be, and what is compiled a place in our cache, before libcuda reads it",
  async () => {
    const script = `
    const { CString, dlopen } = await import("bun:ffi");
    const { cudaDriver } = await import(${JSON.stringify(join(import.meta.dir, "../../src/ffi/cuda-runtime.ts"))});
    try { cudaDriver(); } catch (error) { if (error.name !== "LibraryLoadError") throw error; }
    const { symbols } = dlopen(process.platform === "win32" ? "ucrtbase.dll" : "libc.so.6", { getenv: { args: ["ptr"], returns: "ptr" } });
    const valueOf = (name) => String(new CString(symbols.getenv(Buffer.from(name + "\\0"))));
    console.log(valueOf("CUDA_DEVICE_MAX_CONNECTIONS"), valueOf("CUDA_CACHE_PATH"));`;
    for (const [set, seen] of [
      [undefined, "32 /ours/cuda"],
      ["4", "4 /ours/cuda"],
    ]) {
      const env = {
        ...process.env,
        CUDA_DEVICE_MAX_CONNECTIONS: set,
        BUN_TENSORRT_CACHE: "/ours",
        CUDA_CACHE_PATH: undefined,
      };
      const { stdout, stderr, exitCode } = Bun.spawnSync([process.execPath, "-e", script], { env });
      expect([stdout.toString().trim(), stderr.toString(), exitCode]).toEqual([seen!, "", 0]);
    }
  },
);
