/** @module WorkerFlags: the flags of `worker`, and what they stand for; they win over the file. */

import { z } from "zod";
import type { WorkerOptions } from "../worker/worker-config.ts";
import { type Flag, type ParsedArguments, parseFlags } from "./args.ts";
import { classList, count, fraction, toggle, wholeNumber } from "./values.ts";

/** In the order of the help. */
export const WORKER_FLAGS: readonly Flag[] = [
  {
    name: "config",
    short: "c",
    value: "FILE",
    summary: "options from a file: .toml, .yaml or .json; SIGHUP reads it again",
  },
  { name: "redis", value: "URL", summary: "the server (default $REDIS_URL, else redis://127.0.0.1:6379)" },
  { name: "input", short: "i", value: "LIST", summary: "streams to read, divided by commas (default frames)" },
  { name: "group", value: "NAME", summary: "consumer group: its workers share the frames (default bun-tensorrt)" },
  { name: "consumer", value: "NAME", summary: "name of this worker in the group (default made up)" },
  { name: "output", short: "o", value: "NAME", summary: "stream of the results (default detections)" },
  { name: "format", short: "f", value: "protobuf|fields", summary: "how results are written (default protobuf)" },
  { name: "boxes", value: "pixels|normalized", summary: "what boxes are measured in (default pixels)" },
  {
    name: "model",
    short: "m",
    value: "FILE|NAME",
    summary: "ONNX file, plan, or a name from `models` (default yolo11n)",
  },
  { name: "backend", value: "auto|cpu|gpu", summary: "where to run (default auto: the GPU where there is one)" },
  { name: "device", value: "N", summary: "number of the GPU (default 0)" },
  { name: "precision", value: "fp32|fp16", summary: "what an engine that is built may compute in (default fp16)" },
  { name: "batch", value: "N", summary: "pictures the model is given at once (default 1)" },
  { name: "threads", value: "N", summary: "CPU threads (default the physical cores)" },
  { name: "threshold", short: "t", value: "SCORE", summary: "lowest score that is kept, 0 to 1 (default 0.25)" },
  { name: "classes", value: "LIST", summary: "only these classes: names or ids, divided by commas" },
  { name: "edge-margin", value: "PIXELS", summary: "leave out boxes this close to an edge of the frame" },
  { name: "policy", value: "all|latest", summary: "every frame, or of each source the newest (default all)" },
  { name: "in-flight", value: "N", summary: "frames held at most (default 4, on a GPU 8)" },
  { name: "max-deliveries", value: "N", summary: "tries before a frame is a dead letter (default 3)" },
  { name: "claim-idle", value: "SECONDS", summary: "take over frames silent for as long (default 30)" },
  { name: "drain", value: "SECONDS", summary: "wait this long for frames in flight at the end (default 10)" },
  { name: "port", value: "N", summary: "serve /healthz, /readyz and /metrics; 0 for any free port" },
  { name: "host", value: "ADDRESS", summary: "where --port listens (default 127.0.0.1)" },
  { name: "quiet", short: "q", summary: "say nothing but warnings" },
];

const text = z.string().min(1, "a name");
const pixels = z
  .string()
  .regex(/^\d+(\.\d+)?$/, "a number of pixels, 0 or more")
  .transform(Number);
const milliseconds = wholeNumber(0, 2_000_000).transform((seconds) => seconds * 1000);

const schema = z.object({
  config: text.optional(),
  redis: text.optional(),
  input: text.transform((list) => list.split(",").map((name) => name.trim())).optional(),
  group: text.optional(),
  consumer: text.optional(),
  output: text.optional(),
  format: z.enum(["protobuf", "fields"], "protobuf or fields").optional(),
  boxes: z.enum(["pixels", "normalized"], "pixels or normalized").optional(),
  model: text.optional(),
  backend: z.enum(["auto", "cpu", "gpu"], "auto, cpu or gpu").optional(),
  device: wholeNumber(0, 1023).optional(),
  precision: z.enum(["fp32", "fp16"], "fp32 or fp16").optional(),
  batch: count(1024).optional(),
  threads: count(1024).optional(),
  threshold: fraction.optional(),
  classes: classList.optional(),
  "edge-margin": pixels.optional(),
  policy: z.enum(["all", "latest"], "all or latest").optional(),
  "in-flight": count(65_536).optional(),
  "max-deliveries": count(1_000_000).optional(),
  "claim-idle": milliseconds.optional(),
  drain: milliseconds.optional(),
  port: wholeNumber(0, 65_535).optional(),
  host: text.optional(),
  quiet: toggle,
});

type Flags = z.infer<typeof schema>;

/** The flags of `worker`, checked. */
export interface WorkerArguments {
  /** Path of the options file. */
  readonly config: string | undefined;
  readonly isQuiet: boolean;
  /** Lay what the flags say over the options of the file. */
  over(file: WorkerOptions): WorkerOptions;
}

/** What was given alone. */
function given<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}

function overlay(flags: Flags, file: WorkerOptions): WorkerOptions {
  const { redis, input, group, consumer, model, threshold, classes, policy, backend, device, precision, batch } = flags;
  const http = given({ port: flags.port, host: flags.host });
  const port = http.port ?? file.http?.port;
  const nested = {
    output: { ...file.output, ...given({ stream: flags.output, format: flags.format, boxes: flags.boxes }) },
    deadLetter: { ...file.deadLetter, ...given({ maxDeliveries: flags["max-deliveries"] }) },
    claim: { ...file.claim, ...given({ idleMs: flags["claim-idle"] }) },
    detector: { ...file.detector, ...given({ backend, device, precision, batch, threads: flags.threads }) },
  };
  return {
    ...file,
    ...given({ redis, input, group, consumer, model, threshold, classes, policy }),
    ...given({ edgeMargin: flags["edge-margin"], inFlight: flags["in-flight"], drainMs: flags.drain }),
    ...nested,
    ...(port === undefined ? {} : { http: { ...file.http, ...http, port } }),
  };
}

/**
 * Check the flags of `worker`.
 *
 * @throws {OptionError} If a value is refused
 */
export function parseWorkerFlags(parsed: ParsedArguments): WorkerArguments {
  const flags = parseFlags("worker", parsed, schema);
  return { config: flags.config, isQuiet: flags.quiet, over: (file) => overlay(flags, file) };
}
