/** @module Help: the text of `--help`, made from the commands' own fields. Pure. */

import { COMMON_FLAGS, type Flag } from "./args.ts";
import type { Command } from "./command.ts";
import { alignRows } from "./terminal.ts";

const PROGRAM = "bun-tensorrt";

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function flagRows(flags: readonly Flag[]): string[] {
  const rows = flags.map(({ name, short, value, summary }) => {
    const letter = short === undefined ? "    " : `-${short}, `;
    return [`${letter}--${name}${value === undefined ? "" : ` ${value}`}`, summary];
  });
  return indent(alignRows(rows, ["left", "left"]));
}

/** Help of one command. */
export function commandHelp(command: Command, flags: readonly Flag[]): string {
  const sections = [
    [command.summary],
    ["Usage:", ...indent(command.usage.map((form) => `${PROGRAM} ${form}`))],
    ["Flags:", ...flagRows([...flags, ...COMMON_FLAGS])],
    ...(command.notes.length > 0 ? [command.notes] : []),
    ["Examples:", ...indent(command.examples.map((example) => `${PROGRAM} ${example}`))],
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
    "Commands:",
    ...indent(alignRows(rows, ["left", "left"])),
    "",
    "Flags:",
    ...flagRows([...COMMON_FLAGS.slice(0, 1), { name: "version", short: "v", summary: "print the version" }]),
    "",
    `${PROGRAM} <command> --help says more. Try: ${PROGRAM} demo`,
    "",
  ].join("\n");
}
