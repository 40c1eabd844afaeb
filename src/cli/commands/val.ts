/** @module Val command: how well a model does on a dataset. */

import { Classifier } from "../../api/classifier.ts";
import type { DetectorOptions } from "../../api/detector-config.ts";
import { type EvaluatedModel, evaluate } from "../../api/evaluate.ts";
import { anyDetector } from "../../api/model.ts";
import { printable, printableJson } from "../../core/shown.ts";
import { isClassFolder } from "../../tasks/evaluate/dataset.ts";
import type { Evaluation } from "../../tasks/evaluate/evaluation.ts";
import type { ParsedArguments } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { closeAfter } from "../detect-images.ts";
import { Complaints, formatImages, tellEnd } from "../images.ts";
import { findModel, loadModel, modelTitle } from "../load-detector.ts";
import { Progress } from "../progress.ts";
import { alignRows, type Paint, paintOf } from "../terminal.ts";
import { classifierOptions, detectorOptions, parseValFlags } from "../val-flags.ts";

function cellOf(value: unknown): string {
  return typeof value !== "number" || Number.isNaN(value) ? "-" : value.toFixed(3);
}

/**
 * A table of one kind of figures.
 *
 * @param counted the column that counts
 * @param all     figures over all classes; keys are columns
 * @param classes figures of each
 */
function tableOf(title: string, counted: string, all: object, classes: readonly object[], paint: Paint): string {
  const columns = Object.keys(all).filter((key) => key !== counted);
  const rows = [{ ...all, label: "all" }, ...classes].map((row) => {
    const values: Readonly<Record<string, unknown>> = { ...row };
    const name = paint("cyan", printable(String(values.label)));
    return [name, String(values[counted]), ...columns.map((column) => cellOf(values[column]))];
  });
  const head = [title, counted, ...columns].map((name) => paint("dim", name));
  const alignments = head.map((_, at) => (at === 0 ? "left" : "right"));
  return `${alignRows([head, ...rows], alignments).join("\n")}\n`;
}

/** Tables for people. Pure. */
export function formatEvaluation(evaluation: Evaluation, paint: Paint): string {
  if (evaluation.task === "classify") {
    const { images, top1, top5, classes } = evaluation;
    return tableOf("class", "images", { images, top1, top5 }, classes, paint);
  }
  const tables = Object.entries(evaluation.metrics).map(([name, { classes, ...all }]) =>
    tableOf(name, "objects", all, classes, paint),
  );
  return tables.join("\n");
}

/** Run `val`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const { model: word, data, images, split, json, isQuiet } = parseValFlags(parsed);
  const complaints = new Complaints(terminal);
  const isClasses = isClassFolder(data);
  const options = isClasses ? classifierOptions(parsed) : detectorOptions(parsed);
  const path = await findModel(word, context);
  const facade = (isClasses ? Classifier : anyDetector) as {
    load: (path: string, given: object) => Promise<EvaluatedModel>;
  };
  await using model = await loadModel(facade, path, options, context, isQuiet);
  closeAfter(signal, model);

  const started = performance.now();
  const progress = isQuiet ? undefined : new Progress(terminal, "val", "images");
  let evaluation: Evaluation;
  try {
    const { threshold, classes } = options as DetectorOptions;
    const given = Object.entries({ images, split, threshold, classes }).filter(([, value]) => value !== undefined);
    evaluation = await evaluate(model, data, {
      ...Object.fromEntries(given),
      signal,
      onProgress: (done, total) => progress?.update(done, total),
      onError: (error) => complaints.tell(error),
    });
  } finally {
    progress?.close();
  }
  const title = { model: modelTitle(path), data };
  if (json) await output.write(`${printableJson({ ...title, ...evaluation }, 2)}\n`);
  else await output.write(formatEvaluation(evaluation, paintOf(output.hasColour)));
  const summary = !isQuiet && terminal.isTerminal ? formatImages(evaluation.images, started) : undefined;
  tellEnd(terminal, "scored", { good: evaluation.images, bad: complaints.count }, undefined, summary);
  return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
}
