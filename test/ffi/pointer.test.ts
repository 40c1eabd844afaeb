import { expect, test } from "bun:test";
import { addressOf, nativeView } from "../../src/ffi/memory.ts";

test("addressOf() is the view's own first byte", () => {
  const buffer = new ArrayBuffer(64);
  const whole = addressOf(new Uint8Array(buffer));
  expect(addressOf(new Uint8Array(buffer, 17, 3))).toBe(whole + 17);
  expect(addressOf(new BigInt64Array(buffer, 16, 2))).toBe(whole + 16);
  expect(addressOf(new DataView(buffer, 5))).toBe(whole + 5);
});

test("addressOf() refuses an empty view", () => {
  expect(() => addressOf(new Uint8Array(0))).toThrow(
    "Cannot take the address of a view: it must have at least one byte",
  );
});

test("addressOf() pins a small array, which the engine would move", () => {
  const small = Float32Array.of(1, 2, 3);
  const address = addressOf(small);
  for (let i = 0; i < 200_000; i++) {
    if (addressOf(small) !== address) throw new Error(`moved after ${i} calls`);
  }
  Bun.gc(true);
  expect(addressOf(small)).toBe(address);
  small[1] = 42;
  expect([...new Float32Array(nativeView(address, 12))]).toEqual([1, 42, 3]);
});

test("nativeView() shares the memory, both ways", () => {
  const source = new Uint8Array(new ArrayBuffer(4096));
  const view = new Uint8Array(nativeView(addressOf(source), 4096));
  source[4095] = 9;
  view[0] = 8;
  expect([view[4095], source[0]]).toEqual([9, 8]);
});
