/** @module Fp32Layers: the layers of a network that keep FP32 in an engine of FP16. */

import { type Fp32Facts, type Fp32Node, fp32Nodes } from "../onnx/fp32-nodes.ts";
import { OnnxModel } from "../onnx/model.ts";
import type { Network } from "./network.ts";

/**
 * Let the layers of a network compute in FP32 that FP16 would lose in.
 *
 * @param model what the network was parsed from
 * @returns the nodes whose layers were found
 */
export function keepFp32(
  network: Network,
  model: Uint8Array,
  facts: Omit<Fp32Facts, "shapeOf" | "opset"> = {},
): Fp32Node[] {
  const layers = Array.from({ length: network.layerCount }, (_, index) => network.layerOutputs(index));
  const shapes = new Map(layers.flatMap((outputs) => outputs.map(({ name, shape }) => [name, shape] as const)));
  const read = OnnxModel.readIf(model);
  if (read === undefined) return [];
  const { graph, opsets } = read;
  const nodes = fp32Nodes(graph, { ...facts, opset: opsets.get(""), shapeOf: (tensor) => shapes.get(tensor) });
  const byOutput = new Map(nodes.flatMap((one) => one.node.outputs.map((name) => [name, one] as const)));
  const names = new Set(graph.nodes.map(({ name }) => name));
  const byName = new Map(nodes.map((one) => [one.node.name, one] as const));
  const kept = new Set<Fp32Node>();
  for (const [index, outputs] of layers.entries()) {
    // An operator may become several layers: the last has its output, the others its name and a number.
    const layerName = network.layer(index).name;
    const last = outputs.map(({ name }) => byOutput.get(name)).find((one) => one !== undefined);
    const base = names.has(layerName) ? layerName : layerName.replace(/_\d+$/, "");
    const found = last ?? (base === "" ? undefined : byName.get(base));
    if (found === undefined) continue;
    // Shapes and indices are whole numbers, and stay so.
    if (outputs.length === 0 || !outputs.every(({ isFloat }) => isFloat)) continue;
    const isStored = last === undefined || found.isInner;
    network.computeInFp32(index, isStored ? [...outputs.keys()] : []);
    kept.add(found);
  }
  return nodes.filter((one) => kept.has(one));
}
