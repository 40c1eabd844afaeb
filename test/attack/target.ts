/** @module Target: a `serve` or `worker` in a process of its own, watched while it is attacked. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawnCli } from "../cli/run-cli.ts";
import { toyDetector } from "../support/toy-detector.ts";
import type { CanaryReport, CanaryTask } from "./canary.ts";

/** A folder with the toy model, and what is to be removed with it. */
export class Arena implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "bun-tensorrt-attack-"));
  readonly model: string = join(this.folder, "toy.onnx");

  constructor() {
    writeFileSync(this.model, toyDetector());
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** How a target ended. */
export interface Ending {
  readonly code: number;
  /** From the signal to the end. */
  readonly elapsedMs: number;
  /** Most memory it has ever had, bytes; `undefined` where the system does not tell. */
  readonly mostBytes: number | undefined;
}

/** A process of the CLI. */
export class Target implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #logging: Promise<void>;
  #log = "";

  /** @param words of the command line */
  constructor(words: readonly string[]) {
    const child = spawnCli(words);
    this.#child = child;
    this.#logging = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stderr) this.#log += decoder.decode(chunk, { stream: true });
    })();
  }

  /** Everything it has said. */
  get log(): string {
    return this.#log;
  }

  /** Wait until it says something. @returns the match @throws {Error} If it ends before */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.#log);
      if (match !== null) return match;
      if (this.#child.exitCode !== null) throw new Error(`It ended with ${this.#child.exitCode}: ${this.#log}`);
      await Bun.sleep(5);
    }
  }

  kill(): Promise<number> {
    this.#child.kill("SIGKILL");
    return this.#child.exited;
  }

  /** SIGTERM, and what comes of it. */
  async terminate(): Promise<Ending> {
    const mostBytes = this.#mostBytes();
    const started = performance.now();
    this.#child.kill("SIGTERM");
    const code = await this.#child.exited;
    return { code, elapsedMs: performance.now() - started, mostBytes };
  }

  #mostBytes(): number | undefined {
    if (process.platform !== "linux") return undefined;
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    return Number(/^VmHWM:\s*(\d+) kB/m.exec(status)?.[1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) await this.kill();
    await this.#logging;
  }
}

/** Do something while good requests go on. @returns what came of both */
export async function besides<T>(task: CanaryTask, work: () => Promise<T>): Promise<[T, CanaryReport]> {
  const thread = new Worker(new URL("canary.ts", import.meta.url));
  const { promise: report, resolve, reject } = Promise.withResolvers<CanaryReport>();
  thread.onmessage = ({ data }: MessageEvent<CanaryReport>) => resolve(data);
  thread.onerror = ({ message }) => reject(new Error(message));
  thread.postMessage(task);
  try {
    const result = await work();
    thread.postMessage("end");
    return [result, await report];
  } finally {
    thread.terminate();
  }
}

/** How much of it there is. */
export interface Scale {
  /** Connections that are kept busy or idle at once. */
  readonly connections: number;
  /** Length of the largest bodies, bytes. */
  readonly bodyBytes: number;
  /** Large bodies at once. */
  readonly bodies: number;
  /** Side of the largest images, pixels. */
  readonly side: number;
  /** Malformed entries on the stream. */
  readonly entries: number;
  /** How long slow attackers go on, milliseconds. */
  readonly slowMs: number;
}

/** What one attack did. */
export interface Outcome {
  readonly name: string;
  /** Status codes, or other answers, and how often each came. */
  readonly answers: string;
  readonly worstMs: number;
  readonly elapsedMs: number;
  /** Empty if it did no harm. */
  readonly faults: readonly string[];
}

/** Count what came: `413 x8, 429 x2`. */
export function tally(answers: readonly (string | number)[]): string {
  const counts = new Map<string, number>();
  for (const answer of answers) counts.set(String(answer), (counts.get(String(answer)) ?? 0) + 1);
  return [...counts].map(([answer, count]) => (count === 1 ? answer : `${answer} x${count}`)).join(", ");
}
