/** @module Worker config: what callers may set, checked once with zod, and what the worker then relies on. */

import { hostname } from "node:os";
import { z } from "zod";
import type { DetectorOptions } from "../api/detector-config.ts";
import { OptionError } from "../core/errors.ts";
import { nearestWord, parseOptions, unknownWord } from "../core/options.ts";
import { SERVED_DECODING } from "../image/decode-limits.ts";
import { HOST_RULE, isHostName } from "../service/listen.ts";
import { redisAddress } from "./redis/redis-address.ts";

/** What holds for the frames of one source; what is left out is the worker's own. */
export interface SourceRules {
  /**
   * `all`: every frame is looked at. `latest`: a frame that waits is dropped, acknowledged without an answer, as soon as
   * this worker has read a newer one of its source. Default `all`.
   */
  readonly policy?: "all" | "latest";
  /** Lowest score that is kept, 0–1. Default: the detector's. */
  readonly threshold?: number;
  /** Names or ids of the classes to keep. Default: the detector's. */
  readonly classes?: readonly (string | number)[];
  /** Leave out boxes that come this close to an edge of the frame, in pixels; 0: those that touch it. Default: keep them. */
  readonly edgeMargin?: number;
}

/** Where answers go. */
export interface OutputOptions {
  /** Default `detections`. */
  readonly stream?: string;
  /** About how many answers the stream keeps; older ones are trimmed. Default 100,000. */
  readonly maxLength?: number;
  /** `protobuf`: one field `detections` with the message. `fields`: plain fields, boxes as JSON. Default `protobuf`. */
  readonly format?: "protobuf" | "fields";
  /** `pixels` of the frame, or `normalized`: fractions of its width and height. Default `pixels`. */
  readonly boxes?: "pixels" | "normalized";
}

/** Where frames go that cannot be answered. */
export interface DeadLetterOptions {
  /** Default: the output stream's name and `:dead`. */
  readonly stream?: string;
  /** About how many the stream keeps. Default 1,000. */
  readonly maxLength?: number;
  /** A frame that has been given to a worker this often without an answer goes there. Default 3. */
  readonly maxDeliveries?: number;
  /** Frames that are no pictures: `answer` them with an error, or put them there at once (`bury`). Default `answer`. */
  readonly badFrames?: "answer" | "bury";
}

/** Taking over the frames of workers that died. */
export interface ClaimOptions {
  /** A frame that its worker has not answered, nor said that it still works on it, for this long; milliseconds. Default 30,000. */
  readonly idleMs?: number;
  /** How often to look, milliseconds. Default 5,000. */
  readonly intervalMs?: number;
}

/** Waiting before the server is tried again: a random time from half a bound to all of it; the bound doubles with every failure. */
export interface ReconnectOptions {
  /** First bound, milliseconds. Default 100. */
  readonly firstMs?: number;
  /** Highest bound, milliseconds. Default 10,000. */
  readonly mostMs?: number;
}

/** Health, readiness and metrics over HTTP. */
export interface HttpOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Address to listen at. Default `127.0.0.1`: this machine alone. */
  readonly host?: string;
  /** Further names that lead to it, without a port; `*` for any. Default: on a loopback address none, elsewhere any. */
  readonly allowHost?: string | readonly string[];
}

/** {@linkcode HttpOptions}, complete. */
export interface HttpConfig extends Required<Omit<HttpOptions, "allowHost">> {
  readonly allowHost: readonly string[];
}

/** Options of `Worker.create`, and of its file. */
export interface WorkerOptions extends SourceRules {
  /** URL of the server. Default `$REDIS_URL`, else `redis://127.0.0.1:6379`. */
  readonly redis?: string;
  /** Streams to read. Default `frames`. */
  readonly input?: string | readonly string[];
  /** Consumer group: workers of one group share the frames. Default `bun-tensorrt`. */
  readonly group?: string;
  /** Name of this worker in the group, its own. Default: host, process id and a random part. */
  readonly consumer?: string;
  /** Where a group that does not exist yet starts: at the `first` entry there is, or with `new` ones. Default `first`. */
  readonly start?: "first" | "new";
  /** True: delete a frame from its stream when it is answered; right where one group alone reads it. Default false. */
  readonly deleteAnswered?: boolean;
  readonly output?: OutputOptions;
  readonly deadLetter?: DeadLetterOptions;
  /** ONNX file, plan, or a name of the catalogue. Default `yolo11n`. */
  readonly model?: string;
  /** Options of `Detector.load`; `maxPixels` is 2^26 and `decodeTimeoutMs` 10,000 here unless they say otherwise. */
  readonly detector?: Omit<DetectorOptions, "signal" | "onBuildProgress">;
  /**
   * Frames this worker holds at most, from reading to the written answer. Default: twice `concurrency`, at least 4, and
   * one more for each stream beside the first.
   */
  readonly maxHeld?: number;
  /** Frames given to the detector at a time. Default: as many as its slots and batches take. */
  readonly concurrency?: number;
  /**
   * How long a frame may be at the detector, milliseconds: then it is given up, stays pending, and is tried again when it is
   * claimed. Default 60,000.
   */
  readonly frameTimeoutMs?: number;
  /** Rules by source id. */
  readonly sources?: Readonly<Record<string, SourceRules>>;
  readonly claim?: ClaimOptions;
  readonly reconnect?: ReconnectOptions;
  /** How long connecting, and each command, may take; milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** How long `stop` waits for the frames in flight, milliseconds. Default 10,000. */
  readonly drainMs?: number;
  /** Default: no HTTP. */
  readonly http?: HttpOptions;
}

/** {@linkcode SourceRules}, complete; `undefined`: the detector's own. */
export interface SourceConfig {
  readonly policy: "all" | "latest";
  readonly threshold: number | undefined;
  readonly classes: readonly (string | number)[] | undefined;
  readonly edgeMargin: number | undefined;
}

/** {@linkcode WorkerOptions}, complete. */
export interface WorkerConfig {
  readonly redis: string;
  readonly input: readonly string[];
  readonly group: string;
  readonly consumer: string;
  readonly start: "first" | "new";
  readonly deleteAnswered: boolean;
  readonly output: Required<OutputOptions>;
  readonly deadLetter: Required<DeadLetterOptions>;
  readonly model: string;
  readonly detector: Omit<DetectorOptions, "signal" | "onBuildProgress">;
  readonly maxHeld: number | undefined;
  readonly concurrency: number | undefined;
  readonly frameTimeoutMs: number;
  /** Of every source that `sources` does not name. */
  readonly rules: SourceConfig;
  readonly sources: ReadonlyMap<string, SourceConfig>;
  readonly claim: Required<ClaimOptions>;
  readonly reconnect: Required<ReconnectOptions>;
  readonly timeoutMs: number;
  readonly drainMs: number;
  readonly http: HttpConfig | undefined;
}

const MAX_MS = 2 ** 31 - 1;
const fraction = z.number("a number from 0 to 1").min(0, "a number from 0 to 1").max(1, "a number from 0 to 1");
const milliseconds = z.int("a whole number of milliseconds").min(1, "at least 1 ms").max(MAX_MS, "at most 24 days");
const name = z.string("a name").min(1, "a name that is not empty");
const length = z.int("a whole number").min(1, "at least 1");
const atOnce = z.int("a whole number").min(1, "at least 1").max(65_536, "at most 65,536");

const rules = {
  policy: z.enum(["all", "latest"], "all or latest").optional(),
  threshold: fraction.optional(),
  classes: z.array(z.union([z.string(), z.int()], "names or ids of classes")).optional(),
  edgeMargin: z.number("0 or more pixels").min(0, "0 or more pixels").optional(),
};

const output = z.strictObject({
  stream: name.default("detections"),
  maxLength: length.default(100_000),
  format: z.enum(["protobuf", "fields"], "protobuf or fields").default("protobuf"),
  boxes: z.enum(["pixels", "normalized"], "pixels or normalized").default("pixels"),
});

const deadLetter = z.strictObject({
  stream: name.optional(),
  maxLength: length.default(1_000),
  maxDeliveries: z.int("a whole number").min(1, "at least 1").max(1_000_000, "at most a million").default(3),
  badFrames: z.enum(["answer", "bury"], "answer or bury").default("answer"),
});

const claim = z.strictObject({ idleMs: milliseconds.default(30_000), intervalMs: milliseconds.default(5_000) });
const reconnect = z.strictObject({ firstMs: milliseconds.default(100), mostMs: milliseconds.default(10_000) });
const hostName = z.string(HOST_RULE).refine(isHostName, HOST_RULE);
const http = z.strictObject({
  port: z.int("a port from 0 to 65535").min(0, "a port from 0 to 65535").max(65_535, "a port from 0 to 65535"),
  host: name.default("127.0.0.1"),
  allowHost: z
    .union([hostName, z.array(hostName)], HOST_RULE)
    .default([])
    .transform((hosts): readonly string[] => (typeof hosts === "string" ? [hosts] : hosts)),
});

const schema = z.strictObject({
  ...rules,
  redis: z.string("a URL such as redis://127.0.0.1:6379").optional(),
  input: z
    .union([name, z.array(name).min(1, "a list of at least one stream")], "a name, or a list of names")
    .default("frames")
    .transform((input) => [...new Set(typeof input === "string" ? [input] : input)]),
  group: name.default("bun-tensorrt"),
  consumer: name.optional(),
  start: z.enum(["first", "new"], "first or new").default("first"),
  deleteAnswered: z.boolean("true or false").default(false),
  output: output.prefault({}),
  deadLetter: deadLetter.prefault({}),
  model: name.default("yolo11n"),
  // `Detector.load` checks what is in it.
  detector: z.record(z.string(), z.unknown(), "an object of options of the detector").default({}),
  maxHeld: atOnce.optional(),
  concurrency: atOnce.optional(),
  frameTimeoutMs: milliseconds.default(60_000),
  sources: z.record(z.string(), z.strictObject(rules), "an object of rules by source id").default({}),
  claim: claim.prefault({}),
  reconnect: reconnect.prefault({}),
  timeoutMs: milliseconds.default(10_000),
  drainMs: z.int("a whole number of milliseconds").min(0, "0 or more").max(MAX_MS, "at most 24 days").default(10_000),
  http: http.optional(),
});

/** Objects within the options, so that a misspelt name in them is told with its neighbours. */
const NESTED: readonly (readonly [path: string, known: Readonly<Record<string, unknown>>])[] = [
  ["output", output.shape],
  ["deadLetter", deadLetter.shape],
  ["claim", claim.shape],
  ["reconnect", reconnect.shape],
  ["http", http.shape],
];

function checkNested(options: WorkerOptions): void {
  const refuse = (path: string, known: Readonly<Record<string, unknown>>, value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const key = Object.keys(value).find((one) => !Object.hasOwn(known, one));
    if (key === undefined) return;
    const near = nearestWord(key, Object.keys(known));
    throw new OptionError(unknownWord("option", `${path}.${key}`, Object.keys(known), near), `${path}.${key}`);
  };
  for (const [path, known] of NESTED) refuse(path, known, (options as Readonly<Record<string, unknown>>)[path]);
  for (const [id, value] of Object.entries(options.sources ?? {})) refuse(`sources.${id}`, rules, value);
}

function anyName(): string {
  return `${hostname()}-${process.pid}-${crypto.randomUUID().slice(0, 8)}`;
}

function sourceConfig(own: SourceRules, worker: SourceRules): SourceConfig {
  return {
    policy: own.policy ?? worker.policy ?? "all",
    threshold: own.threshold ?? worker.threshold,
    classes: own.classes ?? worker.classes,
    edgeMargin: own.edgeMargin ?? worker.edgeMargin,
  };
}

/**
 * Check a worker's options, and fill in what they leave out.
 *
 * @throws {OptionError} If one is unknown or out of range; it names the option and the nearest known one
 */
export function parseWorkerOptions(options: WorkerOptions): WorkerConfig {
  if (typeof options === "object" && options !== null) checkNested(options);
  const parsed = parseOptions(schema, options, "run a worker");
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
    consumer: parsed.consumer ?? anyName(),
    deadLetter: { ...parsed.deadLetter, stream: deadStream },
    // Frames are strangers' pictures.
    detector: { ...SERVED_DECODING, ...(parsed.detector as WorkerConfig["detector"]) },
    maxHeld: parsed.maxHeld,
    concurrency: parsed.concurrency,
    rules: sourceConfig({}, options),
    sources: new Map(Object.entries(own).map(([id, one]) => [id, sourceConfig(one, options)])),
    http: parsed.http,
  };
}
