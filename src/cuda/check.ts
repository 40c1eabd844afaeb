/** @module Check: a CUDA status becomes an error that names the call, the code, and what to do. */

import { CudaError, isAsynchronousFault, message, OutOfMemoryError } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import { readCString } from "../ffi/cstring.ts";
import { cudaDriver } from "../ffi/cuda-driver.ts";
import { cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells } from "../ffi/scratch.ts";
import { explain } from "./explanations.ts";

/** `cudaErrorNotReady`, `CUDA_ERROR_NOT_READY`: the work is still running. No failure. */
export const NOT_READY = 600;
/** `cudaErrorMemoryAllocation`, `CUDA_ERROR_OUT_OF_MEMORY`. */
export const MEMORY_ALLOCATION = 2;

let lastLaunch = "none";

/** Note what was launched, for the report of a fault that shows up later. Called with a label made beforehand. */
export function noteLaunch(label: string): void {
  lastLaunch = label;
}

function found(call: string, code: string, status: number, text: string, launch: string): string {
  const fault = isAsynchronousFault(status)
    ? `; the fault lies in earlier work, and the last launch was ${launch}`
    : "";
  return `it returned ${code} (${status}): ${text === "" ? call : text}${fault}`;
}

/** The runtime keeps its last error until asked: without this, another library would take it for its own. */
function runtimeFailure(status: number, call: string, launch: string): CudaError {
  const runtime = cudaRuntime();
  runtime.cudaGetLastError();
  const code = readCString(runtime.cudaGetErrorName(status));
  const text = readCString(runtime.cudaGetErrorString(status));
  return new CudaError(message(`complete ${call}`, found(call, code, status, text, launch), explain(status)), {
    status,
    code,
    call,
  });
}

/**
 * Check a libcudart status on the line of the call: `check(cudaRuntime().cudaSetDevice(0), "cudaSetDevice")`.
 * Success costs one compare.
 *
 * @throws {CudaError} If the status is not 0
 */
export function check(status: number, call: string): void {
  if (status === 0) return;
  const error = runtimeFailure(status, call, lastLaunch);
  Error.captureStackTrace(error, check);
  throw error;
}

/**
 * Check the status of a call that waited for a stream's work.
 *
 * @param launch what was launched last on that stream
 * @throws {CudaError} If the status is not 0
 */
export function checkWait(status: number, call: string, launch: string): void {
  if (status === 0) return;
  const error = runtimeFailure(status, call, launch);
  Error.captureStackTrace(error, checkWait);
  throw error;
}

/**
 * Check a libcuda status on the line of the call.
 *
 * @param detail what the library said beside the status, such as a compiler's log; goes below the first line
 * @throws {CudaError} If the status is not 0
 */
export function checkDriver(status: number, call: string, detail?: string): void {
  if (status === 0) return;
  const driver = cudaDriver();
  const out = new OutCells(2);
  // Both leave NULL for a number they do not know.
  driver.cuGetErrorName(status, out.cells.subarray(0, 1));
  driver.cuGetErrorString(status, out.cells.subarray(1, 2));
  const code = readCString(out.pointer(0)) || "an unknown status";
  const text = readCString(out.pointer(1));
  const log = detail === undefined || detail === "" ? "" : `\n${detail}`;
  const error = new CudaError(
    message(`complete ${call}`, found(call, code, status, text, lastLaunch) + log, explain(status)),
    { status, code, call },
  );
  Error.captureStackTrace(error, checkDriver);
  throw error;
}

const memoryOut = new OutCells(2);
const totalOut = memoryOut.cells.subarray(1);

/**
 * Check an allocation.
 *
 * @param requestedBytes what was asked for
 * @param where          `device 0`, `page-locked host memory`
 * @throws {OutOfMemoryError} If memory has run out; it carries what is free
 * @throws {CudaError} If the call failed for another reason
 */
export function checkAllocation(status: number, call: string, requestedBytes: number, where: string): void {
  if (status === 0) return;
  if (status !== MEMORY_ALLOCATION) check(status, call);
  const cause = runtimeFailure(status, call, lastLaunch);
  check(cudaRuntime().cudaMemGetInfo(memoryOut.cells, totalOut), "cudaMemGetInfo");
  const freeBytes = memoryOut.pointer(0);
  const totalBytes = memoryOut.pointer(1);
  const state = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free on the device`;
  const error = new OutOfMemoryError(
    message(
      `allocate ${formatBytes(requestedBytes)} of ${where}`,
      `${call} returned ${cause.code} (${status}): ${state}`,
      explain(status),
    ),
    { status, code: cause.code, call, requestedBytes, freeBytes, totalBytes },
  );
  Error.captureStackTrace(error, checkAllocation);
  throw error;
}
