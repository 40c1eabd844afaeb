/** @module Demo command: from nothing to boxes on an image in one go. */

import { z } from "zod";
import { MACHINE_OPTIONS } from "../../api/machine-options.ts";
import { catalogue, findEntry } from "../../catalogue/catalogue.ts";
import { DETECT_FORMS } from "../../tasks/detect/detect-forms.ts";
import { type ParsedArguments, parseFlags, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { formatImage } from "../formats.ts";
import { fetchEntry, findModel, loadDetector, modelTitle } from "../load-detector.ts";
import { openSaver } from "../save.ts";
import { paintOf } from "../terminal.ts";

const SAMPLE = "sample2";

const samples = catalogue.filter(({ kind }) => kind === "image").map(({ name }) => name);

const schema = z.object({
  model: z.string().min(1, "a path or a name").optional(),
  image: z.enum(samples, `one of ${samples.join(", ")}`).default(SAMPLE),
  backend: MACHINE_OPTIONS.backend.schema.unwrap().default("auto"),
  save: z.string().min(1, "a path").default("out"),
});

/** Run `demo`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output, terminal, signal } = context;
  const { model, image, backend, save } = parseFlags(parsed, schema);
  refuseOperands("demo", parsed);
  const file = await fetchEntry(findEntry(image)!, context);
  const saver = openSaver(save, [file]);
  const path = await findModel(model, context);
  signal.throwIfAborted();
  await using detector = await loadDetector(path, { backend }, context, { command: "demo", isQuiet: false });
  const { recognition, backend: machine } = detector;
  terminal.line(`Running ${modelTitle(path)}, with head ${recognition.head}, on ${machine.description}`);
  const result = await detector.detect(file);
  await output.write(formatImage(DETECT_FORMS, { file, result }, paintOf(output.hasColour)));
  terminal.line(`Boxes drawn: ${await saver.save(DETECT_FORMS, { file, result })}`);
  return EXIT_OK;
}
