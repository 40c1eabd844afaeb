/** @module Native session options: an OrtSessionOptions filled from a SessionConfig. */

import { cString } from "../ffi/cstring.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { OutCells } from "../ffi/scratch.ts";
import { check } from "./check.ts";
import type { Optimization, SessionConfig } from "./session-options.ts";

/** GraphOptimizationLevel. */
const LEVELS: Readonly<Record<Optimization, number>> = { disable: 0, basic: 1, extended: 2, all: 99 };

/** ExecutionMode: operators one after another, unless there are threads for more. */
const ORT_PARALLEL = 1;

const out: OutCells = new OutCells(1);

function fill(pointer: number, config: SessionConfig): void {
  const { api } = openOnnxRuntime();
  check(api.SetIntraOpNumThreads(pointer, config.intraOpThreads), "SetIntraOpNumThreads");
  check(api.SetSessionGraphOptimizationLevel(pointer, LEVELS[config.optimization]), "SetSessionGraphOptimizationLevel");
  if (config.interOpThreads > 1) {
    check(api.SetSessionExecutionMode(pointer, ORT_PARALLEL), "SetSessionExecutionMode");
    check(api.SetInterOpNumThreads(pointer, config.interOpThreads), "SetInterOpNumThreads");
  }
  if (!config.arena) check(api.DisableCpuMemArena(pointer), "DisableCpuMemArena");
  if (!config.spinning) {
    for (const key of ["session.intra_op.allow_spinning", "session.inter_op.allow_spinning"]) {
      check(api.AddSessionConfigEntry(pointer, cString(key), cString("0")), "AddSessionConfigEntry");
    }
  }
}

/**
 * An `OrtSessionOptions *` that holds a configuration. Whoever calls releases it, once the session is made.
 *
 * @throws {OnnxRuntimeError} If a value is refused
 */
export function createNativeSessionOptions(config: SessionConfig): number {
  const { api } = openOnnxRuntime();
  check(api.CreateSessionOptions(out.cells), "CreateSessionOptions");
  const pointer = out.pointer();
  try {
    fill(pointer, config);
  } catch (error) {
    api.ReleaseSessionOptions(pointer);
    throw error;
  }
  return pointer;
}
