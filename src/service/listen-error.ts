/** @module ListenError: why a server cannot listen where it was told to. */

import { message } from "../core/errors.ts";

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
      ? "remove it if the server that made it has gone, or choose another path"
      : `choose another ${isUnix ? "path" : "address with host and port"}`;
  const found = `as it cannot listen on ${where}: ${reason ?? (cause as Error).message}`;
  return new Error(message(action, found, hint), { cause });
}
