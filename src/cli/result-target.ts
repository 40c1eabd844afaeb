/** @module ResultTarget: where a run of `detect` writes, opened and checked before anything is loaded. */

import { resolve } from "node:path";
import { BunTensorRtError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { overwritten } from "../core/stats-of.ts";
import { type Output, openOutput, openWholeOutput, prepareFolder } from "../core/whole-file.ts";
import { refuse } from "./args.ts";
import { categoryNumbers, checkImageNumbers, imageNumbers, readAnnotations } from "./coco-ids.ts";
import type { DetectArguments } from "./detect-flags.ts";
import { cocoFormat } from "./format-coco.ts";
import { jsonFormat, jsonLinesFormat } from "./format-json.ts";
import { tableFormat } from "./format-table.ts";
import { outputNames } from "./pictures.ts";
import { type ResultSink, textSink, yoloSink } from "./result-sink.ts";
import { localPath } from "./save-video.ts";
import { paintOf } from "./terminal.ts";

/** A place for results that is known to take them. Close it, or bind it with `using`. */
export interface ResultTarget extends Disposable {
  /**
   * The sink, once the model is loaded.
   *
   * @param labels the model's class names, by class id
   * @throws {BunTensorRtError} If none of them has a number in the annotations
   */
  sink(labels: readonly string[]): ResultSink;
}

/** A results file in the form that pycocotools scores; pictures are numbered at once, classes with the model. */
function cocoSink(
  output: Output,
  files: readonly string[],
  annotationsPath: string | undefined,
  isVideo: boolean,
): (labels: readonly string[]) => ResultSink {
  const annotations = annotationsPath === undefined ? undefined : readAnnotations(annotationsPath);
  const imageId = imageNumbers(annotations);
  if (!isVideo) checkImageNumbers(files, imageId);
  return (labels) => {
    const categoryId = categoryNumbers(annotations, labels);
    const missing = labels.filter((_, classId) => categoryId(classId) === undefined);
    if (annotations !== undefined && missing.length === labels.length) {
      const found = `none of the model's ${labels.length} class names is a category there`;
      throw new BunTensorRtError(
        message(`number classes by ${JSON.stringify(annotationsPath)}`, found, "check the file"),
      );
    }
    if (missing.length > 0) logger.warn(`Left out, as the annotations have no such category: ${missing.join(", ")}`);
    return textSink(output, cocoFormat({ imageId, categoryId }));
  };
}

function textFiles(folder: string, files: readonly string[]): (labels: readonly string[]) => ResultSink {
  prepareFolder(folder);
  const names = outputNames(files, (name) => name.replace(/\.[^./\\]*$/, ""));
  return () => yoloSink(resolve(folder), new Map(files.map((file, at) => [file, names[at]!])));
}

/** @throws {OptionError} If results would be written over what is read, by whatever name */
function checkOutput({ output, model, annotations }: DetectArguments, files: readonly string[]): void {
  if (output === undefined) return;
  const read = [...files.map(localPath), ...[model, annotations].filter((path) => path !== undefined)];
  if (overwritten([output], read) === undefined) return;
  const found = `${JSON.stringify(output)} would be written over, which is read`;
  throw refuse("detect", "output", found, "give another file");
}

/**
 * Open and check what results are written to.
 *
 * @param files          the pictures, to be numbered or to name text files after; videos, whose frames are numbered by
 * their index; none where they are not known yet
 * @param standardOutput where results go without `--output`; it stays open
 * @throws {OptionError} If it is a file that is read
 * @throws {BunTensorRtError} If the place cannot be written, or a picture cannot be numbered or named
 */
export function openTarget(
  args: DetectArguments,
  files: readonly string[],
  standardOutput: Output,
  kind: "pictures" | "videos" = "pictures",
): ResultTarget {
  if (args.format === "yolo") return { sink: textFiles(args.output!, files), [Symbol.dispose]: () => {} };
  checkOutput(args, files);
  const output = args.output === undefined ? standardOutput : openFile(args, args.output);
  const close = (): void => {
    if (output !== standardOutput) output.close();
  };
  try {
    return { sink: textSinkOf(args, files, output, kind), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Half an array is of no use to anyone; lines can be followed as they come. */
function openFile({ format }: DetectArguments, path: string): Output {
  return format === "json" || format === "coco" ? openWholeOutput(path) : openOutput(path);
}

function textSinkOf(
  { format, annotations }: DetectArguments,
  files: readonly string[],
  output: Output,
  kind: "pictures" | "videos",
): (labels: readonly string[]) => ResultSink {
  if (format === "coco") return cocoSink(output, files, annotations, kind === "videos");
  if (format === "json") return () => textSink(output, jsonFormat());
  if (format === "jsonl") return () => textSink(output, jsonLinesFormat());
  return () => textSink(output, tableFormat(paintOf(output.hasColour)));
}
