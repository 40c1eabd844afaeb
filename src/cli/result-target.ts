/** @module ResultTarget: where a run of `detect` or `classify` writes, opened and checked before anything is loaded. */

import { dirname, join, resolve } from "node:path";
import { BunTensorRtError, ImageError, message } from "../core/errors.ts";
import { logger } from "../core/log.ts";
import { overwritten } from "../core/paths.ts";
import { plural } from "../core/units.ts";
import {
  isNameTooLong,
  type Output,
  openOutput,
  openWholeOutput,
  prepareFolder,
  writeFileWhole,
} from "../core/whole-file.ts";
import type { ImageSource } from "../image/source.ts";
import type { ResultForms } from "../tasks/task-result.ts";
import { motLine } from "../track/mot-measures.ts";
import { objectsOf } from "../track/tracked-stream.ts";
import { refuse } from "./args.ts";
import type { DetectArguments } from "./detect-flags.ts";
import {
  categoryNumbers,
  checkImageNumbers,
  cocoFormat,
  csvFormat,
  type FramePlace,
  frameName,
  type ImageResult,
  imageNumbers,
  jsonFormat,
  jsonLinesFormat,
  type ResultFormat,
  readAnnotations,
  tableFormat,
} from "./formats.ts";
import { type Complaints, type Count, fileStem, type Inputs, isFolder, outputNames, type Tally } from "./operands.ts";
import { type ImageSaver, localPath, pixelsOf } from "./save.ts";
import { type Progress, paintOf } from "./terminal.ts";

/** A place for results that is known to take them. Close it, or bind it with `using`. */
export interface ResultTarget extends Disposable {
  /** @throws {BunTensorRtError} If none of the labels has a number in the annotations */
  readonly sink: SinkOf;
}

/** What is read, and whether results carry their place in it. */
type NumberedInputs = Inputs & { readonly isNumbered: boolean };

/** The sink, once the model is loaded. @param labels the model's class names, by class id */
type SinkOf = (forms: ResultForms, labels: readonly string[]) => ResultSink;

/** A results file in the form that pycocotools scores; images are numbered at once, classes with the model. */
function cocoSink(
  output: Output,
  files: readonly string[],
  { annotations: annotationsPath, masks }: Pick<TargetArguments, "annotations" | "masks">,
  isNumbered: boolean,
): SinkOf {
  const annotations = annotationsPath === undefined ? undefined : readAnnotations(annotationsPath);
  const imageId = imageNumbers(annotations);
  if (!isNumbered) checkImageNumbers(files, imageId);
  return (forms, labels) => {
    const categoryId = categoryNumbers(annotations, labels);
    const missing = labels.filter((_, classId) => categoryId(classId) === undefined);
    if (annotations !== undefined && missing.length === labels.length) {
      const found = `none of the model's ${plural(labels.length, "class name")} is a category there`;
      throw new BunTensorRtError(
        message(`number classes by ${JSON.stringify(annotationsPath)}`, found, "check the file"),
      );
    }
    if (missing.length > 0)
      logger.warn(`Skipped classes that are no category of the annotations: ${missing.join(", ")}`);
    return textSink(output, cocoFormat(forms, { imageId, categoryId, masks }));
  };
}

/** One text file an image or a frame; one that was not known before goes by its own name. */
function textFiles(folder: string, { images, videos }: Inputs, hasScores: boolean): SinkOf {
  prepareFolder(folder);
  const root = resolve(folder);
  const stemsOf = (files: readonly string[]): [file: string, stem: string][] => {
    const names = outputNames(files, (name) => name.replace(/\.[^./\\]*$/, ""));
    return files.map((file, at) => [file, names[at]!]);
  };
  // A frame has its number: it may share its name with an image.
  const stems = new Map([...stemsOf(images), ...stemsOf(videos)]);
  return (forms) => ({
    async write({ file, result, frame }) {
      const stem = stems.get(file) ?? fileStem(file);
      const name = frame === undefined ? stem : frameName(stem, frame.index);
      await writeFileWhole(join(root, `${name}.txt`), forms.yolo(result, hasScores));
    },
    async finish() {},
  });
}

/** The name of an image in DOTA's files, whose columns blanks separate. @throws {BunTensorRtError} If it has one */
function dotaName(file: string, frame?: FramePlace): string {
  const name = frame === undefined ? fileStem(file) : frameName(fileStem(file), frame.index);
  if (!/\s/.test(name)) return name;
  const found = "its name has a blank, and blanks separate the columns there";
  throw new BunTensorRtError(message(`write ${JSON.stringify(file)} into DOTA's files`, found, "rename it"));
}

/** @throws {BunTensorRtError} If two files have the same name there */
function refuseTwins(files: readonly string[]): void {
  const names = files.map((file) => dotaName(file));
  const twice = names.findIndex((name, at) => names.indexOf(name) !== at);
  if (twice < 0) return;
  const found = `${JSON.stringify(files[names.indexOf(names[twice]!)])} has that name, too`;
  throw new BunTensorRtError(message(`write ${JSON.stringify(files[twice])} into DOTA's files`, found, "rename one"));
}

/** Files of a folder, each opened when it is first asked for. */
class OutputFiles implements Disposable {
  readonly #folder: string;
  readonly #open: (path: string) => Output;
  readonly #outputs = new Map<string, Output>();

  constructor(folder: string, open: (path: string) => Output) {
    prepareFolder(folder);
    this.#folder = folder;
    this.#open = open;
  }

  /** @param name below the folder */
  at(name: string): Output {
    const known = this.#outputs.get(name);
    if (known !== undefined) return known;
    const path = join(this.#folder, name);
    prepareFolder(dirname(path));
    const output = this.#open(path);
    this.#outputs.set(name, output);
    return output;
  }

  async finish(): Promise<void> {
    for (const output of this.#outputs.values()) await output.finish();
  }

  [Symbol.dispose](): void {
    for (const output of this.#outputs.values()) output.close();
  }
}

/** DOTA's Task1 files: one a class, also where nothing was found of it. */
function dotaFiles(folder: string, { images, videos }: Inputs): ResultTarget {
  for (const files of [images, videos]) refuseTwins(files);
  const outputs = new OutputFiles(folder, openWholeOutput);
  const outputOf = (label: string): Output => outputs.at(`Task1_${label.replace(/[^\p{L}\p{N}._-]/gu, "-")}.txt`);
  return {
    sink(forms, labels) {
      if (forms.dota === undefined) {
        const hint = "choose json or yolo, or a model of oriented boxes";
        throw refuse("format", "--format dota writes oriented boxes, and the model gives none", hint);
      }
      for (const label of labels) outputOf(label);
      return {
        async write({ file, result, frame }) {
          const name = dotaName(file, frame);
          for (const { label, line } of forms.dota!(result)) await outputOf(label).write(`${name} ${line}\n`);
        },
        finish: () => outputs.finish(),
      };
    },
    [Symbol.dispose]: () => outputs[Symbol.dispose](),
  };
}

/** Tracks as the MOT challenge writes them: one file a video, also where nothing was found in it. */
function motFiles(folder: string, { videos }: Inputs): ResultTarget {
  const outputs = new OutputFiles(resolve(folder), openOutput);
  const stems = outputNames(videos, (name) => name.replace(/\.[^./\\]*$/, ""));
  const outputOf = new Map(videos.map((file, at) => [file, outputs.at(`${stems[at]}.txt`)]));
  return {
    sink: () => ({
      async write({ file, result, frame }) {
        for (const object of objectsOf(result)) await outputOf.get(file)?.write(motLine(frame!.index + 1, object));
      },
      finish: () => outputs.finish(),
    }),
    [Symbol.dispose]: () => outputs[Symbol.dispose](),
  };
}

/** Formats of which each video may have a file of its own, and how that ends. */
const OWN_FILES: Readonly<Partial<Record<DetectArguments["format"], string>>> = {
  table: ".txt",
  json: ".json",
  jsonl: ".jsonl",
  csv: ".csv",
};

/** A file for each video, in a folder. */
function ownFiles(args: TargetArguments, folder: string, source: NumberedInputs): ResultTarget {
  const outputs = new OutputFiles(folder, (path) => openFile(args, path));
  return {
    sink(forms, labels) {
      const sinks = new Map<string, ResultSink>();
      const sinkOf = (name: string): ResultSink => {
        const output = outputs.at(`${name}${OWN_FILES[args.format]}`);
        const sink = sinks.get(name) ?? textSinkOf(args, source, output)(forms, labels);
        sinks.set(name, sink);
        return sink;
      };
      return {
        write: (image) => sinkOf(image.name ?? fileStem(image.file)).write(image),
        async finish() {
          for (const sink of sinks.values()) await sink.finish();
        },
      };
    },
    [Symbol.dispose]: () => outputs[Symbol.dispose](),
  };
}

/** What is said of where results go. */
type TargetArguments = Pick<DetectArguments, "output" | "model" | "format"> &
  Partial<Pick<DetectArguments, "annotations" | "masks" | "draw">>;

/** @throws {OptionError} If results would be written over what is read, by whatever name */
function checkOutput({ output, model, annotations }: TargetArguments, files: readonly string[]): void {
  if (output === undefined) return;
  const read = [...files.map(localPath), ...[model, annotations].filter((path) => path !== undefined)];
  if (overwritten([output], read) === undefined) return;
  const found = `--output would overwrite a file that is read: ${JSON.stringify(output)}`;
  throw refuse("output", found, "give another file");
}

/**
 * Open and check what results are written to.
 *
 * @param source         the images, to be numbered or to name text files after; videos, whose frames are numbered by
 * their index; none where they are not known yet
 * @param standardOutput where results go without `--output`; it stays open
 * @throws {OptionError} If it is a file that is read
 * @throws {BunTensorRtError} If the place cannot be written, or an image cannot be numbered or named
 */
export function openTarget(args: TargetArguments, source: NumberedInputs, standardOutput: Output): ResultTarget {
  if (args.format === "yolo") {
    return { sink: textFiles(args.output!, source, args.draw?.scores !== false), [Symbol.dispose]: () => {} };
  }
  if (args.format === "dota") return dotaFiles(args.output!, source);
  if (args.format === "mot") return motFiles(args.output!, source);
  const { output: folder, format } = args;
  const isOfVideos = source.videos.length > 0 && source.images.length === 0 && OWN_FILES[format] !== undefined;
  if (folder !== undefined && isOfVideos && isFolder(folder)) return ownFiles(args, folder, source);
  checkOutput(args, [...source.images, ...source.videos]);
  const output = args.output === undefined ? standardOutput : openFile(args, args.output);
  const close = (): void => {
    if (output !== standardOutput) output.close();
  };
  try {
    return { sink: textSinkOf(args, source, output), [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Half an array is of no use to anyone; lines can be followed as they come. */
function openFile({ format }: TargetArguments, path: string): Output {
  return format === "json" || format === "coco" ? openWholeOutput(path) : openOutput(path);
}

function textSinkOf(
  { format, annotations, masks }: TargetArguments,
  { images, isNumbered }: NumberedInputs,
  output: Output,
): SinkOf {
  if (format === "coco") return cocoSink(output, images, { annotations, masks }, isNumbered);
  if (format === "json") return (forms) => textSink(output, jsonFormat(forms, masks));
  if (format === "jsonl") return (forms) => textSink(output, jsonLinesFormat(forms, masks));
  if (format === "csv") return (forms) => textSink(output, csvFormat(forms, isNumbered));
  return (forms) => textSink(output, tableFormat(forms, paintOf(output.hasColour)));
}

/** Takes the results of one run. */
interface ResultSink {
  write(image: ImageResult): Promise<void>;
  /** Write what ends the whole. */
  finish(): Promise<void>;
}

/** Rows of a text format into one output. What has been written, ended by `finish`, is always a valid whole. */
export function textSink(output: Output, format: ResultFormat): ResultSink {
  let hasRows = false;
  return {
    async write(image) {
      const rows = format.rows(image);
      if (rows.length === 0) return;
      await output.write((hasRows ? format.separator : format.open) + rows.join(format.separator));
      hasRows = true;
    },
    async finish() {
      await output.write((hasRows ? "" : format.open) + format.close);
      await output.finish();
    },
  };
}

/** A result, and the image itself, to be drawn on. */
export type WritableImage = ImageResult & { readonly source?: ImageSource };

/** Where results go. */
export interface ImageWriter {
  /** Of the model's task. */
  readonly forms: ResultForms;
  readonly sink: ResultSink;
  readonly savers: readonly ImageSaver[];
  readonly complaints: Complaints;
  readonly progress: Progress | undefined;
  /** How many images or frames there will be, where that is known. */
  readonly total: () => number | undefined;
  /** Videos among the files: what comes of them is frames. */
  readonly videos: readonly string[];
}

/** Called with an image that could not be read, or whose copy cannot be written. */
export type OnBadImage = (file: string, error: Error) => void;

/**
 * Write every result, and what ends the whole.
 *
 * @param results made by a function that is given what to call with a bad image
 */
export async function writeImages(
  results: (onBadImage: OnBadImage) => AsyncIterable<WritableImage>,
  { forms, sink, savers, complaints, progress, total, videos }: ImageWriter,
): Promise<Tally> {
  const tally: Tally = { images: { good: 0, bad: 0 }, frames: { good: 0, bad: 0 }, objects: 0 };
  const countOf = (file: string): Count => (videos.includes(file) ? tally.frames : tally.images);
  let done = 0;
  const onBadImage = (file: string, error: Error): void => {
    countOf(file).bad += 1;
    done += 1;
    complaints.tell(error);
  };
  try {
    for await (const image of results(onBadImage)) {
      await sink.write(image);
      try {
        const pixels = pixelsOf(image.source ?? image.file);
        for (const saver of savers) await saver.save(forms, image, pixels);
        countOf(image.file).good += 1;
        done += 1;
      } catch (error) {
        // One that has gone since, or cannot be drawn on, is a bad one, and no further image.
        if (!(error instanceof ImageError || isNameTooLong(error))) throw error;
        onBadImage(image.file, error as Error);
      }
      tally.objects += forms.count(image.result);
      progress?.update(done, total());
    }
  } finally {
    progress?.close();
  }
  await sink.finish();
  return tally;
}
