/** @module Run outputs: where the outputs of a repeated Run call are written, and the tensors they are read as. */

import { isDynamic } from "../core/shape.ts";
import { createTensor, type Tensor, type TensorInfo } from "../core/tensor.ts";
import { openOnnxRuntime } from "../ffi/onnxruntime.ts";
import { OutputView } from "./output-view.ts";
import { PointerArray } from "./pointer-array.ts";
import { createValue } from "./value.ts";

/** An output: written to `bound`, memory of ours; or allocated by ONNX Runtime and seen through `view`. */
interface Place {
  readonly info: TensorInfo;
  bound: Tensor | undefined;
  view: OutputView | undefined;
}

/**
 * The outputs of one Run call. Those of fixed shape are written to memory of this object; the others ONNX Runtime
 * allocates, and they are seen in place until the next run. A declaration without dimensions may stand for any rank.
 */
export class RunOutputs {
  /** `OrtValue *` of each output; NULL where ONNX Runtime is to allocate. */
  readonly values: PointerArray;
  /** Outputs of the last run, by name. Empty before the first. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly #tensors = new Map<string, Tensor>();
  readonly #places: Place[] = [];
  readonly #hasArena: boolean;

  /** @param hasArena true if ONNX Runtime keeps the memory of outputs that were given back */
  constructor(infos: readonly TensorInfo[], hasArena: boolean) {
    this.values = new PointerArray(infos.length);
    this.tensors = this.#tensors;
    this.#hasArena = hasArena;
    try {
      for (const info of infos) this.#places.push(this.#prepare(info, this.#places.length));
    } catch (error) {
      this.free();
      throw error;
    }
  }

  /** Let ONNX Runtime allocate every output from now on. False if it does already. */
  unbind(): boolean {
    let count = 0;
    for (const [index, place] of this.#places.entries()) {
      if (place.bound === undefined) continue;
      this.#release(index);
      place.bound = undefined;
      place.view = new OutputView(place.info.dtype);
      count += 1;
    }
    return count > 0;
  }

  /** Give the last run's outputs back, so that the next one lands in the same memory. */
  beforeRun(): void {
    for (let index = 0; index < this.#places.length; index++) {
      const { view } = this.#places[index]!;
      if (view === undefined) continue;
      if (!this.#hasArena) view.detach();
      this.#release(index);
    }
  }

  /** Read what a run that succeeded has left. @throws {OnnxRuntimeError} If a call fails */
  afterRun(): void {
    for (let index = 0; index < this.#places.length; index++) {
      const { info, view, bound } = this.#places[index]!;
      const tensor = view === undefined ? bound! : view.update(this.values.get(index));
      if (this.#tensors.get(info.name) !== tensor) this.#tensors.set(info.name, tensor);
    }
  }

  /** The tensors as memory that stays: copies of what ONNX Runtime allocated, and what was written to memory of ours. */
  copy(): Map<string, Tensor> {
    const copies = new Map<string, Tensor>();
    for (const { info, view } of this.#places) {
      const tensor = this.#tensors.get(info.name);
      if (tensor === undefined) continue;
      copies.set(info.name, view === undefined ? tensor : ({ ...tensor, data: tensor.data.slice() } as Tensor));
    }
    return copies;
  }

  /** Release every value, and empty the arrays over memory of ONNX Runtime. */
  free(): void {
    for (const [index, { view }] of this.#places.entries()) {
      view?.detach();
      this.#release(index);
    }
  }

  #prepare(info: TensorInfo, index: number): Place {
    if (isDynamic(info.shape) || info.shape.length === 0) {
      return { info, bound: undefined, view: new OutputView(info.dtype) };
    }
    const bound = createTensor(info.dtype, info.shape);
    this.values.set(index, createValue(bound, info.name));
    return { info, bound, view: undefined };
  }

  #release(index: number): void {
    openOnnxRuntime().api.ReleaseValue(this.values.get(index));
    this.values.set(index, 0);
  }
}
