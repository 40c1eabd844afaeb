/**
 * @module Whole-image commands: images in; their classes, the classes of their pixels, or the depth of these out, and with `transform`
 * images.
 */

import { dirname, join } from "node:path";
import { ImageModel, type TransformStreamResult } from "../../api/image-model.ts";
import type { MachineChoice } from "../../api/machine-options.ts";
import { Classifier, DepthEstimator, SemanticSegmenter } from "../../api/whole-image-models.ts";
import { ImageError } from "../../core/errors.ts";
import { printable, printableJson, redact } from "../../core/log.ts";
import { fileIdentity } from "../../core/paths.ts";
import { formatDuration, plural, round } from "../../core/units.ts";
import { isNameTooLong, prepareFolder, writeFileWhole } from "../../core/whole-file.ts";
import type { Image } from "../../image/image.ts";
import { encodeImage } from "../../image/image-file.ts";
import { type EncodedFormat, formatOf } from "../../image/image-options.ts";
import { CLASSIFY_FORMS } from "../../tasks/classify/classify-task.ts";
import { DEPTH_FORMS } from "../../tasks/depth/depth-task.ts";
import { SEMANTIC_FORMS } from "../../tasks/semantic/semantic-task.ts";
import type { ResultForms } from "../../tasks/task-result.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { openFiles, type RunModel, runModel } from "../detect-images.ts";
import { findModel, loadModel } from "../load-detector.ts";
import {
  allOperands,
  Complaints,
  expandOperands,
  formatImages,
  outputNames,
  tellEnd,
  withExtension,
} from "../operands.ts";
import { openTarget } from "../result-target.ts";
import { isNamedFile, openSaver } from "../save.ts";
import { type Paint, Progress, paintOf } from "../terminal.ts";
import {
  CLASSIFY_FLAGS,
  DEPTH_FLAGS,
  parseTransformFlags,
  SEMANTIC_FLAGS,
  type TransformArguments,
  type WholeImageFlags,
} from "../whole-image-flags.ts";

/** What one of these commands is made of. */
interface WholeImageCommand<Options extends MachineChoice> {
  readonly name: string;
  readonly facade: { load(path: string, options: Options): Promise<RunModel & AsyncDisposable> };
  readonly forms: ResultForms;
  readonly flags: WholeImageFlags<Options>;
}

/** A command's run. @returns the exit code */
type Run = (parsed: ParsedArguments, context: CommandContext) => Promise<number>;

function commandOf<Options extends MachineChoice>({ name, facade, forms, flags }: WholeImageCommand<Options>): Run {
  return async (parsed, context) => {
    const args = flags.parse(parsed);
    const operands = await allOperands(parsed, args.list);
    if (operands.length === 0) {
      const hint = `bunx bun-tensorrt ${name} street.jpg --model ${args.model}`;
      throw refuse("file", "Missing input: give a file, a folder or a pattern", hint);
    }
    const complaints = new Complaints(context.terminal);
    const { images } = expandOperands(operands, { action: name, takes: "images" }, complaints);
    const source = openFiles(args, images, context);
    using target = openTarget(args, source, context.output);
    const savers = args.save === undefined ? [] : [openSaver(args.save, images, args)];
    const path = await findModel(args.model, context);
    await using model = await loadModel(facade, path, args.options, context, args.isQuiet);
    const run = { name, forms, target, savers, complaints, isQuiet: args.isQuiet };
    return await runModel(model, source, run, context);
  };
}

/** `classify`: which classes images are of. */
export const classify: Run = commandOf({
  name: "classify",
  facade: Classifier,
  forms: CLASSIFY_FORMS,
  flags: CLASSIFY_FLAGS,
});
/** `semantic`: which class each of their pixels is of. */
export const semantic: Run = commandOf({
  name: "semantic",
  facade: SemanticSegmenter,
  forms: SEMANTIC_FORMS,
  flags: SEMANTIC_FLAGS,
});
/** `depth`: how far away what each of their pixels shows is. */
export const depth: Run = commandOf({ name: "depth", facade: DepthEstimator, forms: DEPTH_FORMS, flags: DEPTH_FLAGS });

const EXTENSIONS: Readonly<Record<EncodedFormat, string>> = { png: ".png", jpeg: ".jpg", webp: ".webp" };

/** Keep the name, and the ending where it can be written and nothing else was asked for. */
function renamed(name: string, format: EncodedFormat | undefined): string {
  const known = formatOf(name);
  if (known !== undefined && (format ?? known) === known) return name;
  return withExtension(name, EXTENSIONS[format ?? "png"]);
}

/** One path an image: `output` itself where it is named like an image, else a name in that folder. */
function namesOf({ output, format }: TransformArguments, files: readonly string[]): string[] {
  const named = formatOf(output);
  if (!isNamedFile(output)) {
    return outputNames(files, (name) => renamed(name, format)).map((name) => join(output, name));
  }
  if (named === undefined || (format !== undefined && format !== named)) {
    const rule = named === undefined ? ".png, .jpg or .webp" : `${EXTENSIONS[format!]} with --format ${format}`;
    const found = `--output must end in ${rule}, got ${JSON.stringify(output)}`;
    throw refuse("output", found, `rename it, or ${named === undefined ? "give a folder" : "omit --format"}`);
  }
  if (files.length > 1) {
    const found = `--output ${JSON.stringify(output)} is one file, got ${files.length} images`;
    throw refuse("output", found, "give a folder");
  }
  return [output];
}

/**
 * Name the files that are written, and make their folders ready.
 *
 * @returns one path an image
 * @throws {OptionError} If `--output` does not fit the images, or one of them would be overwritten
 * @throws {BunTensorRtError} If the place cannot be written, or two files would have the same name
 */
function outputPaths(args: TransformArguments, files: readonly string[]): string[] {
  const paths = namesOf(args, files);
  const sources = new Map(files.map((file) => [fileIdentity(file), file]));
  for (const path of paths) {
    const known = fileIdentity(path);
    const source = known === undefined ? undefined : sources.get(known);
    if (source === undefined) continue;
    const found = `--output would overwrite the input ${JSON.stringify(source)}: ${JSON.stringify(path)}`;
    throw refuse("output", found, "choose another file or folder");
  }
  for (const folder of new Set(paths.map((path) => dirname(path)))) prepareFolder(folder);
  return paths;
}

/** Encode and write an image; PNG and WebP keep alpha. @throws {ImageError} If the format cannot hold it */
async function write(path: string, image: Image, { quality }: TransformArguments): Promise<void> {
  const options = { format: formatOf(path)!, alpha: "keep", quality } as const;
  await writeFileWhole(path, await encodeImage(image, options));
}

/** An image that was made. */
interface WrittenImage {
  readonly file: string;
  readonly output: string;
  readonly result: TransformStreamResult;
}

/** `street.jpg  out/street.png  2304x1728, 12 tiles, 302 ms` */
function textLine({ file, output, result }: WrittenImage, paint: Paint): string {
  const { image, tiles, timing } = result;
  const facts = `${image.width}x${image.height}, ${plural(tiles, "tile")}, ${formatDuration(timing.total)}`;
  return `${paint("bold", printable(redact(file)))}  ${printable(output)}  ${facts}\n`;
}

function jsonRow({ file, output, result }: WrittenImage): string {
  const { image, tiles, timing } = result;
  const stages = Object.entries(timing).map(([stage, milliseconds]) => [stage, round(milliseconds, 3)]);
  const { width, height } = image;
  return printableJson({ file: redact(file), output, width, height, tiles, timing: Object.fromEntries(stages) });
}

async function transformFiles(
  model: ImageModel,
  args: TransformArguments,
  files: readonly string[],
  paths: readonly string[],
  complaints: Complaints,
  { terminal, output, signal }: CommandContext,
): Promise<{ readonly good: number; readonly bad: number }> {
  let good = 0;
  const unopened = complaints.count;
  const isShown = !args.isQuiet && files.length > 1;
  const progress = isShown ? new Progress(terminal, "transform", "images") : undefined;
  const onError = (error: unknown): void => {
    if (!(error instanceof ImageError || isNameTooLong(error))) throw error;
    complaints.tell(error as Error);
  };
  const paint = paintOf(output.hasColour);
  try {
    // A large image can take minutes: it is broken off as well.
    for await (const result of model.stream(files, { onError, signal })) {
      const made = { file: files[result.index]!, output: paths[result.index]!, result };
      try {
        await write(made.output, result.image, args);
        const text = args.isJson ? `${good === 0 ? "[\n" : ",\n"}${jsonRow(made)}` : textLine(made, paint);
        await output.write(text);
        good += 1;
      } catch (error) {
        onError(error);
      }
      progress?.update(good + complaints.count - unopened, files.length);
    }
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    progress?.close();
  }
  if (args.isJson) await output.write(good === 0 ? "[]\n" : "\n]\n");
  return { good, bad: complaints.count - unopened };
}

/** Run `transform`. @returns the exit code */
export async function transform(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal } = context;
  const args = parseTransformFlags(parsed);
  const operands = await allOperands(parsed, args.list);
  if (operands.length === 0) {
    const hint = "bun-tensorrt transform street.jpg --model super-resolution.onnx --output large.png";
    throw refuse("file", "Missing input: give a file, a folder or a pattern", hint);
  }
  const complaints = new Complaints(terminal);
  const { images: files } = expandOperands(operands, { action: "transform", takes: "images" }, complaints);
  const unopened = complaints.count;
  const paths = outputPaths(args, files);
  const path = await findModel(args.model, context);
  await using model = await loadModel(ImageModel, path, args.options, context, args.isQuiet);

  const started = performance.now();
  const tally = await transformFiles(model, args, files, paths, complaints, context);
  const isShown = !args.isQuiet && terminal.isTerminal && files.length > 1;
  const summary = isShown ? { summary: formatImages(tally.good, started) } : {};
  tellEnd(terminal, "transformed", { images: tally }, { files: files.length, unopened, ...summary });
  return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
}
