import { dlopen } from "bun:ffi";
import { expect, test } from "bun:test";
import { addressOf, cString, OutCells } from "../../src/ffi/memory.ts";
import { bindTable } from "../../src/ffi/onnxruntime.ts";

const isLinux = process.platform === "linux";

/** A struct of three pointers to functions of the C library, as a library would hand it out. */
function struct(): OutCells {
  const { symbols } = dlopen("libc.so.6", { dlsym: { args: ["usize", "ptr"], returns: "usize" } });
  const cells = new OutCells(3);
  for (const [index, name] of ["abs", "strlen", "strchr"].entries()) {
    cells.setPointer(index, Number(symbols.dlsym(0, cString(name))));
  }
  return cells;
}

test.skipIf(!isLinux)("bindTable() calls each member at its place, with the types of its prototype", () => {
  const cells = struct();
  const bound = bindTable(addressOf(cells.cells), {
    strchr: { index: 2, args: ["ptr", "i32"], returns: "ptr" },
    abs: { index: 0, args: ["i32"], returns: "i32" },
  } as const);
  const text = cString("images");
  expect(bound.abs(-7)).toBe(7);
  expect(bound.strchr(text, "g".charCodeAt(0))).toBe(addressOf(text) + 3);
  expect(bound.strchr(addressOf(text), "z".charCodeAt(0))).toBeNull();
  expect(bound.abs.ptr).toBe(cells.pointer(0));
});
