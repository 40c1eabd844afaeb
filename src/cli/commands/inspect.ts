/** @module Inspect command: what a model is, and what its outputs were recognised as. */

import { statSync } from "node:fs";
import { z } from "zod";
import { ModelError } from "../../core/errors.ts";
import { recogniseModel } from "../../model/registry.ts";
import { Session } from "../../onnxruntime/session.ts";
import { type ParsedArguments, parseFlags, refuse } from "../args.ts";
import { type Command, type CommandContext, EXIT_FAILED, EXIT_OK } from "../command.ts";
import { findModel } from "../fetch-entry.ts";
import { formatInspection, type Inspection, inspectionJson } from "../format-inspection.ts";
import { paintOf } from "../terminal.ts";
import { toggle } from "../values.ts";

const schema = z.object({ json: toggle, layout: z.string().min(1, "the name of a layout").optional() });

async function inspectFile(file: string, layout: string | undefined): Promise<Inspection> {
  await using session = await Session.load(file, { optimization: "disable" });
  const { model } = session;
  const { size: byteLength } = statSync(file);
  try {
    return { file, byteLength, model, recognition: recogniseModel(model, { layout, source: JSON.stringify(file) }) };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { file, byteLength, model, recognition: { problem: error.message } };
  }
}

async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { output } = context;
  const { json, layout } = parseFlags("inspect", parsed, schema);
  const [word, ...others] = parsed.operands;
  if (word === undefined || others.length > 0) {
    const found = `as it takes one model: received ${parsed.operands.length}`;
    throw refuse("inspect", "model", found, "bun-tensorrt inspect yolo11n.onnx");
  }
  const inspection = await inspectFile(await findModel(word, context), layout);
  const text = json
    ? `${JSON.stringify(inspectionJson(inspection), null, 2)}\n`
    : formatInspection(inspection, paintOf(output.hasColour));
  await output.write(text);
  return "problem" in inspection.recognition ? EXIT_FAILED : EXIT_OK;
}

/** `inspect`. */
export const inspect: Command = {
  name: "inspect",
  summary: "Show a model's inputs, outputs and metadata, the layout it was recognised as, and why.",
  usage: ["inspect <file|name> [flags]"],
  flags: [
    { name: "json", summary: "as JSON: {file, byteLength, inputs, outputs, metadata, recognition}" },
    { name: "layout", value: "NAME", summary: "take it for this layout" },
  ],
  notes: ["The exit code is 1 if the model fits no known layout."],
  examples: ["inspect yolo11n", "inspect model.onnx --json"],
  run,
};
