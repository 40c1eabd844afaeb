/** @module Whole-image commands: images in; their classes, the classes of their pixels, or the depth of these out. */

import { Classifier } from "../../api/classifier.ts";
import type { MachineChoice } from "../../api/machine-options.ts";
import { DepthEstimator, SemanticSegmenter } from "../../api/map-model.ts";
import { formatDuration, plural } from "../../core/units.ts";
import { CLASSIFY_FORMS } from "../../tasks/classify/classify-forms.ts";
import { DEPTH_FORMS } from "../../tasks/depth/depth-map.ts";
import { SEMANTIC_FORMS } from "../../tasks/semantic/class-map.ts";
import type { ResultForms } from "../../tasks/task-result.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import { type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { closeAfter, detectAll, type ImageStream, imagesOf } from "../detect-images.ts";
import { Complaints, expandImages, localOperand } from "../images.ts";
import { findModel, loadModel } from "../load-detector.ts";
import { Progress } from "../progress.ts";
import { openTarget, writeImages } from "../result-target.ts";
import { openSaver } from "../save.ts";
import { CLASSIFY_FLAGS, DEPTH_FLAGS, SEMANTIC_FLAGS, type WholeImageFlags } from "../whole-image-flags.ts";

/** A loaded model of one of these. */
type WholeImageModel = ImageStream &
  AsyncDisposable & { readonly labels?: readonly string[]; close(options: { readonly force: boolean }): Promise<void> };

/** What one of these commands is made of. */
interface WholeImageCommand<Options extends MachineChoice> {
  readonly name: string;
  readonly facade: { load(path: string, options: Options): Promise<WholeImageModel> };
  readonly forms: ResultForms;
  readonly flags: WholeImageFlags<Options>;
}

/** A command's run. @returns the exit code */
type Run = (parsed: ParsedArguments, context: CommandContext) => Promise<number>;

function commandOf<Options extends MachineChoice>({ name, facade, forms, flags }: WholeImageCommand<Options>): Run {
  return async (parsed, context) => {
    const { terminal, output, signal } = context;
    const args = flags.parse(parsed);
    if (parsed.operands.length === 0) {
      const hint = `bun-tensorrt ${name} street.jpg --model ${args.model}`;
      throw refuse("file", "Missing input: give a file, a folder or a pattern", hint);
    }
    const files = expandImages(parsed.operands.map(localOperand), name);
    const complaints = new Complaints(terminal);
    using target = openTarget(args, files, output, false);
    const savers = args.save === undefined ? [] : [openSaver(args.save, files, args)];
    const path = await findModel(args.model, context);
    await using model = await loadModel(facade, path, args.options, context, args.isQuiet);
    closeAfter(signal, model);

    const isShown = !args.isQuiet && files.length > 1;
    const images = imagesOf(files, args.save !== undefined);
    const started = performance.now();
    const tally = await writeImages((onBad) => detectAll(model, images, signal, onBad), {
      forms,
      sink: target.sink(forms, model.labels ?? []),
      savers,
      complaints,
      progress: isShown ? new Progress(terminal, name, "images") : undefined,
      total: () => files.length,
    });
    const done = tally.good + tally.bad;
    if (done < files.length) terminal.line(`Stopped after ${done} of ${plural(files.length, "image")}`);
    if (tally.bad > 0) terminal.line(`${tally.bad} of ${plural(done, "image")} could not be read`);
    if (isShown && terminal.isTerminal) {
      const elapsed = formatDuration(performance.now() - started);
      terminal.line(terminal.paint("dim", `${plural(tally.good, "image")} in ${elapsed}`));
    }
    return complaints.count > 0 ? EXIT_FAILED : EXIT_OK;
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
