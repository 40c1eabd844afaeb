/** @module CpuAccelerator: ONNX Runtime, on any machine. */

import type { Accelerator } from "../backend.ts";
import { CpuBackend } from "./cpu-backend.ts";

/** Models on ONNX Runtime's CPU provider. */
export const cpuAccelerator: Accelerator = {
  unavailable: () => undefined,
  open: (source, task, options) => CpuBackend.load(source as string | Uint8Array, task, options),
};
