/** @module Arguments: the words of a command line split into flags and operands. */

import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { OptionError } from "../core/errors.ts";
import { nearestWord } from "../core/options.ts";
import { assignmentIn, FOREIGN_NAMES, foreignDevice, foreignFlag, foreignSource } from "./foreign.ts";

/** One flag of a command. */
export interface Flag {
  /** kebab-case, without the dashes. */
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** What stands for the value in the help: `FILE`. A flag without one takes no value. */
  readonly value?: string;
  /** What the value may be, where it is one of these. */
  readonly values?: readonly string[];
  /** True for a list: given again, it goes on. Of other flags the last one counts. */
  readonly isList?: boolean;
  readonly summary: string;
  /** Further names, that the help does not list; with text, or what makes it, for the value they stand for. */
  readonly aliases?: readonly { readonly name: string; readonly text?: string | ((text: string) => string) }[];
}

/** Signs of a pattern of file names. */
export const PATTERN: RegExp = /[*?[\]{}]/;

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

/** A flag by one of its names. */
interface Spelling {
  readonly flag: Flag;
  readonly name: string;
  readonly takesValue: boolean;
  readonly text: string | ((text: string) => string) | undefined;
}

/** Every name of every flag. */
function spellingsOf(flags: readonly Flag[]): Spelling[] {
  return flags.flatMap((flag) => {
    const takesValue = flag.value !== undefined;
    const foreign = Object.keys(FOREIGN_NAMES).filter((name) => FOREIGN_NAMES[name] === flag.name);
    const aliases = [...(flag.aliases ?? []), ...foreign.map((name) => ({ name, text: undefined }))];
    return [
      { flag, name: flag.name, takesValue, text: undefined },
      ...aliases.flatMap(({ name, text }) =>
        [...new Set([name, name.replaceAll("-", "_")])].map((spelling) => ({
          flag,
          name: spelling,
          takesValue: takesValue && typeof text !== "string",
          text,
        })),
      ),
    ];
  });
}

/** Names an operand, as `--source` does elsewhere; and `--model`, where a model is one. */
const SOURCE: Flag = { name: "source", value: "FILE", summary: "" };
const SOURCE_OR_MODEL: Flag = { ...SOURCE, aliases: [{ name: "model" }, { name: "weights" }] };

/** `-model` is none of the letters of short flags, and `–model` has the dash of a text processor. */
function isMisdashed(word: string, spellings: readonly Spelling[]): boolean {
  const name = word.split("=", 1)[0]!.slice(1);
  return /^[–—]/.test(word) || (/^-[^-]{2}/.test(word) && spellings.some((spelling) => spelling.name === name));
}

/** True for a word that is a flag, and the value of none: parseArgs takes it for the value of the flag before it. */
function isFlag(word: string, spellings: readonly Spelling[]): boolean {
  const isShort = spellings.some(({ flag: { short } }) => short !== undefined && word === `-${short}`);
  return isShort || /^--([a-z]|$)/i.test(word) || isMisdashed(word, spellings);
}

/**
 * Split a command's words. `conf=0.5` is `--conf 0.5` where the command has such a flag, and there is no file of that name.
 *
 * @param command for messages: `detect`
 * @throws {OptionError} If a flag is unknown, lacks its value, or has one that it does not take
 */
export function parseWords(command: string, words: readonly string[], flags: readonly Flag[]): ParsedArguments {
  const known = [...flags, ...COMMON_FLAGS];
  const source = known.some(({ name }) => name === "model") ? SOURCE : SOURCE_OR_MODEL;
  const spellings = spellingsOf([...known, source]);
  const options = Object.fromEntries(
    spellings.map(({ flag, name, takesValue }) => [
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
  const take = (spelling: Spelling, given: string | undefined): void => {
    const value = said(spelling, given, command);
    const { name, isList } = spelling.flag;
    if (spelling.flag === source) operands.push(foreignSource(String(value)));
    else found[name] = isList === true && found[name] !== undefined ? `${found[name]},${value}` : value;
  };
  const end = tokens.find(({ kind }) => kind === "option-terminator")?.index ?? words.length;
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    const word = words[token.index]!;
    const mayBeFlag = token.index < end;
    if (mayBeFlag && isMisdashed(word, spellings)) throw unknownFlag(command, word.split("=", 1)[0]!, known);
    if (token.kind === "option") {
      const spelling = spellings.find(({ name }) => name === token.name);
      if (spelling === undefined) throw unknownFlag(command, token.rawName, known);
      if (spelling.takesValue && token.inlineValue === false && isFlag(token.value, spellings)) {
        const { name, value } = spelling.flag;
        const found = `--${token.name} needs a value, got the flag ${JSON.stringify(token.value)}`;
        throw refuse(
          name,
          found,
          `write --${token.name} ${value}; one that begins with dashes as --${token.name}=${token.value}`,
        );
      }
      take(spelling, spelling.takesValue || token.inlineValue === true ? token.value : undefined);
      continue;
    }
    const { key = "", value = "" } = (mayBeFlag && !existsSync(word) && assignmentIn(word)) || {};
    const spelling = spellings.find(({ name }) => name === key);
    if (spelling === undefined) {
      if (/^false$/i.test(value) && answerTo(key, known) !== undefined) continue;
      const isMistaken = key !== "" && !PATTERN.test(word) && suggestionFor(key, known) !== undefined;
      if (isMistaken) throw unknownFlag(command, key, known);
      operands.push(word);
    } else if (!/^false$/i.test(value)) {
      take(spelling, /^true$/i.test(value) ? undefined : value);
    }
  }
  if (known.some(({ name }) => name === "backend")) foreignDevice(found);
  return { flags: found, operands };
}

/** What a flag stands for, said by one of its names. @throws {OptionError} If it lacks its value, or has one that it does not take */
function said({ flag, name, takesValue, text }: Spelling, given: string | undefined, command: string): string | true {
  if (!takesValue && given !== undefined) {
    throw refuse(flag.name, `--${name} takes no value, got ${JSON.stringify(given)}`, helpHint(command));
  }
  if (takesValue && given === undefined) {
    throw refuse(flag.name, `--${name} needs a value`, `write --${name} ${flag.value}`);
  }
  return typeof text === "function" ? text(given ?? "") : (text ?? given ?? true);
}

/** What a flag of other tools is here. */
function answerTo(name: string, known: readonly Flag[]): string | undefined {
  return foreignFlag(name, (flag) => known.some((one) => one.name === flag));
}

/** How a message about an unknown flag ends; `undefined` where nothing is like it. */
function suggestionFor(name: string, known: readonly Flag[]): string | undefined {
  const answer = answerTo(name, known);
  if (answer !== undefined) return `\nHint: ${answer}`;
  const spellings = spellingsOf(known);
  const names = spellings.map((spelling) => spelling.name);
  // The whole of `out`, and the opposite of `boxes`, are further from these than other words.
  const isPart = (one: string): boolean => name.length > 1 && (one.startsWith(name) || one === `no-${name}`);
  const near = names.find(isPart) ?? nearestWord(name, names);
  const flag = spellings.find((spelling) => spelling.name === near)?.flag;
  return flag === undefined ? undefined : `. Did you mean ${JSON.stringify(`--${flag.name}`)}?`;
}

function unknownFlag(command: string, rawName: string, known: readonly Flag[]): OptionError {
  const suggestion = suggestionFor(rawName.replace(/^[-–—]+/, "").replaceAll("_", "-"), known);
  return new OptionError(
    `Unknown flag ${JSON.stringify(rawName)}${suggestion ?? `\nHint: ${helpHint(command)}`}`,
    rawName,
  );
}

/** An error of a command line: what was typed and what is wrong with it, one sentence; and what helps. */
export function refuse(option: string, found: string, hint: string): OptionError {
  return new OptionError(`${found}\nHint: ${hint}`, option);
}

/** Where a command's flags can be read. */
export function helpHint(command: string): string {
  return `bunx bun-tensorrt ${command} --help lists the flags`;
}

/** Refuse what is left of a command line whose command takes no file. @throws {OptionError} If anything is */
export function refuseOperands(command: string, { operands }: ParsedArguments): void {
  const [first] = operands;
  if (first === undefined) return;
  throw refuse("file", `Unexpected argument ${JSON.stringify(first)}: ${command} takes no files`, helpHint(command));
}
