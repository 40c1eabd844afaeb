/** @module TurboJPEG self-test: a tiny picture with known pixels, and a refusal, before anything relies on the calls. */

import type { Library } from "bun:ffi";
import { readCString } from "./cstring.ts";
import { OutCells } from "./scratch.ts";
import { selfTest } from "./self-test.ts";
import { TJCS_GRAY, TJFLAG_LIMITSCANS, TJPF_RGB, type TURBOJPEG_SYMBOLS } from "./turbojpeg-symbols.ts";

type Symbols = Library<typeof TURBOJPEG_SYMBOLS>["symbols"];

/** 9x2 grey pixels: columns 0 to 7 have the level 200, column 8 has 40. */
const PICTURE = Buffer.from(
  "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAALCAACAAkBAREA" +
    "/8QAFQABAQAAAAAAAAAAAAAAAAAACgv/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AEgJf7//2Q==",
  "base64",
);
const WIDTH = 9;
const HEIGHT = 2;
const PITCH = 32;

/** Size, subsampling and colour space of a header, or the error. */
function header(tj: Symbols, handle: ReturnType<Symbols["tjInitDecompress"]>, bytes: Uint8Array): string {
  const out = new OutCells(4);
  const { cells } = out;
  const status = tj.tjDecompressHeader3(
    handle,
    bytes,
    bytes.length,
    cells,
    cells.subarray(1),
    cells.subarray(2),
    cells.subarray(3),
  );
  if (status !== 0) return `code ${tj.tjGetErrorCode(handle)}: ${readCString(Number(tj.tjGetErrorStr2(handle) ?? 0))}`;
  return `${out.i32(0)}x${out.i32(1)} ${out.i32(3) === TJCS_GRAY ? "grey" : `colour space ${out.i32(3)}`}`;
}

/** First and last pixel of both rows, decoded with a row pitch that is larger than the rows. */
function pixels(tj: Symbols, handle: ReturnType<Symbols["tjInitDecompress"]>): string {
  const rgb = new Uint8Array(new ArrayBuffer(PITCH * HEIGHT)).fill(7);
  const status = tj.tjDecompress2(
    handle,
    PICTURE,
    PICTURE.length,
    rgb,
    WIDTH,
    PITCH,
    HEIGHT,
    TJPF_RGB,
    TJFLAG_LIMITSCANS,
  );
  return `${status}: ${[0, WIDTH * 3 - 1, WIDTH * 3, PITCH, PITCH + WIDTH * 3 - 1].map((at) => rgb[at]).join(" ")}`;
}

/**
 * Prove a libturbojpeg that was just opened; takes microseconds.
 *
 * @returns what is wrong, one clause; `undefined` if nothing is
 */
export function testTurboJpeg(tj: Symbols): string | undefined {
  const handle = tj.tjInitDecompress();
  if (handle === null) return "tjInitDecompress returned NULL";
  const fault = selfTest([
    {
      what: "tjDecompressHeader3 reads a size",
      expected: "9x2 grey",
      run: () => header(tj, handle, PICTURE),
    },
    {
      what: "tjDecompress2 decodes known pixels and leaves the rest of a row alone",
      expected: "0: 200 40 7 200 40",
      run: () => pixels(tj, handle),
    },
    {
      what: "tjDecompressHeader3 refuses what is no JPEG, with a text",
      expected: /^code 1: .*not a JPEG/i,
      run: () => header(tj, handle, new Uint8Array(64)),
    },
  ]);
  return tj.tjDestroy(handle) === 0 ? fault : "tjDestroy failed";
}
