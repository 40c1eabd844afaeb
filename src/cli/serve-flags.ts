/** @module ServeFlags: the flags of `serve`, and what they stand for. */

import { z } from "zod";
import { SERVED_DECODING } from "../image/decode-limits.ts";
import type { ServeOptions } from "../serve/serve-config.ts";
import { type Flag, type ParsedArguments, parseFlags, refuse } from "./args.ts";
import { DETECTOR_FLAGS, type DetectorArguments, given, parseDetectorFlags } from "./detector-flags.ts";
import { byteCount, count, toggle, wholeNumber } from "./values.ts";

/** Where the token is looked for when the flag is not given: words of a command line are seen by every user. */
const TOKEN_VARIABLE = "BUN_TENSORRT_TOKEN";

/** In the order of the help. */
export const SERVE_FLAGS: readonly Flag[] = [
  { name: "host", value: "ADDRESS", summary: "where to listen (default 127.0.0.1: this machine only)" },
  { name: "port", short: "p", value: "N", summary: "0 for any free one (default 8080)" },
  { name: "unix", value: "PATH", summary: "listen on this Unix socket instead" },
  { name: "cert", value: "FILE", summary: "certificate chain in PEM, for TLS; needs --key" },
  { name: "key", value: "FILE", summary: "private key in PEM" },
  { name: "token", value: "TOKEN", summary: `what clients must send as Bearer token (also $${TOKEN_VARIABLE})` },
  { name: "cors", value: "LIST", summary: "origins whose pages may read the answers, separated by commas, or *" },
  {
    name: "allow-host",
    value: "LIST",
    summary: "further host names, separated by commas; * for any (default on loopback: none)",
  },
  { name: "name", value: "NAME", summary: "name of the model in /v2/models/NAME (default the file's)" },
  ...DETECTOR_FLAGS,
  { name: "max-body", value: "SIZE", summary: "maximum request body; larger ones get 413 (default 32MiB)" },
  {
    name: "max-bodies",
    value: "SIZE",
    summary: "all request bodies in memory; beyond it the largest get 429 (default 128MiB)",
  },
  { name: "max-drawn-pixels", value: "N", summary: "maximum pixels with format=image, else 413 (default 16777216)" },
  { name: "max-files", value: "N", summary: "maximum images in one form (default 32)" },
  {
    name: "concurrency",
    value: "N",
    summary: "requests worked on at once (default twice the frames in flight, at least 4)",
  },
  { name: "queue", value: "N", summary: "maximum waiting requests; further ones get 429 (default 64)" },
  { name: "timeout", value: "SECONDS", summary: "time to answer after the body has arrived, then 503 (default 30)" },
  { name: "body-timeout", value: "SECONDS", summary: "time for a body to arrive, then 408 (default 20)" },
  { name: "drain", value: "SECONDS", summary: "time to finish requests on shutdown (default 15)" },
  { name: "quiet", short: "q", summary: "print warnings only" },
];

/** The flags of `serve`, checked. */
export interface ServeArguments extends DetectorArguments {
  readonly serve: ServeOptions;
  readonly isQuiet: boolean;
}

const text = z.string().min(1, "a text");
const list = text.transform((names) => names.split(",").map((name) => name.trim()));
const seconds = wholeNumber(1, 86_400).transform((value) => value * 1000);

const schema = z.object({
  host: text.optional(),
  port: wholeNumber(0, 65_535).optional(),
  unix: text.optional(),
  cert: text.optional(),
  key: text.optional(),
  token: text.optional(),
  cors: list.optional(),
  "allow-host": list.optional(),
  name: text.optional(),
  "max-body": byteCount.optional(),
  "max-bodies": byteCount.optional(),
  "max-drawn-pixels": count(2 ** 40).optional(),
  "max-files": count(100_000).optional(),
  concurrency: count(100_000).optional(),
  queue: wholeNumber(0, 100_000).optional(),
  timeout: seconds.optional(),
  "body-timeout": seconds.optional(),
  drain: seconds.optional(),
  quiet: toggle,
});

function tlsOf(cert: string | undefined, key: string | undefined): ServeOptions["tls"] {
  if (cert === undefined && key === undefined) return undefined;
  if (cert !== undefined && key !== undefined) return { cert, key };
  throw refuse("serve", "cert", "--cert and --key must be given together", "add the other one");
}

/**
 * Check the flags of `serve`.
 *
 * @throws {OptionError} If a value is refused, or flags do not go together
 */
export function parseServeFlags(parsed: ParsedArguments): ServeArguments {
  const { model, batch, detector } = parseDetectorFlags("serve", parsed);
  const flags = parseFlags(parsed, schema);
  const token = flags.token ?? process.env[TOKEN_VARIABLE];
  return {
    model,
    batch,
    detector: { ...SERVED_DECODING, ...detector },
    serve: given<ServeOptions>({
      host: flags.host,
      port: flags.port,
      unix: flags.unix,
      tls: tlsOf(flags.cert, flags.key),
      token: token === "" ? undefined : token,
      cors: flags.cors,
      allowHost: flags["allow-host"],
      name: flags.name,
      maxBodyBytes: flags["max-body"],
      maxBodiesBytes: flags["max-bodies"],
      maxFiles: flags["max-files"],
      maxDrawnPixels: flags["max-drawn-pixels"],
      concurrency: flags.concurrency,
      queue: flags.queue,
      timeoutMs: flags.timeout,
      bodyTimeoutMs: flags["body-timeout"],
      drainTimeoutMs: flags.drain,
      idleTimeoutMs: undefined,
      maxReceiving: undefined,
      gpu: undefined,
    }),
    isQuiet: flags.quiet,
  };
}
