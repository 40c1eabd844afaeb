/** @module Serve config: what a server may be told, checked once with zod. */

import { readFileSync } from "node:fs";
import { z } from "zod";
import { message, OptionError } from "../core/errors.ts";
import { type Filled, type OptionsOf, parseOptions, shapeOf } from "../core/options.ts";
import { bytesFrom, listFrom, secondsFlag, wholeWithin } from "../core/value-options.ts";
import { HOST_RULE, isHostName } from "../service/listen.ts";
import type { GpuSampler } from "../service/metrics.ts";
import type { LiveStream } from "./live-streams.ts";

/** Options of `createHandler`. What decoding may cost are the detector's own: `maxPixels`, `decodeTimeoutMs` of `Detector.load`. */
export interface HandlerOptions {
  /**
   * What the addresses begin with: `"/vision"` for `/vision/detect`. Not for what strips it, as `mount` of Hono and Elysia.
   * Default: nothing.
   */
  readonly basePath?: string | undefined;
  /** Name of the model in `/v2/models/…`. Default `"detector"`. */
  readonly name?: string | undefined;
  /** What clients must send as `Authorization: Bearer …`. Default: nothing is asked. */
  readonly token?: string | undefined;
  /** Origins whose pages may read the answers, or `"*"`. Default: none but the server's own. */
  readonly cors?: string | readonly string[] | undefined;
  /**
   * Further names that lead to this server, without a port: what `Host` may say, else 421; `"*"` for any. Default: of `serve` on
   * a loopback address the names of this machine, elsewhere any.
   */
  readonly allowHost?: string | readonly string[] | undefined;
  /** Longest body in bytes; a longer one is refused with 413. Default 32 MiB. */
  readonly maxBodyBytes?: number | undefined;
  /**
   * Bytes of all bodies in memory together, from their arrival to the end of their work; where they are more, the largest that
   * is not worked on yet is refused with 429. At least `maxBodyBytes`. Default 128 MiB, or `maxBodyBytes` if that is more.
   */
  readonly maxBodiesBytes?: number | undefined;
  /** Most images in one multipart body. Default 32. */
  readonly maxFiles?: number | undefined;
  /** Most pixels of an image that is answered with `format=image`. Default 16 Mi: drawing takes 13 bytes a pixel. */
  readonly maxDrawnPixels?: number | undefined;
  /** Most slices that a request may have an image cut into, the image as a whole not counted. Default 64. */
  readonly maxSlices?: number | undefined;
  /** Requests worked on at once. Default: twice the detector's frames in flight, at least 4. */
  readonly concurrency?: number | undefined;
  /** Requests that may wait for their turn; more are refused with 429. Default 64. */
  readonly queue?: number | undefined;
  /** Bodies that may be on their way at once; more are refused with 429. Default 256. */
  readonly maxReceiving?: number | undefined;
  /** How long a body may take to arrive, in milliseconds, else 408. Default 20,000. */
  readonly bodyTimeoutMs?: number | undefined;
  /** How long an answer may take once the body is there, in milliseconds, else 503. Default 30,000. */
  readonly timeoutMs?: number | undefined;
  /** How long a connection may be silent after an answer, in milliseconds; Bun counts in steps of some seconds. Default 10,000. */
  readonly idleTimeoutMs?: number | undefined;
  /** How long `close()` waits for requests that are running, in milliseconds. Default 15,000. */
  readonly drainTimeoutMs?: number | undefined;
  /**
   * Cameras and videos that are followed, by name: an address, or one with options, a tracker and zones. What is found goes to those
   * who listen at `/streams/NAME/events`. Default: none.
   */
  readonly streams?: Readonly<Record<string, string | LiveStream>> | undefined;
  /** Asked for the GPU gauges of `/metrics`. Default: none. */
  readonly gpu?: GpuSampler | undefined;
}

/** Options of `serve`: those of its handler, and where it listens. */
export interface ServeOptions extends HandlerOptions {
  /** Address to listen on. Default `"127.0.0.1"`: this machine only; `"0.0.0.0"` or `"::"` for every network. */
  readonly host?: string | undefined;
  /** 0 for any free one. Default 8080. */
  readonly port?: number | undefined;
  /** Path of a Unix socket to listen on, instead of host and port. */
  readonly unix?: string | undefined;
  /** Paths of PEM files: certificate chain and private key. Default: no TLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
}

/** Options of a handler, complete. */
export interface HandlerConfig
  extends Filled<Omit<HandlerOptions, "token" | "cors" | "allowHost" | "gpu" | "concurrency" | "streams">> {
  readonly streams: Readonly<Record<string, LiveStream>>;
  readonly token: string | undefined;
  readonly cors: readonly string[];
  readonly allowHost: readonly string[];
  /** `undefined` for what fits the detector. */
  readonly concurrency: number | undefined;
  readonly gpu: GpuSampler | undefined;
}

/** Options of a server, complete. */
export interface ServeConfig extends HandlerConfig {
  readonly host: string;
  readonly port: number;
  readonly unix: string | undefined;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

const text = z.string("a text").min(1, "at least one character");
const MS_RULE = "a whole number of milliseconds, 1 to 86400000";
const milliseconds = wholeWithin(1, 86_400_000, MS_RULE);
const many = wholeWithin(1, 100_000);
const ORIGIN_RULE = "an origin such as https://example.org, without a path, or *";

function isOrigin(value: string): boolean {
  return value === "*" || (URL.canParse(value) && new URL(value).origin === value);
}

const origin = z.string(ORIGIN_RULE).refine(isOrigin, ORIGIN_RULE);

const hostName = z.string(HOST_RULE).refine(isHostName, HOST_RULE);

/** One, or a list. */
function listOf(one: z.ZodType<string, string>, rule: string): z.ZodType<readonly string[], string | string[]> {
  return z.union([one.transform((value): readonly string[] => [value]), z.array(one).min(1)], rule);
}

const BASE_RULE = "a path without a slash at its end, such as /vision";
const BYTES = "a number of bytes, such as 64MiB or 1048576";
const duration = { value: "MS" } as const;

const listenTable = {
  host: {
    schema: text.default("127.0.0.1"),
    value: "ADDRESS",
    help: "where to listen",
    otherwise: "127.0.0.1: this machine only",
  },
  port: {
    schema: wholeWithin(0, 65_535, "a port from 0 to 65535").default(8080),
    short: "p",
    help: "0 for any free one",
  },
  unix: { schema: text.optional(), value: "PATH", help: "listen on this Unix socket instead" },
  tls: {
    schema: z.strictObject({ cert: text, key: text }, "paths of a certificate and a key").optional(),
    options: {
      cert: { schema: text, value: "FILE", help: "certificate chain in PEM, for TLS; needs --key" },
      key: { schema: text, value: "FILE", help: "private key in PEM" },
    },
  },
} satisfies OptionsOf<Omit<ServeOptions, keyof HandlerOptions>>;

const STREAMS_RULE = "cameras by names of letters, digits, dots, dashes and underscores";
const STREAM_SOURCE_RULE = "an address, or an object with a source";
/** What is said of it beside its source is checked by those that take it. */
const streamOption = z.union(
  [
    text.transform((source): LiveStream => ({ source })),
    z.looseObject({ source: text }).transform((stream): LiveStream => stream as LiveStream),
  ],
  STREAM_SOURCE_RULE,
);

/** The content of a JSON file, in which comments are allowed. @throws {OptionError} If it cannot be read, or is none */
function jsonFrom(path: string): unknown {
  try {
    return Bun.JSONC.parse(readFileSync(path, "utf8"));
  } catch (error) {
    const { code, message: text } = error as NodeJS.ErrnoException;
    const found = code === undefined ? `it is not valid JSON (${text})` : `it cannot be read (${code})`;
    const hint = '{ "gate": "rtsp://gate.local/live" } is such a file';
    throw new OptionError(message(`read the streams of ${JSON.stringify(path)}`, found, hint), "streams", {
      cause: error,
    });
  }
}

const handlerTable = {
  basePath: {
    schema: z
      .string(BASE_RULE)
      .regex(/^(\/[\w.~-]+)*$/, BASE_RULE)
      .default(""),
    value: "PATH",
    help: "what the addresses begin with, such as /vision",
    otherwise: "nothing",
  },
  token: {
    schema: text.regex(/^[\x21-\x7e]+$/, "printable ASCII without spaces").optional(),
    value: "TOKEN",
    help: "what clients must send as Bearer token (also $BUN_TENSORRT_TOKEN)",
  },
  cors: {
    schema: listOf(origin, ORIGIN_RULE).default([]),
    value: "LIST",
    fromText: listFrom,
    help: "origins whose pages may read the answers, separated by commas, or *",
  },
  allowHost: {
    schema: listOf(hostName, HOST_RULE).default([]),
    value: "LIST",
    fromText: listFrom,
    help: "further host names, separated by commas; * for any",
    otherwise: "on loopback: none",
  },
  name: {
    schema: text.regex(/^[\w.-]+$/, "letters, digits, dots, dashes and underscores").default("detector"),
    value: "NAME",
    help: "name of the model in /v2/models/NAME",
    otherwise: "the file's",
  },
  maxBodyBytes: {
    schema: wholeWithin(1, 2 ** 30, `${BYTES}, at most 1GiB`).default(2 ** 25),
    value: "SIZE",
    fromText: bytesFrom,
    help: "maximum request body; larger ones get 413",
    otherwise: "32MiB",
    aliases: ["maxBody"],
  },
  maxBodiesBytes: {
    schema: wholeWithin(1, 2 ** 40, `${BYTES}, at most 1TiB`).optional(),
    value: "SIZE",
    fromText: bytesFrom,
    help: "all request bodies in memory; beyond it the largest get 429",
    otherwise: "128MiB",
    aliases: ["maxBodies"],
  },
  maxFiles: { schema: many.default(32), help: "maximum images in one form" },
  maxDrawnPixels: {
    schema: wholeWithin(1, Number.MAX_SAFE_INTEGER, "a whole number of pixels, at least 1").default(2 ** 24),
    help: "maximum pixels with format=image, else 413",
    otherwise: "2^24",
  },
  maxSlices: {
    schema: many.default(64),
    flag: "max-request-slices",
    help: "maximum slices that a request may ask for",
  },
  concurrency: {
    schema: many.optional(),
    help: "requests worked on at once",
    otherwise: "twice the frames in flight, at least 4",
  },
  queue: {
    schema: wholeWithin(0, 100_000).default(64),
    help: "maximum waiting requests; further ones get 429",
  },
  maxReceiving: { schema: many.default(256) },
  timeoutMs: {
    ...duration,
    schema: milliseconds.default(30_000),
    help: "time to answer after the body has arrived, then 503",
    aliases: [secondsFlag("timeout")],
  },
  bodyTimeoutMs: {
    ...duration,
    schema: milliseconds.default(20_000),
    help: "time for a body to arrive, then 408",
    aliases: [secondsFlag("bodyTimeout")],
  },
  idleTimeoutMs: {
    schema: milliseconds.max(255_000, "at most 255000, which is Bun's limit").default(10_000),
  },
  drainTimeoutMs: {
    ...duration,
    schema: milliseconds.default(15_000),
    help: "time to finish requests on shutdown",
    aliases: [secondsFlag("drain")],
  },
  streams: {
    schema: z
      .record(z.string(), streamOption, STREAMS_RULE)
      .refine((streams) => Object.keys(streams).every((name) => /^[\w.-]{1,64}$/.test(name)), STREAMS_RULE)
      .default({}),
    // `--streams` is how the frames in flight share a GPU.
    flag: "cameras",
    value: "FILE",
    fromText: jsonFrom,
    help: "JSON file of cameras to follow, by name; see docs/serve.md",
    otherwise: "none",
  },
  gpu: { schema: z.custom<GpuSampler>((value) => typeof value === "function", "a function").optional() },
} satisfies OptionsOf<HandlerOptions>;
const handlerSchema = z.strictObject(shapeOf(handlerTable));
const table = { ...listenTable, ...handlerTable };
const schema = z.strictObject(shapeOf(table));

/** Every option of `serve`. */
export const SERVE_OPTIONS: OptionsOf<ServeOptions> = table;

/** @throws {OptionError} If the bodies together may have fewer bytes than one */
function withBodyLimits(
  parsed: Omit<HandlerConfig, "maxBodiesBytes"> & { readonly maxBodiesBytes: number | undefined },
): HandlerConfig {
  const { maxBodyBytes, maxBodiesBytes = Math.max(2 ** 27, maxBodyBytes) } = parsed;
  if (maxBodiesBytes < maxBodyBytes) {
    const found = `Option "maxBodiesBytes" must be at least "maxBodyBytes", ${maxBodyBytes}, got ${maxBodiesBytes}`;
    throw new OptionError(`${found}\nHint: raise the one, or lower the other`, "maxBodiesBytes");
  }
  return { ...parsed, maxBodiesBytes };
}

/**
 * Check the options of `createHandler` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range
 */
export function parseHandlerOptions(options: HandlerOptions): HandlerConfig {
  const parsed = parseOptions(handlerSchema, options, "create the handler", handlerTable);
  const { token, gpu, concurrency, maxBodiesBytes } = parsed;
  return withBodyLimits({ ...parsed, token, gpu, concurrency, maxBodiesBytes });
}

/**
 * Check the options of `serve` and fill in the defaults.
 *
 * @throws {OptionError} If one is unknown or out of range, or two exclude each other
 */
export function parseServeOptions(options: ServeOptions): ServeConfig {
  const parsed = parseOptions(schema, options, "serve", table);
  const { unix, tls, token, gpu, concurrency, maxBodiesBytes } = parsed;
  if (unix !== undefined && (options.host !== undefined || options.port !== undefined)) {
    const found = 'Option "unix" excludes "host" and "port"';
    throw new OptionError(`${found}\nHint: leave one of them out`, "unix");
  }
  return { ...parsed, ...withBodyLimits({ ...parsed, token, gpu, concurrency, maxBodiesBytes }), unix, tls };
}
