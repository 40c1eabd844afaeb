/** @module Precision commands: `convert`, a model of FP32 in, one of FP16, INT8 or FP8 out; `compare`, two models beside each other. */

import { existsSync } from "node:fs";
import { BunTensorRtError } from "../../core/errors.ts";
import { printable, printableJson } from "../../core/log.ts";
import { formatBytes, plural } from "../../core/units.ts";
import { Device } from "../../cuda/device.ts";
import { compare, convert } from "../../precision/precision.ts";
import type {
  Comparison,
  Conversion,
  Sensitivity,
  TensorDifference,
  UnmatchedTensor,
} from "../../precision/precision-config.ts";
import type { ClassAgreement, ObjectAgreement } from "../../tasks/evaluate/evaluation.ts";
import { warnOfSlowFp8 } from "../../tensorrt/fp16-network.ts";
import { openTensorRt } from "../../tensorrt/library.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { findModel, isPlanFile, modelTitle } from "../load-detector.ts";
import { Complaints } from "../operands.ts";
import { parseCompareFlags, parseConvertFlags } from "../precision-flags.ts";
import { alignRows, type Paint, Progress, paintOf } from "../terminal.ts";

/** `fp16: 12.3 MiB to 6.23 MiB; 223 layers in fp16, 8 in fp32 (8 box arithmetic), 4 casts`. Pure. */
function formatConversion({ precision, byteLength, layers, casts, calibration }: Conversion): string {
  const counts = new Map<string, number>();
  const reasons = new Map<string, number>();
  for (const { type, reason } of layers) {
    counts.set(type, (counts.get(type) ?? 0) + 1);
    const [short] = type === "fp32" ? (reason?.split(":", 1) ?? []) : [];
    if (short !== undefined) reasons.set(short, (reasons.get(short) ?? 0) + 1);
  }
  const why = [...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ");
  const types = [...counts].map(([type, count], at) => {
    const named = at === 0 ? `${plural(count, "layer")} in ${type}` : `${count} in ${type}`;
    return type === "fp32" && why !== "" ? `${named} (${why})` : named;
  });
  const size = `${formatBytes(byteLength.before)} to ${formatBytes(byteLength.after)}`;
  const skipped = calibration?.skipped.length ?? 0;
  const images = calibration && `; ${plural(calibration.images, "image")}${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return `${precision}: ${size}; ${types.join(", ")}; ${plural(casts, "cast")}${images ?? ""}`;
}

/** `loss 0.0312 with all layers quantised, 0.0080 of 0.01 allowed with 5 in float: /model.2 (4 layers, 0.0210), conv1 21.3 dB, …`. Pure. */
function formatSensitivity({ lossBefore, loss, maxLoss, layers, blocks }: Sensitivity): string {
  const kept = layers.filter(({ isKept }) => isKept);
  const before = `loss ${lossBefore.toFixed(4)} with all layers quantised`;
  if (kept.length === 0) return `${before}, of ${maxLoss} allowed`;
  const together = blocks.filter(({ isKept }) => isKept);
  const inBlocks = new Set(together.flatMap((block) => block.layers));
  const named = [
    ...together.map((one) => `${printable(one.name)} (${plural(one.layers.length, "layer")}, ${one.cost.toFixed(4)})`),
    ...kept
      .filter(({ name }) => !inBlocks.has(name))
      .map(({ name, sqnr }) => `${printable(name)} ${sqnr.toFixed(1)} dB`),
  ].join(", ");
  return `${before}, ${loss.toFixed(4)} of ${maxLoss} allowed with ${kept.length} in float: ${named}`;
}

/** Say it where this machine would run FP8 slower than FP16. */
function warnOfFp8Here(): void {
  try {
    using device = Device.open();
    warnOfSlowFp8(openTensorRt(), device);
  } catch (error) {
    // Without TensorRT or a GPU there is nothing to say of them.
    if (!(error instanceof BunTensorRtError)) throw error;
  }
}

/** Run `convert`. @returns the exit code */
export async function convertModel(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { options, isJson, isQuiet } = parseConvertFlags(parsed);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `Expected one model, got ${parsed.operands.length}`;
    throw refuse("model", found, "bunx bun-tensorrt convert yolo11n --precision fp16");
  }
  const path = await findModel(word, context);
  const title = modelTitle(path);
  // Of a model from elsewhere the place is a cache.
  const place = existsSync(word) ? options.output : (options.output ?? `${title}.${options.precision}.onnx`);
  const complaints = new Complaints(terminal);
  let phase = "";
  let progress: Progress | undefined;
  try {
    const conversion = await convert(path, {
      ...options,
      output: place,
      signal,
      onError: (error) => complaints.tell(error),
      onProgress: (state) => {
        if (isQuiet) return;
        if (state.phase !== phase) {
          progress?.close();
          const unit = state.phase === "write" ? "bytes" : "images";
          progress = new Progress(terminal, state.phase === "rank" ? `${title}, layers ranked` : title, unit);
          ({ phase } = state);
        }
        progress?.update(state.done, state.total);
      },
    });
    progress?.close();
    if (!isQuiet) terminal.line(terminal.paint("dim", formatConversion(conversion)));
    if (!isQuiet && conversion.sensitivity !== undefined) terminal.line(formatSensitivity(conversion.sensitivity));
    if (!isQuiet && conversion.report !== undefined) terminal.line(`Report: ${printable(conversion.report.path)}`);
    if (options.precision === "fp8") warnOfFp8Here();
    await output.write(isJson ? `${printableJson(conversion, 2)}\n` : `${conversion.path}\n`);
    return EXIT_OK;
  } finally {
    progress?.close();
  }
}

/** Layers that are shown: those that differ most. */
const MOST_LAYERS = 20;

/** A number that may be very small. */
function numberOf(value: number): string {
  if (Number.isNaN(value)) return "-";
  if (value === 0 || !Number.isFinite(value)) return String(value);
  return Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(4);
}

function tensorTable(title: string, tensors: readonly TensorDifference[], paint: Paint): string {
  const head = [title, "shape", "max", "mean", "relative", "cosine", "SQNR dB"].map((name) => paint("dim", name));
  const rows = tensors.map(({ name, shape, max, mean, relative, cosine, sqnr, nonFinite }) => [
    paint("cyan", printable(name)),
    shape.join("x"),
    numberOf(max),
    numberOf(mean),
    numberOf(relative),
    cosine.toFixed(6),
    `${sqnr.toFixed(1)}${nonFinite > 0 ? ` (${nonFinite} not finite)` : ""}`,
  ]);
  return alignRows([head, ...rows], ["left", ...head.slice(1).map(() => "right" as const)]).join("\n");
}

function agreementLines(agreement: ObjectAgreement | ClassAgreement): string[] {
  if (agreement.kind === "classes") {
    return [`first class equal ${agreement.top1.toFixed(4)}, among the first five ${agreement.top5.toFixed(4)}`];
  }
  const { matched, onlyFirst, onlySecond, iou, scoreChange, ap } = agreement;
  const figures = Object.entries(ap).map(([name, value]) => `${name} ${Number.isNaN(value) ? "-" : value.toFixed(4)}`);
  return [
    `objects ${matched} matched, ${onlyFirst} only in the first, ${onlySecond} only in the second; ` +
      `mean IoU ${numberOf(iou)}, largest change of a score ${numberOf(scoreChange)}`,
    `mAP of the second by the first: ${figures.join(", ")}`,
  ];
}

/** Tables for people. Pure. */
function formatComparison({ models, images, outputs, unmatched, layers, agreement }: Comparison, paint: Paint): string {
  const [first, second] = models.map(({ name, backend }) => `${printable(name)} (${backend})`);
  const blocks = [`${first} and ${second}, ${plural(images, "image")}`];
  if (outputs.length > 0) blocks.push(tensorTable("output", outputs, paint));
  if (unmatched.length > 0) {
    const lineOf = ({ name, reason }: UnmatchedTensor): string => `${printable(name)} is not compared: ${reason}`;
    blocks.push(unmatched.map(lineOf).join("\n"));
  }
  if (layers !== undefined) {
    const worst = layers.toSorted((a, b) => a.sqnr - b.sqnr).slice(0, MOST_LAYERS);
    const title = layers.length > MOST_LAYERS ? `worst ${MOST_LAYERS} of ${layers.length} layers` : "layer";
    blocks.push(layers.length === 0 ? "no layer has the same name in both" : tensorTable(title, worst, paint));
  }
  if (agreement !== undefined) blocks.push(agreementLines(agreement).join("\n"));
  return `${blocks.join("\n\n")}\n`;
}

/** Where a model runs: a plan on the GPU, unless another was said. */
async function backendFor(path: string, backend: string | undefined): Promise<{ readonly backend?: string }> {
  return backend === "auto" && (await isPlanFile(path)) ? { backend: "gpu" } : {};
}

/** Run `compare`. @returns the exit code */
export async function compareModels(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const { models, options, first, second, isJson, isQuiet } = parseCompareFlags(parsed);
  const paths = [await findModel(models[0], context), await findModel(models[1], context)] as const;
  const complaints = new Complaints(terminal);
  const progress = isQuiet ? undefined : new Progress(terminal, "compare", "images");
  let comparison: Comparison;
  try {
    comparison = await compare(paths[0], paths[1], {
      ...options,
      first: { ...first, ...(await backendFor(paths[0], first.backend)), signal },
      second: { ...second, ...(await backendFor(paths[1], second.backend)), signal },
      signal,
      onProgress: (done, total) => progress?.update(done, total),
      onError: (error) => complaints.tell(error),
    });
  } finally {
    progress?.close();
  }
  const titles = comparison.models.map((model, at) => ({ ...model, name: modelTitle(paths[at]!) }));
  const shown = { ...comparison, models: titles as unknown as Comparison["models"] };
  if (isJson) await output.write(`${printableJson(shown, 2)}\n`);
  else await output.write(formatComparison(shown, paintOf(output.hasColour)));
  if (!isQuiet && !comparison.isWithin) terminal.line("The models differ by more than was allowed.");
  return complaints.count > 0 || !comparison.isWithin ? EXIT_FAILED : EXIT_OK;
}
