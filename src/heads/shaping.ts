/** @module Shaping: models of a known head are cut at the last maps of their convolutions, and what is cut off is proved to be the head. */

import { dirname, join } from "node:path";
import { BunTensorRtError, inShort, LibraryLoadError } from "../core/errors.ts";
import { DTYPES } from "../core/tensor.ts";
import type { ModelInfo } from "../model/model-info.ts";
import { fewerLayers } from "../onnx/fewer-layers.ts";
import { OnnxTensor, OnnxValue, type Side } from "../onnx/messages.ts";
import { externalDataPaths, OnnxModel } from "../onnx/model.ts";
import { type Cut, GraphReading } from "./cut.ts";
import { CutProof } from "./cut-proof.ts";
import type { ModelSpec } from "./head.ts";
import { type MapLevel, mapReadings, mapsRead } from "./map-readings.ts";
import type { CutPlan } from "./plans.ts";
import { SHAPED_KEY, type Shaping } from "./shaping-config.ts";

/** A model that was cut. */
export interface ShapedModel {
  /** Cut, and rewritten for fewer kernels. */
  readonly model: Uint8Array<ArrayBuffer>;
  /** The same without the rewriting. */
  readonly cut: Uint8Array<ArrayBuffer>;
  readonly shaping: Shaping;
}

/** A model that was cut, or why it was not: a clause. */
export type ShapeOutcome =
  | ShapedModel
  | { readonly reason: string }
  | { readonly reason: string; readonly isUnproved: true };

/**
 * Cut a model where the arithmetic of its head begins. The cut is found by the operators, never by names, and proved: on numbers of
 * chance the part that goes, run by ONNX Runtime, gives the boxes, scores and extras that the decoder of maps gives.
 *
 * @param bytes of an `.onnx` file
 * @param model what it declares, as it was recognised
 * @param spec  what it was recognised as
 * @param path  of the model, where it has one: weights in other files are found beside it
 * @param joinsSiblings whether convolutions of one input become one: see {@linkcode fewerLayers}
 * @throws {ModelError} If the bytes are no ONNX model, or its weights lie outside its folder
 */
export async function shapeModel(
  bytes: Uint8Array,
  model: ModelInfo,
  spec: ModelSpec,
  path?: string,
  joinsSiblings = true,
): Promise<ShapeOutcome> {
  const outputs = outputsRead(spec);
  if (spec.unexplained.length > 0 || outputs === undefined)
    return { reason: `its head "${spec.head}" is not one that is cut` };
  const onnx = OnnxModel.read(bytes);
  const hasTaken = path !== undefined && (await takeSmallWeights(onnx, bytes, path));
  const cut = new GraphReading(onnx.graph, spec.imageInput).cut(outputs);
  if ("reason" in cut) return cut;
  const levels = levelsOf(cut);
  if (levels === undefined) return { reason: "its strides have maps of different channels" };
  try {
    await using proof = await CutProof.begin(hasTaken ? onnx.write() : bytes, cut, outputs, spec);
    const anchors = await proof.anchors(levels);
    for (const reading of mapReadings(spec, levels, anchors)) {
      if (!(await proof.holds(reading))) continue;
      const { shapesAt } = model;
      const plan = asManyRows(reading.plan, model, spec);
      const shaping = { outputs: model.outputs, ...(shapesAt && { shapesAt }), head: spec.head, ...reading, plan };
      cutAt(onnx, cut, spec, shaping);
      const asCut = onnx.write();
      fewerLayers(onnx, joinsSiblings);
      return { model: onnx.write(), cut: asCut, shaping };
    }
  } catch (error) {
    // Without ONNX Runtime, or with operators or values that it refuses, the model stays as it is.
    if (!(error instanceof BunTensorRtError)) throw error;
    if (error instanceof LibraryLoadError) return { reason: inShort(error), isUnproved: true };
    return { reason: `the cut cannot be proved: ${error.message.split("\n", 1)[0]}` };
  }
  return { reason: `what follows its convolutions is not what is known of the head "${spec.head}"` };
}

/** Largest tensor in another file that is taken into the model: constants of heads are small, and weights stay where they are. */
const MOST_TAKEN = 1 << 20;

/** Take the constants that lie in files beside a model into it, so that its head can be read, and run by itself. @returns true if any */
async function takeSmallWeights({ graph }: OnnxModel, bytes: Uint8Array, path: string): Promise<boolean> {
  if (externalDataPaths(bytes, path).length === 0) return false;
  for (const [name, { external, elementType, shape }] of graph.initializers) {
    const { location, offset = "0", length = "0" } = external;
    const dtype = DTYPES.find((one) => one === elementType);
    const size = Number(length);
    if (location === undefined || dtype === undefined || size === 0 || size > MOST_TAKEN) continue;
    const start = Number(offset);
    const file = Bun.file(join(dirname(path), location));
    // The parser says it better.
    if (!(await file.exists())) continue;
    const data = await file.slice(start, start + size).bytes();
    graph.initializers.set(name, OnnxTensor.of(name, dtype, shape, data));
  }
  return true;
}

/** A plan that gives no more rows of an image than the model did, which chose them itself. */
function asManyRows(plan: CutPlan, { outputs }: ModelInfo, spec: ModelSpec): CutPlan {
  const { output } = spec.plan.kind === "rows" ? spec.plan : {};
  const rows = outputs.find(({ name }) => name === output)?.shape[1] ?? -1;
  return plan.kind === "distance-maps" && rows > 0 ? { ...plan, most: rows } : plan;
}

/** Outputs that hold rows, of the heads whose arithmetic maps take the place of. */
function outputsRead({ plan }: ModelSpec): readonly string[] | undefined {
  switch (plan.kind) {
    case "dense":
      return plan.boxes === undefined ? [plan.output] : [plan.output, plan.boxes];
    case "grid":
      return [plan.output];
    case "rows":
      return plan.batchColumn === undefined && plan.counts === undefined ? [plan.output] : undefined;
    case "distance-bins":
      return plan.levels.flatMap(({ classMap, distanceMap }) => [classMap, distanceMap]);
    default:
      return undefined;
  }
}

/** The maps by stride, finest first; `undefined` if the levels are not alike. */
function levelsOf({ maps }: Cut): readonly MapLevel[] | undefined {
  const strides = [...new Set(maps.map(({ stride }) => stride))].sort((a, b) => a - b);
  const levels = strides.map((stride) => ({ stride, maps: maps.filter((map) => map.stride === stride) }));
  const channels = levels.map((level) => level.maps.map((map) => map.channels).join());
  return channels.every((one) => one === channels[0]) ? levels : undefined;
}

/** The maps that are read take the place of the outputs that they stand for. */
function cutAt(onnx: OnnxModel, cut: Cut, spec: ModelSpec, shaping: Shaping): void {
  const { graph } = onnx;
  const [batch] = graph.inputs.find(({ name }) => name === spec.imageInput)?.shape ?? [];
  const [width, height] = spec.fixedSize ?? [];
  const sideOf = (side: number | undefined, stride: number): Side => side && Math.ceil(side / stride);
  const read = mapsRead(shaping);
  const maps = cut.maps.filter(({ name }) => read.has(name));
  const kept = graph.outputs.filter(({ name }) => name === spec.masks?.output);
  for (const { name } of maps) graph.values.delete(name);
  graph.outputs = [
    ...maps.map(({ name, elementType, channels, stride }) =>
      OnnxValue.of(name, elementType, [batch, channels, sideOf(height, stride), sideOf(width, stride)]),
    ),
    ...kept,
  ];
  graph.removeUnused();
  onnx.metadata.set(SHAPED_KEY, JSON.stringify(shaping));
}
