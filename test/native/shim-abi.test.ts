import { expect, test } from "bun:test";
import { join } from "node:path";
import { SHIM_STATUS, shim } from "../../src/ffi/shim.ts";
import { SHIM_METHODS } from "../../src/ffi/shim-methods.ts";
import { type BlockingName, SHIM_SYMBOLS } from "../../src/ffi/shim-symbols.ts";

const header = await Bun.file(join(import.meta.dir, "../../native/shim.h")).text();

/** FFI type of a C parameter or result. */
function ffiType(c: string, isResult: boolean): string {
  if (c.includes("*")) return "ptr";
  const plain: Readonly<Record<string, string>> = {
    void: "void",
    int32_t: "i32",
    uint32_t: "u32",
    int64_t: isResult ? "i64_fast" : "i64",
    uint64_t: "u64",
    size_t: "usize",
    float: "f32",
  };
  return plain[c.trim()] ?? `unknown C type ${c}`;
}

interface Prototype {
  readonly name: string;
  readonly args: string[];
  readonly returns: string;
}

function prototypes(): Prototype[] {
  return [...header.matchAll(/^BT_API ([^;]*);/gm)].map(([, declaration]) => {
    const text = declaration!.replace(/\s+/g, " ");
    const [, returns, name, list] = /^(.*?)\b(bt_\w+)\((.*)\)$/.exec(text)!;
    const args = list === "void" ? [] : list!.split(", ").map((one) => ffiType(one.replace(/\w+$/, ""), false));
    return { name: name!, args, returns: ffiType(returns!, true) };
  });
}

test("SHIM_SYMBOLS has the names, arity and types of native/shim.h, in its order", () => {
  const table = Object.entries(SHIM_SYMBOLS).map(([name, { args, returns }]) => ({ name, args: [...args], returns }));
  expect(table as unknown).toEqual(prototypes());
  expect(table.length).toBeGreaterThan(70);
});

test("SHIM_METHODS has the methods and shapes of native/shim.h, in its order", () => {
  const methods = [...header.matchAll(/X\((\w+), (\w+), (\w+)\)/g)].map(([, type, method, shape]) => [
    `${type}.${method}`,
    shape!,
  ]);
  expect(Object.entries(SHIM_METHODS) as unknown).toEqual(methods);
});

test("every shape of SHIM_METHODS has its function", () => {
  for (const shape of new Set(Object.values(SHIM_METHODS))) {
    if (shape !== "special") expect(Object.keys(SHIM_SYMBOLS)).toContain(`bt_${shape}`);
  }
});

test("BlockingName covers the functions that the header says block", () => {
  const blocking = [...header.matchAll(/\/\*[^/]*?\bBlocks\b[^/]*?\*\/\s*BT_API [^;]*?(bt_\w+)\(/g)].map(
    ([, name]) => name,
  );
  const known: BlockingName[] = [
    "bt_wait_any",
    "bt_nvjpeg_create",
    "bt_nvjpeg_create_state",
    "bt_nvjpeg_prepare",
    "bt_nvjpeg_decode_batched",
    "bt_jpeg_check",
    "bt_jpeg_plans",
    "bt_runtime_create",
    "bt_runtime_deserialize",
    "bt_engine_create_context",
    "bt_builder_create",
    "bt_builder_build",
    "bt_parser_parse",
  ];
  expect(blocking as string[]).toEqual(known);
});

test("SHIM_STATUS has the codes of native/shim.h", () => {
  const codes = Object.fromEntries(
    [...header.matchAll(/#define (BT_\w+) \(?(-?\d+)\)?/g)].map(([, k, v]) => [k, Number(v)]),
  );
  expect(SHIM_STATUS).toEqual({
    ok: codes.BT_OK,
    failed: codes.BT_FAILED,
    noMethod: codes.BT_NO_METHOD,
    noDevice: codes.BT_NO_DEVICE,
    badCall: codes.BT_BAD_CALL,
  } as typeof SHIM_STATUS);
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
