/** @module Heads of the YOLO families behind toy convolutions, with the arithmetic that exporters give them. */

import { type InitializerSpec, type NodeSpec, onnxModel } from "./onnx-writer.ts";

/** Side of the input, and the strides that it is divided by. */
export const TOY_SIDE = 64;
const STRIDES = [8, 16, 32] as const;
const CELLS = STRIDES.map((stride) => (TOY_SIDE / stride) ** 2);
const ANCHORS = CELLS.reduce((sum, cells) => sum + cells, 0);
const BINS = 16;
const CLASSES = 3;
const ROWS = 20;

/** What toys have of each object beside its box. */
export type ToyTask = "detect" | "segment" | "pose" | "obb";

/** A head, and what is wrong with it. */
export interface ToyHead {
  readonly family: "yolov8" | "yolo26" | "yolov5" | "yolox" | "nanodet";
  readonly task?: ToyTask;
  /** Of YOLO26: the model chooses its rows itself. */
  readonly isFinal?: boolean;
  readonly dtype?: "f32" | "f16";
  readonly batch?: number | string;
  /** Takes the weights, which then lie in a file `weights` beside the model. */
  readonly beside?: Uint8Array[];
  /** A fault that makes it another head, though its operators are the same. */
  readonly fault?: "anchor" | "stride" | "bins" | "order" | "scores" | "classes" | "sure" | "muted" | "far" | "inside";
}

/** Numbers of chance, the same in each run. */
class Chance {
  #state = 7;
  next(spread: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return (this.#state / 2 ** 31 - 1) * spread;
  }
}

/** Nodes and weights of a graph that grows. */
class Graph {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: InitializerSpec[] = [];
  readonly #chance = new Chance();
  readonly #dtype: "f32" | "f16";
  #count = 0;

  constructor(dtype: "f32" | "f16") {
    this.#dtype = dtype;
  }

  /** Add a node of one output. @returns its name */
  add(
    op: string,
    inputs: readonly string[],
    attributes: NodeSpec["attributes"] = {},
    output = `t${this.#count++}`,
  ): string {
    this.nodes.push({ op, inputs, outputs: [output], attributes });
    return output;
  }

  split(input: string, axis: number, parts: readonly number[]): string[] {
    const outputs = parts.map(() => `t${this.#count++}`);
    this.nodes.push({ op: "Split", inputs: [input, this.ints(parts)], outputs, attributes: { axis } });
    return outputs;
  }

  numbers(shape: readonly number[], values: readonly number[]): string {
    const name = `c${this.#count++}`;
    const data = this.#dtype === "f16" ? Float16Array.from(values) : Float32Array.from(values);
    this.initializers.push({ name, dtype: this.#dtype, shape, data });
    return name;
  }

  ints(values: readonly number[]): string {
    const name = `i${this.#count++}`;
    this.initializers.push({ name, dtype: "i64", shape: [values.length], data: BigInt64Array.from(values, BigInt) });
    return name;
  }

  /** A convolution of the whole cell. @param bias of each filter */
  conv(stride: number, biases: readonly number[], spread: number, input: string): string {
    const weights = Array.from({ length: biases.length * 3 * stride ** 2 }, () => this.#chance.next(spread / stride));
    const shape = [biases.length, 3, stride, stride];
    const sides = [stride, stride];
    const inputs = [input, this.numbers(shape, weights), this.numbers([biases.length], biases)];
    return this.add("Conv", inputs, { kernel_shape: sides, strides: sides });
  }

  /** Classes in another order, where that is the fault. */
  classes(scores: string, axis: number, fault: ToyHead["fault"]): string {
    return fault === "classes" ? this.add("Gather", [scores, this.ints([0, 2, 1])], { axis }) : scores;
  }

  /** The maps of a kind, a convolution a stride, as [N, channels, cells of all]. */
  rows(channels: number, bias: number, spread: number, input: string): string {
    const flat = STRIDES.map((stride) => {
      const map = this.conv(
        stride,
        Array.from({ length: channels }, (_, c) => bias + (c % 5) * 0.1),
        spread,
        input,
      );
      return this.add("Reshape", [map, this.ints([0, channels, -1])]);
    });
    return this.add("Concat", flat, { axis: 2 });
  }
}

/** x and y of the cells of all strides, from their corners plus an offset; and their strides. */
function grid(offset: number): { readonly x: number[]; readonly y: number[]; readonly strides: number[] } {
  const cells = STRIDES.flatMap((stride) => {
    const side = TOY_SIDE / stride;
    return Array.from({ length: side * side }, (_, cell) => ({ x: cell % side, y: Math.floor(cell / side), stride }));
  });
  return {
    x: cells.map(({ x }) => x + offset),
    y: cells.map(({ y }) => y + offset),
    strides: cells.map(({ stride }) => stride),
  };
}

/** The mean of the bins, as Ultralytics' DFL has it. */
function meanOfBins(graph: Graph, rows: string, fault: ToyHead["fault"]): string {
  const bins = graph.add("Reshape", [rows, graph.ints([0, 4, BINS, ANCHORS])]);
  const shares = graph.add("Softmax", [graph.add("Transpose", [bins], { perm: [0, 2, 1, 3] })], { axis: 1 });
  const weights = Array.from({ length: BINS }, (_, bin) => (fault === "bins" && bin === BINS - 1 ? BINS : bin));
  const mean = graph.add("Conv", [shares, graph.numbers([1, BINS, 1, 1], weights)], { kernel_shape: [1, 1] });
  return graph.add("Reshape", [mean, graph.ints([0, 4, ANCHORS])]);
}

/** Rows of YOLOv8 and those after it: [N, 4 + classes + further, cells]. */
function ultralytics(graph: Graph, images: string, head: ToyHead): string[] {
  const { family, task = "detect", isFinal = false, fault } = head;
  const isBare = family === "yolo26";
  const { x, y, strides } = grid(0.5);
  if (fault === "anchor") x[ANCHORS - 1]! += 0.5;
  if (fault === "stride") strides[ANCHORS - 1] = 16;
  const distances = graph.rows(isBare ? 4 : 4 * BINS, isBare ? 1.5 : 0, isBare ? 0.1 : 1.5, images);
  const scores = graph.rows(CLASSES, -2, 1.5, images);
  const cut = fault === "far" ? "Min" : fault === "inside" ? "Max" : undefined;
  const bare = cut ? graph.add(cut, [distances, graph.numbers([1], [cut === "Min" ? 6 : 0])]) : distances;
  const sides = isBare ? bare : meanOfBins(graph, distances, fault);
  const anchors = graph.numbers([1, 2, ANCHORS], [...x, ...y]);
  const scale = graph.numbers([1, ANCHORS], strides);
  const two = graph.numbers([1], [2]);
  const [lower, upper] = graph.split(sides, 1, [2, 2]);
  const further: string[] = [];
  let box: string;
  if (task === "obb") {
    const raw = graph.rows(1, 0, 1.5, images);
    const quarter = graph.add("Sub", [graph.add("Sigmoid", [raw]), graph.numbers([1], [0.25])]);
    const angle = isBare ? raw : graph.add("Mul", [quarter, graph.numbers([1], [Math.PI])]);
    const [cos, sin] = [graph.add("Cos", [angle]), graph.add("Sin", [angle])];
    const [across, down] = graph.split(graph.add("Div", [graph.add("Sub", [upper!, lower!]), two]), 1, [1, 1]);
    const times = (a: string, b: string): string => graph.add("Mul", [a, b]);
    const turnedX = graph.add("Sub", [times(across!, cos), times(down!, sin)]);
    const turnedY = graph.add("Add", [times(across!, sin), times(down!, cos)]);
    const centre = graph.add("Add", [graph.add("Concat", [turnedX, turnedY], { axis: 1 }), anchors]);
    box = graph.add("Concat", [centre, graph.add("Add", [lower!, upper!])], { axis: 1 });
    further.push(angle);
  } else {
    const first = graph.add("Sub", [anchors, lower!]);
    const last = graph.add("Add", [anchors, upper!]);
    const centre = graph.add("Div", [graph.add("Add", [first, last]), two]);
    box = graph.add("Concat", isFinal ? [first, last] : [centre, graph.add("Sub", [last, first])], { axis: 1 });
  }
  if (task === "segment") further.push(graph.rows(32, 0, 1, images));
  if (task === "pose") {
    const points = graph.add("Reshape", [graph.rows(6, 0, 1.5, images), graph.ints([0, 2, 3, ANCHORS])]);
    const [places, shown] = graph.split(points, 2, [2, 1]);
    const from = grid(isBare ? 0.5 : 0);
    const corners = graph.numbers([2, ANCHORS], [...from.x, ...from.y]);
    const moved = graph.add("Add", [isBare ? places! : graph.add("Mul", [places!, two]), corners]);
    const inPixels = graph.add("Mul", [moved, scale]);
    const seen = graph.add("Concat", [inPixels, graph.add("Sigmoid", [shown!])], { axis: 2 });
    further.push(graph.add("Reshape", [seen, graph.ints([0, 6, ANCHORS])]));
  }
  const plain = graph.add("Sigmoid", [graph.classes(scores, 1, fault)]);
  const shown = Array.from({ length: ANCHORS }, (_, cell) => (fault === "muted" && cell === 0 ? 0 : 1));
  const found =
    fault === "scores"
      ? graph.add("Sqrt", [plain])
      : fault === "sure"
        ? graph.add("Min", [plain, graph.numbers([1], [0.9527])])
        : fault === "muted"
          ? graph.add("Mul", [plain, graph.numbers([1, 1, ANCHORS], shown)])
          : plain;
  const boxes = graph.add("Mul", [box, scale]);
  return fault === "order" ? [found, boxes, ...further] : [boxes, found, ...further];
}

/** The best rows, as YOLO26 chooses them. */
function chosen(graph: Graph, parts: readonly string[], widths: readonly number[]): string {
  const all = graph.add("Transpose", [graph.add("Concat", parts, { axis: 1 })], { perm: [0, 2, 1] });
  const [boxes, scores, ...further] = graph.split(all, 2, widths);
  const best = graph.add("ReduceMax", [scores!], { axes: [2], keepdims: 0 });
  const top = (values: string): [string, string] => {
    const outputs = [`top${graph.nodes.length}`, `at${graph.nodes.length}`] as [string, string];
    graph.nodes.push({ op: "TopK", inputs: [values, graph.ints([ROWS])], outputs, attributes: { axis: 1 } });
    return outputs;
  };
  const [, cells] = top(best);
  const gather = (values: string, at: string, width: number): string => {
    const wide = graph.add("Expand", [graph.add("Unsqueeze", [at, graph.ints([2])]), graph.ints([1, 1, width])]);
    return graph.add("GatherElements", [values, wide], { axis: 1 });
  };
  const [score, flat] = top(graph.add("Reshape", [gather(scores!, cells, CLASSES), graph.ints([0, -1])]));
  const classes = graph.ints([CLASSES]);
  const id = graph.add("Cast", [graph.add("Mod", [flat, classes])], { to: 1 });
  const cell = graph.add("GatherElements", [cells, graph.add("Div", [flat, classes])], { axis: 1 });
  const column = (values: string): string => graph.add("Unsqueeze", [values, graph.ints([2])]);
  const rest = further.map((values, at) => gather(values, cell, widths[at + 2]!));
  return graph.add("Concat", [gather(boxes!, cell, 4), column(score), column(id), ...rest], { axis: 2 });
}

const SIZES = [
  [10, 13, 16, 30, 33, 23],
  [30, 61, 62, 45, 59, 119],
  [116, 90, 156, 198, 373, 326],
].map((level) => level.map((side) => side / 8));

/** Rows of YOLOv5: [N, anchors, 5 + classes]. */
function yolov5(graph: Graph, images: string, { fault }: ToyHead): string {
  const numbers = 5 + CLASSES;
  const levels = STRIDES.map((stride, at) => {
    const side = TOY_SIDE / stride;
    const map = graph.conv(
      stride,
      Array.from({ length: 3 * numbers }, (_, c) => (c % numbers < 4 ? 0 : -0.5)),
      1.5,
      images,
    );
    const apart = graph.add("Reshape", [map, graph.ints([-1, 3, numbers, side, side])]);
    const active = graph.add("Sigmoid", [graph.add("Transpose", [apart], { perm: [0, 1, 3, 4, 2] })]);
    const [centre, size, rest] = graph.split(active, 4, [2, 2, numbers - 4]);
    const cells = Array.from({ length: side * side }, (_, cell) => [cell % side, Math.floor(cell / side)]);
    const places = cells.flatMap(([column, row]) => [column! - 0.5, row! - (fault === "anchor" ? 0 : 0.5)]);
    const two = graph.numbers([1], [2]);
    const double = (values: string): string => graph.add("Mul", [values, two]);
    const moved = graph.add("Add", [double(centre!), graph.numbers([1, 1, side, side, 2], places)]);
    const scaled = graph.add("Mul", [moved, graph.numbers([1], [stride])]);
    const sides = graph.add("Mul", [
      graph.add("Pow", [double(size!), two]),
      graph.numbers([1, 3, 1, 1, 2], SIZES[at]!),
    ]);
    const row = graph.add("Concat", [scaled, sides, rest!], { axis: 4 });
    return graph.add("Reshape", [row, graph.ints([0, -1, numbers])]);
  });
  return graph.add("Concat", levels, { axis: 1 });
}

/** Undecoded rows of YOLOX, [N, cells, 5 + classes], of images whose levels are 0 to 255. */
function yolox(graph: Graph, images: string, { fault }: ToyHead): string {
  const levels = STRIDES.map((stride) => {
    const [box, objectness, scores] = [4, 1, CLASSES].map((channels) =>
      graph.conv(stride, new Array(channels).fill(channels === 4 ? 0.3 : -0.5), channels === 4 ? 1e-4 : 0.005, images),
    );
    const all = [box!, graph.add("Sigmoid", [objectness!]), graph.add("Sigmoid", [graph.classes(scores!, 1, fault)])];
    return graph.add("Reshape", [graph.add("Concat", all, { axis: 1 }), graph.ints([0, 5 + CLASSES, -1])]);
  });
  return graph.add("Transpose", [graph.add("Concat", levels, { axis: 2 })], { perm: [0, 2, 1] });
}

/** Maps of NanoDet by their names: classes and distances of each stride, of one convolution. */
function nanodet(graph: Graph, images: string, { fault }: ToyHead): Record<string, string> {
  const bins = 8;
  const maps = STRIDES.flatMap((stride) => {
    const map = graph.conv(stride, new Array(CLASSES + 4 * bins).fill(-0.5), 1.5, images);
    const [scores, distances] = graph.split(map, 1, [CLASSES, 4 * bins]);
    const turned = (values: string, width: number): string =>
      graph.add("Transpose", [graph.add("Reshape", [values, graph.ints([0, width, -1])])], { perm: [0, 2, 1] });
    return [
      [`cls_pred_stride_${stride}`, turned(graph.add("Sigmoid", [graph.classes(scores!, 1, fault)]), CLASSES)],
      [`dis_pred_stride_${stride}`, turned(distances!, 4 * bins)],
    ];
  });
  return Object.fromEntries(maps);
}

/** A model whose head is known, and whose maps are those of convolutions of the image itself. */
export function toyHead(head: ToyHead): Uint8Array<ArrayBuffer> {
  const { family, task = "detect", isFinal = false, dtype = "f32", batch = 1 } = head;
  const graph = new Graph(dtype);
  const images = dtype === "f16" ? graph.add("Cast", ["images"], { to: 10 }) : "images";
  const width = { detect: 0, segment: 32, pose: 6, obb: 1 }[task];
  const outputs: { name: string; from: string; shape: (number | string)[] }[] = [];
  if (family === "nanodet") {
    for (const [name, from] of Object.entries(nanodet(graph, images, head))) {
      const stride = Number(/\d+/.exec(name)![0]);
      outputs.push({ name, from, shape: [batch, (TOY_SIDE / stride) ** 2, name.startsWith("cls") ? CLASSES : 32] });
    }
  } else if (family === "yolov5" || family === "yolox") {
    const from = family === "yolov5" ? yolov5(graph, images, head) : yolox(graph, images, head);
    const rows = family === "yolov5" ? 3 * ANCHORS : ANCHORS;
    outputs.push({ name: family === "yolov5" ? "output0" : "output", from, shape: [batch, rows, 5 + CLASSES] });
  } else {
    const parts = ultralytics(graph, images, head);
    const widths = width === 0 ? [4, CLASSES] : [4, CLASSES, width];
    const from = isFinal ? chosen(graph, parts, widths) : graph.add("Concat", parts, { axis: 1 });
    const shape = isFinal ? [batch, ROWS, 6 + width] : [batch, 4 + CLASSES + width, ANCHORS];
    outputs.push({ name: "output0", from, shape });
    if (task === "segment") {
      const prototypes = graph.conv(4, new Array(32).fill(0), 1, images);
      outputs.push({ name: "output1", from: prototypes, shape: [batch, 32, TOY_SIDE / 4, TOY_SIDE / 4] });
    }
  }
  for (const { name, from } of outputs) graph.add("Cast", [from], { to: 1 }, name);
  const names = "{0: 'a', 1: 'b', 2: 'c'}";
  const ofUltralytics = {
    names,
    task,
    ...(task === "pose" && { kpt_shape: "[2, 3]" }),
    ...(isFinal && { end2end: "True" }),
  };
  let offset = 0;
  const beside = graph.initializers.map(({ data, ...rest }): InitializerSpec => {
    const bytes = "buffer" in data ? new Uint8Array(data.buffer) : new Uint8Array();
    head.beside?.push(bytes);
    offset += bytes.length;
    return { ...rest, data: { location: "weights", offset: offset - bytes.length, length: bytes.length } };
  });
  return onnxModel({
    nodes: graph.nodes,
    initializers: head.beside === undefined ? graph.initializers : beside,
    inputs: [{ name: "images", dtype: "f32", shape: [batch, 3, TOY_SIDE, TOY_SIDE] }],
    outputs: outputs.map(({ name, shape }) => ({ name, dtype: "f32", shape })),
    metadata: family === "yolox" || family === "nanodet" ? {} : ofUltralytics,
  });
}
