/**
 * @module Fp16Network: what is FP16 in an engine, and what keeps FP32: the layers of a network by their settings, and the model that a
 * strongly typed network is built of by the types of its tensors.
 */

import { logger } from "../core/log.ts";
import type { Device } from "../cuda/device.ts";
import { toFloat16 } from "../onnx/float16.ts";
import { type Fp32Facts, type Fp32Node, formatFp32Nodes, fp32Nodes } from "../onnx/fp32-nodes.ts";
import { nodeName, type OnnxValue } from "../onnx/messages.ts";
import { convertedTo, isOfHalves, OnnxModel } from "../onnx/model.ts";
import type { BuildConfig, Precision } from "./build-options.ts";
import { SHAPED_KEY } from "./io-formats.ts";
import type { TensorRtLibrary } from "./library.ts";
import type { Network } from "./network.ts";

/** Plans of models that another version has converted are built again. */
export const FLOAT16_VERSION = 1;

/** The opset from which on Q/DQ nodes take FP16. */
const OPSET_OF_FP16_SCALES = 19;

/**
 * What an engine computes in: `"model"` for one of exactly the types that the model has. Models that were converted say theirs, and
 * so do all to libraries of strongly typed networks, for which FP16 is made of FP32 first.
 */
export function builtPrecision(
  { precision, isPrecisionChosen }: Pick<BuildConfig, "precision" | "isPrecisionChosen">,
  library: Pick<TensorRtLibrary, "isStronglyTyped">,
  metadata: Readonly<Record<string, string>>,
): Precision {
  if (convertedTo(metadata) !== undefined && !(isPrecisionChosen && precision === "fp32")) return "model";
  return library.isStronglyTyped && precision === "fp32" ? "model" : precision;
}

/**
 * Why a model in FP8 is slower than in FP16: what was measured of one release on one kind of GPU, and of no other.
 *
 * @returns a sentence; `undefined` where that is not known
 */
export function slowFp8Reason(
  { family, major, minor, text }: TensorRtLibrary["version"],
  { computeCapability: [first, second] }: Pick<Device, "computeCapability">,
): string | undefined {
  const isMeasured = family === "TensorRT" && major === 10 && minor === 6 && first === 9 && second === 0;
  if (!isMeasured) return undefined;
  return `FP8 is 3 to 6 times slower than FP16 with ${text} on this kind of GPU: take fp16 or int8`;
}

/** Say it in the log where FP8 is known to be slower. Nothing is refused, as FP8 may be wanted for its size. */
export function warnOfSlowFp8({ version }: Pick<TensorRtLibrary, "version">, device: Device): void {
  const slow = slowFp8Reason(version, device);
  if (slow !== undefined) logger.warn(slow);
}

/** A model for a strongly typed network of FP16. */
export interface TypedModel {
  readonly bytes: Uint8Array;
  /** Names of the nodes that keep FP32; `undefined` where the model has its types from elsewhere, and stays as it is. */
  readonly kept: readonly string[] | undefined;
}

/** What is known of a model beside its bytes. */
interface TypedFacts {
  readonly config: Pick<BuildConfig, "fp32Layers" | "ioFormat">;
  /** For messages. */
  readonly source: string;
  /** Sides of a tensor; `undefined` where they are not known. */
  readonly shapeOf: (tensor: string) => readonly number[] | undefined;
}

/** Whether a model stays as it is. */
function staysAsItIs(onnx: OnnxModel, source: string): boolean {
  if (isOfHalves(onnx)) return true;
  const opset = onnx.opsets.get("") ?? 1;
  if (opset >= OPSET_OF_FP16_SCALES || !onnx.graph.nodes.some(({ op }) => op === "DequantizeLinear")) return false;
  const found = `its Q/DQ nodes are of opset ${opset}, and those of FP16 need ${OPSET_OF_FP16_SCALES}`;
  logger.warn(`Building ${source} with FP32 between its quantised layers: ${found}`);
  return true;
}

/** Images and maps: what an engine has in other formats than those of the model. */
function imagesAndMaps({ graph }: OnnxModel): string[] {
  const isPlanes = ({ elementType, shape }: OnnxValue): boolean => elementType === "f32" && shape?.length === 4;
  return [...graph.inputs, ...graph.outputs].filter(isPlanes).map(({ name }) => name);
}

/** A model of FP32 as FP16, but for what would lose there. Bytes that are no model are the parser's to name. */
export function typedModel(bytes: Uint8Array, { config, source, shapeOf }: TypedFacts): TypedModel {
  const onnx = OnnxModel.readIf(bytes);
  if (onnx === undefined || staysAsItIs(onnx, source)) return { bytes, kept: undefined };
  const { ioFormat, fp32Layers } = config;
  const isShaped = onnx.metadata.has(SHAPED_KEY);
  const isHalf = ioFormat === "auto" ? isShaped : ioFormat !== "model";
  const io = isHalf ? imagesAndMaps(onnx) : [];
  const { kept, converted } = toFloat16(onnx, { io, shapeOf, hasRule: fp32Layers });
  if (converted === 0) return { bytes, kept: undefined };
  const fp32 = kept.length === 0 ? "" : `, but for ${formatFp32Nodes(kept)}`;
  logger.info(`Computing ${source} in FP16${fp32}`);
  return { bytes: onnx.write(), kept: kept.map(({ node }) => nodeName(node)) };
}

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
