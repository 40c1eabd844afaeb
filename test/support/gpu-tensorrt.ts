/** @module TensorRT on a machine with a GPU; `isTensorRtMissing` is the one reason such a test is skipped. */

import { LibraryLoadError } from "../../src/core/errors.ts";
import { openTensorRt, type TensorRtLibrary } from "../../src/tensorrt/library.ts";
import { isGpuMissing } from "./gpu.ts";

function find(): TensorRtLibrary | undefined {
  if (isGpuMissing) return undefined;
  try {
    return openTensorRt({ family: "TensorRT" });
  } catch (error) {
    if (error instanceof LibraryLoadError) return undefined;
    throw error;
  }
}

const found = find();

/** True on a machine without a GPU, or without TensorRT 10 or 11. */
export const isTensorRtMissing: boolean = found === undefined;

/** The library. Read it inside tests alone. */
export function gpuLibrary(): TensorRtLibrary {
  if (found === undefined) throw new Error("There is no TensorRT here: the test should have been skipped");
  return found;
}
