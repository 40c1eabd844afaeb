/** @module NvJpeg: libnvjpeg 12 or 13, whichever fits the driver, found and opened with the first call to it. */

import { LibraryLoadError, message } from "../core/errors.ts";
import type { NativeCalls } from "./cuda-calls.ts";
import { cudaFolders } from "./cuda-folders.ts";
import { cudaMajors } from "./cuda-runtime.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";
import { NVJPEG_SYMBOLS } from "./nvjpeg-symbols.ts";
import { OutCells } from "./scratch.ts";

/** The functions of libnvjpeg. */
export type NvJpegCalls = NativeCalls<typeof NVJPEG_SYMBOLS>;

/** Where libnvjpeg may lie; also what `doctor` prints. */
export function nvJpegSpec(): LibrarySpec {
  return {
    name: "libnvjpeg",
    variable: "BUN_TENSORRT_NVJPEG",
    files: cudaMajors().map((major) => `libnvjpeg.so.${major}`),
    python: ["nvidia/nvjpeg/lib", "nvidia/cu13/lib"],
    folders: cudaFolders(),
    hint: "run `bunx bun-tensorrt install nvjpeg`, or set BUN_TENSORRT_NVJPEG to the path of the file",
  };
}

/** libnvjpeg, opened. */
export interface NvJpegLibrary {
  readonly path: string;
  /** `13.0.1` */
  readonly version: string;
  readonly calls: NvJpegCalls;
}

let known: NvJpegLibrary | undefined;

function open(): NvJpegLibrary {
  const spec = nvJpegSpec();
  const { path, symbols } = openLibrary(spec, NVJPEG_SYMBOLS);
  const calls = symbols as unknown as NvJpegCalls;
  const out = new OutCells(1);
  const parts = [0, 1, 2].map((part) => (calls.nvjpegGetProperty(part, out.cells) === 0 ? out.i32() : -1));
  if (parts[0] !== 12 && parts[0] !== 13) {
    const found = `libnvjpeg must be of version 12 or 13: it says ${parts.join(".")}`;
    throw new LibraryLoadError(message(`use ${path}`, found, spec.hint), "libnvjpeg", [path]);
  }
  return { path, version: parts.join("."), calls };
}

/**
 * libnvjpeg. The first call opens it; no device is touched.
 *
 * @throws {LibraryLoadError} If it is nowhere, or of a version other than 12 and 13
 */
export function nvJpegLibrary(): NvJpegLibrary {
  known ??= open();
  return known;
}
