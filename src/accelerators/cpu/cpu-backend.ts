/** @module CpuBackend: a model on ONNX Runtime. The reference for every other machine. */

import { Resource } from "../../core/resource.ts";
import { openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { Accelerator, Backend, MachineOptions } from "../../runtime/backend.ts";
import type { Task, TaskModel } from "../../runtime/task.ts";
import type { OnnxRuntimeOptions } from "../accelerator-options.ts";
import { type CpuModel, CpuSlot } from "./cpu-slot.ts";
import { openedSession } from "./described-model.ts";

/** A model loaded by ONNX Runtime on the CPU. */
export class CpuBackend<ModelSpec, Params, Output> extends Resource implements Backend<ModelSpec, Params, Output> {
  readonly kind = "cpu";
  readonly description: string;
  readonly maxBatch: number;
  readonly inFlight: number;
  readonly #model: CpuModel<ModelSpec, Params, Output>;

  private constructor(model: CpuModel<ModelSpec, Params, Output>, inFlight: number) {
    super(`CpuBackend of ${model.session.label}`);
    const { intraOpThreads: threads, providers } = model.session.config;
    const machine = [...providers.map(({ name }) => name), "CPU"].join(", ");
    this.#model = model;
    this.inFlight = inFlight;
    this.maxBatch = model.fixedBatch ?? Number.POSITIVE_INFINITY;
    this.description = `ONNX Runtime ${openOnnxRuntime().version}, ${machine}, ${threads} thread${threads === 1 ? "" : "s"}`;
  }

  /**
   * Load a model, and let a task recognise it.
   *
   * @param source path of an ONNX file, or its bytes
   * @throws {ModelError} If it is no model, or none of the task's
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere
   */
  static async load<ModelSpec, Params, Output>(
    source: string | Uint8Array,
    task: Task<ModelSpec, Params, Output>,
    options: Pick<MachineOptions, "inFlight" | "build"> & OnnxRuntimeOptions,
  ): Promise<CpuBackend<ModelSpec, Params, Output>> {
    const { threads, providers } = options;
    const chosen = {
      ...(threads === undefined ? {} : { intraOpThreads: threads }),
      ...(providers === undefined ? {} : { providers }),
    };
    const session =
      typeof source === "string"
        ? await Session.load(source, chosen)
        : await Session.fromBytes(source, "model from bytes", chosen);
    try {
      const recognised = await task.recognise(openedSession(session, nameOf(source), options.build.signal));
      const rows = session.inputs.find((info) => info.name === recognised.input.name)?.shape[0] ?? -1;
      const fixedBatch = rows > 0 ? rows : undefined;
      const model: CpuModel<ModelSpec, Params, Output> = {
        session,
        task: recognised,
        host: await recognised.host(),
        fixedBatch,
        rows: fixedBatch ?? recognised.rows ?? 1,
      };
      return new CpuBackend(model, options.inFlight ?? 1);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  get model(): ModelInfo {
    return this.#model.session.model;
  }

  get task(): TaskModel<ModelSpec, Params, Output> {
    return this.#model.task;
  }

  createSlot(): CpuSlot<ModelSpec, Params, Output> {
    return new CpuSlot(this.#model, this);
  }

  protected release(): void {
    this.#model.session.close();
  }
}

function nameOf(source: string | Uint8Array): string {
  return typeof source === "string" ? JSON.stringify(source) : "the model from bytes";
}

/** Models on ONNX Runtime. */
export const cpuAccelerator: Accelerator = {
  unavailable: () => undefined,
  open: (source, task, options) =>
    CpuBackend.load(source as string | Uint8Array, task, { ...options, ...options.accelerators.onnxruntime }),
};
