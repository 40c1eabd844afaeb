/** @module Val command: how well a model does on a dataset; with `--track`, how good files of tracks are beside the truth. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { DetectorOptions } from "../../api/detector-config.ts";
import { type EvaluatedModel, evaluate } from "../../api/evaluate.ts";
import { anyDetector } from "../../api/model.ts";
import { Classifier } from "../../api/whole-image-models.ts";
import { BunTensorRtError, ModelError, message } from "../../core/errors.ts";
import { printable, printableJson } from "../../core/log.ts";
import { statsOf } from "../../core/paths.ts";
import { OBJECT_TASKS } from "../../heads/traits.ts";
import { isClassFolder } from "../../tasks/evaluate/dataset.ts";
import type { Evaluation } from "../../tasks/evaluate/evaluation.ts";
import {
  addCounts,
  countTracks,
  type MotRows,
  parseMot,
  type TrackCounts,
  type TrackScores,
  trackScores,
} from "../../track/mot-measures.ts";
import type { ParsedArguments } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { closeAfter } from "../detect-images.ts";
import { findModel, loadModel, modelTitle } from "../load-detector.ts";
import { Complaints, formatImages, tellEnd } from "../operands.ts";
import { alignRows, type Paint, Progress, paintOf } from "../terminal.ts";
import {
  classifierOptions,
  detectorOptions,
  parseTrackFlags,
  parseValFlags,
  type ValTrackArguments,
} from "../val-flags.ts";

/** One file of tracks, and that of its truth. */
interface Sequence {
  readonly name: string;
  readonly tracks: string;
  readonly truth: string;
}

const HINT = "the truth of tracks/A.txt is A.txt, A/gt.txt or A/gt/gt.txt in the folder of --data";

function isFolder(path: string): boolean {
  return statsOf(path)?.isDirectory() === true;
}

/** Which files are compared. @throws {BunTensorRtError} If there are none, or one has no truth */
function sequencesOf({ track, data }: ValTrackArguments): Sequence[] {
  if (!isFolder(track)) {
    if (isFolder(data)) throw noTruth(track, `${JSON.stringify(data)} is a folder`, "give the file with --data");
    return [{ name: basename(track).replace(/\.[^.]*$/, ""), tracks: track, truth: data }];
  }
  const names = readdirSync(track)
    .filter((name) => name.endsWith(".txt"))
    .map((name) => name.slice(0, -4))
    .sort();
  if (names.length === 0) throw noTruth(track, "it has no .txt file", HINT);
  return names.map((name) => {
    const places = [`${name}.txt`, `${name}/gt.txt`, `${name}/gt/gt.txt`].map((place) => join(data, place));
    const truth = places.find((place) => existsSync(place));
    if (truth === undefined)
      throw noTruth(join(track, `${name}.txt`), `${JSON.stringify(data)} has no truth for it`, HINT);
    return { name, tracks: join(track, `${name}.txt`), truth };
  });
}

function noTruth(file: string, found: string, hint: string): BunTensorRtError {
  return new BunTensorRtError(message(`score the tracks ${JSON.stringify(file)}`, found, hint));
}

function readMot(path: string): MotRows {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new BunTensorRtError(message(`read the tracks of ${JSON.stringify(path)}`, (cause as Error).message), {
      cause,
    });
  }
  return parseMot(text, path);
}

const RATIOS = ["HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1"] as const satisfies (keyof TrackScores)[];
const COUNTS = ["objects", "TP", "FP", "FN", "IDSW", "Frag", "MT", "ML"] as const satisfies (keyof TrackScores)[];

/** Score the tracks, and write how good they are. @throws {BunTensorRtError} If a file is missing or broken */
async function scoreFiles(args: ValTrackArguments, { output }: CommandContext): Promise<void> {
  const scored = sequencesOf(args).map(({ name, tracks, truth }) => ({
    name,
    counts: countTracks(readMot(truth), readMot(tracks)),
  }));
  const all = scored.map(({ counts }) => counts) as [TrackCounts, ...TrackCounts[]];
  const metrics = trackScores(addCounts(all));
  const sequences = scored.map(({ name, counts }) => ({ name, ...trackScores(counts) }));
  if (args.json) {
    await output.write(`${printableJson({ tracks: args.track, data: args.data, metrics, sequences }, 2)}\n`);
    return;
  }
  const paint = paintOf(output.hasColour);
  const rows = [...(sequences.length > 1 ? [{ name: "all", ...metrics }] : []), ...sequences].map((row) => [
    paint("cyan", printable(row.name)),
    ...RATIOS.map((key) => row[key].toFixed(3)),
    ...COUNTS.map((key) => String(row[key])),
  ]);
  const head = ["sequence", ...RATIOS, ...COUNTS].map((title) => paint("dim", title));
  await output.write(
    `${alignRows(
      [head, ...rows],
      head.map((_, at) => (at === 0 ? "left" : "right")),
    ).join("\n")}\n`,
  );
}

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
function formatEvaluation(evaluation: Evaluation, paint: Paint): string {
  if (evaluation.task === "classify") {
    const { images, top1, top5, classes } = evaluation;
    return tableOf("class", "images", { images, top1, top5 }, classes, paint);
  }
  const tables = Object.entries(evaluation.metrics).map(([name, { classes, ...all }]) =>
    tableOf(name, "objects", all, classes, paint),
  );
  return tables.join("\n");
}

/** Names of what finds objects. */
const OBJECT_FACADES = ["Detector", ...Object.values(OBJECT_TASKS).map(({ facade }) => facade)];

/** What is said where the model and the dataset are of different kinds; any other error as it is. */
function mismatch(error: unknown, data: string, isClasses: boolean): unknown {
  if (!(error instanceof ModelError) || error.facade === undefined) return error;
  const isOther = isClasses ? OBJECT_FACADES.includes(error.facade) : error.facade === "Classifier";
  if (!isOther) return error;
  const [found, hint] = isClasses
    ? ["it finds objects, and the folders of the dataset are classes", "COCO annotations, or a data.yaml"]
    : ["it is a classifier, and the dataset is of objects", "a folder with a folder of images for each class"];
  const text = message(`score ${error.source} on ${JSON.stringify(data)}`, found, `give --data ${hint}`);
  return new ModelError(text, error.source, { cause: error });
}

/** Run `val`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const tracks = parseTrackFlags(parsed);
  if (tracks !== undefined) {
    await scoreFiles(tracks, context);
    return EXIT_OK;
  }
  const { terminal, output, signal } = context;
  const { model: word, data, images, split, json, isQuiet } = parseValFlags(parsed);
  const complaints = new Complaints(terminal);
  const isClasses = isClassFolder(data);
  const options = isClasses ? classifierOptions(parsed) : detectorOptions(parsed);
  const path = await findModel(word, context);
  const facade = (isClasses ? Classifier : anyDetector) as {
    load: (path: string, given: object) => Promise<EvaluatedModel>;
  };
  await using model = await loadModel(facade, path, options, context, isQuiet).catch((error: unknown) => {
    throw mismatch(error, data, isClasses);
  });
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
  const tally = { good: evaluation.images, bad: complaints.count };
  tellEnd(terminal, "scored", { images: tally }, summary === undefined ? {} : { summary });
  return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
}
