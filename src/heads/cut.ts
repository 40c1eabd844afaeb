/** @module Cut: where a head's own arithmetic begins in the graph of a model: at the last maps that its convolutions make. */

import { intOf, intsOf, type OnnxNode } from "../onnx/messages.ts";
import type { OnnxGraph } from "../onnx/model.ts";

/** A map that the head reads, [N, channels, height, width]. */
export interface CutMap {
  readonly name: string;
  readonly channels: number;
  /** Input pixels a cell. */
  readonly stride: number;
  /** `f32` or `f16`. */
  readonly elementType: string;
}

/** What a head reads. */
export interface Cut {
  /** In the order in which the head has them. */
  readonly maps: readonly CutMap[];
  /** Tensors of which the head reads the shape only, with their strides. */
  readonly shapes: ReadonlyMap<string, number>;
}

/** A head whose beginning was not found, and why: a clause that begins with "its head". */
interface NoCut {
  readonly reason: string;
}

/** What heads are made of, after their convolutions. */
const ARITHMETIC: ReadonlySet<string> = new Set(
  (
    "Abs Add And Cast Ceil Clip Concat Constant ConstantOfShape Cos Div Equal Exp Expand Flatten Floor Gather GatherElements " +
    "GatherND Greater GreaterOrEqual Identity Less LessOrEqual MatMul Max Min Mod Mul Neg Not Or Pow Range ReduceMax Reshape " +
    "ScatterND Shape Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Unsqueeze Where Xor"
  ).split(" "),
);

/** Reads of a graph how its tensors come about. */
export class GraphReading {
  readonly #graph: OnnxGraph;
  readonly #image: string;
  readonly #producers: ReadonlyMap<string, OnnxNode>;
  readonly #strides = new Map<string, number | undefined>();

  /** @param image name of the input that takes the image */
  constructor(graph: OnnxGraph, image: string) {
    this.#graph = graph;
    this.#image = image;
    this.#producers = graph.producers();
  }

  /** Walk back from some outputs to the maps that they are computed from. */
  cut(outputs: readonly string[]): Cut | NoCut {
    const head = this.#walk(outputs, new Map());
    if ("reason" in head) return head;
    const { maps, shaped } = head;
    if (maps.size === 0) return { reason: "its head has no convolution before it" };
    const shapes = new Map<string, number>();
    const seen = new Set<string>();
    const open = [...shaped];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      // What is computed from the maps is the head's own; the rest lies before them.
      const own = this.#walk([name], maps);
      if (!("reason" in own) && own.maps.size === 0) open.push(...own.shaped);
      else {
        const stride = this.strideOf(name);
        if (stride === undefined) return { reason: `its head reads the shape of ${JSON.stringify(name)}` };
        shapes.set(name, stride);
      }
    }
    return { maps: [...maps.values()], shapes };
  }

  /** @param known maps that are not looked at again @returns further ones, and the tensors of which the shape is read */
  #walk(
    outputs: readonly string[],
    known: ReadonlyMap<string, CutMap>,
  ): { readonly maps: ReadonlyMap<string, CutMap>; readonly shaped: readonly string[] } | NoCut {
    const maps = new Map<string, CutMap>();
    const shaped: string[] = [];
    const seen = new Set<string>(known.keys());
    // Last in, first out: inputs are put on in reverse, so that maps are found in the order of their first use.
    const open = outputs.toReversed();
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      if (seen.has(name) || name === "" || this.#graph.constant(name, this.#producers) !== undefined) continue;
      seen.add(name);
      const node = this.#producers.get(name);
      if (node === undefined) return { reason: `its head reads the input ${JSON.stringify(name)} itself` };
      if (node.op === "Conv" && !isMeanOfBins(this.#graph, this.#producers, node)) {
        const map = this.#mapOf(name, node);
        if ("reason" in map) return map;
        maps.set(name, map);
      } else if (node.op === "Shape") shaped.push(node.inputs[0]!);
      else if (ARITHMETIC.has(node.op) || node.op === "Conv") open.push(...node.inputs.toReversed());
      else return { reason: `its head has the operator ${node.op}` };
    }
    return { maps, shaped };
  }

  #mapOf(name: string, node: OnnxNode): CutMap | NoCut {
    const stride = this.strideOf(name);
    const channels = this.#channelsOf(node);
    const elementType = this.#elementTypeOf(name, node.inputs[1]!);
    if (stride === undefined) return { reason: `its head reads ${JSON.stringify(name)}, whose grid is not known` };
    return channels === undefined || (elementType !== "f32" && elementType !== "f16")
      ? { reason: `its head reads ${JSON.stringify(name)}, whose weights are not known` }
      : { name, channels, stride, elementType };
  }

  /** Filters of a convolution; its weights may be computed, as quantised ones are. */
  #channelsOf({ inputs }: OnnxNode): number | undefined {
    let name = inputs[1]!;
    for (;;) {
      const weights = this.#graph.constant(name, this.#producers);
      if (weights !== undefined) return weights.shape[0];
      const node = this.#producers.get(name);
      if (node === undefined || !["Cast", "DequantizeLinear", "QuantizeLinear"].includes(node.op)) return undefined;
      name = node.inputs[0]!;
    }
  }

  /** As the file declares it, or as that of the weights. */
  #elementTypeOf(name: string, weights: string): string | undefined {
    const declared = this.#graph.values.get(name) ?? this.#graph.values.get(weights);
    return declared?.elementType ?? this.#graph.constant(weights, this.#producers)?.elementType;
  }

  /** Input pixels a cell of a map, by the way down from the image. */
  strideOf(name: string): number | undefined {
    if (name === this.#image) return 1;
    if (this.#strides.has(name)) return this.#strides.get(name);
    // What reads itself has no way down.
    this.#strides.set(name, undefined);
    const node = this.#producers.get(name);
    const factor = node && this.#factorOf(node);
    let stride: number | undefined;
    if (node !== undefined && factor !== undefined) {
      const inputs = SINGLE.has(node.op) ? node.inputs.slice(0, 1) : node.inputs;
      for (const input of inputs) {
        stride = this.strideOf(input);
        if (stride !== undefined) break;
      }
    }
    const found = stride === undefined ? undefined : stride * factor!;
    this.#strides.set(name, found);
    return found;
  }

  /** By how much an operator makes a map coarser; `undefined` where that is not known. */
  #factorOf(node: OnnxNode): number | undefined {
    const numbers = (at: number): number[] | undefined =>
      this.#graph.constant(node.inputs[at] ?? "", this.#producers)?.values();
    switch (node.op) {
      case "Conv":
      case "MaxPool":
      case "AveragePool":
        return evenly(intsOf(node, "strides") ?? [1, 1]);
      case "ConvTranspose":
        return 1 / (evenly(intsOf(node, "strides") ?? [1, 1]) ?? Number.NaN);
      case "SpaceToDepth":
        return intOf(node, "blocksize");
      case "DepthToSpace":
        return 1 / intOf(node, "blocksize")!;
      case "Upsample":
      case "Resize": {
        const scales = node.op === "Upsample" ? numbers(1) : (numbers(2) ?? numbers(1));
        const factor = scales?.length === 4 ? evenly(scales.slice(2)) : undefined;
        return factor && 1 / factor;
      }
      case "Slice": {
        // YOLOX's and YOLOv5's Focus takes every other row, then every other column: the rows count.
        const axes = numbers(3) ?? [];
        return numbers(4)?.[axes.indexOf(2)] ?? 1;
      }
      case "GlobalAveragePool":
      case "GlobalMaxPool":
      case "ReduceMean":
        return undefined;
      default:
        return 1;
    }
  }
}

/** Operators of which the first input alone is a map. */
const SINGLE: ReadonlySet<string> = new Set(
  "Conv ConvTranspose MaxPool AveragePool Slice Resize Upsample Reshape Split BatchNormalization Clip Pad".split(" "),
);

function evenly([first, ...others]: readonly number[]): number | undefined {
  return first !== undefined && first > 0 && others.every((one) => one === first) ? first : undefined;
}

/** True for the convolution that takes the mean of bins: one channel, of the weights 0, 1, 2, … */
export function isMeanOfBins(
  graph: OnnxGraph,
  producers: ReadonlyMap<string, OnnxNode>,
  { op, inputs }: OnnxNode,
): boolean {
  const weights = op === "Conv" ? graph.constant(inputs[1]!, producers) : undefined;
  const [filters = 0, bins = 0, ...kernel] = weights?.shape ?? [];
  return filters === 1 && bins > 1 && kernel.every((side) => side === 1) && isCounting(weights?.values());
}

/** True for 0, 1, 2, … */
function isCounting(values: readonly number[] | undefined): boolean {
  return values?.every((value, at) => value === at) === true;
}
