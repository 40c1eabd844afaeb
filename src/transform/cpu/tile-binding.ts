/** @module TileBinding: the input tensor for one batch and size of tiles, and the run that is prepared over it. */

import { Resource } from "../../core/resource.ts";
import { createTensor, type Tensor } from "../../core/tensor.ts";
import type { InputTensor } from "../../image/preprocessor.ts";
import type { Inference } from "../../onnxruntime/inference.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../../pipeline/backend.ts";
import type { ImageRecognition } from "../image-recognition.ts";
import { pixelShape } from "../pixel-tensor.ts";

/** The tensors of one input shape, filled anew for each batch of tiles. Owned by a slot. */
export class TileBinding extends Resource {
  readonly batch: number;
  readonly size: Size;
  /** `[batch, channels, height, width]` or `[batch, height, width, channels]`. */
  readonly tiles: InputTensor;
  readonly #inference: Inference;
  readonly #output: string;

  /**
   * @param size of a tile in pixels
   * @throws {ShapeError} If the model declares another shape
   * @throws {RangeError} If the tensor is too large for the memory
   */
  constructor(session: Session, { input, output }: ImageRecognition, batch: number, size: Size) {
    // What memory does not suffice for throws here, where there is nothing to close yet.
    const tiles = createTensor(input.dtype, pixelShape(input, batch, size));
    super(`TileBinding ${batch}x${size.join("x")}`, session);
    this.batch = batch;
    this.size = size;
    this.tiles = tiles;
    this.#output = output.name;
    try {
      this.#inference = session.prepare({ [input.name]: this.tiles }, { outputs: [output.name] });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Run the model on a worker thread. @returns the output, valid until the next run */
  async run(signal: AbortSignal | undefined): Promise<Tensor> {
    const outputs = await this.#inference.run(signal === undefined ? {} : { signal });
    return outputs.get(this.#output)!;
  }

  protected release(): void {
    this.#inference?.close();
  }
}
