/** @module Check: a failed OrtStatus becomes an OnnxRuntimeError with the library's own text. */

import { message, OnnxRuntimeError } from "../core/errors.ts";
import { oneLine } from "../core/shown.ts";
import { readCString } from "../ffi/cstring.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";

/** OrtErrorCode, by value. */
const CODES: readonly string[] = [
  "ORT_OK",
  "ORT_FAIL",
  "ORT_INVALID_ARGUMENT",
  "ORT_NO_SUCHFILE",
  "ORT_NO_MODEL",
  "ORT_ENGINE_ERROR",
  "ORT_RUNTIME_EXCEPTION",
  "ORT_INVALID_PROTOBUF",
  "ORT_MODEL_LOADED",
  "ORT_NOT_IMPLEMENTED",
  "ORT_INVALID_GRAPH",
  "ORT_EP_FAIL",
  "ORT_MODEL_LOAD_CANCELED",
  "ORT_MODEL_REQUIRES_COMPILATION",
  "ORT_NOT_FOUND",
];

/**
 * Turn a status into an error, and release it.
 *
 * @param status what the call returned
 * @param call   the C function
 * @param action what it was for: `run "yolo11n.onnx"`
 * @returns `undefined` if the call succeeded
 */
export function errorOf(status: number | null, call: string, action: string): OnnxRuntimeError | undefined {
  if (status === null || status === 0) return undefined;
  const { api } = openOnnxRuntime();
  const value = api.GetErrorCode(status);
  const code = CODES[value] ?? `OrtErrorCode ${value}`;
  const text = oneLine(readCString(api.GetErrorMessage(status)));
  api.ReleaseStatus(status);
  return new OnnxRuntimeError(message(action, `${call} returned ${code}: ${text}`), { code, call });
}

/**
 * Check a status on the line of the call.
 *
 * @throws {OnnxRuntimeError} If the call failed
 */
export function check(status: number | null, call: string, action = "use ONNX Runtime"): void {
  if (status === null) return;
  const error = errorOf(status, call, action);
  if (error === undefined) return;
  Error.captureStackTrace(error, check);
  throw error;
}
