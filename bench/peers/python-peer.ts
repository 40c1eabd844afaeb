/** @module Python peer: a child process that does a frame or a stage when it is told to; see peer_loop.py. */

import { join } from "node:path";
import { cacheFolder } from "../../src/core/paths.ts";

/** What a script gets. */
export type PeerSettings = Readonly<Record<string, string | number | boolean>>;

/** Some frames of a peer. */
export interface PeerAnswer {
  /** Milliseconds of each frame. */
  readonly ms: readonly number[];
  readonly boxes: number;
  /** Milliseconds of each frame by stage, where the peer says them. */
  readonly stages?: Readonly<Record<string, readonly number[]>>;
}

interface Line extends Partial<PeerAnswer> {
  readonly missing?: string;
  readonly ready?: string;
  readonly note?: string;
}

type Child = Bun.Subprocess<"pipe", "pipe", "pipe">;

/** A peer that is not ready by then is left out. */
const START_LIMIT_MS = 240_000;

/** The environment of a peer: it reports to nobody, and what it keeps goes into our cache. */
export function peerEnvironment(): Record<string, string | undefined> {
  const folder = join(cacheFolder(), "bench-peers");
  return {
    ...process.env,
    ORT_DISABLE_TELEMETRY: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    YOLO_OFFLINE: "true",
    YOLO_AUTOINSTALL: "false",
    YOLO_CONFIG_DIR: folder,
    MPLCONFIGDIR: folder,
    CUDA_CACHE_PATH: process.env.CUDA_CACHE_PATH ?? join(cacheFolder(), "cuda"),
  };
}

/** Keep the end of what a child prints on standard error, for when it fails. */
async function lastLines(child: Child): Promise<string> {
  const text = await child.stderr.text();
  return text.trim().split("\n").slice(-6).join("\n");
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
}

/** One process, idle between its turns. */
export class ScriptPeer implements AsyncDisposable {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: Promise<string>;
  readonly versions: string;
  /** What it does, in a clause. */
  readonly note: string;

  private constructor(child: Child, lines: AsyncIterator<string>, errors: Promise<string>, first: Line) {
    this.#child = child;
    this.#lines = lines;
    this.#errors = errors;
    this.versions = first.ready ?? "";
    this.note = first.note ?? "";
  }

  /**
   * Start a script of this folder.
   *
   * @returns why it cannot take part, in a clause
   */
  static async start(python: string, script: string, settings: PeerSettings): Promise<ScriptPeer | string> {
    if (Bun.which(python) === null) return `${python} is not there`;
    const child = Bun.spawn([python, join(import.meta.dir, script), JSON.stringify(settings)], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: peerEnvironment(),
    });
    const errors = lastLines(child);
    const lines = linesOf(child.stdout);
    const timer = setTimeout(() => child.kill(), START_LIMIT_MS);
    const first = await lines.next();
    clearTimeout(timer);
    const line = first.done === true ? {} : (JSON.parse(first.value) as Line);
    if (line.ready !== undefined) return new ScriptPeer(child, lines, errors, line);
    await child.exited;
    return line.missing ?? `it ended with ${child.exitCode ?? child.signalCode}: ${(await errors).split("\n").at(-1)}`;
  }

  /** Do some frames, or a stage that the script has so many times. @throws {Error} If the process ends meanwhile */
  async run(count: number, stage?: string): Promise<PeerAnswer> {
    this.#child.stdin.write(`${JSON.stringify({ count, stage })}\n`);
    await this.#child.stdin.flush();
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`Cannot go on: the peer has ended:\n${await this.#errors}`);
    return JSON.parse(line.value) as PeerAnswer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill(), 5000);
    await this.#child.exited;
    clearTimeout(timer);
  }
}

/** A plan as Ultralytics reads it: its metadata, as JSON behind its length, and the plan. */
export function forUltralytics(plan: Uint8Array, metadata: Readonly<Record<string, unknown>>): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(JSON.stringify(metadata));
  const length = new Uint8Array(new Uint32Array([text.length]).buffer);
  return Buffer.concat([length, text, plan]);
}
