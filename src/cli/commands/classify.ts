/** @module Classify command: images in, their classes out. */

import { Classifier } from "../../api/classifier.ts";
import { formatDuration, plural } from "../../core/units.ts";
import { CLASSIFY_FORMS } from "../../tasks/classify/classify-forms.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { parseClassifyFlags } from "../classify-flags.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { closeAfter, detectAll, imagesOf } from "../detect-images.ts";
import { Complaints, expandImages, localOperand } from "../images.ts";
import { findModel, loadModel } from "../load-detector.ts";
import { Progress } from "../progress.ts";
import { openTarget, writeImages } from "../result-target.ts";
import { openSaver } from "../save.ts";

/** Run `classify`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, output, signal } = context;
  const args = parseClassifyFlags(parsed);
  if (parsed.operands.length === 0) {
    const hint = "bun-tensorrt classify street.jpg --model yolo11n-cls.onnx";
    throw refuse("file", "Missing input: give a file, a folder or a pattern", hint);
  }
  const files = expandImages(parsed.operands.map(localOperand), "classify");
  const complaints = new Complaints(terminal);
  using target = openTarget(args, files, output, false);
  const savers = args.save === undefined ? [] : [openSaver(args.save, files, args.output)];
  const path = await findModel(args.model, context);
  await using classifier = await loadModel(Classifier, path, args.options, context, args.isQuiet);
  closeAfter(signal, classifier);

  const isShown = !args.isQuiet && files.length > 1;
  const started = performance.now();
  const tally = await writeImages(
    (onBad) => detectAll(classifier, imagesOf(files, args.save !== undefined), signal, onBad),
    {
      forms: CLASSIFY_FORMS,
      sink: target.sink(CLASSIFY_FORMS, classifier.labels),
      savers,
      complaints,
      progress: isShown ? new Progress(terminal, "classify", "images") : undefined,
      total: () => files.length,
    },
  );
  const done = tally.good + tally.bad;
  if (done < files.length) terminal.line(`Stopped after ${done} of ${plural(files.length, "image")}`);
  if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(done, "image")} could not be read`);
  if (isShown && terminal.isTerminal) {
    const elapsed = formatDuration(performance.now() - started);
    terminal.line(terminal.paint("dim", `${plural(tally.good, "image")} in ${elapsed}`));
  }
  return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
}
