/** @module Compare command: two models beside each other. */

import { printable, printableJson } from "../../core/shown.ts";
import { plural } from "../../core/units.ts";
import { compare } from "../../precision/precision.ts";
import type { Comparison, TensorDifference, UnmatchedTensor } from "../../precision/precision-config.ts";
import type { ClassAgreement, ObjectAgreement } from "../../tasks/evaluate/evaluation.ts";
import type { ParsedArguments } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { Complaints } from "../images.ts";
import { findModel, isPlanFile, modelTitle } from "../load-detector.ts";
import { parseCompareFlags } from "../precision-flags.ts";
import { Progress } from "../progress.ts";
import { alignRows, type Paint, paintOf } from "../terminal.ts";

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
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
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
