/** @module Stream choices: the file beside a plan that keeps which stream layout was the fastest there. */

import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { logger } from "../../core/log.ts";
import { writeWhole } from "../../core/whole-file.ts";
import type { StreamLayoutName } from "./gpu-streams.ts";

/** Every layout, simplest first. */
export const LAYOUTS: readonly StreamLayoutName[] = ["one", "split", "parallel"];

/** What a layout did in the measurement. */
export interface TrialFigures {
  readonly streams: StreamLayoutName;
  /** Batches in flight. */
  readonly inFlight: number;
  readonly batchesPerSecond: number;
  /** Mean time from a batch's call to its rows, in milliseconds. */
  readonly latencyMs: number;
}

/** What was chosen, and from what: in the order of the measurement. */
export interface StreamChoice extends Pick<TrialFigures, "streams" | "inFlight"> {
  readonly figures: readonly TrialFigures[];
}

/** Choices by what they depend on beside the plan. */
export type StreamChoices = Readonly<Record<string, StreamChoice>>;

const chosen = { streams: z.enum(LAYOUTS), inFlight: z.int().min(1).max(128) };
const trial = z.strictObject({ ...chosen, batchesPerSecond: z.number().min(0), latencyMs: z.number().min(0) });
const fileSchema: z.ZodType<{ format: 1; choices: Record<string, StreamChoice> }> = z.strictObject({
  format: z.literal(1),
  choices: z.record(z.string(), z.strictObject({ ...chosen, figures: z.array(trial) })),
});

/** What a file keeps; nothing where there is none. A broken one counts as none, with a line in the log. */
export async function readStreamChoices(path: string): Promise<StreamChoices> {
  if (!existsSync(path)) return {};
  try {
    return fileSchema.parse(await Bun.file(path).json()).choices;
  } catch (error) {
    if (!(error instanceof z.ZodError || error instanceof SyntaxError || isSystemError(error))) throw error;
    const found = error instanceof z.ZodError ? z.prettifyError(error) : error.message;
    logger.warn(`Measuring stream layouts again, as ${path} cannot be read: ${found}`);
    return {};
  }
}

/** Keep choices, so that no reader ever sees a part of them. Where they cannot be written, a line in the log says so. */
export async function writeStreamChoices(path: string, choices: StreamChoices): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true });
    await writeWhole(path, `${JSON.stringify({ format: 1, choices }, null, 2)}\n`);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    logger.warn(`The choice of a stream layout is not kept, as ${path} cannot be written: ${error.message}`);
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";
}
