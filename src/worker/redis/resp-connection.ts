/**
 * @module RespConnection: a connection for the replies that hold frames. Bun's own client turns every reply of `send`
 * into text, which no JPEG survives, so reading takes this one and everything else takes Bun's.
 */

import type { Socket } from "bun";
import { message, RedisError } from "../../core/errors.ts";
import { type RedisAddress, withoutPassword } from "./redis-address.ts";
import { type Reply, RespParser } from "./resp-parser.ts";

/** How a connection is made. */
export interface RespConnectionOptions {
  /** How long connecting, and each command beyond what it blocks for, may take; milliseconds. */
  readonly timeoutMs: number;
  /** What the server's `CLIENT LIST` calls it. */
  readonly name: string;
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: RedisError) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The connection is not there, or not any more. */
export function connectionError(action: string, address: RedisAddress, found: string, cause?: unknown): RedisError {
  const text = message(action, `${found}: ${address.shown}`, "check that the server runs and can be reached");
  return new RedisError(text, "CONNECTION", cause === undefined ? {} : { cause });
}

/** A command in RESP. */
function encode(args: readonly string[]): string {
  return `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join("")}`;
}

/** One connection. Commands are answered in order. Its owner closes it. */
export class RespConnection {
  readonly #address: RedisAddress;
  readonly #timeoutMs: number;
  readonly #waiting: Waiting[] = [];
  readonly #parser = new RespParser((reply) => this.#settle(reply));
  #socket: Socket | undefined;
  /** What the socket has not taken yet. */
  #unsent: Buffer = Buffer.alloc(0);
  #fault: RedisError | undefined;
  #firstByteAt = 0;
  #receiveMs = 0;

  private constructor(address: RedisAddress, timeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Connect, and log in.
   *
   * @throws {RedisError} If the server cannot be reached (`CONNECTION`), or refuses the password or the database
   */
  static async open(address: RedisAddress, options: RespConnectionOptions): Promise<RespConnection> {
    const connection = new RespConnection(address, options.timeoutMs);
    await connection.#connect();
    try {
      const { user, password, database } = address;
      if (password !== undefined) await connection.#logIn(user === undefined ? [password] : [user, password]);
      if (database !== 0) await connection.command(["SELECT", String(database)]);
      await connection.command(["CLIENT", "SETNAME", options.name.replaceAll(/[^!-~]/g, "-")]);
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  /** True once the connection is lost or closed. */
  get closed(): boolean {
    return this.#fault !== undefined;
  }

  /** Milliseconds from the first byte of the last reply to its end. */
  get receiveMs(): number {
    return this.#receiveMs;
  }

  /**
   * Send a command.
   *
   * @param blockMs how long the server itself may wait before it answers
   * @throws {RedisError} If the server refuses it, or the connection is lost before the answer
   */
  async command(args: readonly string[], blockMs: number = 0): Promise<Exclude<Reply, RedisError>> {
    if (this.#fault !== undefined) throw this.#fault;
    const reply = await new Promise<Reply>((resolve, reject) => {
      const limit = blockMs + this.#timeoutMs;
      const timer = setTimeout(() => this.#fail(`it did not answer ${args[0]} within ${limit} ms`), limit);
      this.#waiting.push({ resolve, reject, timer });
      this.#send(encode(args));
    });
    if (reply instanceof RedisError) throw reply;
    return reply;
  }

  /** Give the connection up; commands that wait are refused. */
  close(): void {
    this.#fail("the connection was closed");
  }

  async #logIn(words: readonly string[]): Promise<void> {
    try {
      await this.command(["AUTH", ...words]);
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      throw new RedisError(withoutPassword(error.message, this.#address), error.code);
    }
  }

  #connect(): Promise<void> {
    const { host, port, unix, isTls } = this.#address;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.#fail(`it did not answer within ${this.#timeoutMs} ms`), this.#timeoutMs);
    const socket = {
      open: (opened: Socket): void => {
        this.#socket = opened;
        this.#settle(null);
        // It came after all, but too late.
        if (this.#fault !== undefined) opened.end();
      },
      data: (_: Socket, chunk: Buffer): void => this.#receive(chunk),
      drain: (): void => this.#flush(),
      close: (): void => this.#fail("the connection was lost"),
      error: (_: Socket, error: Error): void => this.#fail(`the connection failed: ${error.message}`, error),
      connectError: (_: Socket, error: Error): void => this.#fail(`it cannot be reached: ${error.message}`, error),
    };
    // Being open is what is waited for first; the promise of Bun.connect tells nothing that the handlers do not.
    this.#waiting.push({ resolve: () => resolve(), reject, timer });
    const connecting =
      unix === undefined ? Bun.connect({ hostname: host, port, tls: isTls, socket }) : Bun.connect({ unix, socket });
    connecting.catch((error: Error) => this.#fail(`it cannot be reached: ${error.message}`, error));
    return promise;
  }

  #send(text: string): void {
    this.#unsent = Buffer.concat([this.#unsent, Buffer.from(text)]);
    this.#flush();
  }

  #flush(): void {
    if (this.#unsent.length === 0 || this.#socket === undefined) return;
    const written = this.#socket.write(this.#unsent);
    this.#unsent = this.#unsent.subarray(Math.max(0, written));
  }

  #receive(chunk: Buffer): void {
    if (this.#firstByteAt === 0) this.#firstByteAt = performance.now();
    try {
      this.#parser.push(chunk);
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      this.#fail("its answer is no RESP2", error);
    }
  }

  #settle(reply: Reply): void {
    this.#receiveMs = performance.now() - this.#firstByteAt;
    this.#firstByteAt = 0;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    waiting.resolve(reply);
  }

  #fail(found: string, cause?: unknown): void {
    if (this.#fault !== undefined) return;
    this.#fault = connectionError("use the Redis server", this.#address, found, cause);
    this.#socket?.end();
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#fault);
    }
  }
}
