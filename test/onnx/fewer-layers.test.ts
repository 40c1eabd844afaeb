import { expect, test } from "bun:test";
import { tensorOf } from "../../src/core/tensor.ts";
import { fewerLayers } from "../../src/onnx/fewer-layers.ts";
import { OnnxTensor } from "../../src/onnx/messages.ts";
import { OnnxModel } from "../../src/onnx/model.ts";
import { Session } from "../../src/onnxruntime/session.ts";
import { type InitializerSpec, type NodeSpec, onnxModel } from "../support/onnx-writer.ts";

const SIDE = 6;
const WIDTH = 8;

/** Numbers of chance between -0.5 and 0.5. */
function chance(length: number, seed: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length }, (_, at) => (Math.imul(at + seed * 977, 2_654_435_761) >>> 8) / 2 ** 24 - 0.5);
}

/** Writes nodes and their weights. */
class Toy {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: InitializerSpec[] = [];

  add(op: string, inputs: readonly string[], output: string, attributes: NodeSpec["attributes"] = {}): string {
    this.nodes.push({ op, inputs: [...inputs], outputs: [output], attributes });
    return output;
  }

  conv(input: string, output: string, read: number, made: number, { kernel = 1, stride = 1, group = 1 } = {}): string {
    const pad = kernel >> 1;
    const shape = [made, read / group, kernel, kernel];
    const seed = this.initializers.length + 1;
    const data = chance(made * shape[1]! * kernel * kernel, seed);
    this.initializers.push({ name: `${output}.weight`, dtype: "f32", shape, data });
    this.initializers.push({ name: `${output}.bias`, dtype: "f32", shape: [made], data: chance(made, seed + 1) });
    const attributes = { kernel_shape: [kernel, kernel], pads: [pad, pad, pad, pad], strides: [stride, stride], group };
    return this.add("Conv", [input, `${output}.weight`, `${output}.bias`], output, attributes);
  }

  silu(input: string): string {
    this.add("Sigmoid", [input], `${input}.gate`);
    return this.add("Mul", [input, `${input}.gate`], `${input}.silu`);
  }

  split(input: string, sizes: readonly number[]): string[] {
    const outputs = sizes.map((_, at) => `${input}.${at}`);
    const data = BigInt64Array.from(sizes, BigInt);
    this.initializers.push({ name: `${input}.sizes`, dtype: "i64", shape: [sizes.length], data });
    this.nodes.push({ op: "Split", inputs: [input, `${input}.sizes`], outputs, attributes: { axis: 1 } });
    return outputs;
  }

  /** A bottleneck: two convolutions and what goes around them. */
  bottleneck(input: string, name: string, kernel = 3): string {
    const first = this.silu(this.conv(input, `${name}.1`, WIDTH, WIDTH, { kernel: 3 }));
    return this.silu(this.conv(first, `${name}.2`, WIDTH, WIDTH, { kernel }));
  }

  model(outputs: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
    return onnxModel({
      nodes: this.nodes,
      initializers: this.initializers,
      inputs: [{ name: "x", dtype: "f32", shape: [1, WIDTH, SIDE, SIDE] }],
      outputs: Object.entries(outputs).map(([name, channels]) => ({
        name,
        dtype: "f32",
        shape: [1, channels, "h", "w"],
      })),
    });
  }
}

async function outputsOf(bytes: Uint8Array): Promise<[name: string, data: Float32Array][]> {
  await using session = await Session.fromBytes(bytes, "a test");
  const shape = [1, WIDTH, SIDE, SIDE];
  const outputs = await session.run({ x: tensorOf("f32", shape, chance(WIDTH * SIDE * SIDE, 7)) });
  return [...outputs].map(([name, { data }]) => [name, Float32Array.from(data as Float32Array)]);
}

/** How often each operator stands in a model before and after, where it is another number; the same numbers come out. */
async function rewritten(bytes: Uint8Array): Promise<Record<string, [before: number, after: number]>> {
  const model = OnnxModel.read(bytes);
  const countOf = (op: string): number => model.graph.nodes.filter((node) => node.op === op).length;
  const ops = [...new Set([...model.graph.nodes.map(({ op }) => op), "Split"])];
  const before = ops.map(countOf);
  fewerLayers(model);
  const after = await outputsOf(model.write());
  for (const [at, [name, data]] of (await outputsOf(bytes)).entries()) {
    expect(after[at]![0]).toBe(name);
    expect(after[at]![1].length).toBe(data.length);
    for (const [k, value] of data.entries()) expect(Math.abs(after[at]![1][k]! - value)).toBeLessThan(3e-5);
  }
  return Object.fromEntries(
    ops.flatMap((op, at) => (before[at] === countOf(op) ? [] : [[op, [before[at]!, countOf(op)]]])),
  );
}

/** A C2f block of so many bottlenecks, of which each adds what went in. */
function block(bottlenecks: number, change: (toy: Toy, sums: string[]) => void = () => {}): Uint8Array<ArrayBuffer> {
  const toy = new Toy();
  const [a, b] = toy.split(toy.silu(toy.conv("x", "first", WIDTH, 2 * WIDTH)), [WIDTH, WIDTH]) as [string, string];
  const parts = [a, b];
  for (let at = 0; at < bottlenecks; at += 1) {
    const last = parts.at(-1)!;
    parts.push(toy.add("Add", [last, toy.bottleneck(last, `m${at}`)], `sum${at}`));
  }
  change(toy, parts);
  toy.add("Concat", parts, "all", { axis: 1 });
  toy.conv("all", "y", parts.length * WIDTH, WIDTH, { kernel: 3 });
  return toy.model({ y: WIDTH });
}

test("the last sum of a block is left to the convolution behind it, and its split is not concatenated again", async () => {
  expect(await rewritten(block(1))).toEqual({ Add: [1, 0] });
  // The second bottleneck reads the first sum.
  expect(await rewritten(block(2))).toEqual({ Add: [2, 1] });
  const model = OnnxModel.read(block(2));
  fewerLayers(model);
  const { inputs } = model.graph.nodes.find(({ op }) => op === "Concat")!;
  expect(inputs).toEqual(["first.silu", "sum0", "m1.2.silu"]);
});

test("a sum stays where something else reads it, or its terms are not certainly of one size", async () => {
  const unlike = (change: (toy: Toy, parts: string[]) => void) => rewritten(block(1, change));
  expect(await unlike((toy, parts) => parts.push(toy.silu(toy.conv("sum0", "more", WIDTH, WIDTH))))).toEqual({});
  // A number for each channel is added to all cells.
  const broadcast = (toy: Toy, parts: string[]): void => {
    const mean = toy.add("GlobalAveragePool", ["first.silu.1"], "mean");
    parts[2] = toy.add("Add", ["first.silu.1", toy.silu(toy.conv(mean, "gate", WIDTH, WIDTH))], "other");
  };
  // Nothing reads the first sum any more.
  expect((await unlike(broadcast)).Add).toEqual([2, 1]);
  const both = (_: Toy, parts: string[]): unknown => parts.push("sum0");
  expect(await unlike(both)).toEqual({});
});

/** Two convolutions of one input, the second with other properties. */
function siblings(
  second: { kernel?: number; stride?: number; group?: number; channels?: number } = {},
): Uint8Array<ArrayBuffer> {
  const { channels = WIDTH, ...options } = second;
  const toy = new Toy();
  const left = toy.silu(toy.conv("x", "left", WIDTH, 16, { kernel: 3 }));
  const right = toy.silu(toy.conv("x", "right", WIDTH, channels, { kernel: 3, ...options }));
  toy.conv(left, "y", 16, WIDTH);
  toy.conv(right, "z", channels, WIDTH);
  return toy.model({ y: WIDTH, z: WIDTH });
}

test("convolutions of one input, each with a SiLU behind it, become one", async () => {
  const joined = { Conv: [4, 3], Sigmoid: [2, 1], Mul: [2, 1], Split: [0, 1] };
  expect(await rewritten(siblings())).toEqual(joined as never);
  for (const other of [{ kernel: 1 }, { stride: 2 }, { group: 2 }, { channels: 12 }]) {
    expect(await rewritten(siblings(other))).toEqual({});
  }
});

test("where siblings are not to be joined, sums and parts of splits are rewritten all the same", () => {
  const both = OnnxModel.read(siblings());
  const sums = OnnxModel.read(block(1));
  for (const model of [both, sums]) fewerLayers(model, false);
  expect(both.graph.nodes.filter(({ op }) => op === "Conv").length).toBe(4);
  expect(sums.graph.nodes.some(({ op }) => op === "Add")).toBe(false);
});

test("what an output of the model is stays, and is not joined", async () => {
  const toy = new Toy();
  for (const name of ["left", "right"]) toy.silu(toy.conv("x", name, WIDTH, WIDTH));
  expect(await rewritten(toy.model({ left: WIDTH, "left.silu": WIDTH, "right.silu": WIDTH }))).toEqual({});
  expect((await rewritten(toy.model({ "left.silu": WIDTH, "right.silu": WIDTH }))).Conv).toEqual([2, 1]);
});

/** A model that is changed as a test wants it. */
function changed(bytes: Uint8Array, change: (model: OnnxModel) => void): Uint8Array<ArrayBuffer> {
  const model = OnnxModel.read(bytes);
  change(model);
  return model.write();
}

test("a split of unlike parts has its sizes where the model's version of Split reads them", async () => {
  const unlike = siblings({ channels: 8 });
  const of = (domain: string, version: number): Uint8Array =>
    changed(unlike, ({ opsets }) => {
      opsets.clear();
      opsets.set(domain, version);
    });
  for (const domain of ["", "ai.onnx"]) {
    for (const version of [11, 13, 20]) expect((await rewritten(of(domain, version))).Split).toEqual([0, 1]);
  }
});

test("names that the model has already are left to it", async () => {
  // What the rewriting would call its own, made and read by others.
  const toy = new Toy();
  for (const name of ["left", "right"]) toy.silu(toy.conv("x", name, WIDTH, WIDTH));
  toy.conv("x", "left.silu:joined:conv", WIDTH, WIDTH);
  const own = changed(
    toy.model({ "left.silu": WIDTH, "right.silu": WIDTH, "left.silu:joined:conv": WIDTH }),
    ({ graph }) => {
      const third = graph.nodes.at(-1)!;
      for (const [at, part] of [
        [1, "weights"],
        [2, "bias"],
      ] as const) {
        const weights = graph.initializers.get(third.inputs[at]!)!;
        const name = `left.silu:joined:${part}`;
        graph.initializers.set(name, OnnxTensor.of(name, "f32", weights.shape, weights.floats()!));
        third.inputs[at] = name;
      }
    },
  );
  expect((await rewritten(own)).Conv).toEqual([3, 2]);
  const sum = block(1, (toy) => toy.conv("x", "y:weights:2", WIDTH, WIDTH));
  const kept = OnnxModel.read(sum);
  kept.graph.outputs.push(kept.graph.outputs[0]!.as("y:weights:2", "f32"));
  expect(await rewritten(kept.write())).toEqual({ Add: [1, 0] });
});

test("weights that FP16 cannot hold when they are summed, or that are not as many as they say, stay", async () => {
  const large = changed(block(1), ({ graph }) => {
    const data = new Float32Array(3 * WIDTH * WIDTH * 9).fill(40_000);
    graph.initializers.set("y.weight", OnnxTensor.of("y.weight", "f32", [WIDTH, 3 * WIDTH, 3, 3], data));
  });
  const short = (bytes: Uint8Array, name: string): Uint8Array =>
    changed(bytes, ({ graph }) => {
      const { shape } = graph.initializers.get(name)!;
      graph.initializers.set(name, OnnxTensor.of(name, "f32", shape, chance(5, 1)));
    });
  for (const bytes of [
    large,
    short(block(1), "y.weight"),
    short(siblings(), "left.weight"),
    short(siblings(), "left.bias"),
  ]) {
    const model = OnnxModel.read(bytes);
    const operators = model.graph.nodes.map(({ op }) => op);
    fewerLayers(model);
    expect(model.graph.nodes.map(({ op }) => op)).toEqual(operators);
  }
});

test("a model with an operator of another library by one of these names stays as it is", () => {
  const toy = new Toy();
  const [a, b] = [toy.silu(toy.conv("x", "left", WIDTH, WIDTH)), toy.silu(toy.conv("x", "right", WIDTH, WIDTH))];
  toy.nodes.push({ op: "Conv", inputs: [a, "left.weight"], outputs: ["y"], domain: "com.microsoft.nchwc" });
  const model = OnnxModel.read(toy.model({ y: WIDTH, [b]: WIDTH }));
  const before = model.write();
  fewerLayers(model);
  expect(model.write()).toEqual(before);
});

test("what a branch reads stays", async () => {
  const branch = (op: string, read: string) => ({
    nodes: [{ op, inputs: [read], outputs: [`${op}.out`] }],
    inputs: [],
    outputs: [{ name: `${op}.out`, dtype: "f32" }],
  });
  for (const [read, channels, changes] of [
    ["sum0", WIDTH, { Sigmoid: [4, 3], Mul: [4, 3], Conv: [5, 4], Split: [1, 2] }],
    ["all", 3 * WIDTH, { Sigmoid: [4, 3], Mul: [4, 3], Conv: [5, 4], Split: [1, 2] }],
    ["left", 2 * WIDTH, { Add: [1, 0] }],
  ] as const) {
    const toy = new Toy();
    const [a, b] = toy.split(toy.silu(toy.conv("x", "first", WIDTH, 2 * WIDTH)), [WIDTH, WIDTH]) as [string, string];
    toy.silu(toy.conv("x", "left", WIDTH, 2 * WIDTH));
    const sum = toy.add("Add", [b, toy.bottleneck(b, "m")], "sum0");
    toy.conv(toy.add("Concat", [a, b, sum], "all", { axis: 1 }), "y", 3 * WIDTH, WIDTH);
    toy.initializers.push({ name: "yes", dtype: "bool", shape: [], data: Uint8Array.of(1) });
    const branches = { then_branch: branch("Relu", read), else_branch: branch("Neg", read) };
    toy.add("If", ["yes"], "z", branches as NodeSpec["attributes"]);
    expect(await rewritten(toy.model({ y: WIDTH, "left.silu": 2 * WIDTH, z: channels }))).toEqual(changes as never);
  }
});

test("a deep graph, one with a SiLU of a SiLU, and one of many concatenations are looked through in little time", () => {
  const deep = (each: (toy: Toy, map: string) => string, times: number): Uint8Array => {
    const toy = new Toy();
    let map = toy.conv("x", "first", WIDTH, WIDTH);
    for (let at = 0; at < times; at += 1) map = each(toy, map);
    toy.add("Concat", ["first", toy.add("Add", ["first", map], "sum")], "all", { axis: 1 });
    toy.conv("all", "y", 2 * WIDTH, WIDTH);
    return toy.model({ y: WIDTH });
  };
  const dense = new Toy();
  const maps = ["x"];
  for (let at = 0; at < 300; at += 1) {
    const read = maps.slice(-20);
    maps.push(dense.conv(dense.add("Concat", read, `all${at}`, { axis: 1 }), `map${at}`, read.length * WIDTH, WIDTH));
  }
  const relu = (toy: Toy, map: string): string => toy.add("Relu", [map], `relu${toy.nodes.length}`);
  for (const [bytes, sums] of [
    [deep(relu, 15_000), 0],
    [deep((toy, map) => toy.silu(map), 60), 0],
    [dense.model({ [maps.at(-1)!]: WIDTH }), 0],
  ] as const) {
    const model = OnnxModel.read(bytes);
    const start = performance.now();
    fewerLayers(model);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(model.graph.nodes.filter(({ op }) => op === "Add").length).toBe(sums);
  }
}, 20_000);
