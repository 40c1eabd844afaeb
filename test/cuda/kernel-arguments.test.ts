import { ptr } from "bun:ffi";
import { expect, test } from "bun:test";
import { ArgumentError } from "../../src/core/errors.ts";
import type { DevicePtr } from "../../src/core/units.ts";
import { KernelArguments, layOut } from "../../src/cuda/kernel.ts";
import { nativeView } from "../../src/ffi/memory.ts";

const address = (value: number): DevicePtr => value as DevicePtr;

test("layOut() aligns each parameter to its own size", () => {
  const parameters = layOut([
    ["count", "i32"],
    ["output", "pointer"],
    ["scale", "f32"],
    ["flags", "u32"],
    ["input", "pointer"],
  ]);
  expect(parameters.map(({ offsetBytes, byteLength }) => [offsetBytes, byteLength])).toEqual([
    [0, 4],
    [8, 8],
    [16, 4],
    [20, 4],
    [24, 8],
  ]);
});

test("KernelArguments packs values where the kernel reads them", () => {
  const args = new KernelArguments(
    layOut([
      ["output", "pointer"],
      ["width", "i32"],
      ["scale", "f32"],
      ["flags", "u32"],
      ["input", "pointer"],
    ]),
  );
  args.setPointer(args.index("output"), address(0x7f12_3456_7890));
  args.setI32(args.index("width"), -5);
  args.setF32(args.index("scale"), 1.5);
  args.setU32(args.index("flags"), 0xffff_fff0);
  args.setPointer(args.index("input"), address(2 ** 53 - 1));
  const bytes = new DataView(args.bytes().slice().buffer);
  expect(bytes.byteLength).toBe(32);
  expect(bytes.getBigUint64(0, true)).toBe(0x7f12_3456_7890n);
  expect(bytes.getInt32(8, true)).toBe(-5);
  expect(bytes.getFloat32(12, true)).toBe(1.5);
  expect(bytes.getUint32(16, true)).toBe(0xffff_fff0);
  expect(bytes.getBigUint64(24, true)).toBe(2n ** 53n - 1n);
});

test("KernelArguments hands cuLaunchKernel the block and its length, and they stay in place", () => {
  const args = new KernelArguments(
    layOut([
      ["output", "pointer"],
      ["count", "i32"],
    ]),
  );
  for (let round = 0; round < 20_000; round++) args.setI32(1, round);
  Bun.gc(true);
  const [pointerTag, block, sizeTag, size, end] = args.extra;
  expect([pointerTag, sizeTag, end]).toEqual([1n, 2n, 0n]);
  expect(new BigUint64Array(nativeView(Number(size), 8))[0]).toBe(12n);
  expect(new Int32Array(nativeView(Number(block), 12))[2]).toBe(19_999);
  expect(ptr(args.bytes())).toBe(Number(block) as never);
});

test("KernelArguments refuses a wrong type, number or name", () => {
  const args = new KernelArguments(
    layOut([
      ["output", "pointer"],
      ["count", "i32"],
    ]),
  );
  expect(() => args.setI32(0, 1)).toThrow("Cannot set parameter 0 as i32: output is pointer");
  expect(() => args.setF32(1, 1)).toThrow(ArgumentError);
  expect(() => args.setI32(2, 1)).toThrow("there is none");
  expect(() => args.index("length")).toThrow('Cannot set the parameter "length": the kernel has only output, count');
});

test("KernelArguments refuses parameters that a compiler would lay out otherwise", () => {
  expect(() => new KernelArguments([])).toThrow(ArgumentError);
  expect(() => new KernelArguments([{ name: "a", type: "pointer", offsetBytes: 4, byteLength: 8 }])).toThrow(
    "Cannot make an argument block: a (pointer) takes 8 bytes at a multiple of that, got 8 bytes at 4",
  );
});
