/** @module RedisAddress: the URL of a Redis server, taken apart. */

import { message, OptionError } from "../../core/errors.ts";

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
  /** Number of the database. */
  readonly database: number;
}

const SCHEMES: readonly string[] = ["redis:", "rediss:", "valkey:", "valkeys:", "redis+unix:"];
const HINT = "write redis://[user:password@]host[:port][/database], rediss:// for TLS, or redis+unix:///path/of.sock";

function refused(found: string): OptionError {
  return new OptionError(message("find the Redis server", found, HINT), "redis");
}

/**
 * Take a URL apart.
 *
 * @throws {OptionError} If it is none, or its scheme unknown
 */
export function redisAddress(url: string): RedisAddress {
  const parsed = URL.parse(url);
  if (parsed === null || !SCHEMES.includes(parsed.protocol)) {
    throw refused(
      `as option "redis" must be the URL of a server: received ${JSON.stringify(url.replace(/:[^:@/]*@/, ":***@"))}`,
    );
  }
  const isUnix = parsed.protocol === "redis+unix:";
  const database = isUnix || parsed.pathname.length < 2 ? "0" : parsed.pathname.slice(1);
  if (!/^\d{1,5}$/.test(database))
    throw refused(`as the database must be a number: received ${JSON.stringify(database)}`);
  const shown = new URL(parsed);
  if (shown.password !== "") shown.password = "***";
  return {
    url,
    shown: shown.href,
    host: parsed.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1",
    port: parsed.port === "" ? 6379 : Number(parsed.port),
    unix: isUnix ? decodeURIComponent(parsed.pathname) : undefined,
    isTls: parsed.protocol === "rediss:" || parsed.protocol === "valkeys:",
    user: parsed.username === "" ? undefined : decodeURIComponent(parsed.username),
    password: parsed.password === "" ? undefined : decodeURIComponent(parsed.password),
    database: Number(database),
  };
}
