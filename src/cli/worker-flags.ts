/** @module WorkerFlags: the flags of `worker`, and what they stand for; they win over the file. */

import { z } from "zod";
import type { DetectorOptions } from "../api/detector-config.ts";
import type { WorkerOptions } from "../worker/worker-config.ts";
import { type Flag, type ParsedArguments, parseFlags } from "./args.ts";
import { DETECTOR_FLAGS, parseDetectorFlags } from "./detector-flags.ts";
import { count, toggle, wholeNumber } from "./values.ts";

/** In the order of the help. */
export const WORKER_FLAGS: readonly Flag[] = [
  {
    name: "config",
    short: "c",
    value: "FILE",
    summary: "options from a file: .toml, .yaml or .json; SIGHUP reads it again",
  },
  { name: "redis", value: "URL", summary: "the server (default $REDIS_URL, else redis://127.0.0.1:6379)" },
  { name: "input", short: "i", value: "LIST", summary: "streams to read, separated by commas (default frames)" },
  { name: "group", value: "NAME", summary: "consumer group: its workers share the frames (default bun-tensorrt)" },
  { name: "consumer", value: "NAME", summary: "name of this worker in the group (default made up)" },
  { name: "output", short: "o", value: "NAME", summary: "stream of the results (default detections)" },
  { name: "format", short: "f", value: "protobuf|fields", summary: "how results are written (default protobuf)" },
  { name: "boxes", value: "pixels|normalized", summary: "what boxes are measured in (default pixels)" },
  ...DETECTOR_FLAGS,
  { name: "edge-margin", value: "PIXELS", summary: "skip boxes this close to an edge of the frame" },
  { name: "policy", value: "all|latest", summary: "every frame, or of each source the newest (default all)" },
  {
    name: "max-held",
    value: "N",
    summary: "frames read and not answered (default twice what runs at once, at least 4)",
  },
  { name: "max-deliveries", value: "N", summary: "tries before a frame is a dead letter (default 3)" },
  {
    name: "frame-timeout",
    value: "SECONDS",
    summary: "time for a frame at the detector, then it is tried again (default 60)",
  },
  { name: "claim-idle", value: "SECONDS", summary: "take over frames silent for as long (default 30)" },
  { name: "drain", value: "SECONDS", summary: "time to finish frames in flight on shutdown (default 10)" },
  { name: "port", value: "N", summary: "serve /healthz, /readyz and /metrics; 0 for any free port" },
  { name: "host", value: "ADDRESS", summary: "where --port listens (default 127.0.0.1)" },
  {
    name: "allow-host",
    value: "LIST",
    summary: "further host names, separated by commas; * for any (default on loopback: none)",
  },
  { name: "quiet", short: "q", summary: "print warnings only" },
];

const text = z.string().min(1, "a name");
const list = text.transform((names) => names.split(",").map((name) => name.trim()));
const pixels = z
  .string()
  .regex(/^\d+(\.\d+)?$/, "a number of pixels, 0 or more")
  .transform(Number);

function seconds(least: number): z.ZodType<number, string> {
  return wholeNumber(least, 2_000_000).transform((value) => value * 1000);
}

const schema = z.object({
  config: text.optional(),
  redis: text.optional(),
  input: list.optional(),
  group: text.optional(),
  consumer: text.optional(),
  output: text.optional(),
  format: z.enum(["protobuf", "fields"], "protobuf or fields").optional(),
  boxes: z.enum(["pixels", "normalized"], "pixels or normalized").optional(),
  "edge-margin": pixels.optional(),
  policy: z.enum(["all", "latest"], "all or latest").optional(),
  "max-held": count(65_536).optional(),
  "max-deliveries": count(1_000_000).optional(),
  "frame-timeout": seconds(1).optional(),
  "claim-idle": seconds(1).optional(),
  drain: seconds(0).optional(),
  port: wholeNumber(0, 65_535).optional(),
  host: text.optional(),
  "allow-host": list.optional(),
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

/** What the flags say of the detector, without the defaults of those that were not given, which would hide the file's. */
function detectorSaid(parsed: ParsedArguments): { readonly model: string | undefined; readonly said: DetectorOptions } {
  const { model, detector } = parseDetectorFlags("worker", parsed);
  const silent: DetectorOptions = parseDetectorFlags("worker", { flags: {}, operands: [] }).detector;
  const said = Object.entries(detector).filter(([name, value]) => {
    return name in parsed.flags || !Bun.deepEquals(value, silent[name as keyof DetectorOptions]);
  });
  return { model, said: Object.fromEntries(said) };
}

function overlay(flags: Flags, parsed: ParsedArguments, file: WorkerOptions): WorkerOptions {
  const { redis, input, group, consumer, policy } = flags;
  const { model, said } = detectorSaid(parsed);
  // In a worker these two belong to the rules of sources.
  const { threshold, classes, ...detector } = said;
  const preprocessing = { ...file.detector?.preprocessing, ...detector.preprocessing };
  const http = given({ port: flags.port, host: flags.host, allowHost: flags["allow-host"] });
  const port = http.port ?? file.http?.port;
  return {
    ...file,
    ...given({ redis, input, group, consumer, model, threshold, classes, policy }),
    ...given({ edgeMargin: flags["edge-margin"], maxHeld: flags["max-held"], drainMs: flags.drain }),
    ...given({ frameTimeoutMs: flags["frame-timeout"] }),
    output: { ...file.output, ...given({ stream: flags.output, format: flags.format, boxes: flags.boxes }) },
    deadLetter: { ...file.deadLetter, ...given({ maxDeliveries: flags["max-deliveries"] }) },
    claim: { ...file.claim, ...given({ idleMs: flags["claim-idle"] }) },
    detector: {
      ...file.detector,
      ...detector,
      ...(Object.keys(preprocessing).length === 0 ? {} : { preprocessing }),
    },
    ...(port === undefined ? {} : { http: { ...file.http, ...http, port } }),
  };
}

/**
 * Check the flags of `worker`.
 *
 * @throws {OptionError} If a value is refused
 */
export function parseWorkerFlags(parsed: ParsedArguments): WorkerArguments {
  const flags = parseFlags(parsed, schema);
  return { config: flags.config, isQuiet: flags.quiet, over: (file) => overlay(flags, parsed, file) };
}
