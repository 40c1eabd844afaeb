/** @module Conversion: the steps of `convert`: calibrate, quantise, make FP16, write. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, parse, resolve } from "node:path";
import { type ModelFile, readModelFile } from "../accelerators/tensorrt/model-file.ts";
import { type ModelSource, modelSource } from "../api/model-source.ts";
import { ModelError, message, OptionError } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { overwritten } from "../core/paths.ts";
import type { TensorInfo } from "../core/tensor.ts";
import { openOutput, writeFileWhole } from "../core/whole-file.ts";
import { type Float16Conversion, toFloat16 } from "../onnx/float16.ts";
import { FP32_REASONS } from "../onnx/fp32-nodes.ts";
import { nodeName, type OnnxNode } from "../onnx/messages.ts";
import { convertedTo, externalDataPaths, isOfHalves, markConverted, notFinite, OnnxModel } from "../onnx/model.ts";
import { elementTypes, refuseTooOld } from "../onnx/operators.ts";
import {
  type CalibrationRequest,
  calibrated,
  heldBackOf,
  isRangesFile,
  loudLayers,
  withLayerNoise,
} from "./calibrated.ts";
import { type Calibration, foundBy } from "./calibration.ts";
import {
  type Conversion,
  type ConvertConfig,
  type ConvertedLayer,
  type ConvertedPrecision,
  type ConvertOptions,
  parseConvertOptions,
  type Sensitivity,
} from "./precision-config.ts";
import {
  PAIRS_OPSET,
  placeIn,
  type Quantisation,
  quantise,
  tensorsToAverage,
  tensorsToCalibrate,
  unfitLayers,
} from "./quantise.ts";
import type { Measured } from "./report.ts";
import { describeTensors, type ProbedModel } from "./tensor-probe.ts";
import { readExternalFloats, writeModel } from "./write-model.ts";

/** A model to convert, and what is said of the way. */
interface ConversionRequest extends CalibrationRequest {
  /** What is changed: the model, or a part of it whose tensors have the same names. */
  readonly onnx: OnnxModel;
  /** Weights in other files: a cast behind each, or tensors that `writeModel` fills. */
  readonly external: "cast" | "pending";
  /** Ranges that are known already. */
  readonly calibration?: Calibration | undefined;
  /** Layers that are not quantised, by `nodeName`; they become FP16. */
  readonly unquantised?: ReadonlySet<string> | undefined;
  /** Inputs and outputs that become FP16; default those that the configuration says. */
  readonly io?: readonly string[] | undefined;
}

/** A model that was converted in memory. */
interface ConvertedModel {
  readonly float16: Float16Conversion;
  readonly layers: readonly ConvertedLayer[];
  readonly calibration: Calibration | undefined;
  /** Layers that are not quantised as no scale fits what they read, by `nodeName`. */
  readonly unfit: ReadonlySet<string>;
}

/** @throws {ModelError} If a model has been converted already */
function refuseConverted(onnx: OnnxModel, { name }: ProbedModel, precision: ConvertedPrecision): void {
  const former = convertedTo(Object.fromEntries(onnx.metadata));
  const isHalf = precision === "fp16" && isOfHalves(onnx);
  if (former === undefined && !isHalf) return;
  const found = former === undefined ? "its weights are FP16" : `it was converted to ${former.toUpperCase()} already`;
  throw new ModelError(message(`convert ${name}`, found, "give the model it was made from"), name);
}

/** @throws {ModelError} If weights or constants are no numbers: what is worked out of them would be none either */
function refuseNotFinite(onnx: OnnxModel, { name }: ProbedModel, precision: ConvertedPrecision): void {
  const bad = notFinite(onnx);
  if (bad === undefined) return;
  const found = `its weights ${JSON.stringify(bad.name)} hold ${bad.value}`;
  throw new ModelError(message(`convert ${name} to ${precision.toUpperCase()}`, found, "export it again"), name);
}

/** @throws {OptionError} If a name is none of a node */
function refuseUnknown(exclude: readonly string[], nodes: readonly OnnxNode[], { name }: ProbedModel): void {
  const known = new Set(nodes.map(nodeName));
  const unknown = exclude.find((one) => !known.has(one));
  if (unknown === undefined) return;
  const text = `\`exclude\` must name nodes of ${name}, got ${JSON.stringify(unknown)}`;
  throw new OptionError(`${text}\nHint: \`layers\` of a conversion without it (--json) has the names`, "exclude");
}

/** Tensors of FP32 that nodes give, and inputs. */
function floatsOf(tensors: ReadonlyMap<string, TensorInfo>): string[] {
  return [...tensors.values()].filter(({ dtype }) => dtype === "f32").map(({ name }) => name);
}

/**
 * Convert a model in memory.
 *
 * @throws {OptionError} If INT8 or FP8 is asked for without images
 * @throws {ModelError} If it is converted or quantised already, or there is nothing to convert
 */
export async function convertInMemory(request: ConversionRequest): Promise<ConvertedModel> {
  const { model, onnx, config, external } = request;
  const { precision, exclude } = config;
  refuseConverted(onnx, model, precision);
  refuseNotFinite(onnx, model, precision);
  // A calibration takes minutes.
  if (precision !== "fp16") refuseTooOld(onnx, PAIRS_OPSET, model.name);
  const before = [...onnx.graph.nodes];
  refuseUnknown(exclude, before, model);
  const tensors = await describeTensors(model);
  let calibration: Calibration | undefined;
  let unquantisedWhy: Quantisation["kept"] = new Map();
  let unfit: ReadonlySet<OnnxNode> = new Set();
  if (precision !== "fp16") {
    if (config.calibration === undefined) {
      const text = `${precision.toUpperCase()} needs \`calibration\`: images like those that the model will see`;
      throw new OptionError(`${text}\nHint: give a folder of 64 to 512 of them`, "calibration");
    }
    const how = { type: precision, tensors, source: model.name };
    const isNamed = (node: OnnxNode): boolean => exclude.includes(nodeName(node));
    const placement = placeIn(onnx, { ...how, exclude: isNamed });
    // Weights of INT8 have a fifth of the noise: biases are left as they are.
    const averaged = precision === "fp8" ? tensorsToAverage(placement) : [];
    calibration = request.calibration ?? (await calibrated(request, tensorsToCalibrate(placement), averaged));
    unfit = unfitLayers(placement, calibration.noise);
    const { unquantised } = request;
    // A budget is kept by what it measures.
    const isBounded = precision === "fp8" && config.maxLoss === undefined;
    if (isBounded) calibration = await withLayerNoise(request, calibration, new Set([...unfit].map(nodeName)));
    const noises = Object.entries((isBounded && calibration.layerNoise) || {});
    const loud = loudLayers(noises.filter(([name]) => !exclude.includes(name)));
    const quantisation = quantise(onnx, {
      ...how,
      exclude: (node) => {
        if (isNamed(node)) return true;
        if (unquantised?.has(nodeName(node)) === true) return "put back to stay within the loss that is allowed";
        if (loud.has(nodeName(node))) return "one of the layers that add most noise at the heads";
        return unfit.has(node) ? "its input has outliers that no scale fits" : undefined;
      },
      ...foundBy(calibration),
      forFloat16: true,
      ...(model.path === undefined ? {} : { readExternal: (tensor) => readExternalFloats(tensor, model.path!) }),
    });
    unquantisedWhy = quantisation.kept;
  } else if (config.calibration !== undefined) {
    calibration = await calibrated(request, floatsOf(tensors));
  } else {
    logger.info(`Converting ${model.name} without images: whether its tensors stay within FP16 was not checked`);
  }
  const float16 = toFloat16(onnx, {
    io: request.io ?? config.io,
    external,
    // What is not quantised is FP16 as the rest is.
    exclude: precision === "fp16" ? exclude : [],
    ...(precision === "fp16" && calibration !== undefined && { ranges: foundBy(calibration).ranges }),
    shapeOf: (name) => tensors.get(name)?.shape,
  });
  if (precision === "fp16" && float16.converted === 0) {
    const found = "none of its layers can be computed in FP16";
    throw new ModelError(message(`convert ${model.name}`, found), model.name);
  }
  markConverted(onnx, precision);
  const layers = layersOf(onnx, before, float16, unquantisedWhy);
  return { float16, layers, calibration, unfit: new Set([...unfit].map(nodeName)) };
}

/** Operators that move or name numbers, and are no layers. */
const NO_LAYERS: ReadonlySet<string> = new Set([
  "Cast",
  "Constant",
  "Shape",
  "Size",
  "Identity",
  "QuantizeLinear",
  "DequantizeLinear",
]);

/** What each node computes in. */
function layersOf(
  onnx: OnnxModel,
  before: readonly OnnxNode[],
  { kept }: Float16Conversion,
  unquantised: Quantisation["kept"],
): ConvertedLayer[] {
  const { graph } = onnx;
  const types = elementTypes(graph);
  const producers = graph.producers();
  const reasons = new Map(kept.map(({ node, reason }) => [node, reason]));
  const known = new Set(before);
  return graph.nodes.flatMap((node): ConvertedLayer[] => {
    const { op, inputs, outputs } = node;
    if (NO_LAYERS.has(op) || !known.has(node)) return [];
    const name = nodeName(node);
    const quantised = inputs.slice(0, 2).map((input) => quantisedBy(producers.get(input), types));
    const [first, second] = quantised;
    const isWeighted = inputs.length > 1 && /^(Conv|ConvTranspose|Gemm|MatMul)$/.test(op);
    if (first !== undefined && (!isWeighted || second === first)) return [{ name, op, type: first }];
    const type = types.get(outputs[0]!);
    const reason = reasons.get(node);
    const whyFloat = unquantised.get(node);
    if (type === "f16") return [{ name, op, type: "fp16", ...(whyFloat !== undefined && { reason: whyFloat }) }];
    if (type !== "f32") return [];
    const why = reason !== undefined && reason in FP32_REASONS ? FP32_REASONS[reason as keyof typeof FP32_REASONS] : "";
    return [{ name, op, type: "fp32", reason: why === "" ? reason : `${reason}: ${why}` }];
  });
}

/** What a dequantiser reads. */
function quantisedBy(node: OnnxNode | undefined, types: ReadonlyMap<string, string>): "int8" | "fp8" | undefined {
  if (node?.op !== "DequantizeLinear") return undefined;
  return types.get(node.inputs[0]!) === "f8e4m3fn" ? "fp8" : "int8";
}

/** Where the converted model goes. @throws {OptionError} If that is the model, its weights, or nowhere */
function outputOf({ path, bytes, source }: ModelFile, { output, precision }: ConvertConfig): string {
  if (path === undefined) {
    if (output !== undefined) return output;
    throw new OptionError("`output` is missing: a model from bytes has no place\nHint: name a file", "output");
  }
  const { dir, name } = parse(path);
  const place = output ?? join(dir, `${name}.${precision}.onnx`);
  const others = [source, ...externalDataPaths(bytes, path)];
  if (overwritten([place, `${place}.data`], others) === undefined) return place;
  throw new OptionError("`output` would overwrite the model or its weights\nHint: name another file", "output");
}

async function byteLengthOf(bytes: Uint8Array, path: string | undefined): Promise<number> {
  const files = path === undefined ? [] : externalDataPaths(bytes, path);
  return files.reduce((sum, file) => sum + Bun.file(file).size, bytes.length);
}

/** Convert, and where a loss is allowed, put layers back into float until it is kept. @throws {ModelError} If it cannot be */
async function withinLoss(
  requestFor: () => ConversionRequest,
  config: ConvertConfig,
): Promise<ConvertedModel & { readonly onnx: OnnxModel; readonly sensitivity?: Sensitivity }> {
  const first = requestFor();
  const converted = await convertInMemory(first);
  const { precision, maxLoss, signal } = config;
  const { calibration } = converted;
  const heldBack = calibration === undefined ? [] : heldBackOf(config, calibration);
  if (maxLoss === undefined || precision === "fp16" || calibration === undefined)
    return { onnx: first.onnx, ...converted };
  const { searchSensitivity } = await import("./sensitivity.ts");
  const convertWith = async (unquantised: ReadonlySet<string>): Promise<ConvertedModel & { onnx: OnnxModel }> => {
    if (unquantised.size === 0) return { onnx: first.onnx, ...converted };
    const request = { ...requestFor(), calibration, unquantised };
    return { onnx: request.onnx, ...(await convertInMemory(request)) };
  };
  const skipped = new Set(calibration.skipped);
  const { sensitivity, outcome } = await searchSensitivity({
    ...{ model: first.model, type: precision, config: { ...config, maxLoss }, unfit: converted.unfit },
    images: calibration.images.filter((image) => !skipped.has(image)),
    heldBack,
    ...foundBy(calibration),
    attempt: async (path, kept) => {
      const attempted = await convertWith(kept);
      const { onnx, float16 } = attempted;
      const isElsewhere = [...onnx.graph.initializers.values()].some(({ isExternal }) => isExternal);
      await writeModel(path, { onnx, pending: float16.pending, source: first.model.path, signal });
      // Weights of other files have now their place beside the attempt.
      return isElsewhere || float16.pending.length > 0 ? undefined : attempted;
    },
  });
  if (outcome !== undefined) return { ...outcome, sensitivity };
  const kept = sensitivity.layers.filter(({ isKept }) => isKept).map(({ name }) => name);
  const request = { ...requestFor(), calibration, unquantised: new Set(kept) };
  return { onnx: request.onnx, ...(await convertInMemory(request)), sensitivity };
}

/** Where the report goes. @throws {OptionError} If that is a file which is read or written otherwise */
function refuseReport({ report, annotations }: ConvertConfig, files: readonly string[]): void {
  if (report === undefined) return;
  const others = annotations === undefined ? files : [...files, annotations];
  const isOther = others.some((file) => resolve(file) === resolve(report));
  if (isOther || overwritten([report], others) !== undefined) {
    const text = "`report` would overwrite the model, its weights, its ranges or the annotations";
    throw new OptionError(`${text}\nHint: name another file`, "report");
  }
  openOutput(report).close();
}

/** Measure what a report says, on a copy of the model: its own place stays empty until all is done. */
async function measuredOf(
  { model, config }: ConversionRequest,
  { onnx, float16, calibration, sensitivity }: Awaited<ReturnType<typeof withinLoss>>,
): Promise<Measured> {
  const { measureConversion } = await import("./report.ts");
  const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-report-"));
  try {
    const converted = join(folder, "converted.onnx");
    await writeModel(converted, { onnx, pending: float16.pending, source: model.path, signal: config.signal });
    const { images = [], skipped = [], heldBack = [] } = calibration ?? {};
    const read = new Set(skipped);
    return await measureConversion({
      ...{ model: model.path ?? model.bytes, converted, heldBack, config, sensitivity },
      images: images.filter((image) => !read.has(image)),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Run a conversion from its source to the file. @throws as `convert` does */
export async function runConversion(source: ModelSource, options: ConvertOptions): Promise<Conversion> {
  const config = parseConvertOptions(options);
  const found = await modelSource(source);
  const file = await readModelFile(found.source);
  if (file.isPlan) {
    const text = message(`convert ${found.name}`, "it is a plan", "give the ONNX model that it was built of");
    throw new ModelError(text, found.name);
  }
  const path = outputOf(file, config);
  // A calibration of minutes is not to end in a folder that cannot be written.
  openOutput(path).close();
  const model = { bytes: file.bytes, name: found.name, path: file.path };
  const ranges = `${path}.calibration.json`;
  const weights = file.path === undefined ? [] : externalDataPaths(file.bytes, file.path);
  refuseReport(config, [file.source, ...weights, path, `${path}.data`, ranges]);
  const external = file.path === undefined ? "cast" : "pending";
  const requestFor = (): ConversionRequest => ({
    ...{ model, config, ranges, external },
    onnx: OnnxModel.read(file.bytes, found.name),
  });
  const converted = await withinLoss(requestFor, config);
  const { onnx, float16, layers, calibration, sensitivity } = converted;
  const measured = config.report === undefined ? undefined : await measuredOf(requestFor(), converted);
  const { signal, precision } = config;
  signal?.throwIfAborted();
  const before = await byteLengthOf(file.bytes, file.path);
  const after = await writeModel(resolve(path), {
    ...{ onnx, pending: float16.pending, source: file.path, signal },
    onProgress: (done, total) => config.onProgress?.({ phase: "write", done, total }),
  });
  const conversion: Conversion = {
    ...{ path, precision, byteLength: { before, after }, layers, casts: float16.casts },
    ...(sensitivity && { sensitivity }),
    ...(calibration && {
      calibration: {
        images: calibration.images.length - calibration.skipped.length,
        skipped: calibration.skipped,
        file: typeof config.calibration === "string" && isRangesFile(config.calibration) ? config.calibration : ranges,
      },
    }),
  };
  if (config.report === undefined || measured === undefined) return conversion;
  const { reportPage } = await import("./report.ts");
  const title = file.path === undefined ? found.name : basename(file.path);
  await writeFileWhole(config.report, reportPage({ title, conversion, measured }));
  const { drawn: _, ...said } = measured;
  return { ...conversion, report: { path: config.report, ...said } };
}
