/** @module Loopback: a Unix socket to a reader in the same process that acknowledges every message. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Ends a message; JSON text has none inside. */
const END = 10;

/** A sender whose receiver says when it has a whole message. */
export class Loopback implements AsyncDisposable {
  readonly #folder: string;
  readonly #stop: () => void;
  readonly #write: (bytes: Uint8Array) => void;
  #arrived: (() => void) | undefined;

  private constructor(folder: string, stop: () => void, write: (bytes: Uint8Array) => void) {
    this.#folder = folder;
    this.#stop = stop;
    this.#write = write;
  }

  /** Listen and connect. */
  static async open(): Promise<Loopback> {
    const folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-bench-"));
    const path = join(folder, "socket");
    let loopback: Loopback | undefined;
    const server = Bun.listen({
      unix: path,
      socket: {
        data: (socket, bytes) => {
          if (bytes.at(-1) === END) socket.write("k");
        },
      },
    });
    let pending: Uint8Array = new Uint8Array(0);
    const client = await Bun.connect({
      unix: path,
      socket: {
        data: () => {
          const arrived = loopback!.#arrived;
          loopback!.#arrived = undefined;
          arrived?.();
        },
        drain: (socket) => {
          pending = pending.subarray(socket.write(pending));
        },
      },
    });
    const stop = (): void => {
      client.end();
      server.stop(true);
    };
    loopback = new Loopback(folder, stop, (bytes) => {
      pending = bytes.subarray(client.write(bytes));
    });
    return loopback;
  }

  /** Send a message, one at a time; resolves once the receiver has all of it and has said so. */
  send(text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#arrived = resolve;
      this.#write(Buffer.from(`${text}\n`));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    rmSync(this.#folder, { recursive: true });
  }
}
