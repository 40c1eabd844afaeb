/** @module Serve command: a detector behind HTTP. */

import { Detector } from "../../api/detector.ts";
import { SERVED_DECODING } from "../../image/decode-limits.ts";
import { findGpuUsage } from "../../nvml/gpu-usage.ts";
import { framesInFlight } from "../../serve/detect-desk.ts";
import { serve } from "../../serve/detection-server.ts";
import { parseServeOptions, SERVE_OPTIONS, type ServeOptions } from "../../serve/serve-config.ts";
import { gpuSampler, warmStart } from "../../service/metrics.ts";
import { type Flag, type ParsedArguments, refuse, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { DETECTOR_FLAGS, type DetectorArguments, parseDetectorFlags } from "../detector-flags.ts";
import { findModel, loadModel, modelTitle } from "../load-detector.ts";
import { flagsOf, optionsFrom } from "../option-flags.ts";

/** Where the token is looked for when the flag is not given: words of a command line are seen by every user. */
const TOKEN_VARIABLE = "BUN_TENSORRT_TOKEN";

const OPTION_FLAGS = flagsOf(SERVE_OPTIONS);

/** In the order of the help. */
export const FLAGS: readonly Flag[] = [
  ...OPTION_FLAGS,
  ...DETECTOR_FLAGS,
  { name: "quiet", short: "q", summary: "print warnings only" },
];

/** The flags of `serve`, checked. */
export interface ServeArguments extends DetectorArguments {
  readonly serve: ServeOptions;
  readonly isQuiet: boolean;
}

/** Check the flags of `serve`. @throws {OptionError} If a value is refused, or flags do not go together */
export function parseServeFlags(parsed: ParsedArguments): ServeArguments {
  const { cert, key, quiet } = parsed.flags;
  if ((cert === undefined) !== (key === undefined)) {
    throw refuse("cert", "--cert and --key must be given together", "leave both out to serve plain HTTP");
  }
  const { model, detector } = parseDetectorFlags(parsed);
  const token = process.env[TOKEN_VARIABLE] ?? "";
  const serve = optionsFrom<ServeOptions>(parsed, OPTION_FLAGS);
  return {
    model,
    detector: { ...SERVED_DECODING, ...detector },
    serve: token === "" ? serve : { token, ...serve },
    isQuiet: quiet === true,
  };
}

/** How long freeing everything may take after the drain, in milliseconds. */
const LAST_MS = 1400;

/** `yolo11n` of `models/yolo11n.engine`, in letters that a path may have. */
function servedName(path: string): string {
  return modelTitle(path)
    .replace(/\.(plan|engine)$/i, "")
    .replace(/[^\w.-]/g, "-");
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Run `serve`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { terminal, signal } = context;
  const args = parseServeFlags(parsed);
  refuseOperands("serve", parsed);
  // What is wrong with the options is told before a model is loaded.
  const { drainTimeoutMs } = parseServeOptions(args.serve);
  context.endWithin(drainTimeoutMs + LAST_MS);
  const path = await findModel(args.model, context);
  await using detector = await loadModel(Detector, path, args.detector, context, args.isQuiet);
  await warmStart(detector);
  using usage = detector.backend.kind === "gpu" ? findGpuUsage() : undefined;
  const options: ServeOptions = {
    name: servedName(path),
    concurrency: Math.max(4, 2 * framesInFlight(detector) * (args.detector.batch ?? 1)),
    ...args.serve,
    ...(usage === undefined ? {} : { gpu: gpuSampler(usage) }),
  };
  await using server = await serve(detector, options);
  if (!args.isQuiet) terminal.line(`Serving ${options.name} at ${server.url.href} (${detector.backend.description})`);
  await untilAborted(signal);
  if (!args.isQuiet) terminal.line("Finishing the requests that are running");
  await server.close();
  return EXIT_OK;
}
