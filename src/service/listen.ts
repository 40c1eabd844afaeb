/** @module Listen: a place to listen at, and why a server cannot have it. */

import { lstatSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { BunTensorRtError, message } from "../core/errors.ts";

/** Where a server was to listen: at a host and port, or on a Unix socket. */
export interface ListenAddress {
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
  const reason = isTaken ? (isUnix ? "the file is there already" : "somebody listens there already") : undefined;
  const hint =
    isUnix && isTaken
      ? "stop the server that listens there, remove the file if it is none of a server's, or choose another path"
      : `choose another ${isUnix ? "path" : "address with host and port"}`;
  const found = `it cannot listen on ${where}: ${reason ?? (cause as Error).message}`;
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
