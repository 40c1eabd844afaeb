/**
 * @module Float16: a model whose tensors become FP16, as strongly typed networks of TensorRT need it: casts stand only where FP16 and
 * FP32 meet. Nothing is run.
 */

import { ELEMENT_TYPES } from "../core/tensor.ts";
import { type Float16Facts, FP16_MAX, type KeptReason, keptInFp32, readsAnyType, staysFp32 } from "./float16-choice.ts";
import { createNode, floatsOf, intOf, type OnnxNode, OnnxTensor, setAttribute, tensorOf } from "./messages.ts";
import { type OnnxModel, readWithin } from "./model.ts";
import { elementTypes, type TensorTypes } from "./operators.ts";

/** The two types between which casts stand. */
type Float = "f32" | "f16";

/** How a model becomes FP16. */
export interface Float16Options extends Float16Facts {
  /** Types of inputs and outputs: as they were, or FP16 where they are FP32; a list names those that become it. Default `"keep"`. */
  readonly io?: "keep" | "fp16" | readonly string[] | undefined;
  /**
   * Weights in other files: `"cast"` leaves them there, with a cast behind each, which libraries work out once; `"pending"` makes
   * tensors of FP16 in their place, whose elements the caller writes. Default `"cast"`.
   */
  readonly external?: "cast" | "pending" | undefined;
}

/** Weights in another file that the caller is to write. */
export interface PendingWeights {
  /** In the converted model. */
  readonly name: string;
  readonly source: OnnxTensor;
}

/** What became of a model. */
export interface Float16Conversion {
  /** Nodes in FP32, as they are now, each with its reason. */
  readonly kept: readonly { readonly node: OnnxNode; readonly reason: KeptReason }[];
  /** Nodes that compute in FP16. */
  readonly converted: number;
  /** Casts between the two. */
  readonly casts: number;
  readonly pending: readonly PendingWeights[];
}

/** Smallest number above 0 of FP16. */
const FP16_LEAST = 2 ** -24;

/**
 * Constants as FP16. What is larger becomes its largest number. A constant of one element stays other than 0: it may be a divisor,
 * or keep one from 0.
 */
export function halvesOf(floats: Float32Array): Float16Array<ArrayBuffer> {
  const halves = new Float16Array(floats);
  for (let at = 0; at < halves.length; at++) {
    if (Number.isFinite(halves[at]!) || !Number.isFinite(floats[at]!)) continue;
    halves[at] = floats[at]! > 0 ? FP16_MAX : -FP16_MAX;
  }
  if (floats.length === 1 && halves[0] === 0 && floats[0] !== 0) halves[0] = floats[0]! > 0 ? FP16_LEAST : -FP16_LEAST;
  return halves;
}

/** A float tensor of a model on its way: the type its maker gives it, and the names of it in both. */
interface Place {
  readonly made: Float;
  readonly names: Readonly<Record<Float, string>>;
}

/** The edit of one model. */
class Edit {
  readonly #model: OnnxModel;
  readonly #types: TensorTypes;
  readonly #kept: ReadonlyMap<OnnxNode, KeptReason>;
  readonly #external: "cast" | "pending";
  /** Names that mean the same tensor as before to whoever reads them from outside: outputs, and what branches and loops read. */
  readonly #fixed = new Map<string, Float>();
  readonly #places = new Map<string, Place>();
  readonly #wanted = new Map<string, Set<Float>>();
  readonly #taken: Set<string>;
  readonly #nodes: OnnxNode[] = [];
  readonly pending: PendingWeights[] = [];
  casts = 0;
  converted = 0;

  constructor(model: OnnxModel, { io = "keep", external = "cast", ...facts }: Float16Options) {
    this.#model = model;
    this.#external = external;
    const { graph } = model;
    this.#types = elementTypes(graph);
    this.#taken = new Set([...this.#types.keys(), ...graph.nodes.flatMap(({ outputs }) => outputs)]);
    const isHalf = (name: string): boolean => io === "fp16" || (io !== "keep" && io.includes(name));
    const within = new Set(graph.nodes.flatMap(readWithin));
    const outputs = graph.outputs.map(({ name }) => name);
    const keepsOutputs = !outputs.some(isHalf);
    this.#kept = keptInFp32(model, this.#types, facts, keepsOutputs);
    for (const name of outputs) this.#fixed.set(name, isHalf(name) ? "f16" : "f32");
    for (const name of within) this.#fixed.set(name, "f32");
    // Older exporters list weights among the inputs.
    graph.inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
    for (const { name } of graph.inputs) {
      if (!this.#isFloat(name)) continue;
      const fixed = this.#fixed.get(name) ?? (isHalf(name) ? "f16" : "f32");
      this.#fixed.set(name, fixed);
      this.#places.set(name, this.#placeOf(name, fixed));
    }
  }

  get kept(): Float16Conversion["kept"] {
    return [...this.#kept].map(([node, reason]) => ({ node, reason }));
  }

  run(): void {
    const { graph } = this.#model;
    const constants = new Set(graph.nodes.filter(({ op }) => op === "Constant").flatMap(({ outputs }) => outputs));
    for (const node of graph.nodes) {
      for (const [at, name] of node.outputs.entries()) {
        if (this.#isFloat(name) && !constants.has(name))
          this.#places.set(name, this.#placeOf(name, this.#madeBy(node, at)));
      }
    }
    for (const node of graph.nodes) {
      for (const [at, name] of node.inputs.entries()) {
        const type = this.#isFloat(name) ? this.#readAs(node, at) : undefined;
        if (type !== undefined) this.#want(name, type);
      }
    }
    for (const [name, type] of this.#fixed) if (this.#isFloat(name)) this.#want(name, type);
    for (const { name } of graph.inputs) this.#cast(name);
    for (const [name, tensor] of graph.initializers) {
      if (tensor.elementType === "f32") this.#convertWeights(name, tensor);
    }
    for (const node of graph.nodes) {
      if (node.op === "Constant" && this.#isFloat(node.outputs[0]!)) this.#convertConstant(node);
      else this.#convertNode(node);
    }
    graph.nodes = this.#nodes;
    this.#declare();
    this.#dropCasts();
  }

  #isFloat(name: string): boolean {
    return name !== "" && this.#types.get(name) === "f32";
  }

  /** The type in which a node gives an output of FP32. */
  #madeBy(node: OnnxNode, output: number): Float {
    if (this.#kept.has(node)) return "f32";
    // The mean and deviation of a normalisation have a type of their own.
    return node.op === "LayerNormalization" && output > 0 ? "f32" : "f16";
  }

  /** The type in which a node reads an input of FP32; `undefined` where it takes whatever there is. */
  #readAs(node: OnnxNode, input: number): Float | undefined {
    if (readsAnyType(node)) return undefined;
    return this.#kept.has(node) || staysFp32(node, input) ? "f32" : "f16";
  }

  #want(name: string, type: Float): void {
    const wanted = this.#wanted.get(name);
    if (wanted === undefined) this.#wanted.set(name, new Set([type]));
    else wanted.add(type);
  }

  #freeName(name: string): string {
    let free = name;
    for (let count = 2; this.#taken.has(free); count++) free = `${name}_${count}`;
    this.#taken.add(free);
    return free;
  }

  #placeOf(name: string, made: Float): Place {
    const own = this.#fixed.get(name) ?? made;
    const other = own === "f32" ? "f16" : "f32";
    const names = { [own]: name, [other]: this.#freeName(`${name}_${other === "f16" ? "fp16" : "fp32"}`) };
    return { made, names: names as Record<Float, string> };
  }

  /** The name under which a node reads a tensor. */
  #nameFor(node: OnnxNode, at: number, name: string): string {
    const place = this.#places.get(name);
    if (place === undefined) return name;
    return place.names[this.#readAs(node, at) ?? place.made];
  }

  /** A cast behind what makes a tensor, where somebody wants it in the other type. */
  #cast(name: string): void {
    const place = this.#places.get(name);
    if (place === undefined) return;
    const other = place.made === "f32" ? "f16" : "f32";
    if (!this.#wanted.get(name)?.has(other)) return;
    const from = place.names[place.made];
    this.#nodes.push(createNode("Cast", [from], [place.names[other]], { to: ELEMENT_TYPES.indexOf(other) }));
  }

  #convertNode(node: OnnxNode): void {
    const isKept = this.#kept.has(node);
    const floats = node.outputs.filter((name) => this.#isFloat(name));
    if (!isKept && node.op !== "Cast" && (floats.length > 0 || node.inputs.some((name) => this.#isFloat(name))))
      this.converted++;
    for (const [at, name] of node.inputs.entries()) {
      if (this.#isFloat(name)) node.inputs[at] = this.#nameFor(node, at, name);
    }
    for (const [at, name] of node.outputs.entries()) {
      const place = this.#places.get(name);
      if (place !== undefined) node.outputs[at] = place.names[place.made];
    }
    if (!isKept && floats.length > 0) makeFp16(node);
    this.#nodes.push(node);
    for (const name of floats) this.#cast(name);
  }

  #convertWeights(name: string, tensor: OnnxTensor): void {
    const wanted = this.#wanted.get(name);
    if (!wanted?.has("f16")) return;
    const { initializers } = this.#model.graph;
    const place = this.#placeOf(name, wanted.has("f32") || this.#fixed.has(name) ? "f32" : "f16");
    const floats = tensor.floats();
    if (floats === undefined && this.#external === "cast") {
      const left = this.#placeOf(name, "f32");
      this.#places.set(name, left);
      this.#cast(name);
      return;
    }
    this.#places.set(name, place);
    const half = place.names.f16;
    if (floats === undefined) this.pending.push({ name: half, source: tensor });
    const elements = floats === undefined ? new Float16Array() : halvesOf(floats);
    initializers.set(half, OnnxTensor.of(half, "f16", tensor.shape, elements));
  }

  /** A constant in each of the types that are wanted. */
  #convertConstant(node: OnnxNode): void {
    const [name = ""] = node.outputs;
    const wanted = this.#wanted.get(name) ?? new Set(["f32"]);
    const tensor = tensorOf(node, "value");
    const numbers = floatsOf(node, "value_floats") ?? floatsOf(node, "value_float");
    const floats = tensor?.floats() ?? (numbers && Float32Array.from(numbers));
    if (!wanted.has("f16") || floats === undefined) {
      this.#places.set(name, this.#placeOf(name, "f32"));
      this.#nodes.push(node);
      this.#cast(name);
      return;
    }
    const both = wanted.has("f32");
    const place = this.#placeOf(name, both ? "f32" : "f16");
    this.#places.set(name, place);
    if (both) this.#nodes.push(node);
    const shape = tensor?.shape ?? (node.attributes.has("value_float") ? [] : [floats.length]);
    const value = OnnxTensor.of("", "f16", shape, halvesOf(floats));
    this.#nodes.push({ ...createNode("Constant", [], [place.names.f16], { value }), rest: node.rest });
  }

  /** What the file declares of tensors follows their types. */
  #declare(): void {
    const { graph } = this.#model;
    const retype = (name: string): Float => {
      const place = this.#places.get(name);
      return place?.names.f16 === name ? "f16" : "f32";
    };
    for (const [name, place] of this.#places) {
      const declared = graph.values.get(name) ?? graph.outputs.find((output) => output.name === name);
      if (declared === undefined) continue;
      const isValue = graph.values.delete(name);
      for (const type of ["f32", "f16"] as const) {
        const own = place.names[type];
        if (!isValue && own === name) continue;
        const isThere = type === place.made || this.#wanted.get(name)?.has(type);
        if (isThere) graph.values.set(own, declared.as(own, type));
      }
    }
    graph.inputs = graph.inputs.map((one) => (this.#isFloat(one.name) ? one.as(one.name, retype(one.name)) : one));
    graph.outputs = graph.outputs.map((one) => (this.#isFloat(one.name) ? one.as(one.name, retype(one.name)) : one));
  }

  /** Casts to the type that a tensor has already are of no use. */
  #dropCasts(): void {
    const { graph } = this.#model;
    const types = elementTypes(graph);
    const outputs = new Set([...graph.outputs.map(({ name }) => name), ...graph.nodes.flatMap(readWithin)]);
    const replaced = new Map<string, string>();
    graph.nodes = graph.nodes.filter((node) => {
      for (const [at, name] of node.inputs.entries()) node.inputs[at] = replaced.get(name) ?? name;
      const [from = "", to = ""] = [node.inputs[0], node.outputs[0]];
      const isIdle =
        node.op === "Cast" && ELEMENT_TYPES[intOf(node, "to") ?? 0] === types.get(from) && !outputs.has(to);
      if (!isIdle) return true;
      replaced.set(to, from);
      graph.values.delete(to);
      return false;
    });
    const isFloat = (name = ""): boolean => types.get(name) === "f32" || types.get(name) === "f16";
    this.casts = graph.nodes.filter(({ op, inputs, outputs }) => {
      return op === "Cast" && isFloat(inputs[0]) && isFloat(outputs[0]);
    }).length;
  }
}

/** Let a node give FP16 that says the type of its output itself. */
function makeFp16(node: OnnxNode): void {
  if (node.op === "Cast") setAttribute(node, "to", ELEMENT_TYPES.indexOf("f16"));
  if (node.op !== "ConstantOfShape") return;
  const floats = tensorOf(node, "value")?.floats() ?? Float32Array.of(0);
  setAttribute(node, "value", OnnxTensor.of("", "f16", [1], halvesOf(floats)));
}

/**
 * Let a model compute in FP16. It is changed where it stands: weights and constants, the casts between the two types, and what the
 * file declares. What FP16 would lose keeps FP32: see {@linkcode keptInFp32}.
 *
 * Branches and loops keep FP32 with all that is in them, and read what is around them in it.
 */
export function toFloat16(model: OnnxModel, options: Float16Options = {}): Float16Conversion {
  const edit = new Edit(model, options);
  edit.run();
  const { kept, converted, casts, pending } = edit;
  return { kept, converted, casts, pending };
}
