/** @module PackageClient: a run of the user's own package client, which knows the user's registries and passwords. */

import type { Attempt } from "./attempt.ts";

/** How a client is run. */
export interface ClientOptions {
  readonly timeoutMs: number;
  /** Where it runs; clients read settings of the folder they are in. Default: the current one. */
  readonly cwd?: string;
  /** Ends the client when aborted; its reason is thrown. */
  readonly signal?: AbortSignal;
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

/**
 * Run a client to its end.
 *
 * @returns what it printed; or why it failed, in its own words
 */
export async function runClient(command: readonly string[], options: ClientOptions): Promise<Attempt<string>> {
  const { timeoutMs, cwd, signal } = options;
  const client = Bun.spawn([...command], {
    env: { ...process.env, NO_COLOR: "1" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: timeoutMs,
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { signal }),
  });
  const [output, errors, code] = await Promise.all([client.stdout.text(), client.stderr.text(), client.exited]);
  signal?.throwIfAborted();
  if (code === 0) return { value: Bun.stripANSI(output) };
  const reason =
    client.signalCode === null
      ? reasonIn(Bun.stripANSI(`${errors}\n${output}`))
      : `no answer within ${timeoutMs / 1000} s`;
  return { problem: `as ${command[0]} failed: ${reason}`, transient: false };
}
