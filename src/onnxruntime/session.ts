/** @module Session: a model loaded by ONNX Runtime, a caller's tensors against what it declares, and its runs off the JS thread. */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { isEmbedded } from "../core/embedded.ts";
import { ModelError, message, ShapeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { nearestWord } from "../core/options.ts";
import { Resource } from "../core/resource.ts";
import { fitsShape, formatShape, formatTensorInfo, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { addressOf, OutCells, pathString } from "../ffi/memory.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { Environment, errorOf, SessionHandle } from "./environment.ts";
import { type BindingParts, type BoundInput, Inference, RunBinding } from "./inference.ts";
import {
  describeModel,
  inspectModelFile,
  loadAction,
  type ModelDescription,
  modelError,
  refusedModel,
  withRightQuantisers,
} from "./model-source.ts";
import {
  createNativeSessionOptions,
  parseSessionOptions,
  type SessionConfig,
  type SessionOptions,
} from "./session-options.ts";

function refuseName(name: string, infos: readonly TensorInfo[], role: "input" | "output", label: string): never {
  const names = infos.map((info) => info.name);
  const near = nearestWord(name, names);
  const expected = `${role}s ${names.join(", ") || "none"}`;
  const hint = near === undefined ? `its ${expected}` : `did you mean ${JSON.stringify(near)}?`;
  throw new ShapeError(message(`run ${label}`, `it has no ${role} ${JSON.stringify(name)}`, hint), {
    tensor: name,
    expected,
    actual: name,
  });
}

function hintFor({ dtype, shape }: Tensor, info: TensorInfo): string | undefined {
  if (dtype !== info.dtype) return `convert the elements to ${info.dtype}`;
  const [n = 0, h = 0, w = 0, c = 0] = shape;
  const isChannelsLast = shape.length === 4 && fitsShape([n, c, h, w], info.shape);
  return isChannelsLast ? "the model wants CHW, this looks like HWC" : undefined;
}

/**
 * Pair each input of a model with the tensor of its name. Whether dimensions of the same symbol agree is ONNX Runtime's
 * to say; an input declared without dimensions may have any.
 *
 * @throws {ShapeError} If a name is unknown or missing, or a tensor has another dtype or shape than declared
 */
export function matchInputs(
  infos: readonly TensorInfo[],
  tensors: Readonly<Record<string, Tensor>>,
  label: string,
): BoundInput[] {
  for (const name of Object.keys(tensors)) {
    if (!infos.some((info) => info.name === name)) refuseName(name, infos, "input", label);
  }
  return infos.map((info) => {
    const tensor = Object.hasOwn(tensors, info.name) ? tensors[info.name] : undefined;
    const expected = `${info.dtype} ${formatShape(info.shape)}`;
    if (tensor === undefined) {
      const given = Object.keys(tensors).join(", ") || "none";
      const text = message(`run ${label}`, `input ${formatTensorInfo(info)} is missing, got ${given}`);
      throw new ShapeError(text, { tensor: info.name, expected, actual: "missing" });
    }
    const fits = info.shape.length === 0 || fitsShape(tensor.shape, info.shape);
    if (tensor.dtype === info.dtype && fits) return { info, tensor };
    const actual = `${tensor.dtype} ${formatShape(tensor.shape)}`;
    const found = `input ${JSON.stringify(info.name)} must be ${expected}, got ${actual}`;
    const text = message(`run ${label}`, found, hintFor(tensor, info));
    throw new ShapeError(text, { tensor: info.name, expected, actual });
  });
}

/** The outputs a caller wants, in the caller's order; all by default. @throws {ShapeError} If a name is unknown */
export function matchOutputs(
  infos: readonly TensorInfo[],
  wanted: readonly string[] | undefined,
  label: string,
): readonly TensorInfo[] {
  if (wanted === undefined) return infos;
  return [...new Set(wanted)].map(
    (name) => infos.find((info) => info.name === name) ?? refuseName(name, infos, "output", label),
  );
}

/** Options of one run. */
export interface RunOptions {
  /** Names of the outputs to compute. Default: all. */
  readonly outputs?: readonly string[] | undefined;
  /** Ends the run between two operators; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A model on its way into a session. */
interface Source {
  /** For messages: a path, or what the bytes are called. */
  readonly name: string;
  /** First bytes, as Latin-1. */
  readonly head: string;
  /** The path as a C string, or the bytes: read by the worker thread, so it is held until the call has settled. */
  readonly memory: Uint8Array;
  readonly call: "CreateSession" | "CreateSessionFromArray";
}

/**
 * A model, ready to run. Close it, or bind it with `using`; while runs of `run` are in flight it is freed when the last
 * one settles, and `await using` waits for that.
 *
 * @example
 * ```ts
 * import { createTensor, Session } from "bun-tensorrt/onnxruntime";
 *
 * await using session = await Session.load("yolo11n.onnx");
 * const outputs = await session.run({ images: createTensor("f32", [1, 3, 640, 640]) });
 * for (const [name, { dtype, shape }] of outputs) console.log(name, dtype, shape);
 * ```
 */
export class Session extends Resource implements AsyncDisposable {
  /** Inputs, outputs and custom metadata, as the file has them. */
  readonly model: ModelDescription;
  /** The options in force. */
  readonly config: SessionConfig;
  readonly #name: string;
  readonly #handle: SessionHandle;

  private constructor(handle: SessionHandle, model: ModelDescription, name: string, config: SessionConfig) {
    super(`Session ${JSON.stringify(name)}`);
    this.#handle = handle;
    this.#name = JSON.stringify(name);
    this.model = model;
    this.config = config;
  }

  /**
   * Load a model from a file, on a worker thread. Weights in files of their own are found beside it.
   *
   * @param path of an `.onnx` file
   * @throws {ModelError} If it is not there, empty, truncated or no model; `cause` is ONNX Runtime's error
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {LibraryLoadError} If ONNX Runtime is not there
   */
  static async load(path: string, options: SessionOptions = {}): Promise<Session> {
    if (isEmbedded(path)) return Session.fromBytes(readFileSync(path), path, options);
    const config = parseSessionOptions(options);
    const head = inspectModelFile(path);
    const rounded = await withRightQuantisers(path);
    if (rounded !== undefined) {
      const weightsFolder = config.weightsFolder ?? dirname(resolve(path));
      return Session.#create(
        { ...config, weightsFolder },
        { name: path, head, memory: rounded, call: "CreateSessionFromArray" },
      );
    }
    return Session.#create(config, { name: path, head, memory: pathString(resolve(path)), call: "CreateSession" });
  }

  /**
   * Load a model from memory, on a worker thread. The bytes are not needed afterwards, and must not change before.
   *
   * @param bytes of an `.onnx` file whose weights are inside
   * @param name  what to call it in messages
   * @throws {ModelError} If they are empty, truncated or no model; `cause` is ONNX Runtime's error
   * @throws {OptionError} If an option is unknown or out of range
   * @throws {LibraryLoadError} If ONNX Runtime is not there
   */
  static async fromBytes(bytes: Uint8Array, name: string, options: SessionOptions = {}): Promise<Session> {
    const config = parseSessionOptions(options);
    if (bytes.length === 0) throw modelError(name, "it is empty");
    const head = Buffer.from(bytes.subarray(0, 64)).toString("latin1");
    const memory = (await withRightQuantisers(bytes)) ?? bytes;
    return Session.#create(config, { name, head, memory, call: "CreateSessionFromArray" });
  }

  static async #create(config: SessionConfig, source: Source): Promise<Session> {
    const { api, createSession, createSessionFromArray } = openOnnxRuntime();
    const out = new OutCells(1);
    const environment = Environment.create();
    try {
      const native = createNativeSessionOptions(config);
      let status: number;
      try {
        const memory = addressOf(source.memory);
        status = await (source.call === "CreateSession"
          ? createSession(environment.pointer, memory, native, out.address)
          : createSessionFromArray(environment.pointer, memory, source.memory.length, native, out.address));
      } finally {
        api.ReleaseSessionOptions(native);
      }
      const error = errorOf(status, source.call, loadAction(source.name));
      if (error !== undefined) throw refusedModel(source.name, source.head, error);
    } catch (error) {
      environment.close();
      const less = lessForFp8(error, config);
      if (less !== undefined) {
        tellLess(source.name);
        return Session.#create({ ...config, optimization: less }, source);
      }
      throw error;
    }
    const handle = new SessionHandle(out.pointer(), environment);
    try {
      return new Session(
        handle,
        describeModel(handle.pointer, source.name, config.ignoreUnreadable),
        source.name,
        config,
      );
    } catch (error) {
      handle.drop();
      throw error;
    }
  }

  /** What the model takes, in its own order. */
  get inputs(): readonly TensorInfo[] {
    return this.model.inputs;
  }

  /** What the model gives, in its own order. */
  get outputs(): readonly TensorInfo[] {
    return this.model.outputs;
  }

  /**
   * Run the model once, on a worker thread. Runs may overlap. For frame after frame, see `prepare`.
   *
   * @param inputs one tensor an input, by name; they must not change or be transferred before the promise settles
   * @returns the outputs by name; their memory is the caller's
   * @throws {ShapeError} If a name is unknown or missing, or a tensor has another dtype or shape than declared
   * @throws {OnnxRuntimeError} If the run fails
   * @throws {ClosedError} If the session is closed
   * @throws the signal's reason, if it was aborted
   */
  async run(inputs: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<ReadonlyMap<string, Tensor>> {
    this.assertOpen(`run ${this.#name}`);
    const binding = new RunBinding(this.#parts(inputs, options.outputs));
    this.#handle.enter();
    try {
      await binding.run(options.signal);
      return binding.outputs.copy();
    } finally {
      binding.dispose();
      this.#handle.leave();
    }
  }

  /**
   * Prepare runs over tensors whose memory stays in place: write into them, run, read the outputs, again and again.
   *
   * @param inputs  one tensor an input, by name; their shapes hold for every run
   * @param options names of the outputs to compute
   * @throws {ShapeError} If a name is unknown or missing, or a tensor has another dtype or shape than declared
   * @throws {ClosedError} If the session is closed
   */
  prepare(inputs: Readonly<Record<string, Tensor>>, options: Pick<RunOptions, "outputs"> = {}): Inference {
    this.assertOpen(`prepare a run of ${this.#name}`);
    return new Inference(this.#parts(inputs, options.outputs), this);
  }

  /** Close, and wait until running calls have settled and the session is freed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#handle.freed;
  }

  protected release(): void {
    this.#handle.drop();
  }

  #parts(inputs: Readonly<Record<string, Tensor>>, outputs: readonly string[] | undefined): BindingParts {
    const label = this.#name;
    return {
      handle: this.#handle,
      inputs: matchInputs(this.model.inputs, inputs, label),
      outputs: matchOutputs(this.model.outputs, outputs, label),
      hasArena: this.config.arena,
      label,
    };
  }
}

/** Models of which the log has said that they are optimised less. */
const told = new Set<string>();

function tellLess(name: string): void {
  if (told.has(name)) return;
  told.add(name);
  logger.info(`Loading ${name} with fewer optimisations: ONNX Runtime moves its FP8 to operators that have none`);
}

/** What ONNX Runtime says of FP8 where it has moved a Q/DQ node behind an operator that has none, or fits the limits of a Clip to it. */
const MISPLACED_FP8 = /Failed to find kernel .*float8\w+\)|float8\w+\)' of input |GetQConstantLowerUpper/s;

/**
 * ONNX Runtime 1.28 fuses Q/DQ nodes of FP8 with layers that take INT8 only, or moves them behind operators that have no FP8, and then
 * refuses what it has made. @returns how much it is to do instead
 */
function lessForFp8(error: unknown, { optimization }: SessionConfig): "basic" | "disable" | undefined {
  if (optimization === "disable" || !(error instanceof ModelError)) return undefined;
  if (optimization !== "basic" && /float8\w+\)' of input .* \(QLinear/.test(error.message)) return "basic";
  return MISPLACED_FP8.test(error.message) ? "disable" : undefined;
}
