/** @module Command: the contract of one command of the CLI, and the text of `--help`, made from the commands' own fields. */

import type { Output } from "../core/whole-file.ts";
import { COMMON_FLAGS, type Flag, type ParsedArguments } from "./args.ts";
import { alignRows, section, type Terminal } from "./terminal.ts";

/** Exit code: all went well. */
export const EXIT_OK = 0;
/** Exit code: something failed, or the machine has not what was asked for; standard error says what. */
export const EXIT_FAILED = 1;
/** Exit code: the command line is wrong; nothing was done. */
export const EXIT_USAGE = 2;

/** What a command may touch of the outside. */
export interface CommandContext {
  /** Standard output: results only. */
  readonly output: Output;
  /** Standard error: progress, warnings, errors. */
  readonly terminal: Terminal;
  /** Aborted by Ctrl-C: finish what is running, write what there is, and return. */
  readonly signal: AbortSignal;
  /**
   * Let the process end within this time of the signal, whatever hangs: native code that never returns, a run of the model, a
   * client that does not read. The last call holds.
   */
  endWithin(milliseconds: number): void;
}

/** One command: its help is made from its fields. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** Argument forms, without the program's name: `detect <file|folder|glob>... [flags]`. */
  readonly usage: readonly string[];
  /** Words that operands may be, for shells to complete. */
  words?(): Promise<readonly string[]>;
  /** In the order of the help, without what the command does. */
  flags(): Promise<readonly Flag[]>;
  /** Lines after the flags: what the numbers mean, what is written where. */
  readonly notes: readonly string[];
  /** Command lines that work as they stand, without the program's name. */
  readonly examples: readonly string[];
  /** Import what does it. */
  load(): Promise<{ run(parsed: ParsedArguments, context: CommandContext): Promise<number> }>;
}

const PROGRAM = "bun-tensorrt";

function flagRows(flags: readonly Flag[]): string[] {
  const rows = flags.map(({ name, short, value, summary }) => {
    const letter = short === undefined ? "    " : `-${short}, `;
    return [`${letter}--${name}${value === undefined ? "" : ` ${value}`}`, summary];
  });
  return alignRows(rows);
}

/** Help of one command. */
export function commandHelp(command: Command, flags: readonly Flag[]): string {
  const sections = [
    [command.summary],
    section(
      "Usage:",
      command.usage.map((form) => `${PROGRAM} ${form}`),
    ),
    section("Flags:", flagRows([...flags, ...COMMON_FLAGS])),
    ...(command.notes.length > 0 ? [command.notes] : []),
    section(
      "Examples:",
      command.examples.map((example) => `${PROGRAM} ${example}`),
    ),
  ];
  return `${sections.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** Help of the whole program. */
export function overview(commands: readonly Command[], version: string): string {
  const rows = commands.map(({ name, summary }) => [name, summary]);
  return [
    `${PROGRAM} ${version}: object detection and image models, with TensorRT on the GPU and ONNX Runtime on the CPU`,
    "",
    "Usage:",
    `  ${PROGRAM} <command> [flags]`,
    "",
    ...section("Commands:", alignRows(rows)),
    "",
    ...section("Flags:", flagRows([COMMON_FLAGS[0]!, { name: "version", short: "v", summary: "print the version" }])),
    "",
    `${PROGRAM} <command> --help says more. Try: ${PROGRAM} demo`,
    "",
  ].join("\n");
}
