/** @module Completions command: scripts by which shells complete commands, flags and their values, made of the commands' own tables. */

import { catalogue } from "../../catalogue/catalogue.ts";
import { OptionError } from "../../core/errors.ts";
import { unknownWord } from "../../core/options.ts";
import { COMMON_FLAGS, type Flag, type ParsedArguments, refuse } from "../args.ts";
import { type Command, type CommandContext, EXIT_OK } from "../command.ts";

/** What may stand in a place: words, and files or folders beside them. */
interface Choice {
  readonly words: readonly string[];
  readonly paths: "files" | "folders" | "none";
}

/** A command, as a shell has to know it. */
interface Completed {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly Flag[];
  readonly operands: Choice;
}

const MODELS = catalogue.filter(({ kind }) => kind === "model").map(({ name }) => name);

/** The names of a flag, as they are typed. */
function namesOf({ name, short }: Flag): string[] {
  return [...(short === undefined ? [] : [`-${short}`]), `--${name}`];
}

/** What the value of a flag may be. */
function choiceOf({ name, value = "", values = [] }: Flag): Choice {
  const kinds = value.split("|");
  const paths = kinds.some((kind) => kind === "FILE" || kind === "PATH") ? "files" : "none";
  const words = name === "model" && kinds.includes("NAME") ? MODELS : values;
  return { words, paths: paths === "none" && kinds.includes("DIR") ? "folders" : paths };
}

async function completed(command: Command): Promise<Completed> {
  const { name, summary, usage, words } = command;
  const paths = usage.some((form) => /<[^>]*\bfile\b/.test(form)) ? "files" : "none";
  const flags = [...(await command.flags()), ...COMMON_FLAGS];
  return { name, summary, flags, operands: { words: (await words?.()) ?? [], paths } };
}

/** Text between single quotes, for bash and zsh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const BASH_PATHS: Readonly<Record<Choice["paths"], string>> = { files: "-f", folders: "-d", none: "" };

function bashChoice({ words, paths }: Choice): string {
  return `words=${quoted(words.join(" "))} paths=${quoted(BASH_PATHS[paths])}`;
}

function bash(commands: readonly Completed[]): string {
  const values = commands.flatMap(({ name, flags }) => {
    const withValue = flags.filter(({ value }) => value !== undefined);
    return [...Map.groupBy(withValue, (flag) => bashChoice(choiceOf(flag)))].map(([choice, alike]) => {
      const places = alike.flatMap(namesOf).map((one) => `${name}:${one}`);
      return `    ${places.join("|")}) ${choice} ;;`;
    });
  });
  const others = commands.map(({ name, flags, operands }) => {
    return `    ${name}:*) ${bashChoice(operands)} flags=${quoted(flags.flatMap(namesOf).join(" "))} ;;`;
  });
  const names = commands.map(({ name }) => name);
  return `# bash completion for bun-tensorrt: eval "$(bun-tensorrt completions bash)"
_bun_tensorrt() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command= words= paths= flags= at
  # Bash takes the = of --flag=value for a word.
  if [[ $current == = ]]; then current=; elif [[ $previous == = ]]; then previous="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "\${COMP_WORDS[at]}" in ${names.join("|")}) command="\${COMP_WORDS[at]}"; break ;; esac
  done
  case "$command:$previous" in
    :*) words=${quoted([...names, "help"].join(" "))} flags='-h --help -v --version' ;;
${values.join("\n")}
${others.join("\n")}
  esac
  if [[ $current == -* ]]; then words="$flags" paths=; fi
  local IFS=$' \\t\\n'
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ -z $paths ]] && return
  compopt -o filenames 2> /dev/null
  IFS=$'\\n'
  COMPREPLY+=($(compgen "$paths" -- "$current"))
}
complete -F _bun_tensorrt bun-tensorrt
`;
}

/** What `_arguments` of zsh has behind a colon. */
function zshAction({ words, paths }: Choice): string {
  const files = paths === "folders" ? "_files -/" : "_files";
  if (words.length === 0) return paths === "none" ? " " : files;
  // With a blank in front it is called as it is.
  return paths === "none" ? `(${words.join(" ")})` : ` _bun_tensorrt_names ${words.join(" ")}`;
}

/** Signs that mean something in a specification of `_arguments`. */
function zshText(text: string): string {
  return text.replace(/[[\]:\\]/g, "\\$&");
}

function zshFlag(flag: Flag): string {
  const { value, isList, summary } = flag;
  const names = namesOf(flag);
  const rest = value === undefined ? "" : `:${zshText(value)}:${zshAction(choiceOf(flag))}`;
  const spelt = names.map((name) => (value === undefined ? name : name.startsWith("--") ? `${name}=` : `${name}+`));
  const once = isList === true ? "*" : `(${names.join(" ")})`;
  return spelt.map((name) => quoted(`${once}${name}[${zshText(summary)}]${rest}`)).join(" ");
}

function zsh(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, flags, operands }) => {
    const lines = [...flags.map(zshFlag), quoted(`*:${name}:${zshAction(operands)}`)];
    return `    ${name}) _arguments -s -S ${lines.join(" \\\n      ")} ;;`;
  });
  const names = commands.map(({ name, summary }) => quoted(`${name}:${zshText(summary)}`));
  return `#compdef bun-tensorrt
# zsh completion for bun-tensorrt: eval "$(bun-tensorrt completions zsh)" after compinit, or a file _bun_tensorrt in $fpath
_bun_tensorrt_names() { local -a names=("$@"); compadd -a names; _files; }
_bun_tensorrt() {
  local state line curcontext="$curcontext"
  local -a commands=(${names.join(" \\\n    ")})
  _arguments -C '1: :->command' '*:: :->words'
  case "$state:$words[1]" in
    command:*) _describe -t commands command commands; return ;;
  esac
  case "$words[1]" in
${cases.join("\n")}
  esac
}
if [ "$funcstack[1]" = _bun_tensorrt ]; then _bun_tensorrt "$@"; else compdef _bun_tensorrt bun-tensorrt; fi
`;
}

/** Text between single quotes, for fish. */
function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&")}'`;
}

function fishChoice({ words, paths }: Choice): string {
  const folders = paths === "folders" ? ["(__fish_complete_directories)"] : [];
  const all = [...words, ...folders];
  return `${paths === "files" ? " -F" : " -f"}${all.length === 0 ? "" : ` -a ${fishQuoted(all.join(" "))}`}`;
}

function fish(commands: readonly Completed[]): string {
  const lines = commands.flatMap(({ name, summary, flags, operands }) => {
    const within = `complete -c bun-tensorrt -n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c bun-tensorrt -n __fish_use_subcommand -a ${name} -d ${fishQuoted(summary)}`,
      `${within}${fishChoice(operands)}`,
      ...flags.map((flag) => {
        const letter = flag.short === undefined ? "" : ` -s ${flag.short}`;
        const value = flag.value === undefined ? "" : ` -r${fishChoice(choiceOf(flag))}`;
        return `${within}${letter} -l ${flag.name}${value} -d ${fishQuoted(flag.summary)}`;
      }),
    ];
  });
  return `# fish completion for bun-tensorrt: bun-tensorrt completions fish > ~/.config/fish/completions/bun-tensorrt.fish
complete -c bun-tensorrt -f
${lines.join("\n")}
`;
}

const SHELLS: Readonly<Record<string, (commands: readonly Completed[]) => string>> = { bash, zsh, fish };

/** `completions` of these commands. @returns what runs it, and returns the exit code */
export function completionsOf(commands: readonly Command[]): Awaited<ReturnType<Command["load"]>>["run"] {
  return (parsed, context) => run(commands, parsed, context);
}

async function run(
  commands: readonly Command[],
  { operands }: ParsedArguments,
  { output }: CommandContext,
): Promise<number> {
  const [shell, ...others] = operands;
  const names = Object.keys(SHELLS);
  if (shell === undefined || others.length > 0) {
    throw refuse(
      "shell",
      `Expected one shell, got ${operands.length}`,
      `bunx bun-tensorrt completions ${names.join("|")}`,
    );
  }
  const script = Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
  if (script === undefined) throw new OptionError(unknownWord("shell", shell, names), "shell");
  await output.write(script(await Promise.all(commands.map(completed))));
  return EXIT_OK;
}
