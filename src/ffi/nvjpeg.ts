/** @module NvJpeg: libnvjpeg 12 or 13, whichever goes with the CUDA runtime, found and opened with the first call to it. */

import { LibraryLoadError, message } from "../core/errors.ts";
import type { NativeCalls } from "./cuda-calls.ts";
import { cudaFolders } from "./cuda-folders.ts";
import { cudaRuntimeVersion } from "./cuda-runtime.ts";
import { type LibrarySpec, openLibrary } from "./library.ts";
import { NVJPEG_SYMBOLS } from "./nvjpeg-symbols.ts";
import { OutCells } from "./scratch.ts";

/** The functions of libnvjpeg. */
export type NvJpegCalls = NativeCalls<typeof NVJPEG_SYMBOLS>;

/** Where libnvjpeg may lie; also what `doctor` prints. @param major of the CUDA runtime; both where it is not known */
export function nvJpegSpec(major?: number): LibrarySpec {
  return {
    name: "libnvjpeg",
    variable: "BUN_TENSORRT_NVJPEG",
    files: major === undefined ? ["libnvjpeg.so.13", "libnvjpeg.so.12"] : [`libnvjpeg.so.${major}`],
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
  // Each has its own copy of the CUDA runtime inside, which refuses an older driver than its own.
  const runtime = Math.floor(cudaRuntimeVersion() / 1000);
  const { path, symbols } = openLibrary(nvJpegSpec(runtime), NVJPEG_SYMBOLS);
  const calls = symbols as unknown as NvJpegCalls;
  const out = new OutCells(1);
  const parts = [0, 1, 2].map((part) => (calls.nvjpegGetProperty(part, out.cells) === 0 ? out.i32() : -1));
  if (parts[0] !== runtime) {
    const found = `as libnvjpeg must be of version ${runtime}: it says ${parts.join(".")}`;
    throw new LibraryLoadError(message(`use ${path}`, found, nvJpegSpec(runtime).hint), "libnvjpeg", [path]);
  }
  return { path, version: parts.join("."), calls };
}

/**
 * libnvjpeg. The first call opens it; no device is touched.
 *
 * @throws {LibraryLoadError} If it is nowhere, or of another version than the CUDA runtime
 */
export function nvJpegLibrary(): NvJpegLibrary {
  known ??= open();
  return known;
}
