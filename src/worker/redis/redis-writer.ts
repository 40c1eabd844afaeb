/** @module RedisWriter: everything that is written to or asked of Redis, through Bun's own client. */

import { RedisClient } from "bun";
import { message, RedisError } from "../../core/errors.ts";
import { errorCode } from "./error-code.ts";
import { type RedisAddress, withoutPassword } from "./redis-address.ts";
import { connectionError } from "./resp-connection.ts";
import type { Script } from "./script.ts";

/** The client's code for an error reply; every other one means that the connection is gone. */
const SERVER_ERROR = "ERR_REDIS_SERVER_ERROR";

function failure(error: unknown, command: string, address: RedisAddress): RedisError {
  const { code, message: said } = error as { readonly code?: string; readonly message: string };
  const text = command === "connect" ? withoutPassword(said, address) : said;
  const cause = text === said ? error : undefined;
  if (code !== SERVER_ERROR) return connectionError(`run ${command}`, address, text, cause);
  const found = `the server refused it: ${text}`;
  return new RedisError(message(`run ${command}`, found), errorCode(text), { cause });
}

/** Whether another connection may fare better: this one is lost, or its server has become a replica of another. */
export function isFinal({ code }: RedisError): boolean {
  return code === "CONNECTION" || code === "READONLY";
}

/**
 * Bun's client, made anew when its connection is lost: by itself it would send what was cut off in the middle to the
 * next connection, of which nobody would learn.
 */
export class RedisWriter {
  readonly #address: RedisAddress;
  readonly #timeoutMs: number;
  #client: RedisClient | undefined;
  #connecting: Promise<RedisClient> | undefined;
  #isClosed = false;
  /** Connections made so far. */
  connections = 0;

  /** @param timeoutMs how long connecting and each command may take */
  constructor(address: RedisAddress, timeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  /** True while there is a connection. */
  get isConnected(): boolean {
    return this.#client?.connected === true;
  }

  /**
   * Run a command; the first one connects.
   *
   * @param args text, and bytes as they are
   * @returns the reply: bulk strings as text, so nothing with a frame in it
   * @throws {RedisError} If the server refuses it or cannot be reached, or after `close`
   */
  async command(name: string, args: readonly (string | Uint8Array)[]): Promise<unknown> {
    const client = await this.#connected();
    const timer = setTimeout(() => this.#drop(client), this.#timeoutMs);
    try {
      // The client takes bytes as well; its types do not say so.
      return await client.send(name, args as string[]);
    } catch (error) {
      const failed = failure(error, name, this.#address);
      if (isFinal(failed)) this.#drop(client);
      throw failed;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Run a script by its digest; one the server does not know, or has been told to forget, is sent to it whole.
   *
   * @throws as `command` does
   */
  async evaluate(script: Script, args: readonly (string | Uint8Array)[]): Promise<unknown> {
    try {
      return await this.command("EVALSHA", [script.digest, ...args]);
    } catch (error) {
      if (!(error instanceof RedisError) || error.code !== "NOSCRIPT") throw error;
      return this.command("EVAL", [script.text, ...args]);
    }
  }

  /** Give the connection up, also one that is still being made; there is no other after it. */
  close(): void {
    this.#isClosed = true;
    if (this.#client !== undefined) this.#drop(this.#client);
  }

  #drop(client: RedisClient): void {
    if (this.#client === client) this.#client = undefined;
    client.close();
  }

  async #connected(): Promise<RedisClient> {
    if (this.#client?.connected === true) return this.#client;
    if (this.#client !== undefined) this.#drop(this.#client);
    if (this.#isClosed) throw connectionError("connect", this.#address, "the connection was closed");
    this.#connecting ??= this.#connect();
    try {
      return await this.#connecting;
    } finally {
      this.#connecting = undefined;
    }
  }

  async #connect(): Promise<RedisClient> {
    const client = new RedisClient(this.#address.url, {
      autoReconnect: false,
      enableOfflineQueue: false,
      connectionTimeout: this.#timeoutMs,
    });
    try {
      await client.connect();
    } catch (error) {
      client.close();
      throw failure(error, "connect", this.#address);
    }
    if (this.#isClosed) {
      client.close();
      throw connectionError("connect", this.#address, "the connection was closed");
    }
    this.#client = client;
    this.connections += 1;
    return client;
  }
}
