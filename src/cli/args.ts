/** @module Arguments: the words of a command line split into flags and operands. */

import { parseArgs } from "node:util";
import { OptionError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";

/** One flag of a command. */
export interface Flag {
  /** kebab-case, without the dashes. */
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** What stands for the value in the help: `FILE`. A flag without one takes no value. */
  readonly value?: string;
  /** True for a list: given again, it goes on. Of other flags the last one counts. */
  readonly isList?: boolean;
  readonly summary: string;
  /** Further names, that the help does not list; with text, or what makes it, for the value they stand for. */
  readonly aliases?: readonly { readonly name: string; readonly text?: string | ((text: string) => string) }[];
}

/** A command line, split. */
export interface ParsedArguments {
  /** By name in kebab-case: the text given, or `true` for a flag without a value. Lists are joined by commas. */
  readonly flags: Readonly<Record<string, string | true>>;
  /** What is left, in order. */
  readonly operands: readonly string[];
}

/** Flags every command has. */
export const COMMON_FLAGS: readonly Flag[] = [
  { name: "help", short: "h", summary: "show this help" },
  { name: "verbose", summary: "log what is done, and show the stack of errors (also BUN_TENSORRT_DEBUG=1)" },
];

/**
 * Split a command's words.
 *
 * @param command for messages: `detect`
 * @throws {OptionError} If a flag is unknown, lacks its value, or has one that it does not take
 */
export function parseWords(command: string, words: readonly string[], flags: readonly Flag[]): ParsedArguments {
  const known = [...flags, ...COMMON_FLAGS];
  const spelt = known.flatMap((flag) => [
    { flag, name: flag.name, takesValue: flag.value !== undefined, text: undefined },
    ...(flag.aliases ?? []).flatMap(({ name, text }) => {
      const takesValue = flag.value !== undefined && typeof text !== "string";
      return [...new Set([name, name.replaceAll("-", "_")])].map((spelling) => ({
        flag,
        name: spelling,
        takesValue,
        text,
      }));
    }),
  ]);
  const options = Object.fromEntries(
    spelt.map(({ flag, name, takesValue }) => [
      name,
      {
        type: takesValue ? ("string" as const) : ("boolean" as const),
        ...(flag.short === undefined || name !== flag.name ? {} : { short: flag.short }),
      },
    ]),
  );
  const { tokens } = parseArgs({ args: [...words], options, strict: false, allowPositionals: true, tokens: true });
  const found: Record<string, string | true> = {};
  const operands: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") operands.push(token.value);
    if (token.kind !== "option") continue;
    const spelling = spelt.find(({ name }) => name === token.name);
    if (spelling === undefined) throw unknownFlag(command, token.rawName, known);
    const { flag, name, takesValue, text } = spelling;
    if (!takesValue && token.inlineValue === true) {
      throw refuse(flag.name, `--${name} takes no value, got ${JSON.stringify(token.value)}`, helpHint(command));
    }
    if (takesValue && token.value === undefined) {
      throw refuse(flag.name, `--${name} needs a value`, `write --${name} ${flag.value}`);
    }
    const value = typeof text === "function" ? text(token.value ?? "") : (text ?? token.value ?? true);
    const former = flag.isList === true ? found[flag.name] : undefined;
    found[flag.name] = former === undefined ? value : `${former},${value}`;
  }
  return { flags: found, operands };
}

function unknownFlag(command: string, rawName: string, known: readonly Flag[]): OptionError {
  const near = nearestWord(
    rawName,
    known.map((flag) => `--${flag.name}`),
  );
  const unknown = `Unknown flag ${JSON.stringify(rawName)}`;
  return near === undefined
    ? refuse(rawName, unknown, helpHint(command))
    : new OptionError(`${unknown}. Did you mean ${JSON.stringify(near)}?`, rawName);
}

/** An error of a command line: what was typed and what is wrong with it, one sentence; and what helps. */
export function refuse(option: string, found: string, hint: string): OptionError {
  return new OptionError(`${found}\nHint: ${hint}`, option);
}

/** Where a command's flags can be read. */
export function helpHint(command: string): string {
  return `bun-tensorrt ${command} --help lists the flags`;
}

/** Refuse what is left of a command line whose command takes no file. @throws {OptionError} If anything is */
export function refuseOperands(command: string, { operands }: ParsedArguments): void {
  const [first] = operands;
  if (first === undefined) return;
  throw refuse("file", `Unexpected argument ${JSON.stringify(first)}: ${command} takes no files`, helpHint(command));
}
