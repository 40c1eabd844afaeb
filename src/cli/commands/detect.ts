/** @module Detect command: pictures in, boxes out. */

import { ImageError } from "../../core/errors.ts";
import { formatDuration } from "../../core/units.ts";
import type { Detector } from "../../detector/detector.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { detectAll } from "../detect-all.ts";
import { DETECT_FLAGS, type DetectArguments, parseDetectFlags } from "../detect-flags.ts";
import { findModel } from "../fetch-entry.ts";
import { plural } from "../format-table.ts";
import { loadDetector } from "../load-detector.ts";
import { expandPictures } from "../pictures.ts";
import { Progress } from "../progress.ts";
import type { PictureResult } from "../result-format.ts";
import { openTarget, type ResultTarget } from "../result-target.ts";
import { openSaver, type PictureSaver } from "../save-pictures.ts";
import { printable } from "../text-table.ts";

/** What a run came to. */
interface Tally {
  good: number;
  bad: number;
  objects: number;
}

/** Everything a run needs, checked. */
interface Run {
  readonly args: DetectArguments;
  readonly files: readonly string[];
  readonly target: ResultTarget;
  readonly saver: PictureSaver | undefined;
}

async function savePicture(
  saver: PictureSaver | undefined,
  picture: PictureResult,
  onBadPicture: (file: string, error: ImageError) => void,
): Promise<void> {
  try {
    await saver?.save(picture);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    onBadPicture(picture.file, error);
  }
}

async function detectFiles(detector: Detector, run: Run, { terminal, signal }: CommandContext): Promise<Tally> {
  const { args, files, target, saver } = run;
  const tally: Tally = { good: 0, bad: 0, objects: 0 };
  const isShown = !args.isQuiet && files.length > 1;
  const progress = isShown ? new Progress(terminal, "detect", "pictures") : undefined;
  const sink = target.sink(detector.labels);
  const onBadPicture = (_: string, error: Error): void => {
    tally.bad += 1;
    terminal.line(`${terminal.paint("red", "error:")} ${printable(error.message.split("\n", 1)[0]!)}`);
  };
  try {
    for await (const picture of detectAll(detector, files, { signal, onBadPicture })) {
      await sink.write(picture);
      await savePicture(saver, picture, onBadPicture);
      tally.good += 1;
      tally.objects += picture.result.detections.length;
      progress?.update(tally.good + tally.bad, files.length);
    }
  } finally {
    progress?.close();
  }
  await sink.finish();
  return tally;
}

/** `103 pictures, 868 objects in 12.3 s, 8.4 pictures/s` */
export function formatTally(good: number, objects: number, elapsedMs: number): string {
  const rate = `${(good / (elapsedMs / 1000)).toFixed(1)} pictures/s`;
  return `${plural(good, "picture")}, ${plural(objects, "object")} in ${formatDuration(elapsedMs)}, ${rate}`;
}

async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const args = parseDetectFlags(parsed);
  if (parsed.operands.length === 0) {
    throw refuse("detect", "file", "as it needs a file, a folder or a pattern", "bun-tensorrt detect street.jpg");
  }
  const files = expandPictures(parsed.operands);
  using target = openTarget(args, files, output);
  const saver = args.save === undefined ? undefined : openSaver(args.save, files);
  const model = await findModel(args.model, context);
  const look = { command: "detect", isQuiet: args.isQuiet };
  await using detector = await loadDetector(model, args.detector, context, look);

  const started = performance.now();
  const tally = await detectFiles(detector, { args, files, target, saver }, context);
  const done = tally.good + tally.bad;
  if (done < files.length) terminal.line(`Stopped after ${done} of ${plural(files.length, "picture")}`);
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(done, "picture")} could not be read`);
  if (!args.isQuiet && terminal.isTerminal && files.length > 1) {
    terminal.line(terminal.paint("dim", formatTally(tally.good, tally.objects, performance.now() - started)));
  }
  return tally.bad > 0 || signal.aborted ? EXIT_FAILED : EXIT_OK;
}

/** `detect`. */
export const detect: Command = {
  name: "detect",
  summary: "Find the objects in pictures.",
  usage: ["detect <file|folder|pattern>... [flags]"],
  flags: DETECT_FLAGS,
  notes: [
    "A folder stands for the pictures in it; for those below it pass a pattern in quotes: 'photos/**'.",
    "Boxes are x1, y1, x2, y2 in pixels of the picture. Formats:",
    "  table  for people",
    "  json   one array of {file, width, height, detections: [{label, classId, score, box}], dropped, timing (ms)}",
    "  jsonl  the same, one picture a line, as soon as it is done",
    "  coco   [{image_id, category_id, bbox: [x, y, w, h], score}], which pycocotools scores; without --annotations",
    "         a picture's id is the last number in its name",
    "  yolo   one text file a picture in the folder of --output: class cx cy w h score, as fractions of the picture",
    "On a GPU an engine is built for an ONNX model when it first runs there, and kept; `build` does that ahead, with all",
    "its flags. A .plan or .engine file runs as it is.",
    "A picture that cannot be read is told of on standard error, and the others are done; the exit code is then 1.",
  ],
  examples: [
    "detect street.jpg",
    "detect photos --save out",
    "detect 'photos/**' --format jsonl --classes person,dog | head",
    "detect val2017 --threshold 0.001 --format coco --annotations instances_val2017.json --output results.json",
  ],
  run,
};
