import { expect, test } from "bun:test";
import { tensorOf } from "../../src/core/tensor.ts";
import { fewerLayers } from "../../src/onnx/fewer-layers.ts";
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

test("what an output of the model is stays, and is not joined", async () => {
  const toy = new Toy();
  for (const name of ["left", "right"]) toy.silu(toy.conv("x", name, WIDTH, WIDTH));
  expect(await rewritten(toy.model({ left: WIDTH, "left.silu": WIDTH, "right.silu": WIDTH }))).toEqual({});
  expect((await rewritten(toy.model({ "left.silu": WIDTH, "right.silu": WIDTH }))).Conv).toEqual([2, 1]);
});
