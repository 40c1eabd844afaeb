/** @module Serve command: a detector behind HTTP. */

import { servedModel } from "../../api/model.ts";
import { logger } from "../../core/log.ts";
import { findGpuUsage } from "../../nvml/gpu-usage.ts";
import { framesInFlight } from "../../serve/detect-desk.ts";
import { serve } from "../../serve/detection-server.ts";
import { parseServeOptions, type ServeConfig, type ServeOptions } from "../../serve/serve-config.ts";
import { isLoopback } from "../../service/listen.ts";
import { gpuSampler } from "../../service/metrics.ts";
import { warmStart } from "../../service/served-model.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { findModel, loadModel, modelTitle } from "../load-detector.ts";
import { parseServeFlags } from "../service-flags.ts";

/** How long freeing everything may take after the drain, in milliseconds. */
const LAST_MS = 1400;

/** `yolo11n` of `models/yolo11n.engine`, in letters that a path may have. */
function servedName(path: string): string {
  return modelTitle(path)
    .replace(/\.(plan|engine)$/i, "")
    .replace(/[^\w.-]/g, "-");
}

/** What serves other machines should know them. */
function warnIfOpen({ host, unix, token }: ServeConfig): void {
  if (token !== undefined || unix !== undefined || isLoopback(host)) return;
  const hint = "set BUN_TENSORRT_TOKEN, or serve this machine only: --host 127.0.0.1";
  logger.warn(`Serving on ${host} without a token: everyone who reaches this machine can use it\nHint: ${hint}`);
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
  const config = parseServeOptions(args.serve);
  const { drainTimeoutMs } = config;
  context.endWithin(drainTimeoutMs + LAST_MS);
  const path = await findModel(args.model, context);
  await using detector = await loadModel(servedModel, path, args.detector, context, args.isQuiet);
  await warmStart(detector);
  using usage = detector.backend.kind === "gpu" ? findGpuUsage() : undefined;
  const options: ServeOptions = {
    name: servedName(path),
    concurrency: Math.max(4, 2 * framesInFlight(detector) * (args.detector.batch ?? 1)),
    ...args.serve,
    ...(usage === undefined ? {} : { gpu: gpuSampler(usage) }),
  };
  await using server = await serve(detector, options);
  warnIfOpen(config);
  if (!args.isQuiet) terminal.line(`Serving ${options.name} at ${server.url.href} (${detector.backend.description})`);
  await untilAborted(signal);
  if (!args.isQuiet) terminal.line("Finishing the requests that are running");
  await server.close();
  return EXIT_OK;
}
