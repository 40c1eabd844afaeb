/** @module RunCli: the command line as its users run it, in a process of its own. */

import { join } from "node:path";

const MAIN = join(import.meta.dir, "../../src/cli/main.ts");

/** What a run left behind. */
export interface CliResult {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** How the process is run. */
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

/** Run the CLI to its end. */
export async function runCli(words: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const child = spawnCli(words, options);
  const [output, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output, errors };
}
