/** @module InputBinding: the input tensors for one batch size and input size, and the run that is prepared over them. */

import { Resource } from "../../core/resource.ts";
import { createTensor, type Tensor } from "../../core/tensor.ts";
import type { Region } from "../../image/geometry.ts";
import type { Image } from "../../image/image.ts";
import type { InputTensor, Preprocessor } from "../../image/preprocessor.ts";
import type { Inference } from "../../onnxruntime/inference.ts";
import type { Session } from "../../onnxruntime/session.ts";
import type { Size } from "../backend.ts";
import { sizeTensor } from "../size-tensor.ts";
import { inputShape, type TaskModel } from "../task.ts";
import type { HostTensors } from "./host-work.ts";

/** The tensors of one input shape, filled anew for each batch. Owned by a slot. */
export class InputBinding extends Resource implements HostTensors {
  readonly batch: number;
  readonly size: Size;
  /** Pictures: [batch, channels, height, width] or [batch, height, width, channels]. */
  readonly #images: InputTensor;
  readonly #inference: Inference;
  /** Where the last picture of each row lies; holes where there is none, or others may have written. */
  readonly #padded: (Region | undefined)[];
  /** True once somebody else has had the pictures. */
  #isLent = false;
  #outputs: ReadonlyMap<string, Tensor> = new Map();

  /**
   * @param batch rows of the tensor
   * @param size  of the input in pixels
   * @throws {ShapeError} If the model declares another shape
   * @throws {ArgumentError} If the tensors are too large for the memory
   */
  constructor(
    session: Session,
    { input, sizeInputs, outputs }: Pick<TaskModel<unknown, unknown, unknown>, "input" | "sizeInputs" | "outputs">,
    batch: number,
    size: Size,
  ) {
    const [width, height] = size;
    // What memory does not suffice for throws here, where there is nothing to close yet.
    const images = createTensor(input.dtype, inputShape(input, batch, size));
    const inputs: Record<string, Tensor> = { [input.name]: images };
    for (const sizeInput of sizeInputs) {
      const declared = session.inputs.find((info) => info.name === sizeInput.name)?.shape ?? [];
      inputs[sizeInput.name] = sizeTensor(sizeInput, declared, batch, size);
    }
    super(`InputBinding ${batch}x${width}x${height}`, session);
    this.batch = batch;
    this.size = size;
    this.#images = images;
    this.#padded = new Array(batch).fill(undefined);
    try {
      this.#inference = session.prepare(inputs, outputs === undefined ? {} : { outputs });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  fill(preprocessor: Preprocessor, image: Image, index: number, placement: Region): void {
    const padded = this.#isLent ? undefined : this.#padded[index];
    this.#padded[index] = undefined;
    preprocessor.run(image, this.#images, index, placement, padded);
    this.#padded[index] = placement;
  }

  lend(): InputTensor {
    this.#isLent = true;
    return this.#images;
  }

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
