import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import { addressOf, cString, readCString } from "../../src/ffi/memory.ts";

test("cString() is UTF-8 with one NUL, over an ArrayBuffer of its own", () => {
  const bytes = cString("aü€");
  expect([...bytes]).toEqual([0x61, 0xc3, 0xbc, 0xe2, 0x82, 0xac, 0]);
  expect(bytes.buffer.byteLength).toBe(7);
  expect([...cString("")]).toEqual([0]);
});

test("cString() refuses a NUL, which would cut the text short", () => {
  expect(() => cString("a\0b")).toThrow(ArgumentError);
  expect(() => cString("a\0b")).toThrow('Cannot pass "a\\u0000b" to a native call: it holds a NUL');
});

test("readCString() reads back what cString() wrote, and NULL as the empty string", () => {
  for (const text of ["", "a", "images", "{0: 'Fußgänger', 1: '自転車'}", "x".repeat(5000)]) {
    const bytes = cString(text);
    expect(readCString(addressOf(bytes))).toBe(text);
  }
  expect(readCString(0)).toBe("");
  expect(readCString(null)).toBe("");
});
