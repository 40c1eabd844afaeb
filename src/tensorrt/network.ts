/** @module Network: the layers that the ONNX parser made of a model, before an engine is built from them. */

import type { DType, Shape, TensorInfo } from "../core/tensor.ts";
import { cString, readCString } from "../ffi/memory.ts";
import { type MethodOf, methodId, shim } from "../ffi/shim.ts";
import { NativeObject } from "./native-object.ts";
import { dtypeOf, ShapeCells } from "./tensor-info.ts";

/** nvinfer1::LayerType of IQuantizeLayer and IDequantizeLayer; the same in every version from 10 on. */
const QUANTIZE: ReadonlySet<number> = new Set([32, 33]);

/** An input or output of a network. */
export interface NetworkTensor extends TensorInfo {
  /** True where its values are dimensions, read on the host. */
  readonly isShapeTensor: boolean;
}

/** A layer of a network. */
export interface NetworkLayer {
  readonly name: string;
  /** Number of nvinfer1::LayerType. */
  readonly type: number;
  readonly inputCount: number;
  readonly outputCount: number;
}

const cells = new ShapeCells();

/** A network definition. Filled by {@linkcode OnnxParser.parse}; closed before its builder. */
export class Network extends NativeObject {
  private constructor(builder: NativeObject, handle: number) {
    super("Network", builder.library, handle, builder);
  }

  /** Called by {@linkcode Builder.createNetwork} alone. */
  static wrap(builder: NativeObject, handle: number): Network {
    return new Network(builder, handle);
  }

  /** The inputs, in the model's order. @throws {ModelError} If one has an element type without a JavaScript array */
  inputs(): NetworkTensor[] {
    return this.#tensors("NetworkDefinition.getNbInputs", "NetworkDefinition.getInput");
  }

  /** The outputs, in the model's order. */
  outputs(): NetworkTensor[] {
    return this.#tensors("NetworkDefinition.getNbOutputs", "NetworkDefinition.getOutput");
  }

  #tensors(counter: MethodOf<"i32">, getter: MethodOf<"pointer_at">): NetworkTensor[] {
    return Array.from({ length: this.i32(counter) }, (_, index) => {
      return this.#tensor(this.pointerAt(getter, index, `read tensor ${index} of the network`));
    });
  }

  #tensor(handle: number): NetworkTensor {
    const { library } = this;
    const native = shim();
    const name = readCString(native.bt_text(library.handle, handle, methodId("Tensor.getName")));
    const rank = native.bt_tensor_dimensions(library.handle, handle, cells.cells);
    const shape: Shape = cells.read(library.check(rank, "Tensor.getDimensions"));
    const type = library.check(native.bt_i32(library.handle, handle, methodId("Tensor.getType")), "Tensor.getType");
    const dtype: DType = dtypeOf(type, name, "the network");
    const isShape = native.bt_bool(library.handle, handle, methodId("Tensor.isShapeTensor"));
    return { name, dtype, shape, isShapeTensor: library.check(isShape, "Tensor.isShapeTensor") === 1 };
  }

  get layerCount(): number {
    return this.i32("NetworkDefinition.getNbLayers");
  }

  /** One layer. @param index from 0 to `layerCount - 1` */
  layer(index: number): NetworkLayer {
    const { library } = this;
    const handle = this.pointerAt("NetworkDefinition.getLayer", index, `read layer ${index} of the network`);
    const count = (method: MethodOf<"i32">): number =>
      library.check(shim().bt_i32(library.handle, handle, methodId(method)), method);
    return {
      name: readCString(shim().bt_text(library.handle, handle, methodId("Layer.getName"))),
      type: count("Layer.getType"),
      inputCount: count("Layer.getNbInputs"),
      outputCount: count("Layer.getNbOutputs"),
    };
  }

  /** True if the model brings its own quantisation (Q/DQ nodes). */
  isQuantized(): boolean {
    for (let index = 0; index < this.layerCount; index++) {
      if (QUANTIZE.has(this.layer(index).type)) return true;
    }
    return false;
  }

  /** Bits of nvinfer1::NetworkDefinitionCreationFlag. */
  get flags(): number {
    return this.i32("NetworkDefinition.getFlags");
  }

  /** What the engine will be called, in profilers too. */
  get name(): string {
    return this.text("NetworkDefinition.getName");
  }
  set name(name: string) {
    const id = methodId("NetworkDefinition.setName");
    this.library.check(
      shim().bt_void_text(this.library.handle, this.handle, id, cString(name)),
      "NetworkDefinition.setName",
    );
  }
}
