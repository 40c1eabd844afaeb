#!/usr/bin/env bun
/** @module Main: from a command line to an exit code. */

import { existsSync } from "node:fs";
import manifest from "../../package.json" with { type: "json" };
import { firstError, OptionError, UnavailableError } from "../core/errors.ts";
import { setLogSink } from "../core/log.ts";
import { nearestWord, unknownWord } from "../core/options.ts";
import { isClosedPipe } from "../core/whole-file.ts";
import { isImageName } from "../image/decode-limits.ts";
import { confineSharp } from "../image/sharp.ts";
import { commandHint, knownCommand, parseWords, refuse } from "./args.ts";
import {
  type Command,
  type CommandContext,
  commandHelp,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  overview,
} from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { operandKind } from "./operands.ts";
import { hasColour, paintOf, standardOutput, Terminal } from "./terminal.ts";

const HELP = "bunx bun-tensorrt --help lists the commands";

/** Exit codes of a process ended by a signal, as shells count them. */
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

function isVerbose(words: readonly string[]): boolean {
  return words.includes("--verbose") || Boolean(process.env.BUN_TENSORRT_DEBUG);
}

/** Where an error comes from, without the message that is told already. */
function traceOf({ stack = "", cause }: Error): string {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return [...frames, ...(cause === undefined ? [] : [`Caused by: ${Bun.inspect(cause)}`])].join("\n");
}

/** Print an error: its message, and its stack for those who asked. */
function report(error: unknown, terminal: Terminal, verbose: boolean): void {
  const text = error instanceof Error ? error.message : String(error);
  terminal.line(`${terminal.paint("red", "error:")} ${text}`);
  if (verbose && error instanceof Error) terminal.line(traceOf(error));
}

/** What is right, but asks for what this machine has not, is no wrong usage. */
function exitCodeOf(error: unknown): number {
  return error instanceof OptionError && !(error instanceof UnavailableError) ? EXIT_USAGE : EXIT_FAILED;
}

function commandOf(name: string): Command | undefined {
  return COMMANDS.find((one) => one.name === name);
}

function findCommand(name: string): Command {
  const command = commandOf(name);
  if (command !== undefined) return command;
  if (name.startsWith("-")) throw refuse("command", `Missing command before ${JSON.stringify(name)}`, HELP);
  if (existsSync(name) || operandKind(name) === "video" || isImageName(name)) {
    throw refuse("command", `Missing command before ${JSON.stringify(name)}`, `bunx bun-tensorrt detect ${name}`);
  }
  const names = COMMANDS.map((one) => one.name);
  const text = unknownWord("command", name, names, knownCommand(name) ?? nearestWord(name, names));
  throw new OptionError(text + commandHint(name), name);
}

/** The words with the command first: flags may stand before it. */
function commandFirst(words: readonly string[]): readonly string[] {
  const at = words[0]?.startsWith("-") ? words.findIndex((word) => commandOf(word) !== undefined) : 0;
  return at < 1 ? words : [words[at]!, ...words.toSpliced(at, 1)];
}

async function run(words: readonly string[], context: CommandContext): Promise<number> {
  const { output, terminal } = context;
  const [first, ...rest] = commandFirst(words);
  if (first === undefined) {
    terminal.line(overview(COMMANDS, manifest.version).trimEnd());
    return EXIT_USAGE;
  }
  if (first === "--version" || first === "-v") {
    await output.write(`${manifest.version}\n`);
    return EXIT_OK;
  }
  if (first === "--help" || first === "-h" || (first === "help" && rest.length === 0)) {
    await output.write(overview(COMMANDS, manifest.version));
    return EXIT_OK;
  }
  const command = findCommand(first === "help" ? rest[0]! : first);
  const flags = await command.flags();
  const parsed = parseWords(command.name, first === "help" ? [] : rest, flags);
  if (first === "help" || parsed.flags.help === true) {
    await output.write(commandHelp(command, flags));
    return EXIT_OK;
  }
  const { run: runCommand } = await command.load();
  return await runCommand(parsed, context);
}

/** Where a command line writes to: the process, or whoever runs commands in one. */
interface StandardStreams {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
}

/**
 * Run one command line. It listens to SIGINT and SIGTERM, and has the log of the process, until it ends.
 *
 * @param words   the arguments after the program's name
 * @param streams standard output and standard error
 * @returns the exit code
 */
export async function main(words: readonly string[], { stdout, stderr }: StandardStreams = process): Promise<number> {
  // Without a listener a closed pipe behind standard error would end the process in mid-work.
  stderr.on("error", () => {});
  const terminal = new Terminal(stderr, paintOf(hasColour(stderr, process.env)), process.env);
  const output = standardOutput(stdout, () => terminal.clearStatus());
  const verbose = isVerbose(words);
  const abort = new AbortController();
  let signalCode: number | undefined;
  let mostMs: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    // The second one means now: whatever hangs is left behind.
    if (signalCode !== undefined) process.exit(signalCode);
    signalCode = SIGNAL_CODES[signal as keyof typeof SIGNAL_CODES];
    abort.abort();
    if (mostMs === undefined) return;
    const leave = (): void => {
      terminal.line(`${terminal.paint("yellow", "warn:")} Ended with work left behind that did not come to an end`);
      process.exit(signalCode);
    };
    setTimeout(leave, mostMs).unref();
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
  const formerSink = setLogSink((level, text) => {
    // What a library that was told to stop complains of is no news.
    const isNews = level === "warn" || (level === "error" && signalCode === undefined);
    // A line of the log is told from what a text in it only claims to be one.
    const indented = text.replaceAll("\n", "\n  ");
    if (isNews || verbose) terminal.line(`${terminal.paint("yellow", `${level}:`)} ${indented}`);
  });
  try {
    const endWithin = (milliseconds: number): void => {
      mostMs = milliseconds;
    };
    const code = await run(words, { output, terminal, signal: abort.signal, endWithin });
    return signalCode ?? code;
  } catch (thrown) {
    const error = firstError(thrown);
    if (error !== thrown && verbose) terminal.line(Bun.inspect(thrown));
    if (isClosedPipe(error)) return EXIT_OK;
    if (signalCode !== undefined && abort.signal.reason === error) return signalCode;
    report(error, terminal, verbose);
    return signalCode ?? exitCodeOf(error);
  } finally {
    terminal.clearStatus();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
    setLogSink(formerSink);
  }
}

if (import.meta.main) {
  confineSharp();
  process.exit(await main(process.argv.slice(2)));
}
