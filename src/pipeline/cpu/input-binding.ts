/** @module InputBinding: the input tensors for one batch size and input size, and the run that is prepared over them. */

import { Resource } from "../../core/resource.ts";
import { createTensor, type Tensor } from "../../core/tensor.ts";
import type { Placement } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { InputTensor, Preprocessor } from "../../image/preprocessor.ts";
import type { Recognition } from "../../model/layout.ts";
import type { Inference } from "../../onnxruntime/inference.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../backend.ts";
import { sizeTensor } from "../size-tensor.ts";

/** The tensors of one input shape, filled anew for each batch. Owned by a slot. */
export class InputBinding extends Resource {
  readonly batch: number;
  readonly size: Size;
  /** Pictures: [batch, 3, height, width] or [batch, height, width, 3]. */
  readonly #images: InputTensor;
  readonly #inference: Inference;
  /** Where the last picture of each row lies; holes where there is none, or others may have written. */
  readonly #padded: (Placement | undefined)[];
  /** True once somebody else has had the pictures. */
  #isLent = false;
  #outputs: ReadonlyMap<string, Tensor> = new Map();

  /**
   * @param batch rows of the tensor
   * @param size  of the input in pixels
   * @throws {ShapeError} If the model declares another shape
   * @throws {RangeError} If the tensors are too large for the memory
   */
  constructor(session: Session, recognition: Recognition, batch: number, size: Size) {
    const [width, height] = size;
    const { layout, dtype } = recognition.preprocessing;
    const shape = layout === "NCHW" ? [batch, 3, height, width] : [batch, height, width, 3];
    // What memory does not suffice for throws here, where there is nothing to close yet.
    const images = createTensor(dtype, shape);
    const inputs: Record<string, Tensor> = { [recognition.imageInput]: images };
    for (const input of recognition.sizeInputs) {
      const declared = session.inputs.find((info) => info.name === input.name)?.shape ?? [];
      inputs[input.name] = sizeTensor(input, declared, batch, size);
    }
    super(`InputBinding ${batch}x${width}x${height}`, session);
    this.batch = batch;
    this.size = size;
    this.#images = images;
    this.#padded = new Array(batch).fill(undefined);
    try {
      this.#inference = session.prepare(inputs);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Write a picture into its row. Padding that the row has from the picture before is not written again.
   *
   * @param preprocessor the same with every call
   * @param placement    what it returned for this picture
   * @throws {ShapeError} If the picture has another size than the placement's
   */
  fill(preprocessor: Preprocessor, image: Image, index: number, placement: Placement): void {
    const padded = this.#isLent ? undefined : this.#padded[index];
    this.#padded[index] = undefined;
    preprocessor.run(image, this.#images, index, placement, padded);
    this.#padded[index] = placement;
  }

  /** The pictures, for others to read. Nobody keeps them from writing there, so that rows are padded anew from now on. */
  lend(): InputTensor {
    this.#isLent = true;
    return this.#images;
  }

  /** The outputs of the last run, by name. */
  get outputs(): ReadonlyMap<string, Tensor> {
    return this.#outputs;
  }

  /** Run the model on a worker thread. */
  async run(): Promise<void> {
    this.#outputs = await this.#inference.run();
  }

  /** End the run in flight, if there is one. */
  interrupt(): void {
    this.#inference.interrupt();
  }

  protected release(): void {
    this.#inference?.close();
  }
}
