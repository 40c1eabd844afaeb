/** @module Demo command: from nothing to boxes on an image in one go. */

import { Detector } from "../../api/detector.ts";
import { findEntry } from "../../catalogue/catalogue.ts";
import { DETECT_FORMS } from "../../tasks/detect/detection.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { formatImage } from "../formats.ts";
import { fetchEntry, findModel, loadModel, modelTitle } from "../load-detector.ts";
import { parseDemoFlags } from "../own-flags.ts";
import { openSaver, pixelsOf } from "../save.ts";
import { paintOf } from "../terminal.ts";

/** Run `demo`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { model, image, backend = "auto", save } = parseDemoFlags(parsed);
  refuseOperands("demo", parsed);
  const file = await fetchEntry(findEntry(image)!, context);
  const saver = openSaver(save, [file]);
  const path = await findModel(model, context);
  signal.throwIfAborted();
  await using detector = await loadModel(Detector, path, { backend }, context, false);
  const { recognition, backend: machine } = detector;
  terminal.line(`Running ${modelTitle(path)}, with head ${recognition.head}, on ${machine.description}`);
  const result = await detector.detect(file);
  await output.write(formatImage(DETECT_FORMS, { file, result }, paintOf(output.hasColour)));
  terminal.line(`Boxes drawn: ${await saver.save(DETECT_FORMS, { file, result }, pixelsOf(file))}`);
  return EXIT_OK;
}
