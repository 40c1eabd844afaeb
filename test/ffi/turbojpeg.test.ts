import { expect, test } from "bun:test";
import { LibraryLoadError } from "../../src/core/errors.ts";
import { findTurboJpeg, type TurboJpeg, testTurboJpeg } from "../../src/ffi/turbojpeg.ts";
import { hasTurboJpeg, withoutTurboJpeg } from "../support/images.ts";

test.skipIf(!hasTurboJpeg)("findTurboJpeg() finds, tests and binds the system's library once (libturbojpeg)", () => {
  const found = findTurboJpeg() as TurboJpeg;
  expect(found.path).toContain("turbojpeg");
  expect(findTurboJpeg()).toBe(found);
});

test("findTurboJpeg() returns an error with the path tried, and finds the library again afterwards", async () => {
  await withoutTurboJpeg(async () => {
    const absent = findTurboJpeg();
    expect(absent).toBeInstanceOf(LibraryLoadError);
    expect((absent as LibraryLoadError).tried).toEqual(["/nowhere/libturbojpeg.so.0: no such file"]);
    expect((absent as LibraryLoadError).message).toContain(
      "Hint: unset BUN_TENSORRT_TURBOJPEG, or let it name the file",
    );
    expect(findTurboJpeg()).toBe(absent);
  });
  expect("path" in findTurboJpeg()).toBe(hasTurboJpeg);
});

test("findTurboJpeg() refuses a file that is no library", () => {
  process.env.BUN_TENSORRT_TURBOJPEG = import.meta.path;
  try {
    expect(findTurboJpeg()).toBeInstanceOf(LibraryLoadError);
  } finally {
    delete process.env.BUN_TENSORRT_TURBOJPEG;
  }
});

test.skipIf(!hasTurboJpeg)("testTurboJpeg() finds a call that does not what it should (libturbojpeg)", () => {
  const { symbols } = findTurboJpeg() as TurboJpeg;
  expect(testTurboJpeg(symbols)).toBeUndefined();
  const lazy = { ...symbols, tjDecompress2: (() => 0) as unknown as typeof symbols.tjDecompress2 };
  expect(testTurboJpeg(lazy)).toStartWith("self-test failed: tjDecompress2 decodes known pixels");
});
