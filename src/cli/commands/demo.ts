/** @module Demo command: from nothing to boxes on an image in one go. */

import { z } from "zod";
import { Detector } from "../../api/detector.ts";
import { MACHINE_OPTIONS } from "../../api/machine-options.ts";
import { catalogue, findEntry } from "../../catalogue/catalogue.ts";
import type { OptionTable } from "../../core/options.ts";
import { DETECT_FORMS } from "../../tasks/detect/detect-forms.ts";
import { type Flag, type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { formatImage } from "../formats.ts";
import { fetchEntry, findModel, loadModel, modelTitle } from "../load-detector.ts";
import { flagsOf, valuesFrom } from "../option-flags.ts";
import { openSaver } from "../save.ts";
import { paintOf } from "../terminal.ts";
import { path as pathValue } from "../values.ts";

const samples = catalogue.filter(({ kind }) => kind === "image").map(({ name }) => name);

const OWN = {
  model: {
    schema: pathValue,
    short: "m",
    value: "FILE|NAME",
    help: "ONNX file, or a name from `models`",
    otherwise: "yolo11n",
  },
  image: {
    schema: z.enum(samples, `one of ${samples.join(", ")}`).default("sample2"),
    value: "NAME",
    help: "sample image from `models`",
  },
  backend: MACHINE_OPTIONS.backend,
  save: { schema: pathValue.default("out"), short: "s", value: "DIR", help: "folder for the annotated image" },
} satisfies OptionTable;

/** In the order of the help. */
export const FLAGS: readonly Flag[] = flagsOf(OWN);

/** Run `demo`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { model, image, backend = "auto", save } = valuesFrom(parsed, OWN);
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
  terminal.line(`Boxes drawn: ${await saver.save(DETECT_FORMS, { file, result })}`);
  return EXIT_OK;
}
