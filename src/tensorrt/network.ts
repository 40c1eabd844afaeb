/** @module Network: the layers that the ONNX parser makes of a model, before an engine is built from them; and which node it stumbled over. */

import { ModelError, message } from "../core/errors.ts";
import { oneLine } from "../core/log.ts";
import type { DType, Shape, TensorInfo } from "../core/tensor.ts";
import { addressOf, cString } from "../ffi/memory.ts";
import { callMethod, SHIM_STATUS, shim } from "../ffi/shim.ts";
import { externalDataFiles, externalDataPaths } from "../onnx/model.ts";
import { NativeObject, runOffThread, stableBytes } from "./native-object.ts";
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

/** nvonnxparser::ErrorCode by number. */
const CODES: readonly string[] = [
  "success",
  "internal error",
  "out of memory",
  "not a readable ONNX model",
  "invalid value",
  "invalid graph",
  "invalid node",
  "unsupported graph",
  "unsupported node",
  "unsupported attribute",
  "unsupported input",
  "unsupported element type",
  "unsupported dynamic input",
  "unsupported shape",
  "refit failed",
];

const INCOMPLETE = "check that the file is a complete ONNX model";

/** Files with weights that a hint names at most. */
const TOLD_FILES = 4;

/** What the parser said of one node. */
interface ParserComplaint {
  readonly code: string;
  readonly text: string;
  /** Name of the node; the empty string where no node is at fault. */
  readonly node: string;
  /** Operator of the node: `NonMaxSuppression`. */
  readonly operator: string;
}

/** What {@linkcode OnnxParser.parse} takes. */
export interface ParseOptions {
  /** Path of the model: its folder is where external weights are looked for. */
  readonly path?: string | undefined;
  /** What to call the model in messages; default the path, else "the model". */
  readonly source?: string | undefined;
}

/** The parser of one network. It holds weights that the build reads, so it stays open until the network is built. */
export class OnnxParser extends NativeObject {
  private constructor(network: Network, handle: number) {
    super("OnnxParser", network.library, handle, network);
  }

  /**
   * Read a model into an empty network, off the JS thread. After a failure the network is of no use any more.
   *
   * @param model bytes of an `.onnx` file
   * @throws {ModelError} If the model cannot be read, or has a node that TensorRT lacks; it names node and operator
   * @throws {LibraryLoadError} If the parser's library is missing
   */
  static async parse(network: Network, model: Uint8Array, options: ParseOptions = {}): Promise<OnnxParser> {
    const source = options.source ?? options.path ?? "the model";
    if (model.byteLength === 0) {
      throw new ModelError(message(`parse ${source}`, "it is empty"), source);
    }
    // A parser that opens a pipe waits for good.
    if (options.path !== undefined) externalDataPaths(model, options.path);
    const { library } = network;
    library.openParser();
    const handle = shim().bt_parser_create(library.handle, network.handle, library.logger);
    if (handle === null) throw library.failure(`parse ${source}`, "createNvOnnxParser", SHIM_STATUS.failed);
    const parser = new OnnxParser(network, handle);
    try {
      await parser.#parse(model, options.path, source);
      // The parser takes many a file for a model without nodes.
      if (network.outputs().length === 0) {
        throw new ModelError(message(`parse ${source}`, "it has no outputs", INCOMPLETE), source);
      }
    } catch (error) {
      parser.close();
      throw error;
    }
    return parser;
  }

  async #parse(model: Uint8Array, path: string | undefined, source: string): Promise<void> {
    const { library } = this;
    const action = `parse ${source}`;
    const bytes = stableBytes(model);
    const encoded = path === undefined ? undefined : cString(path);
    const where = encoded === undefined ? 0 : addressOf(encoded);
    const status = await runOffThread(library, {
      name: "bt_parser_parse",
      args: [library.handle, this.handle, addressOf(bytes), bytes.byteLength, where],
      on: [this],
      memory: [bytes, encoded],
      action,
    });
    const complaints = this.#complaints();
    if (status === SHIM_STATUS.ok && complaints.length === 0) return;
    if (status === SHIM_STATUS.noMethod) throw library.missing("Parser.parse");
    library.log.takeErrors();
    const list = complaints.map(formatComplaint).join("\n  ");
    const found = `the ONNX parser of ${library.version.text} refused it:\n  ${list === "" ? "no reason given" : list}`;
    throw new ModelError(message(action, found, hintFor(complaints, { model, path })), source);
  }

  #complaints(): ParserComplaint[] {
    const { library } = this;
    return Array.from({ length: this.call("Parser.getNbErrors") }, (_, index) => {
      const error = this.pointer("read an error of the ONNX parser", "Parser.getError", index);
      const code = library.call(error, "ParserError.code");
      return {
        code: CODES[code] ?? `code ${code}`,
        text: oneLine(library.text(error, "ParserError.desc")),
        node: oneLine(library.text(error, "ParserError.nodeName")),
        operator: oneLine(library.text(error, "ParserError.nodeOperator")),
      };
    });
  }

  protected override destroy(handle: number): void {
    shim().bt_parser_destroy(this.library.handle, handle);
  }
}

function formatComplaint({ code, text, node, operator }: ParserComplaint): string {
  const where = operator === "" && node === "" ? "" : ` at node ${JSON.stringify(node)} (${operator})`;
  return `${code}${where}: ${text.trim()}`;
}

function hintFor(
  complaints: readonly ParserComplaint[],
  { model, path }: { readonly model: Uint8Array; readonly path: string | undefined },
): string {
  const says = (text: string): boolean => complaints.some((one) => one.text.includes(text));
  const weights = says("import initializer") ? externalDataFiles(model) : [];
  if (weights.length > 0) {
    const files = weights.slice(0, TOLD_FILES).join(", ");
    if (path === undefined) return `load it by its path: it has weights in files beside it, ${files}`;
    return `its weights must lie whole beside it: ${files}`;
  }
  if (says("Plugin not found")) {
    return "NVIDIA's plugins need `plugins: true` (--plugins); else export it without that operator";
  }
  if (complaints.some(({ code }) => code.startsWith("unsupported") || code === "invalid node")) {
    return "export the model without that operator, or run it on the CPU backend, which has all of ONNX";
  }
  return INCOMPLETE;
}
