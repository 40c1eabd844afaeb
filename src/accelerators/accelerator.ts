/** @module Accelerator: what models run on, registered by name and imported when first used. */

import { inShort, ModelError, message, OptionError, UnavailableError } from "../core/errors.ts";
import { logger, warnAloud } from "../core/log.ts";
import type { OptionTable } from "../core/options.ts";
import type { Accelerator, Backend, MachineOptions } from "../runtime/backend.ts";
import type { Task } from "../runtime/task.ts";
import { askedOf, ONNXRUNTIME_OPTIONS, TENSORRT_OPTIONS } from "./accelerator-options.ts";

/** Names an accelerator for everything that leaves the choice to `auto`. */
const VARIABLE = "BUN_TENSORRT_BACKEND";

/** How an accelerator is found. */
export interface Registration {
  /** What callers ask for it by; the first is its own name. */
  readonly names: readonly string[];
  /** Kind of machine, for messages: `GPU`. */
  readonly machine: string;
  /** Where the choice is open, the highest that can be used is taken. */
  readonly preference: number;
  /** What may be said of it, under its own name. */
  readonly options?: OptionTable;
  /** Compiled models that run on it alone; `undefined` where it takes ONNX models only. */
  readonly compiled?: (source: string | Uint8Array) => Promise<boolean>;
  /** True where the machine has such a device, whether or not it can be used; left out where that is no question. */
  readonly isPresent?: () => Promise<boolean>;
  /** True where it has several devices, told apart by number. */
  readonly isNumbered?: boolean;
  /** Import it. */
  readonly load: () => Promise<Accelerator>;
}

const registered: Registration[] = [];

/**
 * Make an accelerator known. One that takes a name of an earlier one replaces it under that name.
 *
 * @returns takes it back
 */
export function registerAccelerator(registration: Registration): Disposable {
  registered.unshift(registration);
  return { [Symbol.dispose]: () => void registered.splice(registered.indexOf(registration), 1) };
}

/** Names that can be asked for. */
export function acceleratorNames(): string[] {
  return [...new Set(registered.toReversed().flatMap(({ names }) => names))];
}

/** The options of each accelerator that has some, by its own name. */
export function acceleratorOptions(): Readonly<Record<string, OptionTable>> {
  return Object.fromEntries(
    registered.toReversed().flatMap(({ names: [name], options }) => (options === undefined ? [] : [[name, options]])),
  );
}

registerAccelerator({
  names: ["onnxruntime", "cpu"],
  machine: "CPU",
  preference: 0,
  options: ONNXRUNTIME_OPTIONS,
  load: async () => (await import("./cpu/cpu-backend.ts")).cpuAccelerator,
});
registerAccelerator({
  names: ["tensorrt", "gpu"],
  machine: "GPU",
  preference: 10,
  options: TENSORRT_OPTIONS,
  compiled: async (source) => (await import("./tensorrt/model-file.ts")).isPlanSource(source),
  isPresent: async () => (await import("../cuda/device.ts")).hasCard(),
  isNumbered: true,
  load: async () => (await import("./tensorrt/gpu-backend.ts")).gpuAccelerator,
});

/** What a model runs on. */
interface Choice {
  readonly registration: Registration;
  readonly accelerator: Accelerator;
  /** Why a better one cannot be used, in one line, where the choice was open. */
  readonly fault:
    | { readonly machine: string; readonly reason: string /** It is there. */; readonly isPresent: boolean }
    | undefined;
}

/** What to do where what was asked for cannot be used. */
const ANY_MODEL_HINT =
  'bunx bun-tensorrt doctor says what is missing; `backend: "cpu"` (`--backend cpu`) runs anywhere';
const COMPILED_HINT = "bunx bun-tensorrt doctor says what is missing; the ONNX model it was built from runs anywhere";

const UNUSED_HINT =
  '\nHint: bunx bun-tensorrt doctor says what is missing; backend: "cpu" or BUN_TENSORRT_BACKEND=cpu, or setLogSink, silences this';

const DEVICE_HINT =
  '\nHint: backend: "gpu" (--backend gpu) makes this an error; leaving out `device`, or setLogSink, silences this';

/**
 * Choose an accelerator: the one that was asked for, or the best there is.
 *
 * @param backend a registered name, or `auto`
 * @throws {UnavailableError} If the one that was asked for cannot be used
 * @throws {OptionError} If there is none of the name
 */
export async function chooseAccelerator(
  backend: string,
  action = "load a detector",
  hint: string = ANY_MODEL_HINT,
): Promise<Choice> {
  const wanted = backend === "auto" ? wantedByEnvironment(action) : backend;
  if (wanted !== "auto") {
    const registration = named(wanted, action);
    const accelerator = await registration.load();
    const reason = accelerator.unavailable();
    if (reason === undefined) return { registration, accelerator, fault: undefined };
    const asked = backend === "auto" ? `${VARIABLE}=${wanted} asks for it; ` : "";
    throw new UnavailableError(message(`${action} on the ${registration.machine}`, reason, asked + hint), "backend");
  }
  let fault: Choice["fault"];
  for (const registration of registered.toSorted((a, b) => b.preference - a.preference)) {
    const accelerator = await registration.load();
    const reason = accelerator.unavailable();
    if (reason === undefined) return { registration, accelerator, fault };
    fault ??= { machine: registration.machine, reason, isPresent: (await registration.isPresent?.()) === true };
  }
  throw new UnavailableError(message(action, `no accelerator can be used, ${fault?.reason}`, hint), "backend");
}

function named(name: string, action: string): Registration {
  const found = registered.find(({ names }) => names.includes(name));
  if (found !== undefined) return found;
  const known = acceleratorNames().join(", ");
  throw new OptionError(message(action, `backend must be auto or one of ${known}, got ${name}`), "backend");
}

/** @throws {OptionError} If the variable names none */
function wantedByEnvironment(action: string): string {
  const value = process.env[VARIABLE] ?? "";
  if (value === "" || value === "auto") return "auto";
  const known = acceleratorNames();
  if (known.includes(value)) return value;
  const found = `${VARIABLE} must be auto, ${listed(known)}, got ${JSON.stringify(value)}`;
  throw new OptionError(message(action, found, `unset ${VARIABLE}, or set it to one of them`), "backend");
}

function listed(names: readonly string[]): string {
  return `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

/** What decides what a model runs on. */
export interface OpenOptions extends Omit<MachineOptions, "device"> {
  /** `auto`: what `$BUN_TENSORRT_BACKEND` says, else the best accelerator that can be used here. */
  readonly backend: string;
  /** True where a device was named rather than left to the default: one that stays unused is reported. */
  readonly isDeviceNamed?: boolean | undefined;
}

/** The options among these that an accelerator cannot heed, each with the kind of machine that it is for. */
function strayOptions(
  { names, isNumbered }: Registration,
  { accelerators, isDeviceNamed = false }: Pick<OpenOptions, "accelerators" | "isDeviceNamed">,
  devices: readonly number[],
): { readonly name: string; readonly machine: string }[] {
  const strays = Object.entries(accelerators).flatMap(([group, options]) => {
    const owner = registered.find((one) => one.names.includes(group));
    if (owner === undefined || names.includes(group)) return [];
    return askedOf(options).map((name) => ({ name, machine: owner.machine }));
  });
  const numbered = registered.find((one) => one.isNumbered);
  if (isNumbered || numbered === undefined || (!isDeviceNamed && devices.every((device) => device === 0)))
    return strays;
  return [...strays, { name: "device", machine: numbered.machine }];
}

/**
 * Refuse options that the accelerator that was asked for cannot heed; where the choice is open, {@linkcode openBackends}
 * warns of them.
 *
 * @param spell how whoever gave an option writes its name
 * @throws {OptionError} If there is one
 */
export function refuseStrays(
  options: Pick<OpenOptions, "backend" | "accelerators">,
  devices: readonly number[],
  spell: (name: string) => string = (name) => `Option ${JSON.stringify(name)}`,
): void {
  if (options.backend === "auto") return;
  const registration = named(options.backend, "choose what to run on");
  const [stray] = strayOptions(registration, options, devices);
  if (stray === undefined) return;
  const found = `${spell(stray.name)} is for the ${stray.machine}, and the model is to run on the ${registration.machine}`;
  throw new OptionError(`${found}\nHint: leave it out, or run on the ${stray.machine}`, stray.name);
}

/**
 * Load a model for a task on each of one or more devices of what was asked for, or of the best there is. The file is read
 * once, and devices of one kind share the engine that the first one needs. Where `auto` ends on the CPU, as the GPU cannot be used
 * or the task has no part for it, a line in the log says why.
 *
 * @param source  path of a model, or its bytes; a compiled one runs on its own accelerator alone
 * @param devices numbers of devices, at least one
 * @returns one backend a device, in order; a single one where the accelerator has but one device
 * @throws {UnavailableError} If what was asked for cannot be used
 * @throws {ModelError} If it is no model, or none of the task's
 */
export async function openBackends<ModelSpec, Params, Output>(
  source: string | Uint8Array,
  task: Task<ModelSpec, Params, Output>,
  options: OpenOptions,
  devices: readonly number[],
): Promise<Backend<ModelSpec, Params, Output>[]> {
  const compiledFor = await ownerOf(source);
  const hint = compiledFor === undefined ? undefined : COMPILED_HINT;
  const { registration, accelerator, fault } = await chooseAccelerator(options.backend, task.action, hint);
  const { machine } = registration;
  if (fault?.isPresent) {
    warnAloud(
      `Running on the ${machine}, and the ${fault.machine} of this machine is not used: ${fault.reason}${UNUSED_HINT}`,
    );
  } else if (fault !== undefined) {
    logger.info(`Running on the ${machine}, as the ${fault.machine} cannot be used: ${fault.reason}`);
  }
  if (compiledFor !== undefined && compiledFor !== registration) {
    const asked = `backend "${options.backend}" was asked for`;
    const reason = fault === undefined ? asked : `the ${fault.machine} cannot be used, ${fault.reason}`;
    const name = typeof source === "string" ? source : "the model from bytes";
    const found = `a plan needs a ${compiledFor.machine}, and ${reason}`;
    throw new ModelError(message(`load ${JSON.stringify(name)}`, found, "load the ONNX model it was built from"), name);
  }
  // Whoever chose the machine knows that it has no numbers.
  const isOpen = options.backend === "auto" && wantedByEnvironment(task.action) === "auto";
  const isDeviceNamed = isOpen && options.isDeviceNamed === true;
  const strays = strayOptions(registration, { ...options, isDeviceNamed }, devices).map(({ name }) => `\`${name}\``);
  const ignored = `Ignoring ${strays.join(", ")}: the model runs on the ${machine}`;
  if (strays.includes("`device`") && isOpen) warnAloud(`${ignored}${DEVICE_HINT}`);
  else if (strays.length > 0) logger.warn(ignored);
  try {
    return await openEach(accelerator, source, task, options, devices);
  } catch (error) {
    // Another option that cannot be heeded is no reason to run elsewhere.
    const isRefused = error instanceof UnavailableError && error.option === "backend" && compiledFor === undefined;
    if (!isRefused || options.backend !== "auto" || wantedByEnvironment(task.action) !== "auto") throw error;
    const other = await nextTo(registration);
    if (other === undefined) throw error;
    warnAloud(`Running on the ${other.machine}: ${inShort(error)}`);
    return openBackends(source, task, { ...options, backend: other.names[0]! }, devices);
  }
}

/** The best of those that are less preferred than another and can be used. */
async function nextTo({ preference }: Registration): Promise<Registration | undefined> {
  const others = registered.filter((one) => one.preference < preference);
  for (const other of others.toSorted((a, b) => b.preference - a.preference)) {
    if ((await other.load()).unavailable() === undefined) return other;
  }
  return undefined;
}

async function openEach<ModelSpec, Params, Output>(
  accelerator: Accelerator,
  source: string | Uint8Array,
  task: Task<ModelSpec, Params, Output>,
  options: OpenOptions,
  devices: readonly number[],
): Promise<Backend<ModelSpec, Params, Output>[]> {
  if (devices.length === 1 || accelerator.read === undefined) {
    return [await accelerator.open(source, task, { ...options, device: devices[0]! })];
  }
  const read = await accelerator.read(source);
  using opened = new DisposableStack();
  const backends: Backend<ModelSpec, Params, Output>[] = [];
  // One after the other: the second takes from the cache what the first has built.
  for (const device of devices) {
    const backend = await accelerator.open(read, task, { ...options, device });
    opened.defer(() => backend.close());
    backends.push(backend);
  }
  opened.move();
  return backends;
}

/** What a compiled model runs on alone. */
async function ownerOf(source: string | Uint8Array): Promise<Registration | undefined> {
  for (const registration of registered) if (await registration.compiled?.(source)) return registration;
  return undefined;
}
