/** @module TensorRT on a machine with a GPU; `isTensorRtMissing` is the one reason such a test is skipped. */

import { LibraryLoadError } from "../../src/core/errors.ts";
import { openTensorRt, type TensorRtLibrary } from "../../src/tensorrt/library.ts";
import { Gpu, isGpuMissing } from "./gpu.ts";
import { isMissing } from "./shared.ts";

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

/** YOLOv8n in FP16, of TensorRT 10.6.0 for compute capability 9.0. */
export const PLAN = "engines/yolov8n_640_fp16_trt10.6.0_sm90.plan";

/** The plan fits one release and one GPU; on others the build tests stand in. */
export function isPlanForeign(): boolean {
  if (isTensorRtMissing || isMissing(PLAN)) return true;
  using gpu = new Gpu();
  return gpuLibrary().version.release !== "10.6.0" || gpu.device.computeCapability.join() !== "9,0";
}
