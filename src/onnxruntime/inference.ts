/** @module Inference: a prepared run, for the hot path: same inputs, same shapes, frame after frame. */

import { BunTensorRtError, ClosedError, message, ShapeError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { Resource } from "../core/resource.ts";
import { formatTensorInfo, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { CStrings, OutCells } from "../ffi/memory.ts";
import { type OnnxRuntimeLibrary, openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { call, errorOf, made, type SessionHandle } from "./environment.ts";
import { createValue, RunOutputs } from "./values.ts";

/** Options of one run. */
export interface InferenceRunOptions {
  /** Ends the run between two operators; the promise then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A run that was prepared once: names, values and pointers are in place, so a frame costs no allocation beyond its
 * promise. Made by `Session.prepare`, which stays open for as long.
 *
 * @example
 * ```ts
 * import { createTensor, Session } from "bun-tensorrt/onnxruntime";
 *
 * await using session = await Session.load("yolo11n.onnx");
 * const images = createTensor("f32", [1, 3, 640, 640]);
 * using inference = session.prepare({ images });
 * for (let frame = 0; frame < 3; frame++) {
 *   images.data.fill(frame / 2);
 *   const outputs = await inference.run();
 *   console.log(outputs.get("output0")?.data[0]);
 * }
 * ```
 */
export class Inference extends Resource {
  /** Write the next frame into these before `run`; their arrays must stay where they are. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly #binding: RunBinding;

  /** @internal */
  constructor(parts: BindingParts, session: Resource) {
    super(`Inference of ${parts.label}`, session);
    try {
      this.#binding = new RunBinding(parts);
    } catch (error) {
      this.close();
      throw error;
    }
    this.inputs = new Map(parts.inputs.map(({ info, tensor }) => [info.name, tensor]));
  }

  /**
   * Run the model on what the inputs hold, on a worker thread. One call at a time.
   *
   * @returns the outputs by name, valid until the next `run` or `close`: the same map each time
   * @throws {OnnxRuntimeError} If the run fails
   * @throws {ClosedError} If it is closed, or was closed while running
   * @throws {BunTensorRtError} If it is still running
   */
  async run(options?: InferenceRunOptions): Promise<ReadonlyMap<string, Tensor>> {
    this.assertOpen("run the model");
    if (this.#binding.isRunning) {
      const hint = "await it, or prepare a second inference of the same session";
      throw new BunTensorRtError(message("run the model", `the last run of ${this.label} has not settled yet`, hint));
    }
    await this.#binding.run(options?.signal);
    return this.#binding.outputs.tensors;
  }

  /** End the run in flight, if there is one, between two operators; those of a `Loop` too. It rejects then. */
  interrupt(): void {
    this.#binding.interrupt();
  }

  /** A run in flight is told to end and rejects; its memory is freed once it has. */
  protected release(): void {
    this.#binding?.dispose();
  }
}

/** An input of the model and the tensor that fills it. */
export interface BoundInput {
  readonly info: TensorInfo;
  readonly tensor: Tensor;
}

/** What a binding is made of. */
export interface BindingParts {
  readonly handle: SessionHandle;
  /** Every input of the model, each with a tensor that fits. */
  readonly inputs: readonly BoundInput[];
  readonly outputs: readonly TensorInfo[];
  /** True if ONNX Runtime's arena keeps the memory of outputs that were given back. */
  readonly hasArena: boolean;
  /** For messages: `"yolo11n.onnx"`. */
  readonly label: string;
}

/**
 * One Run call that can be repeated. Inputs are read from the tensors' own memory.
 *
 * Not a resource by itself: its owner calls `dispose`, which waits for a running call.
 */
export class RunBinding {
  readonly #ort: OnnxRuntimeLibrary = openOnnxRuntime();
  readonly #parts: BindingParts;
  readonly #inputNames: CStrings;
  readonly #outputNames: CStrings;
  readonly #inputValues: OutCells;
  /** The outputs of the last run. */
  readonly outputs: RunOutputs;
  /** `OrtRunOptions *` */
  readonly #options: number;
  readonly #terminate: () => void = () => {
    this.#isTerminated = true;
    call("RunOptionsSetTerminate", this.#options);
  };
  #isRunning = false;
  #isTerminated = false;
  #isDisposed = false;
  /** True once a run has shown that the declared shapes of the outputs are right. */
  #isProven = false;

  /**
   * @throws {ShapeError} If an array is not what its tensor says
   * @throws {OnnxRuntimeError} If a value is refused
   */
  constructor(parts: BindingParts) {
    const { inputs, outputs } = parts;
    this.#parts = parts;
    this.#inputNames = new CStrings(inputs.map(({ info }) => info.name));
    this.#outputNames = new CStrings(outputs.map(({ name }) => name));
    this.#inputValues = new OutCells(inputs.length);
    try {
      for (const [index, { info, tensor }] of inputs.entries()) {
        this.#inputValues.setPointer(index, createValue(tensor, info.name));
      }
      this.outputs = new RunOutputs(outputs, parts.hasArena);
    } catch (error) {
      this.#freeInputs();
      throw error;
    }
    this.#options = made("CreateRunOptions");
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /**
   * Run on a worker thread. One call at a time: the owner sees to it.
   *
   * @param signal ends the run between two operators; the promise settles once the worker has let go of the memory
   * @throws {ShapeError} If the memory of an input is gone
   * @throws {OnnxRuntimeError} If the run fails
   * @throws {ClosedError} If the binding was disposed while it ran
   * @throws the signal's reason, if it was aborted
   */
  async run(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.#assertInputs();
    const { handle, label } = this.#parts;
    this.#isRunning = true;
    handle.enter();
    signal?.addEventListener("abort", this.#terminate);
    try {
      this.outputs.beforeRun();
      let status = await this.#call();
      if (status !== 0 && !this.#isProven && !this.#isTerminated && this.outputs.unbind()) {
        // Some models declare other shapes than their outputs have: those must be allocated by who knows better.
        const error = errorOf(status, "Run", `run ${label} with outputs of the declared shapes`);
        logger.warn(`${error?.message}; trying without them`);
        status = await this.#call();
      }
      const error = errorOf(status, "Run", `run ${label}`);
      signal?.throwIfAborted();
      if (this.#isDisposed) throw new ClosedError("read the outputs of a run", label);
      if (error !== undefined) throw error;
      this.#isProven = true;
      this.outputs.afterRun();
    } finally {
      signal?.removeEventListener("abort", this.#terminate);
      this.#isRunning = false;
      if (this.#isDisposed) this.#free();
      else if (this.#isTerminated) {
        this.#isTerminated = false;
        call("RunOptionsUnsetTerminate", this.#options);
      }
      handle.leave();
    }
  }

  /** End the run in flight, if there is one, between two operators: it rejects then. */
  interrupt(): void {
    if (this.#isRunning) this.#terminate();
  }

  /** Free everything: now, or when the running call settles, which is told to end. Called once. */
  dispose(): void {
    this.#isDisposed = true;
    if (this.#isRunning) this.#terminate();
    else this.#free();
  }

  #call(): Promise<number> {
    return this.#ort.run(
      this.#parts.handle.pointer,
      this.#options,
      this.#inputNames.address,
      this.#inputValues.address,
      this.#parts.inputs.length,
      this.#outputNames.address,
      this.#parts.outputs.length,
      this.outputs.values.address,
    );
  }

  /** An array whose buffer was transferred away since is empty: its memory may be another's by now. */
  #assertInputs(): void {
    for (const { info, tensor } of this.#parts.inputs) {
      if (tensor.data.length > 0 || tensor.shape.includes(0)) continue;
      const found = `the memory of input ${JSON.stringify(info.name)} is gone, its array was transferred`;
      const text = message(`run ${this.#parts.label}`, found, "keep the arrays of a prepared run where they are");
      const expected = formatTensorInfo(info);
      throw new ShapeError(text, { tensor: info.name, expected, actual: "a detached array" });
    }
  }

  #freeInputs(): void {
    for (const index of this.#parts.inputs.keys()) this.#ort.api.ReleaseValue(this.#inputValues.pointer(index));
  }

  #free(): void {
    this.#freeInputs();
    this.outputs.free();
    this.#ort.api.ReleaseRunOptions(this.#options);
  }
}
