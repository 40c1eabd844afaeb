/** @module CpuBackend: a model on ONNX Runtime. The reference for every other machine. */

import { message, UnavailableError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import type { Recognition } from "../../model/layout.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { PlausibilityGuard } from "../../model/plausibility.ts";
import { layoutNamed, recogniseModel } from "../../model/registry.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { Backend, BackendOptions } from "../backend.ts";
import { decodeOptionsFor } from "../decode-options.ts";
import { type CpuModel, CpuSlot } from "./cpu-slot.ts";
import { describedModel } from "./described-model.ts";

/** A model loaded by ONNX Runtime on the CPU. */
export class CpuBackend extends Resource implements Backend {
  readonly kind = "cpu";
  readonly description: string;
  readonly maxBatch: number;
  readonly inFlight: number;
  readonly #model: CpuModel;

  private constructor(model: CpuModel, inFlight: number) {
    super(`CpuBackend of ${model.session.label}`);
    const threads = model.session.config.intraOpThreads;
    this.#model = model;
    this.inFlight = inFlight;
    this.maxBatch = model.fixedBatch ?? Number.POSITIVE_INFINITY;
    this.description = `ONNX Runtime ${openOnnxRuntime().version}, CPU, ${threads} thread${threads === 1 ? "" : "s"}`;
  }

  /**
   * Load a model and recognise its layout.
   *
   * @param source path of an ONNX file, or its bytes
   * @throws {ModelError} If it is no model, or of no known layout
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere
   * @throws {UnavailableError} If JPEG files are to be decoded on a GPU
   */
  static async load(source: string | Uint8Array, options: BackendOptions): Promise<CpuBackend> {
    if (options.jpeg === "gpu") {
      const found = 'as option "jpeg" is "gpu", and the model runs on the CPU';
      throw new UnavailableError(
        message("load a detector", found, 'leave "jpeg" out, or run the model on a GPU'),
        "jpeg",
      );
    }
    const threads = options.threads === undefined ? {} : { intraOpThreads: options.threads };
    const session =
      typeof source === "string"
        ? await Session.load(source, threads)
        : await Session.fromBytes(source, "model from bytes", threads);
    try {
      const name = typeof source === "string" ? JSON.stringify(source) : "the model from bytes";
      const { size, build } = options;
      const described = await describedModel(session, { size, source: name, signal: build.signal });
      const recognition = recogniseModel(described, { ...options, source: name });
      const rows = session.inputs.find((info) => info.name === recognition.imageInput)?.shape[0] ?? -1;
      const model: CpuModel = {
        session,
        recognition,
        layout: layoutNamed(recognition.layout),
        guard: new PlausibilityGuard(name),
        fixedBatch: rows > 0 ? rows : undefined,
        decodeOptions: decodeOptionsFor(recognition, options),
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

  get recognition(): Recognition {
    return this.#model.recognition;
  }

  createSlot(): CpuSlot {
    return new CpuSlot(this.#model, this);
  }

  protected release(): void {
    this.#model.session.close();
  }
}
