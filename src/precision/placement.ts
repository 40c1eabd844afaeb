/** @module Placement: which tensors of a graph are quantised: where Q/DQ pairs stand so that TensorRT runs layers in INT8 or FP8. */

import type { TensorInfo } from "../core/tensor.ts";
import { intOf, type OnnxNode, type OnnxTensor } from "../onnx/messages.ts";
import type { OnnxGraph } from "../onnx/model.ts";
import { firstStage, headLayers } from "./head-layers.ts";

/** What layers are quantised to. */
export type QuantisedType = "int8" | "fp8";

/** An input of a node. */
export interface Reader {
  readonly node: OnnxNode;
  readonly input: number;
}

/** A tensor that is quantised, and who reads it so. Others go on reading it as it was. */
interface Pair {
  readonly tensor: string;
  readonly readers: readonly Reader[];
  /** Pairs of one group have one scale, so that data moves between them as it is. */
  readonly group: number;
}

/** Weights that are quantised. */
interface WeightPair {
  readonly tensor: OnnxTensor;
  readonly readers: readonly Reader[];
  /** Each slice along it has a scale of its own; `undefined` for one scale. */
  readonly axis: number | undefined;
}

/** Where Q/DQ pairs stand. */
export interface Placement {
  /** In the order of the graph. */
  readonly activations: readonly Pair[];
  readonly weights: readonly WeightPair[];
  /** Layers with weights that stay in float, with the reason. */
  readonly kept: ReadonlyMap<OnnxNode, string>;
}

/** What is quantised of a graph. */
export interface PlacementOptions {
  readonly type: QuantisedType;
  /** Says which layers stay in float besides those that the rules keep, by true or by a reason. */
  readonly exclude?: ((node: OnnxNode) => boolean | string | undefined) | undefined;
  /** True: the products of an attention too, queries by keys and scores by values. Default false. */
  readonly attention?: boolean | undefined;
  /**
   * True: depthwise convolutions too, in INT8. One scale for channels that nothing mixes loses most of the small ones: YOLOX nano falls
   * from 0.328 to 0.064 mAP with them, and to 0.320 without. Default false.
   */
  readonly depthwise?: boolean | undefined;
  /**
   * True: the first stages too, see {@linkcode firstStage}. Without it the signal to noise at the heads is 10 dB better for yolov8n in
   * INT8, and 7 dB for yolo26n. Default false.
   */
  readonly first?: boolean | undefined;
  /**
   * True: layers right behind a grouped convolution in float too, in INT8. TensorRT 10.6 does not build them: it finds no kernel for a
   * depthwise convolution with SiLU whose output is quantised, and does for one of all channels. Default false.
   */
  readonly behindGrouped?: boolean | undefined;
  /**
   * True: residual additions too, in FP8. No kernel adds in FP8, so that the rounding brings nothing there, and costs 0.5 dB of signal
   * to noise at the heads of yolo26n. Default false; in INT8 they always are.
   */
  readonly additions?: boolean | undefined;
}

/** Layers with weights. */
const WEIGHTED: ReadonlySet<string> = new Set(["Conv", "ConvTranspose", "Gemm", "MatMul"]);

/** Operators that give elements of one input as they are: a pair before them is as good as one behind. */
const MOVES: ReadonlySet<string> = new Set(
  "Reshape Transpose Squeeze Unsqueeze Flatten Identity Split Slice SpaceToDepth DepthToSpace".split(" "),
);

/** Of those, the ones whose output has all elements of the input. */
const MOVES_ALL: ReadonlySet<string> = new Set(
  "Reshape Transpose Squeeze Unsqueeze Flatten Identity SpaceToDepth DepthToSpace".split(" "),
);

/** Operators that TensorRT runs in INT8 if what they read is. */
const POOLS: ReadonlySet<string> = new Set(["MaxPool", "Resize"]);

/** What may stand between a residual addition and the layer that reads it. */
const ACTIVATIONS: ReadonlySet<string> = new Set("Relu LeakyRelu PRelu Clip HardSwish Sigmoid Mul".split(" "));

/** Operators that TensorRT computes in the kernel of a convolution before them, or moves a QuantizeLinear over. */
const CARRIES: ReadonlySet<string> = new Set([
  ...MOVES,
  ...POOLS,
  ...ACTIVATIONS,
  ..."Concat AveragePool Cast BatchNormalization Add Sub Div Min Max".split(" "),
  ..."Tanh Elu Selu Erf Gelu Mish Softplus HardSigmoid Swish".split(" "),
]);

/** Channels below which a convolution in FP8 is slower than in FP16. */
const LEAST_FP8_CHANNELS = 17;
/** Likewise, elements of a kernel above which it is. */
const MOST_FP8_KERNEL = 32;
const LEAST_INT8_CHANNELS = 16;

/**
 * Say what of a graph is quantised. Inputs and weights of convolutions and matrix products are, in INT8 with residual additions
 * between them, and what TensorRT then runs without going back to float. Heads stay in float: see {@linkcode headLayers}.
 *
 * @param tensors element types and shapes, the graph's inputs included
 */
export function placePairs(
  graph: OnnxGraph,
  tensors: ReadonlyMap<string, TensorInfo>,
  options: PlacementOptions,
): Placement {
  return new Placer(graph, tensors, options).place();
}

class Placer {
  readonly #graph: OnnxGraph;
  readonly #tensors: ReadonlyMap<string, TensorInfo>;
  readonly #options: PlacementOptions;
  readonly #producers: ReadonlyMap<string, OnnxNode>;
  readonly #consumers: ReadonlyMap<string, readonly OnnxNode[]>;
  readonly #kept = new Map<OnnxNode, string>();
  /** Layers that are quantised. */
  readonly #layers = new Set<OnnxNode>();
  readonly #reached = new Map<string, boolean>();
  /** What grouped convolutions in float give, as far as no other layer is between. */
  readonly #ofGrouped = new Set<string>();

  constructor(graph: OnnxGraph, tensors: ReadonlyMap<string, TensorInfo>, options: PlacementOptions) {
    this.#graph = graph;
    this.#tensors = tensors;
    this.#options = options;
    this.#producers = graph.producers();
    this.#consumers = graph.consumers();
  }

  place(): Placement {
    const weights = this.#placeWeights();
    const sources = new Set<string>();
    for (const node of this.#graph.nodes) {
      for (const input of this.#sourcesOf(node)) sources.add(node.inputs[input]!);
    }
    const groups = this.#groups(sources);
    const readers = new Map<string, Reader[]>([...sources].map((name) => [name, []]));
    for (const node of this.#graph.nodes) {
      for (const input of this.#readsOf(node)) readers.get(node.inputs[input]!)?.push({ node, input });
    }
    const activations = [...readers].map(([tensor, read]) => ({ tensor, readers: read, group: groups.get(tensor)! }));
    return { activations, weights, kept: this.#kept };
  }

  #placeWeights(): WeightPair[] {
    const head = headLayers(this.#graph);
    const first = this.#options.first === true ? undefined : firstStage(this.#graph, this.#options.type);
    const found = new Map<string, { tensor: OnnxTensor; readers: Reader[]; axis: number | undefined }>();
    for (const node of this.#graph.nodes) {
      const isLayer = WEIGHTED.has(node.op) && node.domain === "";
      const weights = isLayer ? this.#constant(node.inputs[1]) : undefined;
      if (weights === undefined) {
        if (isLayer && this.#isAttention(node)) this.#placeAttention(node);
        else if (isLayer ? isGrouped(node) : this.#isCarried(node)) this.#markGrouped(node);
        continue;
      }
      const reason =
        this.#whyExcluded(node) ??
        (first?.has(node) ? "a convolution of the first stages, whose error all others read" : head.get(node)) ??
        this.#whyNotWorthIt(node, weights.shape) ??
        (this.#ofGrouped.has(node.inputs[0]!)
          ? "right behind a grouped convolution in FP16, where TensorRT has no INT8 kernel"
          : undefined);
      if (reason !== undefined) {
        this.#kept.set(node, reason);
        if (isGrouped(node)) this.#markGrouped(node);
        continue;
      }
      this.#layers.add(node);
      const axis = axisOf(node, weights.shape.length);
      // Weights of several layers are quantised once, unless these read them along other axes.
      const key = `${node.inputs[1]} ${axis}`;
      const known = found.get(key);
      if (known !== undefined) known.readers.push({ node, input: 1 });
      else found.set(key, { tensor: weights, readers: [{ node, input: 1 }], axis });
    }
    return [...found.values()];
  }

  #placeAttention(node: OnnxNode): void {
    const isOfGrouped = node.inputs.some((name) => this.#ofGrouped.has(name));
    const isWanted = this.#options.attention === true && !isOfGrouped && this.#whyExcluded(node) === undefined;
    if (isWanted) this.#layers.add(node);
    else this.#kept.set(node, "a product of an attention");
  }

  #isCarried({ op, domain, inputs }: OnnxNode): boolean {
    return domain === "" && CARRIES.has(op) && inputs.some((name) => this.#ofGrouped.has(name));
  }

  #markGrouped({ outputs }: OnnxNode): void {
    if (this.#options.type === "fp8" || this.#options.behindGrouped === true) return;
    for (const name of outputs) this.#ofGrouped.add(name);
  }

  #whyExcluded(node: OnnxNode): string | undefined {
    const said = this.#options.exclude?.(node);
    return said === true ? "named by `exclude`" : said || undefined;
  }

  /** True for a product of two tensors that both come of the image. */
  #isAttention({ op, inputs }: OnnxNode): boolean {
    return op === "MatMul" && this.#isFloat(inputs[0]!) && this.#isFloat(inputs[1]!) && !this.#constant(inputs[0]);
  }

  #constant(name: string | undefined): OnnxTensor | undefined {
    const found = name === undefined ? undefined : this.#graph.constant(name, this.#producers);
    return found?.elementType === "f32" || found?.elementType === "f16" ? found : undefined;
  }

  #isFloat(name: string): boolean {
    const dtype = this.#tensors.get(name)?.dtype;
    return dtype === "f32" || dtype === "f16";
  }

  /** Why a layer stays in float that would be slower, or not be run by TensorRT; `undefined` for one that is quantised. */
  #whyNotWorthIt(node: OnnxNode, shape: readonly number[]): string | undefined {
    if (!this.#isFloat(node.inputs[0]!)) return "its input is neither FP32 nor FP16";
    const isFp8 = this.#options.type === "fp8";
    if (node.op === "Gemm" || node.op === "MatMul") {
      const rows = this.#tensors.get(node.outputs[0]!)?.shape.at(-2);
      if (shape.length !== 2 && node.op === "Gemm") return "its weights are not a matrix";
      if (rows === 1 || Math.min(...shape.slice(-2)) < LEAST_INT8_CHANNELS)
        return "a matrix product with few rows or columns";
      return undefined;
    }
    const group = intOf(node, "group") ?? 1;
    const [first = 1, second = 1, ...kernel] = shape;
    const [outputs, inputs] = node.op === "Conv" ? [first, second * group] : [second * group, first];
    const elements = kernel.reduce((product, side) => product * side, 1);
    if (isFp8) {
      if (node.op === "ConvTranspose") return "a transposed convolution, for which FP8 has no kernel";
      if (group > 1) return "a grouped convolution, for which FP8 has no kernel";
      if (elements > MOST_FP8_KERNEL) return "its kernel is too large for FP8";
      return Math.min(inputs, outputs) < LEAST_FP8_CHANNELS ? "too few channels to be faster" : undefined;
    }
    if (group > 1) {
      if (second === 1 && this.#options.depthwise !== true)
        return "a depthwise convolution, whose channels no single scale fits";
      return outputs % 8 === 0 && kernel.every((side) => side >= 3)
        ? undefined
        : "a grouped convolution that INT8 has no fast kernel for";
    }
    const isSquare = kernel.every((side) => side === kernel[0]);
    const isWide = Math.min(inputs, outputs) >= LEAST_INT8_CHANNELS;
    const isFirst = inputs <= 4 && outputs >= LEAST_INT8_CHANNELS;
    const isOfEights = inputs % 8 === 0 && outputs % 8 === 0 && isSquare;
    return isWide || isFirst || isOfEights ? undefined : "too few channels to be faster";
  }

  /** Inputs of a node that have a pair because of it. */
  #sourcesOf(node: OnnxNode): number[] {
    if (this.#layers.has(node)) return this.#constant(node.inputs[1]) === undefined ? [0, 1] : [0];
    if (this.#isResidual(node)) return this.#operandsOf(node);
    if (this.#isPool(node)) return [0];
    return [];
  }

  /** Inputs of a node that read a pair where there is one. */
  #readsOf(node: OnnxNode): readonly number[] {
    const sources = this.#sourcesOf(node);
    if (sources.length > 0 || node.domain !== "") return sources;
    const isReached = node.outputs.every((name) => name === "" || this.#isReached(name));
    if (!isReached) return [];
    if (node.op === "Concat") return [...node.inputs.keys()];
    return MOVES.has(node.op) ? [0] : [];
  }

  /** MaxPool and Resize in INT8. */
  #isPool(node: OnnxNode): boolean {
    if (this.#options.type === "fp8" || !POOLS.has(node.op) || node.domain !== "") return false;
    return this.#isFloat(node.inputs[0]!) && this.#isReached(node.outputs[0]!);
  }

  /** An addition of two tensors of one shape, which a quantised layer reads. */
  #isResidual({ op, domain, inputs, outputs }: OnnxNode): boolean {
    if (this.#options.type === "fp8" && this.#options.additions !== true) return false;
    if (op !== "Add" || domain !== "" || inputs[0] === inputs[1]) return false;
    const [a, b] = inputs.map((name) => this.#tensors.get(name));
    if (a === undefined || b === undefined || a.shape.length < 3 || a.shape.join() !== b.shape.join()) return false;
    if (!this.#isFloat(a.name) || inputs.some((name) => this.#constant(name) !== undefined)) return false;
    return this.#isReached(outputs[0]!) || this.#isActivated(outputs[0]!);
  }

  #isActivated(name: string): boolean {
    return (this.#consumers.get(name) ?? []).some(
      ({ op, outputs }) =>
        ACTIVATIONS.has(op) && (this.#isReached(outputs[0]!) || (op === "Sigmoid" && this.#isActivated(outputs[0]!))),
    );
  }

  /** Operands of a residual addition that are quantised: all but what a convolution gives, behind which the addition is fused. */
  #operandsOf({ inputs }: OnnxNode): number[] {
    const isBare = inputs.map((name) => WEIGHTED.has(this.#producers.get(name)?.op ?? ""));
    const quantised = [...inputs.keys()].filter((input) => !isBare[input]);
    // Of two convolutions the addition is fused behind the one that comes last.
    if (quantised.length > 0) return quantised;
    const order = inputs.map((name) => this.#graph.nodes.indexOf(this.#producers.get(name)!));
    return [order[0]! < order[1]! ? 0 : 1];
  }

  /** True if a quantised layer reads a tensor, or does so once its elements were moved. */
  #isReached(name: string): boolean {
    const known = this.#reached.get(name);
    if (known !== undefined) return known;
    this.#reached.set(name, false);
    const isReached = (this.#consumers.get(name) ?? []).some((node) => {
      if (this.#layers.has(node)) return node.inputs[0] === name || this.#constant(node.inputs[1]) === undefined;
      if (node.domain !== "") return false;
      const isMoved = node.op === "Concat" || ((MOVES.has(node.op) || POOLS.has(node.op)) && node.inputs[0] === name);
      return isMoved && node.outputs.some((output) => output !== "" && this.#isReached(output));
    });
    this.#reached.set(name, isReached);
    return isReached;
  }

  /** One number for the tensors that share a scale: what a concatenation joins, and what is pooled, resized or moved. */
  #groups(sources: ReadonlySet<string>): Map<string, number> {
    const parents = new Map<string, string>();
    const rootOf = (name: string): string => {
      let root = name;
      for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent;
      return root;
    };
    const join = (a: string, b: string): void => {
      const [from, to] = [rootOf(a), rootOf(b)];
      if (from !== to) parents.set(from, to);
    };
    for (const node of this.#graph.nodes) {
      const output = node.outputs[0]!;
      if (node.domain !== "" || !this.#isReached(output)) continue;
      if (node.op === "Concat") for (const input of node.inputs) join(input, output);
      else if (MOVES_ALL.has(node.op) || this.#isPool(node)) join(node.inputs[0]!, output);
    }
    const numbers = new Map<string, number>();
    const found = new Map<string, number>();
    for (const name of sources) {
      const root = rootOf(name);
      const number = numbers.get(root) ?? numbers.size;
      numbers.set(root, number);
      found.set(name, number);
    }
    return found;
  }
}

function isGrouped(node: OnnxNode): boolean {
  return (node.op === "Conv" || node.op === "ConvTranspose") && (intOf(node, "group") ?? 1) > 1;
}

/** The axis of a layer's output channels in its weights; `undefined` where these are no matrix. */
function axisOf(node: OnnxNode, rank: number): number | undefined {
  switch (node.op) {
    case "Conv":
      return 0;
    case "ConvTranspose":
      // Of a grouped one, the channels of each group.
      return 1;
    case "Gemm":
      return intOf(node, "transB") === 1 ? 0 : 1;
    default:
      return rank === 2 ? 1 : undefined;
  }
}
