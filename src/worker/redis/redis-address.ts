/** @module RedisAddress: the URL of a Redis server, taken apart. */

import { message, OptionError } from "../../core/errors.ts";
import { redact } from "../../core/shown.ts";

/** Where a server is, and how to get in. */
export interface RedisAddress {
  /** As it was given, for clients that take it whole. */
  readonly url: string;
  /** Without the password, for messages. */
  readonly shown: string;
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket; host and port do not count then. */
  readonly unix: string | undefined;
  readonly isTls: boolean;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
}

const SCHEMES: readonly string[] = ["redis:", "rediss:", "valkey:", "valkeys:", "redis+unix:"];
const HINT =
  "write redis://host:6379/0, with user:password@ before the host where needed (%2F for / and %40 for @ in the password), rediss:// for TLS, or redis+unix:///path/of.sock";

function refused(found: string): OptionError {
  return new OptionError(message("find the Redis server", found, HINT), "redis");
}

/** What a server or its client says of logging in, without the password: some repeat a command that they do not know. */
export function withoutPassword(text: string, { password, url }: RedisAddress): string {
  if (password === undefined) return text;
  const written = URL.parse(url)?.password ?? password;
  return text.replaceAll(password, "***").replaceAll(written, "***");
}

/**
 * Take a URL apart.
 *
 * @throws {OptionError} If it is none, or its scheme unknown
 */
export function redisAddress(url: string): RedisAddress {
  const parsed = URL.parse(url);
  if (parsed === null || !SCHEMES.includes(parsed.protocol)) {
    // What has no scheme may hold a password all the same.
    const text = url.includes("://") ? redact(url) : url.replace(/^.*@/s, "***@");
    throw refused(`option "redis" must be the URL of a server, got ${JSON.stringify(text)}`);
  }
  const isUnix = parsed.protocol === "redis+unix:";
  const database = isUnix || parsed.pathname.length < 2 ? "0" : parsed.pathname.slice(1);
  if (!/^\d{1,5}$/.test(database)) throw refused(`the database must be a number, got ${JSON.stringify(redact(url))}`);
  return {
    url,
    shown: redact(url),
    host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
    port: parsed.port === "" ? 6379 : Number(parsed.port),
    unix: isUnix ? decodeURIComponent(parsed.pathname) : undefined,
    isTls: parsed.protocol === "rediss:" || parsed.protocol === "valkeys:",
    user: parsed.username === "" ? undefined : decodeURIComponent(parsed.username),
    password: parsed.password === "" ? undefined : decodeURIComponent(parsed.password),
    database: Number(database),
  };
}
