/** @module Worker command: frames from Redis streams in, detections out. */

import type { Worker } from "../../worker/worker.ts";
import type { WorkerOptions } from "../../worker/worker-config.ts";
import { type ParsedArguments, refuseOperands } from "../args.ts";
import { type Command, type CommandContext, EXIT_OK } from "../command.ts";
import { findModel } from "../fetch-entry.ts";
import { loadDetector } from "../load-detector.ts";
import { ConfigReload } from "../reload-config.ts";
import { parseWorkerFlags, WORKER_FLAGS, type WorkerArguments } from "../worker-flags.ts";

/** How long handing frames back and freeing everything may take after the drain, in milliseconds. */
const LAST_MS = 1400;

async function readFile({ config }: WorkerArguments): Promise<WorkerOptions> {
  if (config === undefined) return {};
  const { readConfigFile } = await import("../../worker/config-file.ts");
  return readConfigFile(config);
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

async function run(parsed: ParsedArguments, context: CommandContext): Promise<number> {
  const { signal } = context;
  const args = parseWorkerFlags(parsed);
  refuseOperands("worker", parsed);
  const options = args.over(await readFile(args));
  // What is wrong with the options is told before a model is loaded.
  const { parseWorkerOptions } = await import("../../worker/worker-config.ts");
  const config = parseWorkerOptions(options);
  context.endWithin(config.drainMs + LAST_MS);
  const path = await findModel(options.model, context);
  const { Worker } = await import("../../worker/worker.ts");
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

/** `worker`. */
export const worker: Command = {
  name: "worker",
  summary: "Find the objects in frames from Redis streams, one of several workers that share them.",
  usage: ["worker [flags]"],
  flags: WORKER_FLAGS,
  notes: [
    "A frame is an entry with a field `frame`, the protobuf message buntensorrt.v1.Frame, or with plain fields:",
    "source_id, frame_id, timestamp, encoding (jpeg, png, rgb, bgr, rgba, nv12), width, height, pitch and data.",
    "It is acknowledged together with its written result; what a worker leaves behind that died, others take over.",
    "SIGTERM and Ctrl-C: read nothing more, answer what is in flight, and end; a second one ends at once.",
    "SIGHUP: read the file of --config again; what is refused is told of, and the former options stay.",
    "docs/worker.md has the messages, every option of the file, and the metrics.",
  ],
  examples: [
    "worker --input camera-1,camera-2 --port 9464",
    "worker --config worker.toml",
    "worker --policy latest --classes person --format fields --boxes normalized",
  ],
  run,
};
