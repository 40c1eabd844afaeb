import { expect, test } from "bun:test";
import { LibraryLoadError } from "../../src/core/errors.ts";
import { parseVersion, slotTableOf, TENSORRT_10, TENSORRT_11, TENSORRT_RTX } from "../../src/tensorrt/version.ts";

test("parseVersion() tells families and scales apart", () => {
  const texts = [100600, 101501, 110201, 110400, 10701, 10500, 8601, 90300 / 10].map(
    (number) => parseVersion(number).text,
  );
  expect(texts).toEqual([
    "TensorRT 10.6.0",
    "TensorRT 10.15.1",
    "TensorRT 11.2.1",
    "TensorRT 11.4.0",
    "TensorRT-RTX 1.7.1",
    "TensorRT-RTX 1.5.0",
    "TensorRT 8.6.1",
    "TensorRT 9.0.30",
  ]);
  expect(parseVersion(100600, 26).build).toBe(26);
  expect(parseVersion(100600).build).toBeUndefined();
});

test("slotTableOf() knows TensorRT 10 and 11 and TensorRT-RTX from 1.5 on", () => {
  expect(slotTableOf(parseVersion(100000), "a.so")).toBe(TENSORRT_10);
  expect(slotTableOf(parseVersion(101600), "a.so")).toBe(TENSORRT_10);
  expect(slotTableOf(parseVersion(110400), "a.so")).toBe(TENSORRT_11);
  expect(slotTableOf(parseVersion(10500), "a.so")).toBe(TENSORRT_RTX);
});

test("slotTableOf() refuses an unknown major version by name", () => {
  for (const [number, name] of [
    [8601, "TensorRT 8.6.1"],
    [120000, "TensorRT 12.0.0"],
    [20000, "TensorRT-RTX 2.0.0"],
  ] as const) {
    const call = (): unknown => slotTableOf(parseVersion(number), "/opt/libnvinfer.so");
    expect(call).toThrow(LibraryLoadError);
    expect(call).toThrow(
      `Cannot use /opt/libnvinfer.so: it must be TensorRT 10 or 11, or TensorRT-RTX 1.5 or a later 1.x, got ${name}`,
    );
  }
});

test("slotTableOf() refuses TensorRT-RTX before 1.5 and says why", () => {
  expect(() => slotTableOf(parseVersion(10400), "a.so")).toThrow(
    /TensorRT-RTX 1\.4\.0\nHint: releases before 1\.5 have another/,
  );
});
