/** @module Listen: a place to listen at, and why a server cannot have it. */

import { lstatSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { BunTensorRtError, message } from "../core/errors.ts";

/** Where a server was to listen: at a host and port, or on a Unix socket. */
interface ListenAddress {
  readonly host: string;
  readonly port: number;
  readonly unix?: string | undefined;
}

/**
 * The error of a server that could not be started.
 *
 * @param action what was tried, without "Cannot": `serve`
 * @param cause  what `Bun.serve` threw
 */
export function listenError(action: string, { host, port, unix }: ListenAddress, cause: unknown): Error {
  const isUnix = unix !== undefined;
  const where = unix ?? `${host}, port ${port}`;
  const isTaken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
  const reason = isTaken ? (isUnix ? "the file exists" : "the port is in use") : undefined;
  const hint =
    isUnix && isTaken
      ? "stop the server that listens there, remove the file if it is none of a server's, or choose another path"
      : `choose another ${isUnix ? "path by `unix` (`--unix`)" : "address by `host` and `port` (`--host`, `--port`)"}`;
  const found = `it cannot listen on ${where} (${reason ?? (cause as Error).message})`;
  return new BunTensorRtError(message(action, found, hint), { cause });
}

/**
 * Remove the socket file of a server that ended without doing so, as one that was killed. A file that is no socket, and a
 * socket that somebody answers at, stay.
 *
 * @param path of a Unix socket to listen on
 */
export async function removeStaleSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const { promise: refusal, resolve } = Promise.withResolvers<string | undefined>();
  const connection = createConnection(path);
  connection.once("connect", () => resolve(undefined));
  connection.once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  const code = await refusal;
  connection.destroy();
  if (code === "ECONNREFUSED") rmSync(path, { force: true });
}

const LOOPBACK = /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|::1)$/;
/** What {@linkcode isHostName} wants, in words. */
export const HOST_RULE = "a host name or address without a port, such as detector.example.org, or *";

/** True for what may be in the option `allowHost`. */
export function isHostName(name: string): boolean {
  return /^(?:\*|[\w.-]+|[\da-f:.]+|\[[\da-f:.]+\])$/i.test(name);
}

/** Lower case, without the brackets of an IPv6 address or the dot of the root. */
function bareHost(name: string): string {
  return name
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

/** True for an address that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(bareHost(host));
}

/** `localhost` of `localhost:8080`; `undefined` for what is no host. */
function hostOf(authority: string): string | undefined {
  const name = /^(\[[^\]]*\]|[^:[\]\s]+)(?::\d{1,5})?$/.exec(authority)?.[1];
  return name === undefined ? undefined : bareHost(name);
}

/** Where a server listens, and which further names lead to it. */
interface OwnHostOptions {
  readonly host: string;
  readonly unix?: string | undefined;
  readonly allowHost: readonly string[];
}

/**
 * Tells requests for this server from those for another name. On a loopback address the names of this machine are its own;
 * elsewhere, and on a Unix socket, any name is, unless `allowHost` names them.
 */
export class OwnHosts {
  readonly #host: string;
  /** Those that were named. */
  readonly #names: ReadonlySet<string>;
  readonly #isOpen: boolean;

  constructor({ host, unix, allowHost }: OwnHostOptions) {
    this.#host = bareHost(host);
    this.#names = new Set(allowHost.map(bareHost));
    const isLocal = unix === undefined && isLoopback(host);
    this.#isOpen = allowHost.includes("*") || (allowHost.length === 0 && !isLocal);
  }

  /** @param authority value of the header field `Host`; programs of HTTP/1.0 may leave it out, browsers do not */
  has(authority: string | null): boolean {
    if (this.#isOpen || authority === null || authority === "") return true;
    const name = hostOf(authority);
    return name !== undefined && (name === this.#host || LOOPBACK.test(name) || this.#names.has(name));
  }

  /** True for a page of this server, under the name it was asked by or one that was named. */
  hasOrigin(origin: string, authority: string | null): boolean {
    if (!URL.canParse(origin)) return false;
    const { host, hostname } = new URL(origin);
    return host === authority?.toLowerCase() || this.#names.has(bareHost(hostname));
  }
}

/** What to say to a request for another name. */
export function foreignHostText(authority: string | null): string {
  return `Host must be a name of this server, got ${JSON.stringify((authority ?? "").slice(0, 100))}`;
}

/** What lets it through. */
export const ALLOW_HOST_HINT = "name it with --allow-host (option allowHost) if it leads here on purpose";
