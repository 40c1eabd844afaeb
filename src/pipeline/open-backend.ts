/** @module Open backend: which machine a model runs on. */

import { inShort, LibraryLoadError, ModelError, message, OptionError, UnavailableError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { cudaUnavailable } from "../cuda/probe.ts";
import { openTensorRt } from "../tensorrt/library.ts";
import type { Backend, BackendOptions } from "./backend.ts";
import { CpuBackend } from "./cpu/cpu-backend.ts";
import { GpuBackend } from "./gpu/gpu-backend.ts";
import { isPlan, readModelFile } from "./gpu/model-file.ts";

/** Names a machine for everything that leaves the choice to `auto`. */
const VARIABLE = "BUN_TENSORRT_BACKEND";

/** What decides between the machines. */
export interface OpenBackendOptions extends BackendOptions {
  /** `auto`: what `$BUN_TENSORRT_BACKEND` says, else the GPU where there is one with TensorRT, else the CPU. */
  readonly backend: "auto" | "cpu" | "gpu";
}

/**
 * Why models cannot run on a GPU of this machine, in one line; `undefined` where they can. Opens the libraries.
 */
export function gpuUnavailable(): string | undefined {
  const cuda = cudaUnavailable();
  if (cuda !== undefined) return cuda;
  try {
    openTensorRt();
    return undefined;
  } catch (error) {
    if (!(error instanceof LibraryLoadError)) throw error;
    return inShort(error);
  }
}

/** What to do where the GPU that was asked for cannot be used. */
const ANY_MODEL_HINT = 'bunx bun-tensorrt doctor says what is missing; backend "cpu" runs anywhere';
const PLAN_HINT = "bunx bun-tensorrt doctor says what is missing; the ONNX model it was built from runs anywhere";

/** Where models will run. */
export interface Machine {
  readonly kind: "cpu" | "gpu";
  /** Why the GPU cannot be used, in one line, where the choice was open; `undefined` if it can, or if it was not asked. */
  readonly gpuFault: string | undefined;
}

/**
 * Choose the machine: the one that was asked for, or the best there is.
 *
 * @param action what it is for, for messages
 * @param hint   what to do where the GPU was asked for and cannot be used
 * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
 */
export function chooseMachine(
  backend: OpenBackendOptions["backend"],
  action = "load a detector",
  hint: string = ANY_MODEL_HINT,
): Machine {
  const wanted = backend === "auto" ? wantedByEnvironment(action) : backend;
  if (wanted === "cpu") return { kind: "cpu", gpuFault: undefined };
  const gpuFault = gpuUnavailable();
  if (gpuFault === undefined) return { kind: "gpu", gpuFault };
  if (wanted === "auto") return { kind: "cpu", gpuFault };
  throw new UnavailableError(message(`${action} on the GPU`, `as it cannot be used: ${gpuFault}`, hint), "backend");
}

/**
 * Load a model on the machine that was asked for, or the best there is. Where `auto` ends on the CPU for lack of a GPU, a
 * line in the log says why.
 *
 * @param source path of a model, or its bytes; a plan runs on the GPU alone
 * @throws {UnavailableError} If the GPU was asked for and there is none, or no TensorRT
 * @throws {ModelError} If it is no model, or of no known layout
 */
export async function openBackend(source: string | Uint8Array, options: OpenBackendOptions): Promise<Backend> {
  return openOnMachine<Backend>(source, options.backend, {
    action: "load a detector",
    onGpu: () => GpuBackend.load(source, options),
    onCpu: () => CpuBackend.load(source, options),
  });
}

/** How a model is loaded on each machine. */
export interface Openers<T> {
  /** For messages: `load a detector`. */
  readonly action: string;
  readonly onGpu: () => Promise<T>;
  /** Never called with a plan. */
  readonly onCpu: () => Promise<T>;
}

/**
 * Load any kind of model on the machine that was asked for, or the best there is; as {@linkcode openBackend} says.
 *
 * @param source path of a model, or its bytes
 */
export async function openOnMachine<T>(
  source: string | Uint8Array,
  backend: OpenBackendOptions["backend"],
  { action, onGpu, onCpu }: Openers<T>,
): Promise<T> {
  const { kind, gpuFault } = chooseMachine(backend, action, isPlanSource(source) ? PLAN_HINT : undefined);
  if (kind === "gpu") return onGpu();
  if (gpuFault !== undefined) logger.info(`Running on the CPU, as the GPU cannot be used: ${gpuFault}`);
  refusePlan(source, gpuFault === undefined ? 'backend "cpu" was asked for' : `the GPU cannot be used: ${gpuFault}`);
  return onCpu();
}

/**
 * Load a model on each of several GPUs. The file is read once; GPUs of one kind share the engine that the first one needs.
 * On the CPU, which is one device, it is loaded once, with a line in the log.
 *
 * @param devices numbers of GPUs, at least one
 * @returns one backend a device, in order
 * @throws as {@linkcode openBackend} does; what was loaded before is closed
 */
export async function openBackends(
  source: string | Uint8Array,
  options: Omit<OpenBackendOptions, "device">,
  devices: readonly number[],
): Promise<Backend[]> {
  if (devices.length === 1) return [await openBackend(source, { ...options, device: devices[0]! })];
  if (chooseMachine(options.backend).kind === "cpu") {
    logger.info(`Loading the model once, as it runs on the CPU: devices ${devices.join(", ")} are not used`);
    return [await openBackend(source, { ...options, device: 0 })];
  }
  const file = await readModelFile(source);
  using opened = new DisposableStack();
  const backends: Backend[] = [];
  // One after the other: the second takes from the cache what the first has built.
  for (const device of devices) {
    const backend = await GpuBackend.load(file, { ...options, device });
    opened.defer(() => backend.close());
    backends.push(backend);
  }
  opened.move();
  return backends;
}

/** @throws {OptionError} If the variable names no machine */
function wantedByEnvironment(action: string): OpenBackendOptions["backend"] {
  const value = process.env[VARIABLE] ?? "";
  if (value === "" || value === "auto" || value === "cpu" || value === "gpu") return value === "" ? "auto" : value;
  const found = `as ${VARIABLE} must be auto, cpu or gpu: ${JSON.stringify(value)}`;
  throw new OptionError(message(action, found, `unset ${VARIABLE}, or set it to one of them`), "backend");
}

function isPlanSource(source: string | Uint8Array): boolean {
  return typeof source === "string" ? isPlan(undefined, source) : isPlan(source, undefined);
}

/** @param reason why it is not the GPU, the only place where a plan runs */
function refusePlan(source: string | Uint8Array, reason: string): void {
  if (!isPlanSource(source)) return;
  const name = typeof source === "string" ? source : "the model from bytes";
  const hint = "load the ONNX model it was built from";
  throw new ModelError(message(`load ${JSON.stringify(name)}`, `as a plan needs a GPU, and ${reason}`, hint), name);
}
