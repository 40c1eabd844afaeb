import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shimTable } from "../../scripts/shim-table.ts";
import { SHIM_STATUS, shim } from "../../src/ffi/shim.ts";
import { SHIM_CONSTANTS, SHIM_METHODS, SHIM_SYMBOLS } from "../../src/ffi/shim-symbols.ts";

setDefaultTimeout(120_000);

const header = await Bun.file(join(import.meta.dir, "../../native/shim.h")).text();

test("src/ffi/shim-symbols.ts is native/shim.h: names, types, order, methods and what blocks", async () => {
  const table = await Bun.file(join(import.meta.dir, "../../src/ffi/shim-symbols.ts")).text();
  expect(table).toBe(shimTable(header));
  expect(Object.keys(SHIM_SYMBOLS).length).toBeGreaterThan(70);
  expect(Object.keys(SHIM_METHODS).length).toBeGreaterThan(100);
  expect(SHIM_SYMBOLS.bt_echo_arguments).toEqual({
    args: ["ptr", "i32", "u32", "i64", "u64", "f32", "ptr"],
    returns: "i32",
  });
  expect(SHIM_SYMBOLS.bt_echo_i64).toEqual({ args: ["i64"], returns: "i64_fast" });
  expect(() => shimTable("BT_API double bt_half(int32_t value);")).toThrow('no FFI type for "double"');
});

test("every shape of SHIM_METHODS has its function", () => {
  for (const shape of new Set(Object.values(SHIM_METHODS))) {
    if (shape !== "special") expect(Object.keys(SHIM_SYMBOLS)).toContain(`bt_${shape}`);
  }
});

test("SHIM_CONSTANTS has the numbers of native/shim.h", () => {
  const names = [...header.matchAll(/^#define (BT_\w+) .*\d/gm)].map(([, name]) => name!);
  expect(Object.keys(SHIM_CONSTANTS)).toEqual(names);
  expect(SHIM_CONSTANTS).toMatchObject({ BT_OK: 0, BT_BAD_CALL: -1004, BT_TEXT_LIMIT: 8192, BT_NEEDS_DEVICE: 1 });
});

test("shim() binds the prebuilt library, and refuses a call without an object", () => {
  const native = shim();
  expect(native.bt_destroy(null)).toBe(SHIM_STATUS.badCall);
  expect(native.bt_i32(null, 0x1000_0000, 5)).toBe(SHIM_STATUS.badCall);
  expect(native.bt_text(null, null, 0)).toBeNull();
  expect(native.bt_wait_any(-1, null, null, null, 0, 20)).toBe(SHIM_STATUS.badCall);
  expect(native.bt_nvjpeg_create(0, null, 3, 0, null)).toBe(SHIM_STATUS.badCall);
  expect(native.bt_nvjpeg_decode_batched(0, null, 1, 1, 1, 1, 1, 1)).toBe(SHIM_STATUS.badCall);
});

/** Asks for the driver from its working folder, then Windows for what is loaded under the driver's name. */
const PROBE = `
  import { dlopen } from "bun:ffi";
  const { shim } = await import(process.argv[1]);
  const { symbols } = dlopen("kernel32.dll", { GetModuleHandleA: { args: ["ptr"], returns: "ptr" } });
  console.log(shim().bt_cuda_probe(null, null) !== 0, symbols.GetModuleHandleA(Buffer.from("nvcuda.dll\\0")));
`;

test.skipIf(process.platform !== "win32")("a driver that lies in the working folder is not loaded", () => {
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-planted-"));
  const own = join(import.meta.dir, "../../native/prebuilt/windows-x64/bun_tensorrt_shim.dll");
  const source = join(import.meta.dir, "../../src/ffi/shim.ts");
  try {
    copyFileSync(own, join(folder, "nvcuda.dll"));
    const child = Bun.spawnSync([process.execPath, "-e", PROBE, source], { cwd: folder });
    expect(child.stdout.toString().trim()).toBe("true null");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
