/** @module Whole-image commands: images in; their classes, the classes of their pixels, or the depth of these out. */

import { Classifier } from "../../api/classifier.ts";
import type { MachineChoice } from "../../api/machine-options.ts";
import { DepthEstimator, SemanticSegmenter } from "../../api/map-model.ts";
import { CLASSIFY_FORMS } from "../../tasks/classify/classify-task.ts";
import { DEPTH_FORMS } from "../../tasks/depth/depth-task.ts";
import { SEMANTIC_FORMS } from "../../tasks/semantic/semantic-task.ts";
import type { ResultForms } from "../../tasks/task-result.ts";
import { type ParsedArguments, refuse } from "../args.ts";
import type { CommandContext } from "../command.ts";
import { openFiles, type RunModel, runModel } from "../detect-images.ts";
import { Complaints } from "../images.ts";
import { findModel, loadModel } from "../load-detector.ts";
import { allOperands, expandOperands } from "../operands.ts";
import { openTarget } from "../result-target.ts";
import { openSaver } from "../save.ts";
import { CLASSIFY_FLAGS, DEPTH_FLAGS, SEMANTIC_FLAGS, type WholeImageFlags } from "../whole-image-flags.ts";

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
