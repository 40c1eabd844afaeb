/**
 * @module RedisConnection: the URL of a Redis server, a connection to it, and the one that is made in its place once it is lost.
 *
 * Bun's own client turns every reply of `send` into text, which no JPEG survives. ioredis keeps bytes, but takes a quarter
 * more CPU time for a worker's frames: docs/architecture.md has the figures.
 */

import type { Socket } from "bun";
import { message, OptionError, RedisError } from "../../core/errors.ts";
import { redact } from "../../core/log.ts";
import { type Reply, RespParser, type Script } from "./redis-protocol.ts";

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

/** How a connection is made. */
interface RedisConnectionOptions {
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

function connectionError(address: RedisAddress, found: string, cause?: unknown): RedisError {
  const hint = "check that the server runs and can be reached";
  const text = message(`use the Redis server ${address.shown}`, found, hint);
  return new RedisError(text, "CONNECTION", cause === undefined ? {} : { cause });
}

/** Bytes that are kept for commands between writes. */
const OUTBOX_BYTES = 65_536;

/** Commands in RESP that are still to be sent. */
class Outbox {
  #bytes = Buffer.allocUnsafeSlow(OUTBOX_BYTES);
  #length = 0;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  add(name: string, args: readonly (string | Uint8Array)[]): void {
    let text = `*${args.length + 1}\r\n$${name.length}\r\n${name}\r\n`;
    for (const arg of args) {
      if (typeof arg === "string") text += `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`;
      else {
        this.#addText(`${text}$${arg.length}\r\n`);
        this.#reserve(arg.length);
        this.#bytes.set(arg, this.#length);
        this.#length += arg.length;
        text = "\r\n";
      }
    }
    this.#addText(text);
  }

  /** @param write takes what it can of the bytes, and tells how many those were */
  flush(write: (bytes: Uint8Array) => number): void {
    const written = Math.max(0, write(this.#bytes.subarray(0, this.#length)));
    this.#bytes.copyWithin(0, written, this.#length);
    this.#length -= written;
    if (this.#length === 0 && this.#bytes.length > OUTBOX_BYTES) this.#bytes = Buffer.allocUnsafeSlow(OUTBOX_BYTES);
  }

  #addText(text: string): void {
    // No character of UTF-16 takes more than three bytes in UTF-8.
    this.#reserve(3 * text.length);
    this.#length += this.#bytes.write(text, this.#length);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const longer = Buffer.allocUnsafeSlow(2 * (this.#length + more));
    this.#bytes.copy(longer, 0, 0, this.#length);
    this.#bytes = longer;
  }
}

/** One connection. Commands are answered in order. Its owner closes it. */
export class RedisConnection {
  readonly #address: RedisAddress;
  readonly #timeoutMs: number;
  readonly #waiting: Waiting[] = [];
  readonly #parser = new RespParser((reply) => this.#settle(reply));
  #socket: Socket | undefined;
  readonly #outbox = new Outbox();
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
  static async open(address: RedisAddress, { timeoutMs, name }: RedisConnectionOptions): Promise<RedisConnection> {
    const connection = new RedisConnection(address, timeoutMs);
    const { user, password, database } = address;
    try {
      await connection.#connect();
      if (password !== undefined) await connection.command("AUTH", user === undefined ? [password] : [user, password]);
      if (database !== 0) await connection.command("SELECT", [String(database)]);
      await connection.command("CLIENT", ["SETNAME", name.replaceAll(/[^!-~]/g, "-")]);
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
   * Run a command.
   *
   * @param args text, and bytes as they are
   * @param blockMs how long the server itself may wait before it answers
   * @returns the reply, with every bulk string as bytes
   * @throws {RedisError} If the server refuses it, or the connection is lost before the answer
   */
  async command(
    name: string,
    args: readonly (string | Uint8Array)[],
    blockMs: number = 0,
  ): Promise<Exclude<Reply, RedisError>> {
    if (this.#fault !== undefined) throw this.#fault;
    const reply = await new Promise<Reply>((resolve, reject) => {
      const limit = blockMs + this.#timeoutMs;
      const timer = setTimeout(() => this.#fail(`it did not answer ${name} within ${limit} ms`), limit);
      this.#waiting.push({ resolve, reject, timer });
      // Commands of one turn are sent together.
      if (this.#outbox.isEmpty) queueMicrotask(() => this.#flush());
      this.#outbox.add(name, args);
    });
    if (!(reply instanceof RedisError)) return reply;
    // It has become a replica of another: its name may lead to that one by now.
    if (reply.code === "READONLY") this.#fail("it has become a replica");
    throw new RedisError(withoutPassword(reply.message, this.#address), reply.code);
  }

  /**
   * Run a script by its digest; one the server does not know, or has been told to forget, is sent to it whole.
   *
   * @param args its keys, then its arguments
   * @throws as `command` does
   */
  async evaluate({ text, digest, keys }: Script, args: readonly (string | Uint8Array)[]): Promise<Reply> {
    try {
      return await this.command("EVALSHA", [digest, keys, ...args]);
    } catch (error) {
      if (!(error instanceof RedisError) || error.code !== "NOSCRIPT") throw error;
      return this.command("EVAL", [text, keys, ...args]);
    }
  }

  /** Give the connection up; commands that wait are refused. */
  close(): void {
    this.#fail("the connection was closed");
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
      handshake: (_: Socket, __: boolean, error: Error | null): void => {
        if (error !== null) this.#fail(`its certificate is not accepted (${error.message})`, error);
      },
      data: (_: Socket, chunk: Buffer): void => this.#receive(chunk),
      drain: (): void => this.#flush(),
      close: (): void => this.#fail("the connection was lost"),
      error: (_: Socket, error: Error): void => this.#fail(`the connection failed (${error.message})`, error),
      connectError: (_: Socket, error: Error): void => this.#fail(`it cannot be reached (${error.message})`, error),
    };
    // Being open is what is waited for first; the promise of Bun.connect tells nothing that the handlers do not.
    this.#waiting.push({ resolve: () => resolve(), reject, timer });
    const connecting =
      unix === undefined ? Bun.connect({ hostname: host, port, tls: isTls, socket }) : Bun.connect({ unix, socket });
    connecting.catch((error: Error) => this.#fail(`it cannot be reached (${error.message})`, error));
    return promise;
  }

  #flush(): void {
    const socket = this.#socket;
    if (!this.#outbox.isEmpty && socket !== undefined) this.#outbox.flush((bytes) => socket.write(bytes));
  }

  #receive(chunk: Buffer): void {
    if (this.#firstByteAt === 0) this.#firstByteAt = performance.now();
    try {
      this.#parser.push(chunk);
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      this.#fail("its answer is not RESP2", error);
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
    this.#fault = connectionError(this.#address, found, cause);
    this.#socket?.end();
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(this.#fault);
    }
  }
}

/** The connection there is, and a new one where it is lost. */
export class RedisLink {
  readonly #address: RedisAddress;
  readonly #options: RedisConnectionOptions;
  readonly #prepare: (connection: RedisConnection) => Promise<void> | void;
  #current: RedisConnection | undefined;
  #connecting: Promise<RedisConnection> | undefined;
  #isClosed = false;
  /** Connections made so far. */
  connections = 0;

  /** @param prepare is called with every new connection before anyone else has it */
  constructor(
    address: RedisAddress,
    options: RedisConnectionOptions,
    prepare: (connection: RedisConnection) => Promise<void> | void = () => {},
  ) {
    this.#address = address;
    this.#options = options;
    this.#prepare = prepare;
  }

  /** True while there is a connection. */
  get isConnected(): boolean {
    return this.#current?.closed === false;
  }

  /** @throws {RedisError} If there is no connection and none can be made, or after `close` */
  async connection(): Promise<RedisConnection> {
    if (this.#current?.closed === false) return this.#current;
    if (this.#isClosed) throw connectionError(this.#address, "the connection was closed");
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /** Give the connection up, also one that is still being made; there is no other after it. */
  close(): void {
    this.#isClosed = true;
    this.#current?.close();
  }

  async #connect(): Promise<RedisConnection> {
    const connection = await RedisConnection.open(this.#address, this.#options);
    this.#current = connection;
    if (this.#isClosed) connection.close();
    try {
      await this.#prepare(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
    this.connections += 1;
    return connection;
  }
}
