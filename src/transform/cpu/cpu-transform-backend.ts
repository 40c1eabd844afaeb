/** @module CpuTransformBackend: an image model on ONNX Runtime. The reference for every other machine. */

import { ModelError, message, OnnxRuntimeError } from "../../core/errors.ts";
import { Resource } from "../../core/resource.ts";
import { createTensor, type TensorInfo } from "../../core/tensor.ts";
import { openOnnxRuntime } from "../../ffi/onnxruntime.ts";
import type { ModelInfo } from "../../model/model-info.ts";
import { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../../pipeline/backend.ts";
import type { ImageModelConfig } from "../image-model-config.ts";
import {
  type ImageInput,
  type ImageRecognition,
  needsProbe,
  recogniseInput,
  recogniseOutput,
} from "../image-recognition.ts";
import { pixelShape } from "../pixel-tensor.ts";
import type { TileRules } from "../tile-grid.ts";
import { probeSize, type TransformBackend, tileRules } from "../transform-backend.ts";
import { type CpuImageModel, CpuTransformSlot } from "./cpu-transform-slot.ts";

/** An image model loaded by ONNX Runtime on the CPU. */
export class CpuTransformBackend extends Resource implements TransformBackend {
  readonly kind = "cpu";
  readonly description: string;
  readonly rules: TileRules;
  readonly #model: CpuImageModel;

  private constructor(model: CpuImageModel, rules: TileRules) {
    super(`CpuTransformBackend of ${model.session.label}`);
    const threads = model.session.config.intraOpThreads;
    this.#model = model;
    this.rules = rules;
    this.description = `ONNX Runtime ${openOnnxRuntime().version}, CPU, ${threads} thread${threads === 1 ? "" : "s"}`;
  }

  /**
   * Load a model and find out what it makes of pictures; where its shapes do not tell, by running it once on a small one.
   *
   * @param source path of an ONNX file, or its bytes
   * @throws {ModelError} If it is no model, or makes no pictures
   * @throws {LibraryLoadError} If ONNX Runtime is nowhere
   */
  static async load(source: string | Uint8Array, config: ImageModelConfig): Promise<CpuTransformBackend> {
    const threads = config.threads === undefined ? {} : { intraOpThreads: config.threads };
    const name = typeof source === "string" ? source : "model from bytes";
    const session =
      typeof source === "string" ? await Session.load(source, threads) : await Session.fromBytes(source, name, threads);
    try {
      const input = recogniseInput(session.model, name, config.hints);
      const rules = tileRules(input, config);
      const size = probeSize(rules);
      const { signal } = config.build;
      const outputs = needsProbe(session.model) ? await probe(session, name, input, size, signal) : session.outputs;
      const recognition = recogniseOutput(session.model, name, input, size, outputs, config.hints);
      const batch = recognition.fixedBatch ?? config.batch ?? 1;
      return new CpuTransformBackend({ session, recognition, padding: config.padding, batch }, rules);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  get model(): ModelInfo {
    return this.#model.session.model;
  }

  get recognition(): ImageRecognition {
    return this.#model.recognition;
  }

  createSlot(): CpuTransformSlot {
    return new CpuTransformSlot(this.#model, this);
  }

  protected release(): void {
    this.#model.session.close();
  }
}

/** The outputs with the shapes they have for one size of input. */
async function probe(
  session: Session,
  name: string,
  input: ImageInput,
  size: Size,
  signal: AbortSignal | undefined,
): Promise<TensorInfo[]> {
  const { form, fixedBatch = 1 } = input;
  try {
    const tensors = { [form.name]: createTensor(form.dtype, pixelShape(form, fixedBatch, size)) };
    const outputs = await session.run(tensors, signal === undefined ? {} : { signal });
    return session.outputs.map(({ name: output, dtype }) => ({
      name: output,
      dtype,
      shape: outputs.get(output)!.shape,
    }));
  } catch (error) {
    if (!(error instanceof OnnxRuntimeError)) throw error;
    const found = `as it does not run on a picture of ${size.join("x")} pixels: ${error.message.split("\n", 1)[0]}`;
    const hint = "say what its sides are multiples of: `multiple: 8`, 16 or 32";
    throw new ModelError(message(`use ${JSON.stringify(name)} to transform pictures`, found, hint), name, {
      cause: error,
    });
  }
}
