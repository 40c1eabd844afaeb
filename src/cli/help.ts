/** @module Help: the text of `--help`, made from the commands' own fields. Pure. */

import { COMMON_FLAGS, type Flag } from "./args.ts";
import type { Command } from "./command.ts";
import { alignRows, section } from "./terminal.ts";

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
