/** @module Network: the layers that the ONNX parser made of a model, before an engine is built from them. */

import type { DType, Shape, TensorInfo } from "../core/tensor.ts";
import { cString } from "../ffi/memory.ts";
import { callMethod, shim } from "../ffi/shim.ts";
import { NativeObject } from "./native-object.ts";
import { dtypeNumber, dtypeOf, formatBit, ShapeCells, type TensorFormat } from "./tensor-info.ts";

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

/** nvinfer1::DataType::kFLOAT; the same in every version. */
const FLOAT = 0;

/** What a layer makes. */
export interface LayerTensor {
  readonly name: string;
  readonly shape: Shape;
  /** True where it is an array of FP32, for a network that is not strongly typed: of floats. */
  readonly isFloat: boolean;
}

const cells = new ShapeCells();

/** A network definition. Filled by {@linkcode OnnxParser.parse}; closed before its builder. */
export class Network extends NativeObject {
  /** @internal */
  constructor(builder: NativeObject, handle: number) {
    super("Network", builder.library, handle, builder);
  }

  /** The inputs, in the model's order. @throws {ModelError} If one has an element type without a JavaScript array */
  inputs(): NetworkTensor[] {
    const count = this.call("NetworkDefinition.getNbInputs");
    return Array.from({ length: count }, (_, index) => this.#tensor("NetworkDefinition.getInput", index));
  }

  /** The outputs, in the model's order. */
  outputs(): NetworkTensor[] {
    const count = this.call("NetworkDefinition.getNbOutputs");
    return Array.from({ length: count }, (_, index) => this.#tensor("NetworkDefinition.getOutput", index));
  }

  #tensor(getter: "NetworkDefinition.getInput" | "NetworkDefinition.getOutput", index: number): NetworkTensor {
    const { library } = this;
    const handle = this.pointer(`read tensor ${index} of the network`, getter, index);
    const name = library.text(handle, "Tensor.getName");
    const rank = shim().bt_tensor_dimensions(library.handle, handle, cells.cells);
    return {
      name,
      shape: cells.read(library.check(rank, "Tensor.getDimensions")),
      dtype: dtypeOf(library.call(handle, "Tensor.getType"), name, "the network"),
      isShapeTensor: library.call(handle, "Tensor.isShapeTensor") === 1,
    };
  }

  /**
   * Say how an input or output of the engine lies in memory.
   *
   * @param index  among the inputs or the outputs
   * @param dtype  a network that is strongly typed takes its own only
   * @param format the build fails if no layer there can have it
   * @throws {TensorRtError} If networks of this version are always strongly typed, and the dtype is another
   */
  setFormat(side: "input" | "output", index: number, dtype: DType, format: TensorFormat): void {
    const { library } = this;
    const getter = side === "input" ? "NetworkDefinition.getInput" : "NetworkDefinition.getOutput";
    const tensor = this.pointer(`lay out ${side} ${index} of the network`, getter, index);
    const type = dtypeNumber(dtype);
    if (library.call(tensor, "Tensor.getType") !== type) {
      if (!library.has("Tensor.setType")) throw library.missing("Tensor.setType");
      library.call(tensor, "Tensor.setType", type);
    }
    library.call(tensor, "Tensor.setAllowedFormats", formatBit(format));
  }

  /** Number of its layers. */
  get layerCount(): number {
    return this.call("NetworkDefinition.getNbLayers");
  }

  /** One layer. @param index from 0 to `layerCount - 1` */
  layer(index: number): NetworkLayer {
    const { library } = this;
    const handle = this.pointer(`read layer ${index} of the network`, "NetworkDefinition.getLayer", index);
    return {
      name: library.text(handle, "Layer.getName"),
      type: library.call(handle, "Layer.getType"),
      inputCount: library.call(handle, "Layer.getNbInputs"),
      outputCount: library.call(handle, "Layer.getNbOutputs"),
    };
  }

  /** What a layer makes, in its order. @param index from 0 to `layerCount - 1` */
  layerOutputs(index: number): LayerTensor[] {
    const { library } = this;
    const layer = this.pointer(`read layer ${index} of the network`, "NetworkDefinition.getLayer", index);
    return Array.from({ length: library.call(layer, "Layer.getNbOutputs") }, (_, at) => {
      const tensor = callMethod(library.handle, layer, "Layer.getOutput", [at]);
      if (tensor === null) throw library.failure(`read output ${at} of layer ${index}`, "Layer.getOutput");
      const rank = shim().bt_tensor_dimensions(library.handle, tensor, cells.cells);
      // Where the model does not tell the rank, there is none.
      const shape = rank < 0 ? [] : cells.read(rank);
      const isFloat = library.call(tensor, "Tensor.getType") === FLOAT;
      return {
        name: library.text(tensor, "Tensor.getName"),
        shape,
        isFloat: isFloat && library.call(tensor, "Tensor.isShapeTensor") !== 1,
      };
    });
  }

  /**
   * Let a layer compute in FP32, whatever others may. Heeded with the flag `preferPrecisionConstraints`.
   *
   * @param index  from 0 to `layerCount - 1`
   * @param stored numbers of the outputs that are stored in FP32 as well
   * @throws {TensorRtError} If networks of this version are always strongly typed
   */
  computeInFp32(index: number, stored: readonly number[]): void {
    const { library } = this;
    const layer = this.pointer(`read layer ${index} of the network`, "NetworkDefinition.getLayer", index);
    if (!library.has("Layer.setPrecision")) throw library.missing("Layer.setPrecision");
    library.call(layer, "Layer.setPrecision", FLOAT);
    for (const output of stored) {
      const status = shim().bt_layer_set_output_type(library.handle, layer, output, FLOAT);
      library.check(status, "Layer.setOutputType");
    }
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
    return this.call("NetworkDefinition.getFlags");
  }

  /** What the engine will be called, in profilers too. */
  get name(): string {
    return this.text("NetworkDefinition.getName");
  }
  /** What the engine will be called. */
  set name(name: string) {
    this.call("NetworkDefinition.setName", cString(name));
  }
}
