/** @module Quantise: Q/DQ nodes written into a model, so that TensorRT runs its layers in INT8 or FP8. */

import { ModelError, message } from "../core/errors.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { createNode, nodeName, type OnnxNode, OnnxTensor } from "../onnx/messages.ts";
import type { OnnxGraph, OnnxModel } from "../onnx/model.ts";
import { raiseOpset } from "../onnx/operators.ts";
import { type Placement, type PlacementOptions, placePairs, type Reader } from "./placement.ts";
import { errorsOf, FP8_MOST, INT8_MOST, largestOf, quantiseAlong, scaleOf } from "./rounding.ts";

/** How a model is quantised. */
export interface QuantiseOptions extends PlacementOptions {
  /** Largest magnitude that each tensor is to hold, by name, as `calibrate` finds it. */
  readonly ranges: ReadonlyMap<string, number>;
  /**
   * Means of the channels of what convolutions read, by name. Rounding shifts their weights, and with them the mean of what they
   * give: their biases take it back. FP8 gains 1 to 3 dB of signal to noise at the heads so. Left out: biases stay as they are.
   */
  readonly means?: ReadonlyMap<string, Float32Array> | undefined;
  /** Element types and shapes of its tensors, as `describeTensors` finds them; those of inputs are known. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * True: scales are numbers that FP16 has, so that the model loses nothing by becoming FP16 afterwards. Default false.
   */
  readonly forFloat16?: boolean | undefined;
  /**
   * How weights are kept: `"quantised"`, in a byte each, with a DequantizeLinear behind them; `"float"`, as they were, with both
   * nodes, for libraries that take no other. Default `"quantised"`.
   */
  readonly weights?: "quantised" | "float" | undefined;
  /** Elements of weights that lie in another file; without it such a layer is refused. */
  readonly readExternal?: ((tensor: OnnxTensor) => Float32Array) | undefined;
  /** What to call the model in messages. */
  readonly source?: string | undefined;
}

/** An activation that was quantised. */
interface QuantisedTensor {
  readonly tensor: string;
  readonly scale: number;
}

/** Weights that were. */
interface QuantisedWeights {
  readonly tensor: string;
  readonly axis: number | undefined;
  readonly scales: Float32Array;
}

/** What became of a model. */
export interface Quantisation {
  readonly model: OnnxModel;
  readonly activations: readonly QuantisedTensor[];
  readonly weights: readonly QuantisedWeights[];
  /** Layers with weights that stay in float, with the reason. */
  readonly kept: Placement["kept"];
}

const ELEMENTS = {
  int8: { dtype: "i8", most: INT8_MOST, zero: new Int8Array(1) },
  fp8: { dtype: "f8e4m3fn", most: FP8_MOST, zero: new Uint8Array(1) },
} as const;

/** Operators of models that are quantised. */
const QUANTISED = /^(?:QuantizeLinear|DequantizeLinear|DynamicQuantizeLinear|QLinear\w+|ConvInteger|MatMulInteger)$/;

/** @throws {ModelError} If a model is quantised already */
function refuseQuantised({ nodes }: OnnxGraph, source: string): void {
  const found = nodes.filter(({ op }) => QUANTISED.test(op));
  if (found.length === 0) return;
  const ops = `it is quantised already: it has ${found.length} nodes such as ${found[0]!.op}`;
  throw new ModelError(message(`quantise ${source}`, ops, "give the model it was made from"), source);
}

/** The tensors whose ranges a placement needs. */
export function tensorsToCalibrate({ activations }: Pick<Placement, "activations">): string[] {
  return activations.map(({ tensor }) => tensor);
}

/** Those of them whose channels are to be averaged, so that biases can take back what rounding shifts: what convolutions read. */
export function tensorsToAverage({ activations }: Pick<Placement, "activations">): string[] {
  const isRead = ({ node, input }: Reader): boolean => node.op === "Conv" && input === 0;
  return activations.filter(({ readers }) => readers.some(isRead)).map(({ tensor }) => tensor);
}

/** A tensor whose noise is more than so many times that of the median one is not fit for any scale. */
const MOST_NOISE = 2;

/**
 * The layers that read a tensor which one scale does not fit, as a few of its elements are far larger than the others: its noise is
 * more than twice that of the median tensor.
 *
 * @param noise of tensors, as `calibrate` finds it; where it has none, no layer is one
 */
export function unfitLayers({ activations }: Placement, noise: Readonly<Record<string, number>>): Set<OnnxNode> {
  const known = activations.map(({ tensor }) => noise[tensor]).filter((one) => one !== undefined);
  const median = known.toSorted((a, b) => a - b)[known.length >> 1] ?? 0;
  const unfit = activations.filter(({ tensor }) => noise[tensor]! > MOST_NOISE * median);
  return new Set(unfit.flatMap(({ readers }) => readers.map(({ node }) => node)));
}

/** The version of ONNX's operators in which a model is quantised that becomes FP16 afterwards. */
export const PAIRS_OPSET = 19;

/** Where pairs stand in a model. @throws {ModelError} If it is quantised already, or nothing of it can be */
export function placeIn(
  { graph }: OnnxModel,
  { tensors, source = "the model", ...options }: Pick<QuantiseOptions, "tensors" | "source"> & PlacementOptions,
): Placement {
  refuseQuantised(graph, source);
  const known = new Map(tensors);
  for (const { name, info } of graph.inputs) if (info !== undefined && !known.has(name)) known.set(name, info);
  const placement = placePairs(graph, known, options);
  if (placement.weights.length > 0) return placement;
  const [reason = "it has no layers with constant weights"] = placement.kept.values();
  throw new ModelError(message(`quantise ${source}`, `no layer of it can be quantised: ${reason}`), source);
}

/**
 * Quantise a model: it is changed where it stands. Scales are symmetric, the largest magnitude over 127 or 448; weights have one a
 * channel, activations one a tensor. Metadata and all other tensors stay as they are, and biases without `means`.
 *
 * @throws {ModelError} If it is quantised already, nothing of it can be, or a tensor has no range
 */
export function quantise(model: OnnxModel, options: QuantiseOptions): Quantisation {
  const { source = "the model", tensors, forFloat16 = false, type } = options;
  const placement = placeIn(model, options);
  const isHalf = [...tensors.values()].some(({ dtype }) => dtype === "f16");
  const rankOf = (name: string): number | undefined =>
    tensors.get(name)?.shape.length ?? model.graph.inputs.find((input) => input.name === name)?.shape?.length;
  raiseOpset(model, type === "fp8" || forFloat16 || isHalf ? PAIRS_OPSET : 13, rankOf, source);
  return new Writer(model, placement, options).write();
}

/** Writes the pairs of one model. */
class Writer {
  readonly #model: OnnxModel;
  readonly #placement: Placement;
  readonly #options: QuantiseOptions;
  readonly #source: string;
  readonly #taken: Set<string>;
  readonly #inserted = new Map<string, OnnxNode[]>();
  readonly #producers: ReadonlyMap<string, OnnxNode>;
  readonly #zero: string;
  /** Means of the channels that a convolution reads. */
  readonly #means = new Map<OnnxNode, Float32Array>();

  constructor(model: OnnxModel, placement: Placement, options: QuantiseOptions) {
    const { graph } = model;
    this.#model = model;
    this.#producers = graph.producers();
    this.#placement = placement;
    this.#options = options;
    this.#source = options.source ?? "the model";
    this.#taken = new Set([
      ...graph.inputs.map(({ name }) => name),
      ...graph.initializers.keys(),
      ...graph.nodes.flatMap(({ outputs }) => outputs),
    ]);
    for (const { tensor, readers } of placement.activations) {
      const means = options.means?.get(tensor);
      for (const { node, input } of readers) {
        if (means !== undefined && node.op === "Conv" && input === 0) this.#means.set(node, means);
      }
    }
    this.#zero = this.#constant(`${options.type}_zero`, (name) => {
      const { dtype, zero } = ELEMENTS[options.type];
      return OnnxTensor.of(name, dtype, [], zero);
    });
  }

  write(): Quantisation {
    const { graph } = this.#model;
    const scales = this.#scales();
    const activations = this.#placement.activations.map(({ tensor, readers, group }) => {
      const scale = scales.get(group)!;
      this.#insert(tensor, this.#pair(tensor, tensor, this.#scale(tensor, [], Float32Array.of(scale)), readers));
      return { tensor, scale };
    });
    const before: OnnxNode[] = [];
    const weights = this.#placement.weights.map(({ tensor, readers, axis }) => {
      const quantised = this.#weights(tensor, readers, axis, before);
      return { tensor: tensor.name || readers[0]!.node.inputs[1]!, axis, scales: quantised };
    });
    const made = new Set(graph.nodes.flatMap(({ outputs }) => outputs));
    // What a constant node gives is read behind it; weights and inputs are there from the beginning.
    const isGiven = (name: string): boolean => !made.has(name);
    const given = [...this.#inserted].flatMap(([name, nodes]) => (isGiven(name) ? nodes : []));
    const nodes = graph.nodes.flatMap((node) => [
      node,
      ...node.outputs.flatMap((name) => this.#inserted.get(name) ?? []),
    ]);
    graph.nodes = [...before, ...given, ...nodes];
    graph.removeUnused();
    return { model: this.#model, activations, weights, kept: this.#placement.kept };
  }

  /** One scale a group. */
  #scales(): Map<number, number> {
    const largest = new Map<number, number>();
    for (const { tensor, group } of this.#placement.activations) {
      const range = this.#options.ranges.get(tensor);
      if (range === undefined || !Number.isFinite(range) || range < 0) {
        const found = `the tensor ${JSON.stringify(tensor)} has ${range === undefined ? "no range" : `the range ${range}`}`;
        throw new ModelError(message(`quantise ${this.#source}`, found, "calibrate this model again"), this.#source);
      }
      largest.set(group, Math.max(largest.get(group) ?? 0, range));
    }
    const { type, forFloat16 = false } = this.#options;
    return new Map([...largest].map(([group, range]) => [group, scaleOf(range, ELEMENTS[type].most, forFloat16)]));
  }

  #insert(tensor: string, nodes: readonly OnnxNode[]): void {
    this.#inserted.set(tensor, [...(this.#inserted.get(tensor) ?? []), ...nodes]);
  }

  /** Nodes that quantise a tensor and make it float again, for those that read it so. */
  #pair(stem: string, tensor: string, scale: string, readers: readonly Reader[], axis?: number): OnnxNode[] {
    const quantised = this.#name(`${stem}_${this.#options.type}`);
    const attributes = axis === undefined ? {} : { axis };
    return [
      createNode("QuantizeLinear", [tensor, scale, this.#zero], [quantised], attributes),
      this.#dequantise(stem, quantised, scale, readers, axis),
    ];
  }

  #dequantise(stem: string, quantised: string, scale: string, readers: readonly Reader[], axis?: number): OnnxNode {
    const dequantised = this.#name(`${stem}_dequantised`);
    for (const { node, input } of readers) node.inputs[input] = dequantised;
    const zero = axis === undefined ? [this.#zero] : [];
    return createNode(
      "DequantizeLinear",
      [quantised, scale, ...zero],
      [dequantised],
      axis === undefined ? {} : { axis },
    );
  }

  /** @returns the scales */
  #weights(tensor: OnnxTensor, readers: readonly Reader[], axis: number | undefined, before: OnnxNode[]): Float32Array {
    const { type, forFloat16 = false, weights = "quantised" } = this.#options;
    const name = readers[0]!.node.inputs[1]!;
    const elements = this.#elements(tensor, name);
    const { most, dtype } = ELEMENTS[type];
    const largest = largestOf(elements, tensor.shape, axis);
    const bad = largest.findIndex((one) => !Number.isFinite(one));
    if (bad >= 0) {
      const found = `its weights ${JSON.stringify(name)} have numbers that are not finite`;
      throw new ModelError(message(`quantise ${this.#source}`, found), this.#source);
    }
    const isHalf = tensor.elementType === "f16";
    const scales = Float32Array.from(largest, (one) => scaleOf(one, most, forFloat16 || isHalf));
    const shape = axis === undefined ? [] : [scales.length];
    const scale = this.#scale(name, shape, scales, isHalf);
    const data = quantiseAlong(elements, tensor.shape, axis, scales, type);
    if (this.#means.size > 0) {
      const errors = errorsOf(elements, data, tensor.shape, axis, scales, type);
      for (const { node } of readers) this.#correct(node, errors, tensor);
    }
    if (weights === "float") {
      const zeros = axis === undefined ? this.#zero : this.#zeros(scales.length);
      const [quantiser, dequantiser] = this.#pair(name, name, scale, readers, axis);
      quantiser!.inputs[2] = zeros;
      if (axis !== undefined) dequantiser!.inputs[2] = zeros;
      this.#insert(name, [quantiser!, dequantiser!]);
      return scales;
    }
    const quantised = this.#constant(`${name}_${type}`, (own) => OnnxTensor.of(own, dtype, tensor.shape, data));
    before.push(this.#dequantise(name, quantised, scale, readers, axis));
    return scales;
  }

  /** Take back by the bias of a convolution what the errors of its weights add to the means of what it gives. */
  #correct(node: OnnxNode, errors: Float32Array, { shape: [outputs = 1, inputs = 1], elementType }: OnnxTensor): void {
    const means = this.#means.get(node);
    const given = node.inputs[2] ?? "";
    const bias = this.#model.graph.constant(given, this.#producers);
    // What is grouped reads other channels in each group; what is computed is no constant to be changed.
    if (means?.length !== inputs || (given !== "" && bias === undefined)) return;
    const biases = bias === undefined ? new Float32Array(outputs) : this.#elements(bias, given).slice();
    const kernel = errors.length / (outputs * inputs);
    for (let output = 0, at = 0; output < outputs; output++) {
      let shift = 0;
      for (let input = 0; input < inputs; input++) {
        let error = 0;
        for (const end = at + kernel; at < end; at++) error += errors[at]!;
        shift += error * means[input]!;
      }
      biases[output]! -= shift;
    }
    const isHalf = elementType === "f16";
    const data = isHalf ? Float16Array.from(biases) : biases;
    const stem = `${given || nodeName(node)}_corrected`;
    node.inputs[2] = this.#constant(stem, (name) => OnnxTensor.of(name, isHalf ? "f16" : "f32", [outputs], data));
  }

  #elements(tensor: OnnxTensor, name: string): Float32Array {
    const halves = tensor.elementType === "f16" ? tensor.values() : undefined;
    const elements = halves === undefined ? tensor.floats() : Float32Array.from(halves);
    if (elements !== undefined) return elements;
    const read = tensor.isExternal ? this.#options.readExternal?.(tensor) : undefined;
    if (read !== undefined) return read;
    const found = `its weights ${JSON.stringify(name)} lie in another file`;
    throw new ModelError(message(`quantise ${this.#source}`, found, "give the path of the model"), this.#source);
  }

  #scale(stem: string, shape: readonly number[], scales: Float32Array, isHalf = this.#isHalf(stem)): string {
    const data = isHalf ? Float16Array.from(scales) : Float32Array.from(scales);
    return this.#constant(`${stem}_scale`, (name) => OnnxTensor.of(name, isHalf ? "f16" : "f32", shape, data));
  }

  /** Zero points of so many channels. */
  #zeros(length: number): string {
    const name = `${this.#zero}_${length}`;
    const { initializers } = this.#model.graph;
    const { dtype, zero } = ELEMENTS[this.#options.type];
    if (!initializers.has(name)) {
      const zeros = zero instanceof Int8Array ? new Int8Array(length) : new Uint8Array(length);
      initializers.set(name, OnnxTensor.of(name, dtype, [length], zeros));
    }
    return name;
  }

  #isHalf(tensor: string): boolean {
    return (this.#options.tensors.get(tensor) ?? this.#inputInfo(tensor))?.dtype === "f16";
  }

  #inputInfo(tensor: string): TensorInfo | undefined {
    return this.#model.graph.inputs.find(({ name }) => name === tensor)?.info;
  }

  #constant(name: string, make: (name: string) => OnnxTensor): string {
    const free = this.#name(name);
    this.#model.graph.initializers.set(free, make(free));
    return free;
  }

  #name(name: string): string {
    let free = name;
    for (let count = 2; this.#taken.has(free); count++) free = `${name}_${count}`;
    this.#taken.add(free);
    return free;
  }
}
