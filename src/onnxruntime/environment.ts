/** @module Environment: a share of the process's OrtEnv, which ONNX Runtime needs before any session. */

import { message, OnnxRuntimeError } from "../core/errors.ts";
import { oneLine } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { returnFreedMemory } from "../ffi/libc.ts";
import { cString, OutCells, readCString } from "../ffi/memory.ts";
import { type OnnxRuntimeLibrary, openOnnxRuntime } from "../ffi/onnxruntime.ts";

/** ORT_LOGGING_LEVEL_FATAL: what goes wrong comes back as a status, and a log callback would run on native threads. */
const SILENT = 4;

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
    const environment = new Environment(made("CreateEnv", SILENT, cString("bun-tensorrt")));
    try {
      // The variable that was set before the library was opened does it on Linux and macOS; this does it everywhere.
      call("DisableTelemetryEvents", environment.pointer);
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

/** OrtErrorCode, by value. */
const CODES: readonly string[] = (
  "ORT_OK ORT_FAIL ORT_INVALID_ARGUMENT ORT_NO_SUCHFILE ORT_NO_MODEL ORT_ENGINE_ERROR ORT_RUNTIME_EXCEPTION " +
  "ORT_INVALID_PROTOBUF ORT_MODEL_LOADED ORT_NOT_IMPLEMENTED ORT_INVALID_GRAPH ORT_EP_FAIL ORT_MODEL_LOAD_CANCELED " +
  "ORT_MODEL_REQUIRES_COMPILATION ORT_NOT_FOUND"
).split(" ");

/** Turn the status of a call into an error, and release it. @returns `undefined` if the call succeeded */
export function errorOf(status: number | null, call: string, action: string): OnnxRuntimeError | undefined {
  if (status === null || status === 0) return undefined;
  const { api } = openOnnxRuntime();
  const value = api.GetErrorCode(status);
  const code = CODES[value] ?? `OrtErrorCode ${value}`;
  const text = oneLine(readCString(api.GetErrorMessage(status)));
  api.ReleaseStatus(status);
  return new OnnxRuntimeError(message(action, `${text} (${call} returned ${code})`), { code, call });
}

/** Check a status on the line of the call. @throws {OnnxRuntimeError} If the call failed */
export function check(status: number | null, call: string, action = "use ONNX Runtime"): void {
  if (status === null) return;
  const error = errorOf(status, call, action);
  if (error === undefined) return;
  Error.captureStackTrace(error, check);
  throw error;
}

type Api = OnnxRuntimeLibrary["api"];

/** Functions that return a status. */
type StatusCall = { [Name in keyof Api]: null extends ReturnType<Api[Name]> ? Name : never }[keyof Api];

/** Call a function of the C API by its name, and check its status. Not for the hot path. */
export function call<Name extends StatusCall>(name: Name, ...values: Parameters<Api[Name]>): void {
  const native = openOnnxRuntime().api[name] as (...values: readonly unknown[]) => number | null;
  check(native(...values), name);
}

const out: OutCells = new OutCells(1);

/** The same for one that writes a pointer or number through its last parameter. @returns what it wrote */
export function made<Name extends StatusCall>(
  name: Name,
  ...values: Parameters<Api[Name]> extends [...infer Own, unknown] ? Own : never
): number {
  const native = openOnnxRuntime().api[name] as (...values: readonly unknown[]) => number | null;
  out.clear();
  check(native(...values, out.cells), name);
  return out.pointer();
}

/** An `OrtSession *` with its environment, counted by the calls that are running on it. */
export class SessionHandle {
  /** `OrtSession *` */
  readonly pointer: number;
  readonly #environment: Environment;
  readonly #freed: PromiseWithResolvers<void> = Promise.withResolvers();
  #running = 0;
  #dropped = false;

  /** @param environment owned from now on */
  constructor(pointer: number, environment: Environment) {
    this.pointer = pointer;
    this.#environment = environment;
  }

  /** Settles once the session has been freed. */
  get freed(): Promise<void> {
    return this.#freed.promise;
  }

  /** A call begins: nothing is freed before its {@linkcode SessionHandle.leave}. */
  enter(): void {
    this.#running += 1;
  }

  /** A call has settled. */
  leave(): void {
    this.#running -= 1;
    if (this.#dropped && this.#running === 0) this.#free();
  }

  /** The owner closes: free now, or when the last running call settles. Called once. */
  drop(): void {
    this.#dropped = true;
    if (this.#running === 0) this.#free();
  }

  #free(): void {
    openOnnxRuntime().api.ReleaseSession(this.pointer);
    this.#environment.close();
    this.#freed.resolve();
    returnFreedMemory();
  }
}
