/** @module RedisServer: a real redis-server for tests, on a port and in a folder of its own. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedisClient } from "bun";

/** True on a machine without redis-server (Debian's package of that name): tests that need it skip. */
export const isRedisMissing: boolean = Bun.which("redis-server") === null;

/** True where tests that only read and write streams of their own have no server: neither this machine nor `$REDIS_URL`. */
export const isRedisUnreachable: boolean = isRedisMissing && !process.env.REDIS_URL;

/** A port nobody listens at. */
function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** What {@linkcode RedisServer.start} takes. */
export interface RedisServerOptions {
  /** True: keep everything in an append-only file, synced with every write, so that a kill loses nothing. */
  readonly isDurable?: boolean;
}

/** One server. It is killed, and its folder removed, at the end. */
export class RedisServer implements AsyncDisposable {
  #port = freePort();
  readonly #folder = mkdtempSync(join(tmpdir(), "bun-tensorrt-redis-"));
  readonly #isDurable: boolean;
  #child: Bun.Subprocess | undefined;

  private constructor({ isDurable = false }: RedisServerOptions) {
    this.#isDurable = isDurable;
  }

  /** Start one, and wait until it answers. */
  static async start(options: RedisServerOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options);
    // Another program may have taken the port meanwhile: even another test's server.
    while (!(await server.#isUp())) server.#port = freePort();
    return server;
  }

  get port(): number {
    return this.#port;
  }

  /** `redis://127.0.0.1:…` */
  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /** Start it with what it had written; a running one is killed first. */
  async restart(): Promise<void> {
    if (!(await this.#isUp())) throw new Error(`redis-server could not be started again on port ${this.#port}`);
  }

  /** Start it, and wait until it answers. @returns false if it has ended instead */
  async #isUp(): Promise<boolean> {
    await this.kill();
    const durable = this.#isDurable ? ["--appendonly", "yes", "--appendfsync", "always"] : [];
    const args = ["--port", String(this.#port), "--bind", "127.0.0.1", "--save", "", "--dir", this.#folder, ...durable];
    const child = Bun.spawn(["redis-server", ...args], { stdout: "ignore", stderr: "inherit" });
    this.#child = child;
    while (child.exitCode === null) {
      try {
        using client = await this.client();
        await client.send("PING", []);
        return String(await client.send("INFO", ["server"])).includes(`process_id:${child.pid}\r`);
      } catch {
        await Bun.sleep(25);
      }
    }
    return false;
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.exited;
    this.#child = undefined;
  }

  /**
   * A connected client that fails at once when the server goes away. Whoever takes it closes it.
   *
   * @throws {Error} If the server is not there
   */
  async client(): Promise<RedisClient & Disposable> {
    const client = new RedisClient(this.url, { autoReconnect: false, enableOfflineQueue: false });
    await client.connect();
    return Object.assign(client, { [Symbol.dispose]: () => client.close() });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** URL of the server of `$REDIS_URL`, or of one that is started; for tests that use names of their own. */
export async function anyRedis(): Promise<{ readonly url: string } & AsyncDisposable> {
  const url = process.env.REDIS_URL;
  if (!url) return RedisServer.start();
  return { url, [Symbol.asyncDispose]: () => Promise.resolve() };
}
