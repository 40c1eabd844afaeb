/** @module RunCli: the command line as its users run it: most often in this process, in one of its own where that matters. */

import { join } from "node:path";
import { Writable } from "node:stream";
import { main } from "../../src/cli/main.ts";

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

/** What a run left behind. */
export interface CliResult {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** How the command line is run. */
export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The words that start the CLI. */
export function cliWords(words: readonly string[]): string[] {
  return [process.execPath, MAIN, ...words];
}

/** Start the CLI; both streams are pipes, so nothing is a terminal. */
export function spawnCli(words: readonly string[], options: CliOptions = {}): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  const { env, cwd } = options;
  return Bun.spawn(cliWords(words), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/**
 * Run the CLI to its end in a process of its own: for exit codes, pipes and signals as they really are, and for what a process
 * does once, such as opening a library.
 */
export async function runProcess(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawnCli(words, options);
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, errors };
}

/** A stream that is no terminal, and keeps what is written. */
class Captured extends Writable {
  readonly #chunks: Buffer[] = [];

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    this.#chunks.push(chunk);
    done();
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString();
  }
}

/** Sets variables of the environment. @returns what puts the former ones back */
function withEnvironment(env: Readonly<Record<string, string>>): () => void {
  const former = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  return () => {
    for (const [name, value] of former) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}

/** The folder, the environment and the log belong to the process, so the runs in it take turns. */
let lastRun: Promise<unknown> = Promise.resolve();

async function runHere(words: readonly string[], { cwd, env = {} }: CliOptions): Promise<CliResult> {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const formerFolder = process.cwd();
  const restore = withEnvironment(env);
  if (cwd !== undefined) process.chdir(cwd);
  try {
    const streams = { stdout, stderr } as unknown as Parameters<typeof main>[1];
    const code = await main(words, streams);
    return { code, output: stdout.text(), errors: stderr.text() };
  } finally {
    process.chdir(formerFolder);
    restore();
  }
}

/** Run the CLI to its end in this process; runs that are started together take turns. */
export function runCli(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const run = lastRun.then(() => runHere(words, options));
  lastRun = run.catch(() => undefined);
  return run;
}
