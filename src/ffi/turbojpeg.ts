/** @module TurboJpeg: libturbojpeg where the system has it, with the decoding itself off the JS thread. */

import { LibraryLoadError } from "../core/errors.ts";
import type { LibrarySpec } from "./discovery.ts";
import { type NativeCalls, type OpenLibrary, openLibrary, selfTest } from "./library.ts";
import { OutCells, readCString } from "./memory.ts";
import { type OffThreadFunction, offThread } from "./off-thread.ts";

/** Its files, and where installers put them that the dynamic linker does not look in. */
const PLACES: Readonly<Partial<Record<NodeJS.Platform, Pick<LibrarySpec, "files" | "folders">>>> = {
  darwin: {
    files: ["libturbojpeg.dylib", "libturbojpeg.0.dylib"],
    folders: ["/opt/homebrew/opt/jpeg-turbo/lib", "/usr/local/opt/jpeg-turbo/lib"],
  },
  win32: { files: ["turbojpeg.dll", "libturbojpeg.dll"], folders: ["C:\\libjpeg-turbo64\\bin"] },
};

const SPEC: LibrarySpec = {
  name: "turbojpeg",
  variable: "BUN_TENSORRT_TURBOJPEG",
  files: ["libturbojpeg.so.0"],
  ...PLACES[process.platform],
  hasMuslBuild: true,
  hint: "install it (Debian: libturbojpeg0, Ubuntu and Fedora: libturbojpeg or turbojpeg, macOS: jpeg-turbo), or set BUN_TENSORRT_TURBOJPEG to the file",
};

/** A decompressor: its owner destroys it. */
export type TjHandle = number;

/** libturbojpeg, opened. */
export interface TurboJpeg extends OpenLibrary<typeof TURBOJPEG_SYMBOLS> {
  /** `tjDecompress2` on a worker thread; the parameters are those of the symbol table. */
  readonly decompress: OffThreadFunction;
}

/** What the last search found, and for which value of the environment variable: a failure is kept as well. */
let known: { readonly variable: string | undefined; readonly found: TurboJpeg | LibraryLoadError } | undefined;

function bind(): TurboJpeg {
  const library = openLibrary(SPEC, TURBOJPEG_SYMBOLS, testTurboJpeg);
  const decompress = offThread(library.symbols.tjDecompress2.ptr, TURBOJPEG_SYMBOLS.tjDecompress2);
  return { ...library, decompress };
}

/**
 * Where libturbojpeg was found, or why it was not. Opened, tested and bound at the first call, then kept; searched again
 * only when `BUN_TENSORRT_TURBOJPEG` has changed.
 */
export function findTurboJpeg(): TurboJpeg | LibraryLoadError {
  const variable = process.env[SPEC.variable];
  if (known === undefined || known.variable !== variable) {
    try {
      known = { variable, found: bind() };
    } catch (error) {
      if (!(error instanceof LibraryLoadError)) throw error;
      known = { variable, found: error };
    }
  }
  return known.found;
}

/** Pixel formats of `tjDecompress2` that are used here. */
export const TJPF_RGB = 0;

/** Colour space, as `tjDecompressHeader3` reports it: one channel. */
const TJCS_GRAY = 2;
/** Colour space: four channels of ink. */
export const TJCS_CMYK = 3;
/** Colour space: four channels of ink, three of them as luminance and chrominance. */
export const TJCS_YCCK = 4;

/** Refuse progressive images of more than 500 scans, which cost minutes for a few kilobytes. */
export const TJFLAG_LIMITSCANS = 32768;

/** What `tjGetErrorCode` returns where the image was decoded nevertheless. */
export const TJERR_WARNING = 0;

/** Prototypes of `turbojpeg.h`, in its order. @see https://libjpeg-turbo.org/Documentation/Documentation */
const TURBOJPEG_SYMBOLS = {
  tjInitDecompress: { args: [], returns: "ptr" },
  // handle, jpegBuf, jpegSize, width, height, jpegSubsamp, jpegColorspace
  tjDecompressHeader3: { args: ["ptr", "ptr", "usize", "ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  // handle, jpegBuf, jpegSize, dstBuf, width (chooses the scale), pitch (bytes), height, pixelFormat, flags (TJFLAG_…)
  tjDecompress2: { args: ["ptr", "ptr", "usize", "ptr", "i32", "i32", "i32", "i32", "i32"], returns: "i32" },
  tjDestroy: { args: ["ptr"], returns: "i32" }, // handle
  tjGetErrorStr2: { args: ["ptr"], returns: "ptr" }, // handle (NULL: the thread's last error)
  tjGetErrorCode: { args: ["ptr"], returns: "i32" }, // handle
} as const;

type Symbols = NativeCalls<typeof TURBOJPEG_SYMBOLS>;

/** 9x2 grey pixels: columns 0 to 7 have the level 200, column 8 has 40. */
const IMAGE_FILE = Buffer.from(
  "/9j/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAALCAACAAkBAREA" +
    "/8QAFQABAQAAAAAAAAAAAAAAAAAACgv/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oACAEBAAA/AEgJf7//2Q==",
  "base64",
);
const WIDTH = 9;
const HEIGHT = 2;
const PITCH = 32;

/** Size, subsampling and colour space of a header, or the error. */
function header(tj: Symbols, handle: TjHandle, bytes: Uint8Array): string {
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
  if (status !== 0) return `code ${tj.tjGetErrorCode(handle)}: ${readCString(tj.tjGetErrorStr2(handle))}`;
  return `${out.i32(0)}x${out.i32(1)} ${out.i32(3) === TJCS_GRAY ? "grey" : `colour space ${out.i32(3)}`}`;
}

/** First and last pixel of both rows, decoded with a row pitch that is larger than the rows. */
function pixels(tj: Symbols, handle: TjHandle): string {
  const rgb = new Uint8Array(new ArrayBuffer(PITCH * HEIGHT)).fill(7);
  const status = tj.tjDecompress2(
    handle,
    IMAGE_FILE,
    IMAGE_FILE.length,
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
      run: () => header(tj, handle, IMAGE_FILE),
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
