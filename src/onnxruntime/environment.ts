/** @module Environment: a share of the process's OrtEnv, which ONNX Runtime needs before any session. */

import { Resource } from "../core/resource.ts";
import { cString } from "../ffi/cstring.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { OutCells } from "../ffi/scratch.ts";
import { check } from "./check.ts";

/** ORT_LOGGING_LEVEL_FATAL: what goes wrong comes back as a status, and a log callback would run on native threads. */
const SILENT = 4;

const out: OutCells = new OutCells(1);

/**
 * A share of the one OrtEnv of the process: the library counts them, and frees it with the last. Without any left at
 * exit, its static destructors find nothing to destroy.
 */
export class Environment extends Resource {
  /** `OrtEnv *` */
  readonly pointer: number;

  private constructor(pointer: number) {
    super("OrtEnv");
    this.pointer = pointer;
  }

  /**
   * Take a share; the first one of a process takes about 25 ms.
   *
   * @throws {LibraryLoadError} If ONNX Runtime is not there
   * @throws {OnnxRuntimeError} If it refuses
   */
  static create(): Environment {
    const { api } = openOnnxRuntime();
    check(api.CreateEnv(SILENT, cString("bun-tensorrt"), out.cells), "CreateEnv");
    const environment = new Environment(out.pointer());
    try {
      // The variable that was set before the library was opened does it on Linux and macOS; this does it everywhere.
      check(api.DisableTelemetryEvents(environment.pointer), "DisableTelemetryEvents");
    } catch (error) {
      environment.close();
      throw error;
    }
    return environment;
  }

  protected release(): void {
    openOnnxRuntime().api.ReleaseEnv(this.pointer);
  }
}
