/** @module Probe: whether this machine has nvJPEG, and if not, why. */

import { inShort, LibraryLoadError } from "../core/errors.ts";
import { nvJpegLibrary } from "../ffi/nvjpeg.ts";

/** Why nvJPEG cannot be used, in one line; `undefined` where it can. Opens the library, but no device. */
export function nvJpegUnavailable(): string | undefined {
  try {
    nvJpegLibrary();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}
