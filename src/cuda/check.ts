/** @module Check: a CUDA status becomes an error that names the call, the code, and what to do. */

import { CudaError, isAsynchronousFault, message, OutOfMemoryError } from "../core/errors.ts";
import { formatBytes } from "../core/units.ts";
import { cudaDriver, cudaRuntime } from "../ffi/cuda-runtime.ts";
import { OutCells, readCString } from "../ffi/memory.ts";

/** `cudaErrorNotReady`, `CUDA_ERROR_NOT_READY`: the work is still running. No failure. */
export const NOT_READY = 600;
/** `cudaErrorMemoryAllocation`, `CUDA_ERROR_OUT_OF_MEMORY`. */
export const MEMORY_ALLOCATION = 2;

let lastLaunch = "none";

/** Note what was launched, for the report of a fault that shows up later. Called with a label made beforehand. */
export function noteLaunch(label: string): void {
  lastLaunch = label;
}

function found(code: string, status: number, text: string, launch: string): string {
  const fault = isAsynchronousFault(status)
    ? `; the fault lies in earlier work, and the last launch was ${launch}`
    : "";
  return `it returned ${code} (${status})${text === "" ? "" : `, ${text}`}${fault}`;
}

/** The runtime keeps its last error until asked: without this, another library would take it for its own. */
function runtimeFailure(status: number, call: string, launch: string): CudaError {
  const runtime = cudaRuntime();
  runtime.cudaGetLastError();
  const code = readCString(runtime.cudaGetErrorName(status));
  const text = readCString(runtime.cudaGetErrorString(status));
  return new CudaError(message(`complete ${call}`, found(code, status, text, launch), explain(status)), {
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
    message(`complete ${call}`, found(code, status, text, lastLaunch) + log, explain(status)),
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
      `${call} returned ${cause.code} (${status}), ${state}`,
      explain(status),
    ),
    { status, code: cause.code, call, requestedBytes, freeBytes, totalBytes },
  );
  Error.captureStackTrace(error, checkAllocation);
  throw error;
}

const EXPLANATIONS: ReadonlyMap<number, string> = new Map([
  [1, "check sizes, offsets and pointers, and that everything in the call belongs to one device"],
  [2, "free device memory, use a smaller batch or input, or close other programs on the GPU"],
  [3, "the driver could not start in this process: do not fork after CUDA was used, and check `nvidia-smi`"],
  [4, "the process is shutting down: close CUDA objects before it does"],
  [9, "the grid, the block or the shared memory of the launch is larger than the device allows"],
  [34, "this libcuda is the toolkit's stub: take its folder out of LD_LIBRARY_PATH, so that the driver's own is found"],
  [35, "install or update NVIDIA's driver (525 or newer), or use libcudart 12 with a driver of CUDA 12"],
  [36, "update NVIDIA's driver: it is older than this call"],
  [46, "another process holds the GPU in exclusive mode: stop it, or see `nvidia-smi -q -d COMPUTE`"],
  [100, "the driver sees no GPU: check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that the container was given one"],
  [101, "use a device number below Device.count(); CUDA_VISIBLE_DEVICES renumbers the devices"],
  [200, "the module is not PTX or a cubin, or was made for another GPU"],
  [201, "open the device with Device.open() first; a context belongs to the thread it was made current on"],
  [209, "the kernels need compute capability 7.5 (Turing) or newer"],
  [214, "the GPU's memory has a hardware fault: see `nvidia-smi -q -d ECC`, then restart the process"],
  [218, "the PTX is damaged or too new: run `bun run kernels --check`, or update NVIDIA's driver"],
  [221, "the driver has no PTX compiler: install its libnvidia-ptxjitcompiler.so.1"],
  [222, "update NVIDIA's driver: the PTX needs 535 (CUDA 12.2) or newer"],
  [400, "a stream, event or graph was closed already, or belongs to another device"],
  [401, "the object is not in the state the call asks for: an event has to be recorded first"],
  [500, 'the module has no function of this name: compare it with the source, where kernels are declared extern "C"'],
  [600, "the work is still running: wait for the event or the stream first"],
  [700, "a kernel read or wrote outside its buffers: run under compute-sanitizer; the process has to be restarted"],
  [701, "the kernel needs more registers or shared memory than a block may have: launch smaller blocks"],
  [702, "a kernel ran longer than the display watchdog allows: use a GPU without a display"],
  [710, "a kernel's own assertion failed; the process has to be restarted"],
  [716, "a kernel read or wrote an address that is not a multiple of the access; the process has to be restarted"],
  [719, "a kernel failed: run under compute-sanitizer; the process has to be restarted"],
  [720, "the cooperative grid is larger than the GPU holds at once"],
  [800, "the call is not allowed here: a profiler, a container or a licence forbids it"],
  [801, "this device or driver cannot do that"],
  [802, "the GPU's fabric is still starting: wait for nvidia-fabricmanager"],
  [803, "the driver's kernel module and libcuda have different versions: reboot, or reinstall the driver"],
  [804, "the forward-compatibility libcuda does not support this GPU: take it out of LD_LIBRARY_PATH"],
  [900, "the call cannot be captured into a graph: make it before the capture"],
  [901, "a call inside the capture broke it: look at the first error inside the capture"],
  [904, "another stream joined the capture and was not joined back: make the captured stream wait for it"],
  [905, "the captured stream waits for work outside the capture: record that event inside, or wait before"],
  [906, "the default stream was used inside the capture: use the captured stream"],
  [907, "the event was recorded inside a capture: it can only be waited for there"],
  [908, "a capture has to end on the thread it began on"],
  [910, "the graph's shape changed: instantiate it anew"],
]);

/** What to do about a status, or `undefined` where nothing general can be said. */
export function explain(status: number): string | undefined {
  return EXPLANATIONS.get(status);
}
