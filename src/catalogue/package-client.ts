/** @module PackageClient: a run of the user's own package client, which knows the user's registries and passwords. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Attempt } from "./attempt.ts";

/** How a client is run. */
export interface ClientOptions {
  readonly timeoutMs: number;
  /** What is said where it fails, before the reason. Default: that the program failed. */
  readonly failure?: string | undefined;
  /** Where it runs; clients read settings of the folder they are in. Default: the current one. */
  readonly cwd?: string | undefined;
  /** Beside the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Ends the client when aborted; its reason is thrown. */
  readonly signal?: AbortSignal | undefined;
}

/** The line that says what is wrong: clients print tracebacks, warnings and advice around it. */
function reasonIn(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  // pip calls an index that it cannot reach one without the package; its warnings know better.
  const broken = lines.map((line) => /connection broken by .*?: ([^:]+: \[Errno .*?)'/.exec(line)?.[1]);
  const reached = broken.find((reason) => reason !== undefined);
  if (reached !== undefined) return reached;
  const errors = lines.filter((line) => /^\[?(ERROR|error)\b/.test(line));
  return errors[0]?.replace(/^\[?(ERROR|error)\]?:?\s*/, "") ?? lines[0] ?? "no reason given";
}

/** Path of a program; `undefined` if the user has none. The search goes by `PATH` as it is now. */
export function findProgram(name: string): string | undefined {
  return Bun.which(name, { PATH: process.env.PATH ?? "" }) ?? undefined;
}

/** What a client that was told to end may take for putting its temporary files away. */
const GRACE_MS = 2000;

/** True for what the system says of a process that has ended, or is another user's. */
function isNoneOfOurs(error: unknown): boolean {
  return ["ENOENT", "ESRCH", "EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Parents by process; empty where the system has no `/proc`. */
function parents(): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const name of existsSync("/proc") ? readdirSync("/proc") : []) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of the program, in brackets, may hold anything.
      const [, parent] = /\) \S (\d+) [^)]*$/.exec(readFileSync(`/proc/${name}/stat`, "latin1")) ?? [];
      if (parent !== undefined) found.set(Number(name), Number(parent));
    } catch (error) {
      if (!isNoneOfOurs(error)) throw error;
    }
  }
  return found;
}

/** A process and all that it started: version managers put a shell in front of a client. */
function withDescendants(root: number): readonly number[] {
  const known = [...parents()];
  const family = [root];
  for (const one of family) family.push(...known.filter(([, parent]) => parent === one).map(([child]) => child));
  return family;
}

function signalAll(pids: readonly number[], signal: "SIGINT" | "SIGKILL"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (!isNoneOfOurs(error)) throw error;
    }
  }
}

/** End a client with all that it started, gently first. @returns gives up on ending it any harder */
function endClient(pid: number): () => void {
  const family = withDescendants(pid);
  signalAll(family, "SIGINT");
  const timer = setTimeout(() => signalAll(family, "SIGKILL"), GRACE_MS);
  return () => clearTimeout(timer);
}

/**
 * Run a client to its end. Where it is ended before, so is all that it started.
 *
 * @returns what it printed; or why it failed, in its own words
 */
export async function runClient(command: readonly string[], options: ClientOptions): Promise<Attempt<string>> {
  const { timeoutMs, failure = `${command[0]} failed`, cwd, env, signal } = options;
  signal?.throwIfAborted();
  const client = Bun.spawn([...command], {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    ...(cwd === undefined ? {} : { cwd }),
  });
  let settle: (() => void) | undefined;
  let isLate = false;
  const end = (): void => {
    settle ??= endClient(client.pid);
  };
  const timer = setTimeout(() => {
    isLate = true;
    end();
  }, timeoutMs);
  signal?.addEventListener("abort", end);
  try {
    const [output, errors, code] = await Promise.all([client.stdout.text(), client.stderr.text(), client.exited]);
    signal?.throwIfAborted();
    if (code === 0 && !isLate) return { value: Bun.stripANSI(output) };
    const reason = isLate ? `no answer within ${timeoutMs / 1000} s` : reasonIn(Bun.stripANSI(`${errors}\n${output}`));
    return { problem: `${failure}: ${reason}`, transient: false };
  } finally {
    clearTimeout(timer);
    settle?.();
    signal?.removeEventListener("abort", end);
  }
}
