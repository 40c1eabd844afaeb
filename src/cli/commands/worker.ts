/** @module Worker command: frames from Redis streams in, detections out. */

import { readConfigFile } from "../../worker/config-file.ts";
import { Worker } from "../../worker/worker.ts";
import { parseWorkerOptions, type WorkerOptions } from "../../worker/worker-config.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { findModel, loadDetector } from "../load-detector.ts";
import { ConfigReload } from "../reload-config.ts";
import { parseWorkerFlags, type WorkerArguments } from "../worker-flags.ts";

/** How long handing frames back and freeing everything may take after the drain, in milliseconds. */
const LAST_MS = 1400;

async function readFile({ config }: WorkerArguments): Promise<WorkerOptions> {
  return config === undefined ? {} : readConfigFile(config);
}

/** Tell where it can be asked once it listens, and that it reads once it does. */
function announce(worker: Worker, { terminal }: CommandContext): ReturnType<typeof setInterval> {
  let isUrlTold = false;
  const timer = setInterval(() => {
    if (!isUrlTold && worker.url !== undefined) {
      isUrlTold = true;
      terminal.line(`Health and metrics at ${worker.url.href}`);
    }
    if (worker.state !== "running") return;
    clearInterval(timer);
    terminal.line(`Reading frames as ${worker.consumer}`);
  }, 20);
  return timer;
}

/** Run `worker`. @returns the exit code */
export async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { signal } = context;
  const args = parseWorkerFlags(parsed);
  refuseOperands("worker", parsed);
  const options = args.over(await readFile(args));
  // What is wrong with the options is told before a model is loaded.
  const config = parseWorkerOptions(options);
  context.endWithin(config.drainMs + LAST_MS);
  const path = await findModel(options.model, context);
  const detector = await loadDetector(path, config.detector, context, { command: "worker", isQuiet: args.isQuiet });
  const worker = await Worker.create({ ...options, consumer: config.consumer }, { detector });

  const reload = new ConfigReload({
    read: () => readFile(args),
    take: (file) => {
      worker.reload(args.over(file));
      context.endWithin(worker.drainMs + LAST_MS);
    },
    config: args.config,
  });
  const onHangUp = (): void => void reload.request();
  const onAbort = (): void => void worker.stop();
  process.on("SIGHUP", onHangUp);
  signal.addEventListener("abort", onAbort, { once: true });
  const announcing = args.isQuiet ? undefined : announce(worker, context);
  try {
    if (signal.aborted) await worker.stop();
    await worker.run();
  } finally {
    clearInterval(announcing);
    process.off("SIGHUP", onHangUp);
    signal.removeEventListener("abort", onAbort);
  }
  return EXIT_OK;
}
