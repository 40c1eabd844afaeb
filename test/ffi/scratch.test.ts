import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import { OutCells } from "../../src/ffi/memory.ts";

test("OutCells reads what was written as 64 bits, in the type that is asked for", () => {
  const out = new OutCells(3);
  out.cells[0] = 0x7f12_3456_789an;
  expect(out.pointer()).toBe(0x7f12_3456_789a);
  expect(out.u32()).toBe(0x3456_789a);
  new Int32Array(out.cells.buffer)[2] = -7;
  expect(out.i32(1)).toBe(-7);
  expect(out.u32(1)).toBe(4294967289);
  new Float32Array(out.cells.buffer)[4] = 0.5;
  expect(out.f32(2)).toBe(0.5);
  out.clear();
  expect([...out.cells]).toEqual([0n, 0n, 0n]);
});

test("OutCells.pointer() takes every value below 2^53, and refuses the rest", () => {
  const out = new OutCells(1);
  out.cells[0] = 2n ** 53n - 1n;
  expect(out.pointer()).toBe(Number.MAX_SAFE_INTEGER);
  for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
    out.cells[0] = value;
    expect(() => out.pointer()).toThrow(ArgumentError);
    expect(() => out.pointer()).toThrow("Cannot use a native pointer: it must be below 2^53, got 0x");
  }
});

test("OutCells.setPointer() writes what pointer() reads", () => {
  const out = new OutCells(2);
  for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 47 + 12345, 2 ** 53 - 1]) {
    out.setPointer(1, value);
    expect(out.pointer(1)).toBe(value);
    expect(out.cells[1]).toBe(BigInt(value));
    expect(out.cells[0]).toBe(0n);
  }
});
