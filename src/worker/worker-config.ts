/** @module Worker config: what callers may set, checked once with zod, and what the worker then relies on. */

import { hostname } from "node:os";
import { z } from "zod";
import type { SliceOptions } from "../api/call-options.ts";
import { CALL_SLICES, DETECTOR_OPTIONS, type DetectorOptions } from "../api/detector-config.ts";
import { OptionError } from "../core/errors.ts";
import { type Complete, type Filled, givenOf, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { listFrom, numberWithin, secondsFlag, wholeWithin } from "../core/value-options.ts";
import { SERVED_DECODING } from "../image/image-options.ts";
import { HOST_RULE, isHostName } from "../service/listen.ts";
import { redisAddress } from "./redis/redis-connection.ts";

/** What holds for the frames of one source; what is left out is the worker's own. */
export interface SourceRules {
  /**
   * `all`: every frame is looked at. `latest`: a frame that waits is dropped, acknowledged without an answer, as soon as
   * this worker has read a newer one of its source. Default `all`.
   */
  readonly policy?: "all" | "latest" | undefined;
  /** Lowest score that is kept, 0–1. Default: the detector's. */
  readonly threshold?: number | undefined;
  /** Names or ids of the classes to keep. Default: the detector's. */
  readonly classes?: readonly (string | number)[] | undefined;
  /** Leave out boxes that come this close to an edge of the frame, in pixels; 0: those that touch it. Default: keep them. */
  readonly edgeMargin?: number | undefined;
}

/** What holds for the frames of one source that `sources` names. */
export interface SourceOptions extends SourceRules {
  /** Slices that its frames are looked at in, or `false` for none. Default: those of the option `detector`. */
  readonly slices?: SliceOptions | false | undefined;
}

/** Where answers go. */
export interface OutputOptions {
  /** Default `detections`. */
  readonly stream?: string | undefined;
  /** About how many answers the stream keeps; older ones are trimmed. Default 100,000. */
  readonly maxLength?: number | undefined;
  /** `protobuf`: one field `detections` with the message. `fields`: plain fields, boxes as JSON. Default `protobuf`. */
  readonly format?: "protobuf" | "fields" | undefined;
  /** `pixels` of the frame, or `normalized`: fractions of its width and height. Default `pixels`. */
  readonly boxes?: "pixels" | "normalized" | undefined;
  /** True: answers of a depth model have the depth of every pixel, 8 MB of a frame of 1920x1080. Default false: the range only. */
  readonly maps?: boolean | undefined;
}

/** Where frames go that cannot be answered. */
export interface DeadLetterOptions {
  /** Default: the output stream's name and `:dead`. */
  readonly stream?: string | undefined;
  /** About how many the stream keeps. Default 1,000. */
  readonly maxLength?: number | undefined;
  /** A frame that has been given to a worker this often without an answer goes there. Default 3. */
  readonly maxDeliveries?: number | undefined;
  /** Frames that are no images: `answer` them with an error, or put them there at once (`bury`). Default `answer`. */
  readonly badFrames?: "answer" | "bury" | undefined;
}

/** Taking over the frames of workers that died. */
export interface ClaimOptions {
  /** A frame that its worker has not answered, nor said that it still works on it, for this long; milliseconds. Default 30,000. */
  readonly idleMs?: number | undefined;
  /** How often to look, milliseconds. Default 5,000. */
  readonly intervalMs?: number | undefined;
}

/** Waiting before the server is tried again: a random time from half a bound to all of it; the bound doubles with every failure. */
export interface ReconnectOptions {
  /** First bound, milliseconds. Default 100. */
  readonly firstMs?: number | undefined;
  /** Highest bound, milliseconds. Default 10,000. */
  readonly mostMs?: number | undefined;
}

/** Health, readiness and metrics over HTTP. */
export interface HttpOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Address to listen at. Default `127.0.0.1`: this machine alone. */
  readonly host?: string | undefined;
  /** Further names that lead to it, without a port; `*` for any. Default: on a loopback address none, elsewhere any. */
  readonly allowHost?: string | readonly string[] | undefined;
}

/** {@linkcode HttpOptions}, complete. */
export interface HttpConfig extends Filled<Omit<HttpOptions, "allowHost">> {
  readonly allowHost: readonly string[];
}

/** Options of `Worker.create`, and of its file. */
export interface WorkerOptions extends SourceRules {
  /** URL of the server. Default `$REDIS_URL`, else `redis://127.0.0.1:6379`. */
  readonly redis?: string | undefined;
  /** Streams to read. Default `frames`. */
  readonly input?: string | readonly string[] | undefined;
  /** Consumer group: workers of one group share the frames. Default `bun-tensorrt`. */
  readonly group?: string | undefined;
  /** Name of this worker in the group, its own. Default: host, process id and a random part. */
  readonly consumer?: string | undefined;
  /** Where a group that does not exist yet starts: at the `first` entry there is, or with `new` ones. Default `first`. */
  readonly start?: "first" | "new" | undefined;
  /** True: delete a frame from its stream when it is answered; right where one group alone reads it. Default false. */
  readonly deleteAnswered?: boolean | undefined;
  readonly output?: OutputOptions | undefined;
  readonly deadLetter?: DeadLetterOptions | undefined;
  /** ONNX file, plan, or a name of the catalogue. Default `yolo11n`. */
  readonly model?: string | undefined;
  /** Options of `Detector.load`; `maxPixels` is 2^26 and `decodeTimeoutMs` 10,000 here unless they say otherwise. */
  readonly detector?: Omit<DetectorOptions, "signal" | "onBuildProgress"> | undefined;
  /**
   * Frames this worker holds at most, from reading to the written answer. Default: twice `concurrency`, at least 4, and
   * one more for each stream beside the first.
   */
  readonly maxHeld?: number | undefined;
  /** Frames given to the detector at a time. Default: as many as its slots and batches take. */
  readonly concurrency?: number | undefined;
  /**
   * How long a frame may be at the detector, milliseconds: then it is given up, stays pending, and is tried again when it is
   * claimed. Default 60,000.
   */
  readonly frameTimeoutMs?: number | undefined;
  /** Rules by source id. */
  readonly sources?: Readonly<Record<string, SourceOptions>> | undefined;
  readonly claim?: ClaimOptions | undefined;
  readonly reconnect?: ReconnectOptions | undefined;
  /** How long connecting, and each command, may take; milliseconds. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /**
   * How long `create` tries to reach the server before it fails, milliseconds. Default 10,000. 0: it does not, and `run` waits for
   * a server without end.
   */
  readonly connectTimeoutMs?: number | undefined;
  /** How long `stop` waits for the frames in flight, milliseconds. Default 10,000. */
  readonly drainMs?: number | undefined;
  /** Default: no HTTP. */
  readonly http?: HttpOptions | undefined;
}

/** {@linkcode SourceRules}, complete; `undefined`: the detector's own. */
export type SourceConfig = Complete<SourceOptions, "threshold" | "classes" | "edgeMargin" | "slices">;

/** Options that only get a default. */
type Plain = "redis" | "group" | "consumer" | "start" | "deleteAnswered" | "model" | "detector";

/** {@linkcode WorkerOptions}, complete. */
export interface WorkerConfig
  extends Complete<
    Pick<
      WorkerOptions,
      Plain | "maxHeld" | "concurrency" | "frameTimeoutMs" | "timeoutMs" | "connectTimeoutMs" | "drainMs"
    >,
    "maxHeld" | "concurrency"
  > {
  readonly input: readonly string[];
  readonly output: Filled<OutputOptions>;
  readonly deadLetter: Filled<DeadLetterOptions>;
  /** Of every source that `sources` does not name. */
  readonly rules: SourceConfig;
  readonly sources: ReadonlyMap<string, SourceConfig>;
  readonly claim: Filled<ClaimOptions>;
  readonly reconnect: Filled<ReconnectOptions>;
  readonly http: HttpConfig | undefined;
}

const MAX_MS = 2 ** 31 - 1;
const fraction = numberWithin(0, 1);
const milliseconds = z.int("a whole number of milliseconds").min(1, "at least 1 ms").max(MAX_MS, "at most 24 days");
const name = z.string("a name").min(1, "a name that is not empty");
const length = z.int("a whole number").min(1, "at least 1");
const atOnce = z.int("a whole number").min(1, "at least 1").max(65_536, "at most 65,536");

const port = "a port from 0 to 65535";

const rules = {
  policy: {
    schema: z.enum(["all", "latest"], "all or latest").optional(),
    help: "every frame, or of each source the newest",
    otherwise: "all",
  },
  threshold: { ...DETECTOR_OPTIONS.threshold, schema: fraction.optional() },
  classes: {
    ...DETECTOR_OPTIONS.classes,
    schema: z.array(z.union([z.string(), z.int()], "the name or id of a class"), "names or ids of classes").optional(),
  },
  edgeMargin: {
    schema: z.number("0 or more pixels").min(0, "0 or more pixels").optional(),
    value: "PIXELS",
    help: "skip boxes this close to an edge of the frame",
  },
} satisfies OptionsOf<SourceRules>;

/** Of a source that is named: those of all are the detector's. */
const slices = { slices: CALL_SLICES.optional() };

const output = {
  stream: {
    schema: name.default("detections"),
    flag: "output",
    short: "o",
    value: "NAME",
    help: "stream of the results",
  },
  format: {
    schema: z.enum(["protobuf", "fields"], "protobuf or fields").default("protobuf"),
    short: "f",
    help: "how results are written",
  },
  boxes: {
    schema: z.enum(["pixels", "normalized"], "pixels or normalized").default("pixels"),
    help: "what boxes are measured in",
  },
  maps: {
    schema: z.boolean("true or false").default(false),
    help: "answer with the depth of every pixel, not its range only",
  },
  maxLength: { schema: length.default(100_000) },
} satisfies OptionsOf<OutputOptions>;

const deadLetter = {
  stream: { schema: name.optional() },
  maxLength: { schema: length.default(1_000) },
  maxDeliveries: {
    schema: z.int("a whole number").min(1, "at least 1").max(1_000_000, "at most a million").default(3),
    help: "tries before a frame is a dead letter",
  },
  badFrames: { schema: z.enum(["answer", "bury"], "answer or bury").default("answer") },
} satisfies OptionsOf<DeadLetterOptions>;

const claim = {
  idleMs: {
    schema: milliseconds.default(30_000),
    flag: "claim-idle-ms",
    value: "MS",
    help: "take over frames silent for as long",
    aliases: [secondsFlag("claimIdle")],
  },
  intervalMs: { schema: milliseconds.default(5_000) },
} satisfies OptionsOf<ClaimOptions>;

const reconnect = {
  firstMs: { schema: milliseconds.default(100) },
  mostMs: { schema: milliseconds.default(10_000) },
} satisfies OptionsOf<ReconnectOptions>;

const hostName = z.string(HOST_RULE).refine(isHostName, HOST_RULE);
const http = {
  port: {
    schema: wholeWithin(0, 65_535, port),
    help: "serve /healthz, /readyz and /metrics; 0 for any free port",
  },
  host: { schema: name.default("127.0.0.1"), value: "ADDRESS", help: "where --port listens" },
  allowHost: {
    schema: z
      .union([hostName, z.array(hostName)], HOST_RULE)
      .default([])
      .transform((hosts): readonly string[] => (typeof hosts === "string" ? [hosts] : hosts)),
    value: "LIST",
    fromText: listFrom,
    help: "further host names, separated by commas; * for any",
    otherwise: "on loopback: none",
  },
} satisfies OptionsOf<HttpOptions>;

const table = {
  redis: {
    schema: z.string("a URL such as redis://127.0.0.1:6379").min(1, "a URL such as redis://127.0.0.1:6379").optional(),
    value: "URL",
    help: "the server",
    otherwise: "$REDIS_URL, else redis://127.0.0.1:6379",
  },
  input: {
    schema: z
      .union([name, z.array(name).min(1, "a list of at least one stream")], "a name, or a list of names")
      .default("frames")
      .transform((input) => [...new Set(typeof input === "string" ? [input] : input)]),
    short: "i",
    value: "LIST",
    fromText: listFrom,
    help: "streams to read, separated by commas",
    otherwise: "frames",
  },
  group: { schema: name.default("bun-tensorrt"), value: "NAME", help: "consumer group: its workers share the frames" },
  consumer: { schema: name.optional(), value: "NAME", help: "name of this worker in the group", otherwise: "made up" },
  start: { schema: z.enum(["first", "new"], "first or new").default("first") },
  deleteAnswered: { schema: z.boolean("true or false").default(false) },
  output: { schema: z.strictObject(shapeOf(output)).prefault({}), options: output },
  deadLetter: { schema: z.strictObject(shapeOf(deadLetter)).prefault({}), options: deadLetter },
  model: {
    schema: name.default("yolo11n"),
    short: "m",
    value: "FILE|NAME",
    help: "ONNX file, plan, or a name from `models`",
  },
  ...rules,
  // `Detector.load` checks what is in it.
  detector: {
    schema: z.record(z.string(), z.unknown(), "an object of options of the detector").default({}),
    options: DETECTOR_OPTIONS,
  },
  maxHeld: {
    schema: atOnce.optional(),
    help: "frames read and not answered",
    otherwise: "twice what runs at once, at least 4",
  },
  concurrency: { schema: atOnce.optional() },
  frameTimeoutMs: {
    schema: milliseconds.default(60_000),
    value: "MS",
    help: "time for a frame at the detector, then it is tried again",
    aliases: [secondsFlag("frameTimeout")],
  },
  sources: {
    schema: z.record(z.string(), z.strictObject({ ...shapeOf(rules), ...slices }), "rules by source id").default({}),
  },
  claim: { schema: z.strictObject(shapeOf(claim)).prefault({}), options: claim },
  reconnect: { schema: z.strictObject(shapeOf(reconnect)).prefault({}), options: reconnect },
  timeoutMs: { schema: milliseconds.default(10_000) },
  connectTimeoutMs: {
    schema: z.int("a whole number of milliseconds").min(0, "0 or more").max(MAX_MS, "at most 24 days").default(10_000),
    value: "MS",
    help: "time to reach the server at the start; 0 waits without end",
  },
  drainMs: {
    schema: z.int("a whole number of milliseconds").min(0, "0 or more").max(MAX_MS, "at most 24 days").default(10_000),
    value: "MS",
    help: "time to finish frames in flight on shutdown",
    aliases: [secondsFlag("drain")],
  },
  http: { schema: z.strictObject(shapeOf(http)).optional(), options: http },
} satisfies OptionsOf<WorkerOptions>;
const schema = z.strictObject(shapeOf(table));

/** Every option of a worker. */
export const WORKER_OPTIONS: OptionsOf<WorkerOptions> = table;

function sourceConfig(own: SourceOptions, worker: SourceRules): SourceConfig {
  return {
    policy: own.policy ?? worker.policy ?? "all",
    threshold: own.threshold ?? worker.threshold,
    classes: own.classes ?? worker.classes,
    edgeMargin: own.edgeMargin ?? worker.edgeMargin,
    slices: own.slices,
  };
}

/**
 * Check a worker's options, and fill in what they leave out.
 *
 * @throws {OptionError} If one is unknown or out of range; it names the option and the nearest known one
 */
export function parseWorkerOptions(options: WorkerOptions): WorkerConfig {
  const parsed = parseOptions(schema, options, "run a worker", table);
  const { policy: _p, threshold: _t, classes: _c, edgeMargin: _e, ...rest } = parsed;
  const own = options.sources ?? {};
  const redis = parsed.redis ?? (process.env.REDIS_URL || "redis://127.0.0.1:6379");
  redisAddress(redis);
  const deadStream = parsed.deadLetter.stream ?? `${parsed.output.stream}:dead`;
  for (const [option, stream] of [
    ["output.stream", parsed.output.stream],
    ["deadLetter.stream", deadStream],
  ] as const) {
    if (!parsed.input.includes(stream)) continue;
    const found = `Option "${option}" must be none of the streams in "input", got ${JSON.stringify(stream)}`;
    throw new OptionError(`${found}\nHint: give it another name`, option);
  }
  return {
    ...rest,
    redis,
    consumer: parsed.consumer ?? `${hostname()}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`,
    deadLetter: { ...parsed.deadLetter, stream: deadStream },
    // Frames are strangers' images.
    detector: { ...SERVED_DECODING, ...givenOf(parsed.detector as WorkerConfig["detector"]) },
    maxHeld: parsed.maxHeld,
    concurrency: parsed.concurrency,
    rules: sourceConfig({}, options),
    sources: new Map(Object.entries(own).map(([id, one]) => [id, sourceConfig(one, options)])),
    http: parsed.http,
  };
}

/** True if coordinates are fractions of the frame's width and height. */
export function isNormalized({ output }: WorkerConfig): boolean {
  return output.boxes === "normalized";
}
