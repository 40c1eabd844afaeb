/** @module Fleet: frames from eight sources, worker processes that share them, and a reader that checks every answer. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { DetectionsSchema, Encoding, FrameSchema } from "../../src/tasks/messages.js";
import { RedisConnection, redisAddress } from "../../src/worker/redis/redis-connection.ts";
import { entriesOf } from "../../src/worker/redis/redis-protocol.ts";
import type { RedisServer } from "../support/redis-server.ts";

/** What is wrong with a frame, if anything. */
export type Poison = "truncated" | "garbage" | "empty" | undefined;

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");
const SOURCES = 8;
/** Between 25 frames: fewer a second than three workers answer, so that all of them have work all the time. */
const PAUSE_MS = 15;

/** Every hundredth frame is spoilt, in turn in each way. */
export function poisonOf(index: number): Poison {
  if (index % 100 !== 37) return undefined;
  return (["truncated", "garbage", "empty"] as const)[Math.floor(index / 100) % 3];
}

/** `camera-3/17`: the name of a frame, however often it was sent. */
export function nameOf(index: number): string {
  return `camera-${index % SOURCES}/${Math.floor(index / SOURCES)}`;
}

function frameBytes(index: number, jpeg: Uint8Array): Uint8Array {
  const poison = poisonOf(index);
  // A length that reaches far beyond the end.
  if (poison === "garbage") return Uint8Array.of(0x42, 0xff, 0xff, 0xff, 0x7f);
  const [sourceId = "", frameId = ""] = nameOf(index).split("/");
  const data = poison === "empty" ? new Uint8Array() : poison === "truncated" ? jpeg.subarray(0, 200) : jpeg;
  const timestamp = String(1_700_000_000_000_000 + index);
  return toBinary(FrameSchema, create(FrameSchema, { sourceId, frameId, timestamp, encoding: Encoding.JPEG, data }));
}

/**
 * Send frames, a few at a time, and those again that a dying server did not confirm.
 *
 * @returns the index of the frame by entry id; a frame that was sent twice has two
 */
export async function produce(server: RedisServer, count: number, jpeg: Uint8Array): Promise<Map<string, number>> {
  const sent = new Map<string, number>();
  let client: Awaited<ReturnType<RedisServer["client"]>> | undefined;
  let at = 0;
  while (at < count) {
    try {
      client ??= await server.client();
      const connected = client;
      const indices = Array.from({ length: Math.min(25, count - at) }, (_, offset) => at + offset);
      const ids = await Promise.all(
        indices.map((index) =>
          connected.send("XADD", ["frames", "*", "frame", frameBytes(index, jpeg) as unknown as string]),
        ),
      );
      for (const [offset, id] of ids.entries()) sent.set(id, at + offset);
      at += indices.length;
      await Bun.sleep(PAUSE_MS);
    } catch {
      client?.close();
      client = undefined;
      await Bun.sleep(50);
    }
  }
  client?.close();
  return sent;
}

/** A worker in a process of its own. */
export class WorkerProcess {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #log: Promise<string>;
  readonly #sampling: Timer;
  #leastMib = Number.POSITIVE_INFINITY;

  constructor(config: string) {
    // Memory that stays is memory that is kept: the collector runs often.
    const args = ["--smol", MAIN, "worker", "--config", config, "--backend", "cpu", "--threads", "1"];
    this.#child = Bun.spawn([process.execPath, ...args], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    this.#log = this.#child.stderr.text();
    this.#sampling = setInterval(() => {
      this.#leastMib = Math.min(this.#leastMib, this.#residentMib());
    }, 20);
  }

  #residentMib(): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    // One that has ended has none.
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? Number.POSITIVE_INFINITY) / 1024;
  }

  /** Least resident memory since the last call, in MiB: what is garbage for a moment does not count. */
  leastMib(): number {
    const least = Math.min(this.#leastMib, this.#residentMib());
    this.#leastMib = Number.POSITIVE_INFINITY;
    return least;
  }

  /** Send a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGHUP"): void {
    clearInterval(this.#sampling);
    this.#child.kill(signal);
  }

  /** What it ended with, and everything it said. */
  async ended(): Promise<{ readonly code: number | null; readonly log: string }> {
    await this.#child.exited;
    return { code: this.#child.exitCode, log: await this.#log };
  }
}

/** A configuration file in a folder. @returns its path */
export function writeConfig(folder: string, redis: string, model: string): string {
  const path = join(folder, "worker.toml");
  writeFileSync(
    path,
    `redis = "${redis}"
model = "${model}"
maxHeld = 16
drainMs = 5000
output = { maxLength = 1000000 }
claim = { idleMs = 1500, intervalMs = 300 }
reconnect = { firstMs = 50, mostMs = 500 }
`,
  );
  return path;
}

/** Wait until so many workers of the group read. */
export async function untilReaders(server: RedisServer, count: number): Promise<void> {
  using client = await server.client();
  await client.send("XGROUP", ["CREATE", "frames", "bun-tensorrt", "0", "MKSTREAM"]);
  while ((await client.send("XINFO", ["CONSUMERS", "frames", "bun-tensorrt"])).length < count) await Bun.sleep(50);
}

/** How far the workers have come. */
interface Progress {
  readonly answers: number;
  /** Frames that have been read and not been answered. */
  readonly pending: number;
  /** Of the newest frame that has been read, and of the newest there is. */
  readonly read: string;
  readonly newest: string;
}

/** `undefined` while the server is away. */
async function progressOf(server: RedisServer): Promise<Progress | undefined> {
  try {
    using client = await server.client();
    const answers = Number(await client.send("XLEN", ["detections"]));
    const [group] = await client.send("XINFO", ["GROUPS", "frames"]);
    const { "last-generated-id": newest } = await client.send("XINFO", ["STREAM", "frames"]);
    return { answers, pending: group.pending, read: group["last-delivered-id"], newest };
  } catch {
    return undefined;
  }
}

/** A busy machine is slow: only workers that answer nothing for so long have failed. */
const STALL_MS = 30_000;

async function untilProgress(server: RedisServer, isEnough: (progress: Progress) => boolean): Promise<void> {
  let last: Progress | undefined;
  let movedAt = performance.now();
  for (;;) {
    const progress = await progressOf(server);
    if (progress !== undefined && isEnough(progress)) return;
    const now = performance.now();
    if (!Bun.deepEquals(progress, last)) movedAt = now;
    last = progress;
    if (now - movedAt > STALL_MS) throw new Error(`the workers answer nothing more: ${JSON.stringify(progress)}`);
    await Bun.sleep(50);
  }
}

/** Wait for a number of answers. */
export function untilAnswers(server: RedisServer, count: number): Promise<void> {
  return untilProgress(server, ({ answers }) => answers >= count);
}

/**
 * Wait until no frame is left. Neither their number nor that of the answers tells it, as either may be there twice; nor does
 * the lag, which a server that was started again does not know.
 */
export function untilAllAnswered(server: RedisServer): Promise<void> {
  return untilProgress(server, ({ pending, read, newest }) => pending === 0 && read === newest);
}

/** One answer, read back. */
export interface ReadAnswer {
  readonly id: string;
  readonly entryId: string;
  readonly objects: number;
  readonly error: string;
  readonly worker: string;
}

/** Every answer there is, in order. */
export async function readAnswers(server: RedisServer): Promise<ReadAnswer[]> {
  const connection = await RedisConnection.open(redisAddress(server.url), { timeoutMs: 10_000, name: "reader" });
  try {
    const reply = await connection.command("XRANGE", ["detections", "-", "+"]);
    return entriesOf(reply).map(({ fields }) => {
      const answer = fromBinary(DetectionsSchema, fields!.get("detections")!);
      const { id, entryId, error, worker, detections } = answer;
      if (Buffer.from(fields!.get("id")!).toString() !== id) throw new Error(`the field id is not ${id}`);
      return { id, entryId, error, worker, objects: detections.length };
    });
  } finally {
    connection.close();
  }
}
