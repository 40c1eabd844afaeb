/** @module Transform command: images in, images out. */

import type { ImageModel, TransformStreamResult } from "../../api/image-model.ts";
import { ImageError } from "../../core/errors.ts";
import { printable, printableJson, redact } from "../../core/shown.ts";
import { formatDuration, plural, round } from "../../core/units.ts";
import { isNameTooLong, type Output } from "../../core/whole-file.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { Complaints, expandImages } from "../images.ts";
import { findModel, loadImageModel } from "../load-detector.ts";
import { Progress } from "../progress.ts";
import { type Paint, paintOf } from "../terminal.ts";
import { parseTransformFlags, type TransformArguments } from "../transform-flags.ts";
import { openTransformTarget, type TransformTarget } from "../transform-target.ts";

/** What a run came to. */
interface Tally {
  good: number;
  bad: number;
}

/** Everything a run needs, checked. */
interface Run {
  readonly args: TransformArguments;
  readonly files: readonly string[];
  readonly target: TransformTarget;
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

async function report(
  output: Output,
  args: TransformArguments,
  made: WrittenImage,
  isFirst: boolean,
  paint: Paint,
): Promise<void> {
  if (args.isJson) await output.write(`${isFirst ? "[\n" : ",\n"}${jsonRow(made)}`);
  else await output.write(textLine(made, paint));
}

async function transformFiles(model: ImageModel, run: Run, context: CommandContext): Promise<Tally> {
  const { args, files, target } = run;
  const { terminal, output, signal } = context;
  const tally: Tally = { good: 0, bad: 0 };
  const isShown = !args.isQuiet && files.length > 1;
  const progress = isShown ? new Progress(terminal, "transform", "images") : undefined;
  const complaints = new Complaints(terminal);
  const onError = (error: unknown): void => {
    if (!(error instanceof ImageError || isNameTooLong(error))) throw error;
    tally.bad += 1;
    complaints.tell(error as Error);
  };
  const paint = paintOf(output.hasColour);
  try {
    // A large image can take minutes: it is broken off as well.
    for await (const result of model.stream(files, { onError, signal })) {
      const file = files[result.index]!;
      try {
        await target.write(file, result.image);
        await report(output, args, { file, output: target.pathOf(file), result }, tally.good === 0, paint);
        tally.good += 1;
      } catch (error) {
        onError(error);
      }
      progress?.update(tally.good + tally.bad, files.length);
    }
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    progress?.close();
  }
  if (args.isJson) await output.write(tally.good === 0 ? "[]\n" : "\n]\n");
  return tally;
}

/** Run `transform`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, signal } = context;
  const args = parseTransformFlags(parsed);
  if (parsed.operands.length === 0) {
    const hint = "bun-tensorrt transform street.jpg --model super-resolution.onnx --output large.png";
    throw refuse("transform", "file", "Missing input: give a file, a folder or a pattern", hint);
  }
  const files = expandImages(parsed.operands, "transform");
  const target = openTransformTarget(args, files);
  const path = await findModel(args.model, context);
  const look = { command: "transform", isQuiet: args.isQuiet };
  await using model = await loadImageModel(path, args.options, context, look);

  const started = performance.now();
  const tally = await transformFiles(model, { args, files, target }, context);
  const done = tally.good + tally.bad;
  if (done < files.length) terminal.line(`Stopped after ${done} of ${plural(files.length, "image")}`);
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(done, "image")} could not be transformed`);
  if (!args.isQuiet && terminal.isTerminal && files.length > 1) {
    const elapsed = formatDuration(performance.now() - started);
    terminal.line(terminal.paint("dim", `${plural(tally.good, "image")} in ${elapsed}`));
  }
  return tally.bad > 0 || signal.aborted ? EXIT_FAILED : EXIT_OK;
}
