/** @module Worker command: frames from Redis streams in, detections out. */

import { type ServedFacade, servedModel } from "../../api/model.ts";
import { message, OptionError } from "../../core/errors.ts";
import { logger } from "../../core/log.ts";
import { readConfigFile, Worker } from "../../worker/worker.ts";
import { parseWorkerOptions, type WorkerOptions } from "../../worker/worker-config.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type CommandContext, EXIT_OK } from "../command.ts";
import { findModel, loadModel } from "../load-detector.ts";
import { parseWorkerFlags, type WorkerArguments } from "../service-flags.ts";

/** How long handing frames back and freeing everything may take after the drain, in milliseconds. */
const LAST_MS = 1400;

async function readFile({ config }: WorkerArguments): Promise<WorkerOptions> {
  return config === undefined ? {} : readConfigFile(config);
}

/** Where options come from, and who takes them. */
interface ReloadParts {
  /** What the file holds now. */
  readonly read: () => Promise<WorkerOptions>;
  /** @throws {OptionError} If they are refused */
  readonly take: (options: WorkerOptions) => void;
  /** Name of the file; `undefined` where all options are flags. */
  readonly config: string | undefined;
}

/**
 * Reads the configuration of a worker that runs again, one read after the other: what was asked for last is what counts in
 * the end. What is refused is told in the log.
 *
 * @returns asks for a read; rejects with what is no fault of the configuration
 */
export function configReload({ read, take, config }: ReloadParts): () => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  const reload = async (): Promise<void> => {
    try {
      const options = await read();
      // A file that is empty for a moment is being written: its defaults would send the answers elsewhere.
      if (config !== undefined && Object.keys(options).length === 0) {
        const action = `read ${JSON.stringify(config)} again`;
        throw new OptionError(
          message(action, "it holds no option", "write the whole file, then send SIGHUP"),
          "config",
        );
      }
      take(options);
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      logger.error(`Kept the former configuration. ${error.message}`);
    }
  };
  return () => {
    last = last.then(reload);
    return last;
  };
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
  const detector = async (): Promise<ServedFacade> => {
    const path = await findModel(options.model, context);
    return loadModel(servedModel, path, config.detector, context, args.isQuiet);
  };
  const worker = await Worker.create({ ...options, consumer: config.consumer }, { detector, signal });

  const reload = configReload({
    read: () => readFile(args),
    take: (file) => {
      worker.reload(args.over(file));
      context.endWithin(worker.drainMs + LAST_MS);
    },
    config: args.config,
  });
  const onHangUp = (): void => void reload();
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
